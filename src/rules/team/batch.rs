//! What goes through the members of an account, a batch at a time.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::id::AppName;
use crate::message::{Command, Message, Rejected, Subject};

/// What the worker `team_batch` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeamBatchMessage {
    /// Looks at the contacts of the next members.
    Check {
        /// The review.
        review: Uuid,
        /// How many batches went before.
        batch: i32,
    },
    /// Carries a mandate, or its end, to the next members.
    Apply {
        /// The mandate.
        mandate: Uuid,
        /// How many batches went before.
        batch: i32,
    },
}

impl Message for TeamBatchMessage {
    fn read(key: &str, _: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        Command::read_as(key, body, |command| match *command {
            Command::CheckContacts { review, batch } => Some(Self::Check { review, batch }),
            Command::ApplyMandate { mandate, batch } => Some(Self::Apply { mandate, batch }),
            _ => None,
        })
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Check { review: id, .. } | Self::Apply { mandate: id, .. } => Subject::of(id),
        }
    }
}

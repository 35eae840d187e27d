//! Rows of the Activity report.

use crate::domain::Timestamp;
use crate::domain::activity::{Action, Client, Origin};
use crate::domain::id::{AccountId, ChallengeId, MemberId};

/// A row of the Activity report. No codes, no full numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The account.
    pub account: AccountId,
    /// The member concerned; `None` for the whole account.
    pub member: Option<MemberId>,
    /// Who did it.
    pub actor: MemberId,
    /// What was done.
    pub action: Action,
    /// On whose behalf.
    pub origin: Origin,
    /// The number before, masked.
    pub old_number: Option<String>,
    /// The number after, masked.
    pub new_number: Option<String>,
    /// The challenge that proved it, if one did.
    pub challenge: Option<ChallengeId>,
    /// From where, if the app has told.
    pub client: Client,
    /// When.
    pub at: Timestamp,
}

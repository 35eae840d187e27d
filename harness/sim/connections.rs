//! What the carrier does with HTTP connections that its clients keep open.
//!
//! `PUT /connections` orders it, `DELETE /connections` takes it back. Only a connection that has brought
//! a message for the carrier is concerned: readers of phones and ledger keep theirs.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The longest `idle_seconds`.
const MAX_IDLE_SECONDS: f64 = 300.0;

/// How kept connections are treated. By default they stay open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// Close a kept connection when the next request arrives, without reading any of it.
    #[serde(default)]
    drop_kept: bool,
    /// Close a kept connection that has been idle for so long. May be fractional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_seconds: Option<f64>,
}

impl Order {
    /// Whether the number makes sense.
    pub fn check(self) -> Result<(), &'static str> {
        match self.idle_seconds {
            Some(seconds) if !(0.0..=MAX_IDLE_SECONDS).contains(&seconds) => {
                Err("idle_seconds must be from 0 to 300")
            }
            _ => Ok(()),
        }
    }
}

/// The order in force, shared by all connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Order>);

impl Connections {
    pub fn order(&self, order: Order) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = order;
    }

    pub fn ordered(&self) -> Order {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next request on a kept connection is dropped.
    pub fn drops_kept(&self) -> bool {
        self.ordered().drop_kept
    }

    /// How long a kept connection may be idle.
    pub fn idle_max(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.ordered().idle_seconds?).ok()
    }
}

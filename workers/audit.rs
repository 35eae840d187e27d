//! Writes the trail: every event, once.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | every event                                                                 |
//! | reads    | nothing                                                                     |
//! | writes   | `trail`                                                                     |
//! | causes   | nothing                                                                     |
//! | rule     | none: it copies                                                             |

use std::time::Duration;

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::message::{Decoded, EventRecord};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct Audit;

impl Worker for Audit {
    const NAME: &'static str = "audit";
    const INBOX: bool = false;
    type Message = EventRecord;
    type Facts = ();

    async fn load(&self, _: &Tx<'_>, batch: &[&Decoded<EventRecord>]) -> Result<Vec<()>, Fault> {
        Ok(vec![(); batch.len()])
    }
}

impl TransactionWorker for Audit {
    // Of the commits of a login that comes alone two in five would be ours otherwise.
    const GATHER: Duration = Duration::from_millis(50);
    type Write = EventRecord;

    fn decide(
        &self,
        event: &Decoded<EventRecord>,
        (): (),
        _: &mut DecisionContext<'_>,
    ) -> Decided<EventRecord> {
        Decided { write: Some(event.message.clone()), ..Decided::nothing("recorded") }
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&EventRecord], _: Timestamp) -> Result<(), Fault> {
        store::append_trail(tx, writes).await
    }
}

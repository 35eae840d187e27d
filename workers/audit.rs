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
use stepup::runtime::Worker;
use stepup::store::{self, Tx};

/// The worker.
pub struct Audit;

impl Worker for Audit {
    const NAME: &'static str = "audit";
    const INBOX: bool = false;
    // Of the commits of a login that comes alone two in five would be ours otherwise.
    const GATHER: Duration = Duration::from_millis(50);
    type Message = EventRecord;
    type Facts = ();
    type Verdict = Decided<EventRecord>;

    async fn load(&self, _: &Tx<'_>, batch: &[&Decoded<EventRecord>]) -> Result<Vec<()>, Fault> {
        Ok(vec![(); batch.len()])
    }

    fn decide(
        &self,
        event: &Decoded<EventRecord>,
        (): (),
        _: &mut DecisionContext<'_>,
    ) -> Decided<EventRecord> {
        Decided { write: Some(event.message.clone()), ..Decided::nothing("recorded") }
    }

    async fn store(
        &self,
        tx: &Tx<'_>,
        verdicts: &[&Decided<EventRecord>],
        _: Timestamp,
    ) -> Result<(), Fault> {
        let events: Vec<&EventRecord> = verdicts.iter().filter_map(|v| v.write.as_ref()).collect();
        store::append_trail(tx, &events).await
    }
}

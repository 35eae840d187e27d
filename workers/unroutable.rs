//! Takes what the requests exchange could not route. A message with a key that no queue takes becomes a
//! dead letter.
//! Under a known key it is no fault of the sender: the queue or its binding is missing. It is declared
//! again, and the message goes to it.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | whatever the exchange could not route                                       |
//! | reads    | nothing                                                                     |
//! | writes   | nothing                                                                     |
//! | causes   | the same message again in its own queue, or a dead letter                   |
//! | rule     | none                                                                        |

use stepup::domain::Timestamp;
use stepup::domain::id::AppName;
use stepup::fault::Fault;
use stepup::message::{Decoded, Exchange, Message, Queue, Rejected, Subject};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::Tx;

/// The worker.
pub struct Unroutable;

/// A message that cannot be read, whatever it says.
pub enum Nothing {}

impl Message for Nothing {
    fn read(_: &str, _: Option<AppName>, _: serde_json::Value) -> Result<Self, Rejected> {
        Err(Rejected::malformed(
            "no queue takes this routing key: docs/messages.md has those there are",
        ))
    }

    fn subject(&self) -> Subject {
        match *self {}
    }
}

impl Worker for Unroutable {
    const NAME: &'static str = "unroutable";
    const INBOX: bool = false;
    type Message = Nothing;
    type Facts = ();

    fn own_queue_of(key: &str) -> Option<&'static str> {
        Queue::of(Exchange::Requests, key).map(Queue::label)
    }

    async fn load(&self, _: &Tx<'_>, batch: &[&Decoded<Nothing>]) -> Result<Vec<()>, Fault> {
        Ok(vec![(); batch.len()])
    }
}

impl TransactionWorker for Unroutable {
    type Write = ();

    fn decide(
        &self,
        nothing: &Decoded<Nothing>,
        (): (),
        _: &mut DecisionContext<'_>,
    ) -> Decided<()> {
        match nothing.message {}
    }

    async fn store(&self, _: &Tx<'_>, _: &[&()], _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}

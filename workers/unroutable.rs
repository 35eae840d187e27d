//! Sets aside what was published to the requests exchange under a key that nobody takes.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | whatever the exchange could not route                                       |
//! | reads    | nothing                                                                     |
//! | writes   | nothing                                                                     |
//! | causes   | a dead letter for each, by not being able to read it                        |
//! | rule     | none                                                                        |

use stepup::domain::Timestamp;
use stepup::domain::id::AppName;
use stepup::fault::Fault;
use stepup::message::{Decoded, Message, Rejected, Subject};
use stepup::rules::{Ctx, Decided};
use stepup::runtime::Worker;
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
    type Verdict = Decided<()>;

    async fn load(&self, _: &Tx<'_>, batch: &[&Decoded<Nothing>]) -> Result<Vec<()>, Fault> {
        Ok(vec![(); batch.len()])
    }

    fn decide(&self, nothing: &Decoded<Nothing>, (): (), _: &mut Ctx<'_>) -> Decided<()> {
        match nothing.message {}
    }

    async fn store(&self, _: &Tx<'_>, _: &[&Decided<()>], _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}

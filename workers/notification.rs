//! Finds out who is to be told of a change of a number or a factor, of a reset, or of a number that is a
//! company's.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `member.phone_changed` `member.number_owned` `factor.enabled` `factor.disabled` `factor.reset` `reset.approved` |
//! | reads    | `member`                                                                    |
//! | writes   | `notice`                                                                    |
//! | causes   | `notice.send`                                                               |
//! | rule     | [`stepup::rules::delivery::recipients::fan_out`]                                          |

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::message::{Decoded, EventRecord};
use stepup::rules::delivery::recipients::{Notice, Recipients, fan_out};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct Notification;

impl Worker for Notification {
    const NAME: &'static str = "notification";
    type Message = EventRecord;
    type Facts = Recipients;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<EventRecord>],
    ) -> Result<Vec<Recipients>, Fault> {
        let mut facts = Vec::with_capacity(batch.len());
        for event in batch {
            let EventRecord { account, member, .. } = &event.message;
            facts.push(match (account, member) {
                (Some(account), Some(member)) => {
                    store::recipients(tx, account.as_str(), member.as_str()).await?
                }
                _ => Recipients::default(),
            });
        }
        Ok(facts)
    }
}

impl TransactionWorker for Notification {
    type Write = Vec<Notice>;

    fn decide(
        &self,
        event: &Decoded<EventRecord>,
        recipients: Recipients,
        _: &mut DecisionContext<'_>,
    ) -> Decided<Vec<Notice>> {
        fan_out(&event.message, recipients)
    }

    async fn store(
        &self,
        tx: &Tx<'_>,
        writes: &[&Vec<Notice>],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let notices: Vec<&Notice> = writes.iter().copied().flatten().collect();
        store::insert_notices(tx, &notices, now).await
    }
}

//! Finds out who is to be told of a changed number.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `member.phone_changed`                                                      |
//! | reads    | `member`                                                                    |
//! | writes   | `notice`                                                                    |
//! | causes   | `notice.send`                                                               |
//! | rule     | [`stepup::rules::notice::fan_out`]                                          |

use stepup::domain::Timestamp;
use stepup::domain::id::MemberId;
use stepup::fault::Fault;
use stepup::message::{Decoded, EventRecord};
use stepup::rules::notice::{self, Notice};
use stepup::rules::{Ctx, Decided};
use stepup::runtime::Worker;
use stepup::store::{self, Tx};

/// The worker.
pub struct Notification;

impl Worker for Notification {
    const NAME: &'static str = "notification";
    type Message = EventRecord;
    type Facts = Vec<MemberId>;
    type Verdict = Decided<Vec<Notice>>;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<EventRecord>],
    ) -> Result<Vec<Vec<MemberId>>, Fault> {
        let mut facts = Vec::with_capacity(batch.len());
        for event in batch {
            facts.push(match &event.message.account {
                Some(account) => store::subscribers(tx, account.as_str()).await?,
                None => Vec::new(),
            });
        }
        Ok(facts)
    }

    fn decide(
        &self,
        event: &Decoded<EventRecord>,
        subscribers: Vec<MemberId>,
        _: &mut Ctx<'_>,
    ) -> Decided<Vec<Notice>> {
        notice::fan_out(&event.message, subscribers)
    }

    async fn store(
        &self,
        tx: &Tx<'_>,
        verdicts: &[&Decided<Vec<Notice>>],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let notices: Vec<&Notice> =
            verdicts.iter().filter_map(|verdict| verdict.write.as_ref()).flatten().collect();
        store::insert_notices(tx, &notices, now).await
    }
}

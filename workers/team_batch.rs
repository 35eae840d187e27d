//! Goes through all members of an account, a batch at a time: reviews of contacts, and mandates on
//! their way to members. Each batch asks for the next one, so a long one never keeps others waiting
//! and goes on where it was after a crash.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `review.check` `mandate.apply`                                              |
//! | reads    | `account` `member` `review` `mandate` `login` `challenge`                   |
//! | writes   | `review` `review_member` `mandate` `member` `challenge` `activity`          |
//! | causes   | `review.check` `mandate.apply` (the next batch); `review.finished` `mandate.applied` `factor.enabled` `factor.disabled` `challenge.cancelled` |
//! | rule     | [`stepup::rules::team::review::check`] [`stepup::rules::team::mandate::apply`]          |

use std::sync::Arc;

use stepup::domain::Timestamp;
use stepup::domain::keys::Keyring;
use stepup::fault::Fault;
use stepup::message::Decoded;
use stepup::rules::team::batch::TeamBatchMessage;
use stepup::rules::team::mandate;
use stepup::rules::team::mandate::Applied;
use stepup::rules::team::review;
use stepup::rules::team::review::Checked;
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct TeamBatch {
    /// To open stored numbers.
    pub keys: Arc<Keyring>,
}

/// What is known when the next batch is gone through.
pub enum Facts {
    /// Of a review.
    Review(Option<review::Facts>),
    /// Of a mandate.
    Mandate(Option<mandate::Facts>),
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// Members were looked at.
    Checked(Checked),
    /// Switches were turned.
    Applied(Applied),
}

impl Worker for TeamBatch {
    const NAME: &'static str = "team_batch";
    type Message = TeamBatchMessage;
    type Facts = Facts;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<TeamBatchMessage>],
    ) -> Result<Vec<Facts>, Fault> {
        let mut facts = Vec::with_capacity(batch.len());
        for decoded in batch {
            facts.push(match decoded.message {
                TeamBatchMessage::Check { review, .. } => {
                    Facts::Review(store::review_facts(tx, review).await?)
                }
                TeamBatchMessage::Apply { mandate, .. } => {
                    Facts::Mandate(store::mandate_facts(tx, mandate).await?)
                }
            });
        }
        Ok(facts)
    }
}

impl TransactionWorker for TeamBatch {
    type Write = Write;

    fn decide(
        &self,
        decoded: &Decoded<TeamBatchMessage>,
        facts: Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        match (decoded.message, facts) {
            (TeamBatchMessage::Check { review, batch }, Facts::Review(facts)) => {
                review::check(review, batch, facts, &self.keys, ctx.now).map(Write::Checked)
            }
            (TeamBatchMessage::Apply { mandate, batch }, Facts::Mandate(facts)) => {
                mandate::apply(mandate, batch, facts, &self.keys, ctx.now).map(Write::Applied)
            }
            _ => Decided::nothing("done_before"),
        }
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], _: Timestamp) -> Result<(), Fault> {
        let (mut checked, mut applied) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Checked(batch) => checked.push(batch),
                Write::Applied(batch) => applied.push(batch),
            }
        }
        store::write_checked(tx, &checked).await?;
        store::write_applied(tx, &applied).await
    }
}

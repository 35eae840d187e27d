//! Takes what admins ask for their team: a review of contacts, a mandate and its end, 2FA of one
//! member.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `team.review` `team.mandate.enable` `team.mandate.disable` `team.member.enable` `team.member.disable` |
//! | reads    | `account` `member` `mandate` `review` `review_member` `login` `challenge` `destination` `delivery_attempt` `wrong_guess` |
//! | writes   | `account` `member` `mandate` `review` `activity` `challenge` `login` `delivery_attempt` `destination` |
//! | causes   | `review.check` `mandate.apply` `sms.send`; `mandate.enabled` `mandate.disabled` `factor.enabled` `factor.disabled` `challenge.issued` `challenge.expired` `challenge.superseded` `challenge.cancelled` `challenge.refused` |
//! | rule     | [`stepup::rules::team`]; who may do what is in [`stepup::rules::team::role`]       |

use uuid::Uuid;

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::message::Decoded;
use stepup::rules::RuleInputs;
use stepup::rules::team::decide::{Facts, TeamMessage, Write, decide};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct Team {
    /// Keys and numbers.
    pub rules: RuleInputs,
}

impl Worker for Team {
    const NAME: &'static str = "team";
    type Message = TeamMessage;
    type Facts = Option<Facts>;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<TeamMessage>],
    ) -> Result<Vec<Option<Facts>>, Fault> {
        let asks: Vec<(Uuid, &TeamMessage)> =
            batch.iter().map(|decoded| (decoded.id, &decoded.message)).collect();
        store::team_facts(tx, &asks, &self.rules.keys, &self.rules.policy).await
    }
}

impl TransactionWorker for Team {
    type Write = Write;

    fn decide(
        &self,
        ask: &Decoded<TeamMessage>,
        facts: Option<Facts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        decide(&ask.message, facts, &self.rules, ctx)
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], now: Timestamp) -> Result<(), Fault> {
        let (mut new, mut endings) = (Vec::new(), Vec::new());
        let (mut reviews, mut mandates) = (Vec::new(), Vec::new());
        let (mut changes, mut spent) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Challenge(issued) => {
                    new.push(&*issued.new);
                    endings.extend(&issued.ended);
                }
                Write::Review(review) => reviews.push(review),
                Write::Mandated(mandate) => mandates.push(&**mandate),
                Write::Switch { change, spent: by } => {
                    changes.push(change);
                    spent.extend(by);
                }
            }
        }
        store::begin_reviews(tx, &reviews).await?;
        store::write_mandates(tx, &mandates, now).await?;
        store::end_challenges(tx, &endings).await?;
        store::insert_challenges(tx, &new, self.rules.policy.code_digits).await?;
        store::spend_proofs(tx, &spent).await?;
        store::write_changes(tx, &changes, now).await
    }
}

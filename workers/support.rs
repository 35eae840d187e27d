//! Resets of factors by support: asked for, approved, stopped, carried out.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `support.reset.request` `support.reset.approve` `support.reset.cancel` `reset.carry_out` |
//! | reads    | `account` `member` `reset` `login` `challenge`                              |
//! | writes   | `reset` `member` `wrong_guess` `challenge` `activity`                       |
//! | causes   | `reset.requested` `reset.approved` `reset.cancelled` `factor.reset` `member.phone_changed` `challenge.cancelled` |
//! | rule     | [`stepup::rules::support`]                                                  |

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::message::Decoded;
use stepup::rules::RuleInputs;
use stepup::rules::support::decide::{Facts, SupportMessage, Write, decide};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct Support {
    /// Keys and numbers.
    pub rules: RuleInputs,
}

impl Worker for Support {
    const NAME: &'static str = "support";
    type Message = SupportMessage;
    type Facts = Option<Facts>;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<SupportMessage>],
    ) -> Result<Vec<Option<Facts>>, Fault> {
        let mut facts = Vec::with_capacity(batch.len());
        for ask in batch {
            facts.push(store::support_facts(tx, ask.id, &ask.message).await?);
        }
        Ok(facts)
    }
}

impl TransactionWorker for Support {
    type Write = Write;

    fn decide(
        &self,
        ask: &Decoded<SupportMessage>,
        facts: Option<Facts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        decide(&ask.message, facts, &self.rules.policy, &self.rules.keys, ctx.now)
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], _: Timestamp) -> Result<(), Fault> {
        store::write_resets(tx, writes).await
    }
}

//! Hands codes to the SMS provider.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `sms.send`                                                                  |
//! | reads    | `challenge` `account` `member` `delivery_attempt`                           |
//! | writes   | `delivery_attempt` `challenge.fallback_at`                                  |
//! | causes   | `sms.send` (the next try) `email.send` (at once, when SMS failed) `challenge.abandon`; `delivery.*` |
//! | rule     | [`stepup::rules::delivery`]                                                 |

use std::time::Instant;

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::gateway::{Sms, SmsGateway};
use stepup::message::{Command, Decoded};
use stepup::observe;
use stepup::rules::DecisionContext;
use stepup::rules::RuleInputs;
use stepup::rules::delivery::{Dispatch, Facts, Step};
use stepup::runtime::Worker;
use stepup::store::{self, Claim, Tx};

use crate::sending::{challenges, decided, told};

/// The worker.
pub struct SmsDelivery<G> {
    /// The provider.
    pub gateway: G,
    /// Keys and numbers.
    pub rules: RuleInputs,
    /// What a claim sets.
    pub claim: Claim,
}

impl<G: SmsGateway> Worker for SmsDelivery<G> {
    const NAME: &'static str = "sms_delivery";
    const OUTWARD: bool = true;
    type Message = Command;
    type Facts = Option<Facts>;
    type Verdict = Dispatch;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<Command>],
    ) -> Result<Vec<Option<Facts>>, Fault> {
        store::delivery_facts(tx, &challenges(batch)?).await
    }

    fn decide(
        &self,
        command: &Decoded<Command>,
        facts: Option<Facts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Dispatch {
        decided(command, facts, &self.rules, ctx.now)
    }

    async fn claim(&self, tx: &Tx<'_>, dispatches: &[&Dispatch]) -> Result<(), Fault> {
        store::claim_sends(tx, dispatches, self.claim).await
    }

    async fn release(&self, tx: &Tx<'_>, dispatches: &[&Dispatch]) -> Result<(), Fault> {
        store::release_sends(tx, dispatches, self.claim).await
    }

    async fn act(&self, dispatch: Dispatch) -> Dispatch {
        let Step::Call(letter) = &dispatch.step else { return dispatch };
        let (attempt, to, text) = (letter.attempt, letter.to.as_str(), letter.text.as_str());
        let started = Instant::now();
        let answer = self.gateway.send(Sms { attempt, to, text }).await;
        observe::provider_called("sms", answer.label(), started.elapsed());
        dispatch.answered(told(answer), &self.rules.policy)
    }

    async fn store(
        &self,
        tx: &Tx<'_>,
        dispatches: &[&Dispatch],
        now: Timestamp,
    ) -> Result<(), Fault> {
        store::settle_sends(tx, dispatches, now).await
    }
}

//! Hands codes to the mail server, when the SMS was not enough.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `email.send`                                                                |
//! | reads    | `challenge` `account` `member` `delivery_attempt`                           |
//! | writes   | `delivery_attempt` `challenge.sends`                                        |
//! | causes   | `email.send` (the next try) `challenge.abandon`; `delivery.*` `challenge.email_eligible` |
//! | rule     | [`stepup::rules::delivery`]                                                 |

use std::time::Instant;

use stepup::domain::Timestamp;
use stepup::fault::Fault;
use stepup::gateway::{Mail, MailGateway};
use stepup::message::{Command, Decoded};
use stepup::observe;
use stepup::rules::DecisionContext;
use stepup::rules::RuleInputs;
use stepup::rules::delivery::{Dispatch, Facts, Step};
use stepup::runtime::Worker;
use stepup::store::{self, Claim, Tx};

use crate::sending::{challenges, decided, told};

/// The worker.
pub struct EmailFallback<G> {
    /// The mail server.
    pub gateway: G,
    /// Keys and numbers.
    pub rules: RuleInputs,
    /// What a claim sets.
    pub claim: Claim,
}

impl<G: MailGateway> Worker for EmailFallback<G> {
    const NAME: &'static str = "email_fallback";
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
        let mail = Mail {
            attempt: letter.attempt,
            to: letter.to.as_str(),
            subject: &letter.subject,
            text: letter.text.as_str(),
        };
        let started = Instant::now();
        let answer = self.gateway.send(mail).await;
        observe::provider_called("email", answer.label(), started.elapsed());
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

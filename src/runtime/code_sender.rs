//! The worker that hands codes to a provider. `sms_delivery` and `email_fallback` differ in the provider
//! only.

use std::time::Instant;

use super::worker::{ProviderWorker, Worker};
use crate::domain::Timestamp;
use crate::domain::provider::{ProviderAnswer, RenderedMessage};
use crate::fault::Fault;
use crate::message::Decoded;
use crate::observe;
use crate::rules::claimed::{Claimed, Decision};
use crate::rules::delivery::{self, DeliveryCall, DeliverySettlement, Facts, SendRequest};
use crate::rules::{DecisionContext, RuleInputs};
use crate::store::{self, Claim, Tx};

/// A provider that carries codes.
pub trait CodeProvider: Send + Sync + 'static {
    /// The worker that hands codes to it.
    const WORKER: &'static str;
    /// The label of its metric.
    const LABEL: &'static str;

    /// Makes one call, bounded in time.
    fn send(&self, message: &RenderedMessage) -> impl Future<Output = ProviderAnswer> + Send;
}

/// The worker.
pub struct CodeSender<P> {
    /// The provider.
    pub provider: P,
    /// The keys, the limits, the texts.
    pub rules: RuleInputs,
    /// What a claim sets.
    pub claim: Claim,
}

impl<P: CodeProvider> Worker for CodeSender<P> {
    const NAME: &'static str = P::WORKER;
    type Message = SendRequest;
    type Facts = Option<Facts>;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<SendRequest>],
    ) -> Result<Vec<Option<Facts>>, Fault> {
        let challenges: Vec<_> = batch.iter().map(|send| send.message.challenge.0).collect();
        store::delivery_facts(tx, &challenges).await
    }
}

impl<P: CodeProvider> ProviderWorker for CodeSender<P> {
    type Call = DeliveryCall;
    type Settlement = DeliverySettlement;

    fn decide(
        &self,
        request: &Decoded<SendRequest>,
        facts: Option<Facts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Decision<DeliveryCall, DeliverySettlement> {
        delivery::decide(&request.message, facts, &self.rules, ctx.now)
    }

    async fn claim(&self, tx: &Tx<'_>, calls: &[&DeliveryCall]) -> Result<(), Fault> {
        store::claim_sends(tx, calls, self.claim).await
    }

    async fn release(&self, tx: &Tx<'_>, calls: &[&DeliveryCall]) -> Result<(), Fault> {
        store::release_sends(tx, calls, self.claim).await
    }

    async fn call(&self, call: Claimed<DeliveryCall>) -> DeliverySettlement {
        let started = Instant::now();
        let answer = self.provider.send(call.message()).await;
        observe::provider_called(P::LABEL, answer.label(), started.elapsed());
        call.answered(answer.into(), &self.rules.policy)
    }

    async fn settle(
        &self,
        tx: &Tx<'_>,
        sends: &[&DeliverySettlement],
        now: Timestamp,
    ) -> Result<(), Fault> {
        store::settle_sends(tx, sends, now).await
    }
}

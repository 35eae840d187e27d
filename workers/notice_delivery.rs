//! Mails notices: to admins, and to members about their own.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `notice.send`                                                               |
//! | reads    | `notice` `account` `member` `email_proof`                                   |
//! | writes   | `notice`                                                                    |
//! | causes   | `notice.send` (the next try); `notice.sent` `notice.dropped`                |
//! | rule     | [`stepup::rules::delivery::notice::decide`]                                           |

use std::sync::Arc;
use std::time::{Duration, Instant};

use stepup::domain::Timestamp;
use stepup::domain::keys::Keyring;
use stepup::fault::Fault;
use stepup::gateway::Gateway;
use stepup::message::Decoded;
use stepup::observe;
use stepup::rules::DecisionContext;
use stepup::rules::claimed::{Claimed, Decision};
use stepup::rules::delivery::notice;
use stepup::rules::delivery::notice::{Facts, NoticeCall, NoticeRequest, NoticeSettlement};
use stepup::rules::text::Texts;
use stepup::runtime::{ProviderWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct NoticeDelivery<G> {
    /// The mail server.
    pub gateway: G,
    /// For addresses, and the codes that prove them.
    pub keys: Arc<Keyring>,
    /// What they say.
    pub texts: Arc<Texts>,
    /// How long the one who claims may take.
    pub lease: Duration,
}

impl<G: Gateway> Worker for NoticeDelivery<G> {
    const NAME: &'static str = "notice_delivery";
    type Message = NoticeRequest;
    type Facts = Option<Facts>;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<NoticeRequest>],
    ) -> Result<Vec<Option<Facts>>, Fault> {
        let notices: Vec<_> = batch.iter().map(|request| request.message.notice).collect();
        store::notice_facts(tx, &notices).await
    }
}

impl<G: Gateway> ProviderWorker for NoticeDelivery<G> {
    type Call = NoticeCall;
    type Settlement = NoticeSettlement;

    fn decide(
        &self,
        request: &Decoded<NoticeRequest>,
        facts: Option<Facts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Decision<NoticeCall, NoticeSettlement> {
        notice::decide(request.message.tries, facts, &self.keys, &self.texts, ctx.now)
    }

    async fn claim(&self, tx: &Tx<'_>, calls: &[&NoticeCall]) -> Result<(), Fault> {
        store::claim_notices(tx, calls, self.lease).await
    }

    async fn release(&self, tx: &Tx<'_>, calls: &[&NoticeCall]) -> Result<(), Fault> {
        store::release_notices(tx, calls, self.lease).await
    }

    async fn call(&self, call: Claimed<NoticeCall>) -> NoticeSettlement {
        let started = Instant::now();
        let answer = self.gateway.send(call.message()).await;
        observe::provider_called("notice", answer.label(), started.elapsed());
        call.answered(answer.into())
    }

    async fn settle(
        &self,
        tx: &Tx<'_>,
        notices: &[&NoticeSettlement],
        now: Timestamp,
    ) -> Result<(), Fault> {
        store::settle_notices(tx, notices, now).await
    }
}

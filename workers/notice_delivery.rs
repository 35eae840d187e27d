//! Mails notices: to admins, and to members about their own.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `notice.send`                                                               |
//! | reads    | `notice` `account` `member` `email_proof`                                   |
//! | writes   | `notice`                                                                    |
//! | causes   | `notice.send` (the next try); `notice.sent` `notice.dropped`                |
//! | rule     | [`stepup::rules::notice::decide`]                                           |

use std::sync::Arc;
use std::time::{Duration, Instant};

use stepup::domain::Timestamp;
use stepup::domain::keys::Keyring;
use stepup::fault::Fault;
use stepup::gateway::{Mail, MailGateway};
use stepup::message::{Command, Decoded};
use stepup::observe;
use stepup::rules::DecisionContext;
use stepup::rules::notice::{self, Facts, Posting, Step};
use stepup::rules::text::Texts;
use stepup::runtime::Worker;
use stepup::store::{self, Tx};

use crate::sending::told;

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

const fn asked(command: &Command) -> Option<(uuid::Uuid, i16)> {
    match command {
        Command::SendNotice { notice, tries } => Some((*notice, *tries)),
        _ => None,
    }
}

impl<G: MailGateway> Worker for NoticeDelivery<G> {
    const NAME: &'static str = "notice_delivery";
    const OUTWARD: bool = true;
    type Message = Command;
    type Facts = Option<Facts>;
    type Verdict = Posting;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<Command>],
    ) -> Result<Vec<Option<Facts>>, Fault> {
        let notices: Option<Vec<_>> =
            batch.iter().map(|command| asked(&command.message).map(|(id, _)| id)).collect();
        let refused = || Fault::Permanent("this queue does not take that command".into());
        store::notice_facts(tx, &notices.ok_or_else(refused)?).await
    }

    fn decide(
        &self,
        command: &Decoded<Command>,
        facts: Option<Facts>,
        ctx: &mut DecisionContext<'_>,
    ) -> Posting {
        let tries = asked(&command.message).map_or(0, |(_, tries)| tries);
        notice::decide(tries, facts, &self.keys, &self.texts, ctx.now)
    }

    async fn claim(&self, tx: &Tx<'_>, postings: &[&Posting]) -> Result<(), Fault> {
        store::claim_notices(tx, postings, self.lease).await
    }

    async fn release(&self, tx: &Tx<'_>, postings: &[&Posting]) -> Result<(), Fault> {
        store::release_notices(tx, postings, self.lease).await
    }

    async fn act(&self, posting: Posting) -> Posting {
        let Step::Call(letter) = &posting.step else { return posting };
        let mail = Mail {
            attempt: letter.attempt,
            to: letter.to.as_str(),
            subject: &letter.subject,
            text: letter.text.as_str(),
        };
        let started = Instant::now();
        let answer = self.gateway.send(mail).await;
        observe::provider_called("notice", answer.label(), started.elapsed());
        posting.answered(told(answer))
    }

    async fn store(&self, tx: &Tx<'_>, postings: &[&Posting], now: Timestamp) -> Result<(), Fault> {
        store::settle_notices(tx, postings, now).await
    }
}

//! Hands codes to the mail server, when the SMS was not enough.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `email.send`                                                                |
//! | reads    | `challenge` `account` `member` `delivery_attempt`                           |
//! | writes   | `delivery_attempt` `challenge.sends`                                        |
//! | causes   | `email.send` (the next try) `challenge.abandon`; `delivery.*` `challenge.email_eligible` |
//! | rule     | [`stepup::rules::delivery`]                                                 |

use stepup::gateway::MailGateway;
use stepup::rules::delivery::{Answer, RenderedMessage};
use stepup::runtime::{CodeProvider, CodeSender};

use crate::sending::mailed;

/// The worker.
pub type EmailFallback<G> = CodeSender<MailServer<G>>;

/// The mail server.
pub struct MailServer<G>(pub G);

impl<G: MailGateway> CodeProvider for MailServer<G> {
    const WORKER: &'static str = "email_fallback";

    async fn send(&self, message: &RenderedMessage) -> Answer {
        mailed(&self.0, message, "email").await
    }
}

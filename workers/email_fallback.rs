//! Hands codes to the mail server, when the SMS was not enough.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `email.send`                                                                |
//! | reads    | `challenge` `account` `member` `delivery_attempt`                           |
//! | writes   | `delivery_attempt` `challenge.sends`                                        |
//! | causes   | `email.send` (the next try) `challenge.abandon`; `delivery.*` `challenge.email_eligible` |
//! | rule     | [`stepup::rules::delivery`]                                                 |

use stepup::domain::provider::{ProviderAnswer, RenderedMessage};
use stepup::gateway::Gateway;
use stepup::runtime::{CodeProvider, CodeSender};

/// The worker.
pub type EmailFallback<G> = CodeSender<MailServer<G>>;

/// The mail server.
pub struct MailServer<G>(pub G);

impl<G: Gateway> CodeProvider for MailServer<G> {
    const WORKER: &'static str = "email_fallback";
    const LABEL: &'static str = "email";

    async fn send(&self, message: &RenderedMessage) -> ProviderAnswer {
        self.0.send(message).await
    }
}

//! Hands codes to the SMS provider.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `sms.send`                                                                  |
//! | reads    | `challenge` `account` `member` `delivery_attempt`                           |
//! | writes   | `delivery_attempt` `challenge.fallback_at`                                  |
//! | causes   | `sms.send` (the next try) `email.send` (at once, when SMS failed) `challenge.abandon`; `delivery.*` |
//! | rule     | [`stepup::rules::delivery`]                                                 |

use stepup::domain::provider::{ProviderAnswer, RenderedMessage};
use stepup::gateway::Gateway;
use stepup::runtime::{CodeProvider, CodeSender};

/// The worker.
pub type SmsDelivery<G> = CodeSender<SmsProvider<G>>;

/// The SMS provider.
pub struct SmsProvider<G>(pub G);

impl<G: Gateway> CodeProvider for SmsProvider<G> {
    const WORKER: &'static str = "sms_delivery";
    const LABEL: &'static str = "sms";

    async fn send(&self, message: &RenderedMessage) -> ProviderAnswer {
        self.0.send(message).await
    }
}

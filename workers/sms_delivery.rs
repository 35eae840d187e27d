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

use stepup::gateway::{Sms, SmsGateway};
use stepup::observe;
use stepup::rules::delivery::{Answer, RenderedMessage};
use stepup::runtime::{CodeProvider, CodeSender};

use crate::sending::simplified;

/// The worker.
pub type SmsDelivery<G> = CodeSender<SmsProvider<G>>;

/// The SMS provider.
pub struct SmsProvider<G>(pub G);

impl<G: SmsGateway> CodeProvider for SmsProvider<G> {
    const WORKER: &'static str = "sms_delivery";

    async fn send(&self, message: &RenderedMessage) -> Answer {
        let (attempt, to, text) = (message.attempt, message.to.as_str(), message.text.as_str());
        let started = Instant::now();
        let answer = self.0.send(Sms { attempt, to, text }).await;
        observe::provider_called("sms", answer.label(), started.elapsed());
        simplified(answer)
    }
}

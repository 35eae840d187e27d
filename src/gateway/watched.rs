//! Whether a provider refuses us.

use std::sync::{Mutex, PoisonError};

use super::Gateway;
use crate::domain::provider::{ProviderAnswer, RenderedMessage, Scope};
use crate::observe;

/// Logs that a provider refuses us, with the code, or no longer does.
type Tell = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// A provider that is watched: the log says when it begins to refuse us and when it ends, and not for each
/// message.
pub struct Watched<G> {
    gateway: G,
    is_mail: bool,
    tell: Tell,
    /// Why it refuses us, if it does.
    refused: Mutex<Option<String>>,
}

impl<G> Watched<G> {
    /// Watches a mail server on behalf of a worker.
    pub fn mail(gateway: G, worker: &'static str) -> Self {
        observe::set_mail_refused(worker, false);
        let tell = Box::new(move |code: Option<&str>| observe::mail_refused(worker, code));
        Self { gateway, is_mail: true, tell, refused: Mutex::default() }
    }

    /// Watches the SMS provider.
    pub fn sms(gateway: G) -> Self {
        Self { gateway, is_mail: false, tell: Box::new(sms_refused), refused: Mutex::default() }
    }

    fn note(&self, refusal: Option<String>) {
        let mut before = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != refusal {
            (self.tell)(refusal.as_deref());
            *before = refusal;
        }
    }
}

fn sms_refused(code: Option<&str>) {
    match code {
        Some(code) => tracing::error!(
            code,
            "the SMS provider refuses us: no SMS goes out, check STEPUP_SMS_URL, STEPUP_SMS_SECRET and \
             the account with the provider"
        ),
        None => tracing::info!("the SMS provider takes messages again"),
    }
}

/// Why the provider refuses us, if it does; `None` where the answer does not say.
fn refusal(answer: &ProviderAnswer) -> Option<Option<String>> {
    match answer {
        ProviderAnswer::Closed { refused: true, code } => Some(Some(code.clone())),
        ProviderAnswer::Refused { scope: scope @ Scope::Account, code } => {
            Some(Some(format!("{}_{code}", scope.label())))
        }
        ProviderAnswer::Accepted { .. } | ProviderAnswer::Refused { .. } => Some(None),
        // It was not there, or took nothing at that time: that says nothing of whether it refuses us.
        ProviderAnswer::Closed { refused: false, .. }
        | ProviderAnswer::Throttled { .. }
        | ProviderAnswer::Transient { .. }
        | ProviderAnswer::Unknown { .. } => None,
    }
}

impl<G: Gateway> Gateway for Watched<G> {
    async fn send(&self, message: &RenderedMessage) -> ProviderAnswer {
        let answer = self.gateway.send(message).await;
        match (&answer, refusal(&answer)) {
            // Of a mail: the server has accepted the session and has the content.
            (ProviderAnswer::Unknown { .. }, _) if self.is_mail => self.note(None),
            (_, Some(refusal)) => self.note(refusal),
            (_, None) => {}
        }
        answer
    }
}

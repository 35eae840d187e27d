//! What the senders have in common.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stepup::gateway::{self, Mail, MailGateway, Sms, SmsGateway};
use stepup::observe;
use stepup::rules::delivery::{Answer, RenderedMessage};

/// Hands a message to a mail server. `label` is that of the metric.
pub(crate) async fn mailed(
    gateway: &impl MailGateway,
    message: &RenderedMessage,
    label: &'static str,
) -> Answer {
    let mail = Mail {
        attempt: message.attempt,
        to: message.to.as_str(),
        subject: &message.subject,
        text: message.text.as_str(),
    };
    let started = Instant::now();
    let answer = gateway.send(mail).await;
    observe::provider_called(label, answer.label(), started.elapsed());
    simplified(answer)
}

/// A gateway's answer, as the rules know it.
pub(crate) fn simplified(answer: gateway::Answer) -> Answer {
    match answer {
        gateway::Answer::Accepted { provider_ref } => Answer::Accepted { provider_ref },
        gateway::Answer::Throttled { retry_after_seconds } => {
            Answer::NotNow { retry_after_seconds, code: "throttled".to_owned() }
        }
        gateway::Answer::Transient { retry_after_seconds, code } => {
            Answer::NotNow { retry_after_seconds, code }
        }
        gateway::Answer::Closed { code, .. } => Answer::Closed { code },
        gateway::Answer::Refused { scope, code } => {
            Answer::Refused { code: format!("{}_{code}", scope.label()) }
        }
        gateway::Answer::Unknown { code } => Answer::Unknown { code },
    }
}

/// Tells that a provider refuses us, with the code, or no longer does.
type Tell = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// A provider that is watched: that it refuses us is told when it begins and when it ends, and not for
/// each message.
pub(crate) struct Watched<G> {
    gateway: G,
    tell: Tell,
    /// Why it refuses us, if it does.
    refused: Mutex<Option<String>>,
}

impl<G> Watched<G> {
    /// Watches a mail server on behalf of a worker.
    pub(crate) fn mail(gateway: G, worker: &'static str) -> Self {
        observe::set_mail_refused(worker, false);
        let tell = Box::new(move |code: Option<&str>| observe::mail_refused(worker, code));
        Self { gateway, tell, refused: Mutex::default() }
    }

    /// Watches the SMS provider.
    pub(crate) fn sms(gateway: G) -> Self {
        Self { gateway, tell: Box::new(sms_refused), refused: Mutex::default() }
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

/// Why the provider refuses us, if it does; nothing where the answer does not tell.
fn refusal(answer: &gateway::Answer) -> Option<Option<String>> {
    use gateway::{Answer, Scope};
    match answer {
        Answer::Closed { refused: true, code } => Some(Some(code.clone())),
        Answer::Refused { scope: scope @ Scope::Account, code } => {
            Some(Some(format!("{}_{code}", scope.label())))
        }
        Answer::Accepted { .. } | Answer::Refused { .. } => Some(None),
        // It was not there, or not for now, or nobody knows: that tells nothing of what it thinks of us.
        Answer::Closed { refused: false, .. }
        | Answer::Throttled { .. }
        | Answer::Transient { .. }
        | Answer::Unknown { .. } => None,
    }
}

impl<G: MailGateway> MailGateway for Watched<G> {
    async fn send(&self, mail: Mail<'_>) -> gateway::Answer {
        let answer = self.gateway.send(mail).await;
        // Unknown of a mail: the server has let us in and has the content.
        match (&answer, refusal(&answer)) {
            (gateway::Answer::Unknown { .. }, _) => self.note(None),
            (_, Some(refusal)) => self.note(refusal),
            (_, None) => {}
        }
        answer
    }
}

impl<G: SmsGateway> SmsGateway for Watched<G> {
    async fn send(&self, sms: Sms<'_>) -> gateway::Answer {
        let answer = self.gateway.send(sms).await;
        if let Some(refusal) = refusal(&answer) {
            self.note(refusal);
        }
        answer
    }
}

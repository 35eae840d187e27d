//! One SMTP dialogue, step by step, and what a failure at each step means.
//!
//! The message is handed over when its final dot is written. Before that the server cannot have
//! taken it, whatever happens; after that it may have, until it answers. So the steps are made one
//! by one here, and [`Step`] says how far the dialogue came when it ended or ran out of time. The
//! table of answers is in [`super::smtp`].

use std::fmt::Display;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::{Response, Severity};

use super::smtp_url::Server;
use crate::domain::provider::{ProviderAnswer, Scope};

/// The step of a dialogue that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Sender,
    Recipient,
    Data,
    Content,
}

impl Step {
    /// The answer when this step got no reply, or one that is not SMTP.
    fn lost(self) -> ProviderAnswer {
        match self {
            Self::Connect => ProviderAnswer::unreachable("connect"),
            Self::Sender | Self::Recipient | Self::Data => {
                ProviderAnswer::transient("connection_lost")
            }
            Self::Content => ProviderAnswer::unknown("no_answer"),
        }
    }

    /// The answer when time ran out during this step.
    pub(super) fn timed_out(self) -> ProviderAnswer {
        match self {
            Self::Connect => ProviderAnswer::unreachable("connect"),
            Self::Sender | Self::Recipient | Self::Data => ProviderAnswer::transient("timeout"),
            Self::Content => ProviderAnswer::unknown("timeout"),
        }
    }

    /// The answer when this step was replied to with a 4xx or 5xx.
    fn replied(self, reply: u16) -> ProviderAnswer {
        let code = format!("smtp_{reply}");
        let scope = match (self, reply) {
            (Self::Connect, ..=499) => return ProviderAnswer::unreachable(code),
            (_, ..=499) => return ProviderAnswer::transient(code),
            // Many servers refuse our EHLO only here. The directory takes no address that 504 can be
            // about.
            (_, 530 | 534 | 535 | 538) | (Self::Connect, _) | (Self::Recipient, 504) => {
                return ProviderAnswer::refuses_us(Scope::Account, &code);
            }
            (Self::Sender, 552) => Scope::Message,
            (Self::Sender, _) => return ProviderAnswer::refuses_us(Scope::Sender, &code),
            (Self::Recipient, 501 | 550..=553) => Scope::Recipient,
            (Self::Recipient | Self::Data | Self::Content, _) => Scope::Message,
        };
        ProviderAnswer::refused(scope, code)
    }

    fn failed(self, error: &Error) -> ProviderAnswer {
        error.status().map_or_else(|| self.lost(), |reply| self.replied(reply.into()))
    }
}

/// Connects, encrypts and authenticates.
pub(super) async fn connect(
    server: &Server,
    hello: &ClientId,
    timeout: Duration,
) -> Result<AsyncSmtpConnection, ProviderAnswer> {
    let failed = |error: Error| Step::Connect.failed(&error);
    let wrapper = match &server.tls {
        Tls::Wrapper(parameters) => Some(parameters.clone()),
        _ => None,
    };
    let address = (server.host.as_str(), server.port);
    let mut connection =
        AsyncSmtpConnection::connect_tokio1(address, Some(timeout), hello, wrapper, None)
            .await
            .map_err(failed)?;
    match &server.tls {
        Tls::Required(_) if !connection.can_starttls() => {
            return Err(ProviderAnswer::refuses_us(Scope::Account, "starttls_unavailable"));
        }
        Tls::Required(parameters) => {
            connection.starttls(parameters.clone(), hello).await.map_err(failed)?;
        }
        Tls::Opportunistic(parameters) if connection.can_starttls() => {
            connection.starttls(parameters.clone(), hello).await.map_err(failed)?;
        }
        _ => {}
    }
    if let Some(credentials) = &server.credentials {
        if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
            return Err(ProviderAnswer::refuses_us(Scope::Account, "auth_unsupported"));
        }
        connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(failed)?;
    }
    Ok(connection)
}

/// Hands one message over. The flag is `true` while the connection is still in step with the
/// server, so that it can carry another message after a `RSET`.
pub(super) async fn deliver(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &Address,
    content: &[u8],
    step: &mut Step,
) -> (ProviderAnswer, bool) {
    match dialogue(connection, from, to, content, step).await {
        Ok(response) => (ProviderAnswer::Accepted { provider_ref: queue_id(&response) }, true),
        Err(error) => {
            // 421 announces that the server closes the connection.
            let in_step =
                error.as_ref().and_then(Error::status).is_some_and(|c| u16::from(c) != 421);
            (error.map_or_else(|| step.lost(), |error| step.failed(&error)), in_step)
        }
    }
}

/// `Err(None)`: a positive reply of the wrong kind, so that we are out of step with the server.
async fn dialogue(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &Address,
    content: &[u8],
    step: &mut Step,
) -> Result<Response, Option<Error>> {
    const DONE: Severity = Severity::PositiveCompletion;
    *step = Step::Sender;
    command(connection, Mail::new(Some(from.clone()), vec![]), DONE).await?;
    *step = Step::Recipient;
    command(connection, Rcpt::new(to.clone(), vec![]), DONE).await?;
    *step = Step::Data;
    command(connection, Data, Severity::PositiveIntermediate).await?;
    *step = Step::Content;
    expect(connection.message(content).await, DONE)
}

async fn command<C: Display>(
    connection: &mut AsyncSmtpConnection,
    command: C,
    severity: Severity,
) -> Result<Response, Option<Error>> {
    expect(connection.command(command).await, severity)
}

fn expect(reply: Result<Response, Error>, severity: Severity) -> Result<Response, Option<Error>> {
    let response = reply.map_err(Some)?;
    if response.code().severity == severity { Ok(response) } else { Err(None) }
}

/// The id under which the server queued the message, where it says so in one of the usual forms.
/// The rest of the reply is not kept: it may repeat the recipient's address.
fn queue_id(response: &Response) -> String {
    let text: String = response.message().collect::<Vec<_>>().join(" ");
    let id = ["queued as ", "id="]
        .into_iter()
        .find_map(|mark| text.split_once(mark))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
    id.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_id_is_taken_from_the_usual_replies_and_nothing_else_is() {
        let of = |text: &str| queue_id(&format!("250 {text}\r\n").parse().unwrap());
        assert_eq!(of("2.0.0 Ok: queued as 4Fz3Kq0b1Tz9"), "4Fz3Kq0b1Tz9");
        assert_eq!(of("OK id=1sXy2z-0004Ab-3C"), "1sXy2z-0004Ab-3C");
        assert_eq!(of("accepted for ana@example.org"), "");
        assert_eq!(of("queued as ana@example.org"), "");
    }

    #[test]
    fn a_reply_is_judged_by_its_step() {
        let refused = |step: Step, reply| match step.replied(reply) {
            ProviderAnswer::Refused { scope, code } => {
                assert_eq!(code, format!("smtp_{reply}"));
                scope
            }
            other => panic!("{other:?}"),
        };
        let closed =
            |refused, code: &str| ProviderAnswer::Closed { refused, code: code.to_owned() };
        assert_eq!(Step::Connect.replied(554), closed(true, "account_smtp_554"));
        assert_eq!(Step::Recipient.replied(530), closed(true, "account_smtp_530"));
        assert_eq!(Step::Recipient.replied(504), closed(true, "account_smtp_504"));
        assert_eq!(Step::Sender.replied(550), closed(true, "sender_smtp_550"));
        assert_eq!(Step::Connect.replied(421), closed(false, "smtp_421"));
        assert_eq!(refused(Step::Sender, 552), Scope::Message);
        for reply in [501, 550, 551, 552, 553] {
            assert_eq!(refused(Step::Recipient, reply), Scope::Recipient);
        }
        assert_eq!(refused(Step::Recipient, 554), Scope::Message);
        assert_eq!(refused(Step::Content, 550), Scope::Message);
        for step in [Step::Sender, Step::Recipient, Step::Data, Step::Content] {
            assert_eq!(step.replied(421), ProviderAnswer::transient("smtp_421"));
        }
    }
}

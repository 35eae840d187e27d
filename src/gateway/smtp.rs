//! Email over SMTP: plain text, one recipient, one call a message.
//!
//! lettre speaks the protocol; the pool is ours. lettre's own pool takes a connection back when a
//! send is dropped half way, as a timeout does, and would write the next message into it; and it
//! does not tell whether a failure came before or after the message was handed over.
//!
//! | at | reply 4xx | reply 5xx | connection lost or garbage | out of time |
//! |---|---|---|---|---|
//! | connecting, greeting, EHLO, STARTTLS, AUTH | closed `smtp_NNN` | closed, refuses us: `account_smtp_NNN` | closed `connect` | closed `connect` |
//! | MAIL | transient `smtp_NNN` | closed, refuses us: `sender_smtp_NNN` (552: refused, message) | transient `connection_lost` | transient `timeout` |
//! | RCPT | transient `smtp_NNN` | 501, 550, 551, 552, 553: refused, recipient; else message | transient `connection_lost` | transient `timeout` |
//! | DATA | transient `smtp_NNN` | refused, message | transient `connection_lost` | transient `timeout` |
//! | content and final dot | transient `smtp_NNN` | refused, message | unknown `no_answer` | unknown `timeout` |
//!
//! 530, 534, 535 and 538 are about authentication: closed, `account_smtp_NNN`, at any step. So is 504 to
//! RCPT, which is about our EHLO: Postfix by default waits with its refusal until then.
//!
//! Before the dialogue: a recipient that is not an address is refused, recipient,
//! `invalid_address`; one that is not ASCII, `non_ascii_address`. A server that does not offer the
//! STARTTLS or the login that the settings demand is closed, too: `account_starttls_unavailable` or
//! `account_auth_unsupported`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use email_encoding::headers::rfc2047;
use email_encoding::headers::writer::EmailWriter;
use lettre::address::{Address, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::Rset;
use lettre::transport::smtp::extension::ClientId;
use zeroize::Zeroizing;

use super::smtp_session::{Step, connect, deliver};
use super::smtp_url::{Server, ServerUrl};
use super::{Gateway, SettingsError, authorities, provider_ref};
use crate::domain::provider::{ProviderAnswer, RenderedMessage, Scope};

const IDLE_CONNECTIONS_MAX: usize = 8;
// Mail servers close an idle connection after about five minutes.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(60);

/// Where and how [`Smtp`] sends.
pub struct SmtpSettings {
    /// `smtp://[user:password@]host[:port][?tls=required|opportunistic|none]` or
    /// `smtps://[user:password@]host[:port]`, user and password percent-encoded. Without `tls`,
    /// STARTTLS is required.
    pub url: Zeroizing<String>,
    /// The sender, `name@example.org` or `Name <name@example.org>`; the address in ASCII.
    pub from: String,
    /// What we call ourselves in EHLO: a full host name. By default the domain of `from`.
    pub ehlo_name: Option<String>,
    /// A PEM file with certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// For one whole call, connecting included.
    pub timeout: Duration,
}

/// A mail server.
pub struct Smtp {
    server: Server,
    from: Mailbox,
    hello: ClientId,
    timeout: Duration,
    /// The newest last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl Smtp {
    /// Checks the settings; opens no connection. A rustls provider must be installed for the
    /// process.
    ///
    /// # Errors
    ///
    /// The URL, the sender, the CA file or the timeout cannot work, or the system's certificates
    /// cannot be read.
    pub fn new(settings: SmtpSettings) -> Result<Self, SettingsError> {
        let from = Self::sender(&settings.from)?;
        if settings.timeout.is_zero() {
            return Err(SettingsError::new("timeout: must be longer than zero"));
        }
        let name = settings.ehlo_name.as_deref().unwrap_or_else(|| from.email.domain());
        Self::check_ehlo_name(name)?;
        Ok(Self {
            hello: ClientId::Domain(name.to_owned()),
            server: ServerUrl::parse(&settings.url)?
                .server(&authorities(settings.ca_file.as_deref())?)?,
            from,
            timeout: settings.timeout,
            idle: Mutex::default(),
        })
    }

    /// Whether [`SmtpSettings::url`] is one, as far as the text tells.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_url(url: &str) -> Result<(), SettingsError> {
        ServerUrl::parse(url).map(drop)
    }

    /// Whether [`SmtpSettings::from`] is a sender; its domain.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_sender(from: &str) -> Result<String, SettingsError> {
        Self::sender(from).map(|from| from.email.domain().to_owned())
    }

    /// Whether a text can be [`SmtpSettings::ehlo_name`]: servers that check it want a full name.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_ehlo_name(name: &str) -> Result<(), SettingsError> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let full = name.len() <= 253 && name.contains('.') && name.split('.').all(label);
        let wrong =
            || SettingsError::new("ehlo_name: not a full host name such as mail.example.org");
        full.then_some(()).ok_or_else(wrong)
    }

    fn sender(from: &str) -> Result<Mailbox, SettingsError> {
        let from: Mailbox =
            from.parse().map_err(|_| SettingsError::new("from: not a mail address"))?;
        if is_ascii(&from.email) {
            Ok(from)
        } else {
            Err(SettingsError::new("from: the address must be ASCII"))
        }
    }

    async fn attempt(&self, to: &Address, content: &[u8], step: &mut Step) -> ProviderAnswer {
        let connection = match self.reusable().await {
            Some(connection) => Ok(connection),
            None => connect(&self.server, &self.hello, self.timeout).await,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(answer) => return answer,
        };
        let (answer, in_step) = deliver(&mut connection, &self.from.email, to, content, step).await;
        if in_step {
            self.park(connection);
        }
        answer
    }

    /// An idle connection that answered a moment ago and has no transaction open.
    async fn reusable(&self) -> Option<AsyncSmtpConnection> {
        let newest = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let mut connection = newest.connection;
        let fresh = newest.since.elapsed() < IDLE_CONNECTION_MAX;
        // A part of the time only, so that enough is left to connect anew.
        let reset = tokio::time::timeout(self.timeout / 4, connection.command(Rset));
        if fresh && matches!(reset.await, Ok(Ok(_))) {
            return Some(connection);
        }
        // The others have been idle for longer.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        None
    }

    fn park(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// The whole message. Only 7-bit, so that no server extension is needed.
    fn compose(&self, mail: &RenderedMessage, to: Address) -> Option<Zeroizing<Vec<u8>>> {
        let attempt = mail.attempt.to_string();
        let id = format!("<{attempt}@{}>", self.from.email.domain());
        // Given, since lettre would read it from the headers and does not read a quoted local part.
        let in_header = format!("<{to}>");
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to]).ok()?;
        Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            // In brackets: without them some readers take a quoted local part for a name.
            .raw_header(header("To", in_header))
            .raw_header(subject(&mail.subject)?)
            .message_id(Some(id))
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("X-Stepup-Reference", attempt))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.to_string())
            .ok()
            .map(|message| Zeroizing::new(message.formatted()))
    }
}

impl Gateway for Smtp {
    async fn send(&self, mail: &RenderedMessage) -> ProviderAnswer {
        let Ok(to) = mail.to.parse::<Address>() else {
            return ProviderAnswer::refused(Scope::Recipient, "invalid_address");
        };
        if !is_ascii(&to) {
            return ProviderAnswer::refused(Scope::Recipient, "non_ascii_address");
        }
        let Some(content) = self.compose(mail, to.clone()) else {
            return ProviderAnswer::refused(Scope::Message, "invalid_message");
        };
        let mut step = Step::Connect;
        let attempt = self.attempt(&to, &content, &mut step);
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(ProviderAnswer::Accepted { provider_ref: id }) => ProviderAnswer::Accepted {
                provider_ref: provider_ref(&id, &[&mail.to, &mail.text]),
            },
            Ok(answer) => answer,
            Err(_) => step.timed_out(),
        }
    }
}

fn is_ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// The subject, which is shown as it is given. A reader decodes what looks like an encoded word of
/// RFC 2047, so a text that holds one is encoded as a whole; lettre would leave it.
fn subject(text: &str) -> Option<HeaderValue> {
    const NAME: &str = "Subject";
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.is_ascii() && !text.contains("=?") {
        return Some(header(NAME, text));
    }
    let mut encoded = String::new();
    {
        let mut writer = EmailWriter::new(&mut encoded, NAME.len() + 2, 0, false);
        rfc2047::encode(&text, &mut writer).ok()?;
    }
    let name = HeaderName::new_from_ascii_str(NAME);
    Some(HeaderValue::dangerous_new_pre_encoded(name, text, encoded))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use mail_parser::MessageParser;
    use uuid::Uuid;

    use super::*;
    use crate::gateway::loopback::Act::{self, Close, Hang, Say};
    use crate::gateway::loopback::{
        CA_FILE, Transcript, closed_port, mail_server, mail_server_over_tls,
    };

    fn settings(url: &str) -> SmtpSettings {
        SmtpSettings {
            url: Zeroizing::new(url.to_owned()),
            from: "Sign-in <no-reply@acme.example>".to_owned(),
            ehlo_name: None,
            ca_file: None,
            timeout: Duration::from_millis(200),
        }
    }

    fn smtp(url: &str) -> Result<Smtp, SettingsError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Smtp::new(settings(url))
    }

    fn plain(address: SocketAddr) -> Smtp {
        smtp(&format!("smtp://{address}?tls=none")).unwrap()
    }

    fn mail() -> RenderedMessage {
        RenderedMessage {
            attempt: Uuid::from_u128(7),
            to: "ana@example.org".to_owned().into(),
            subject: "Your code".to_owned(),
            text: "Code 123456\n".to_owned().into(),
        }
    }

    fn accepted() -> ProviderAnswer {
        ProviderAnswer::Accepted { provider_ref: "4Fz3K".to_owned() }
    }

    /// The answer when the server does `act` at `step`, on every connection.
    async fn answer_when(step: &'static str, act: Act) -> ProviderAnswer {
        let (address, _) = mail_server(vec![(step, act)], vec![(step, act)]).await;
        plain(address).send(&mail()).await
    }

    #[tokio::test]
    async fn a_mail_has_all_its_headers_and_nothing_can_be_injected() {
        let (address, transcript) = mail_server(vec![], vec![]).await;
        let subject = "Your code\r\nBcc: eve@example.org";
        let text = "Code 123456\n.\nQUIT\n";
        let answer = plain(address)
            .send(&RenderedMessage {
                subject: subject.to_owned(),
                text: text.to_owned().into(),
                ..mail()
            })
            .await;
        assert_eq!(answer, accepted());
        let lines = transcript.lock().unwrap().clone();
        let attempt = Uuid::from_u128(7);
        for line in [
            "MAIL FROM:<no-reply@acme.example>",
            "RCPT TO:<ana@example.org>",
            "From: Sign-in <no-reply@acme.example>",
            "To: <ana@example.org>",
            "Subject: Your codeBcc: eve@example.org",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Auto-Submitted: auto-generated",
            &format!("Message-ID: <{attempt}@acme.example>"),
            &format!("X-Stepup-Reference: {attempt}"),
            "Code 123456",
            "..",
        ] {
            assert!(lines.iter().any(|seen| seen == line), "no {line:?} in {lines:#?}");
        }
        assert!(lines.iter().any(|line| line.starts_with("Date: ")));
        assert!(!lines.iter().any(|line| line.starts_with("Bcc")));
        assert_eq!(lines.iter().filter(|line| *line == ".").count(), 1);
    }

    #[tokio::test]
    async fn text_outside_ascii_travels_in_seven_bits() {
        let (address, transcript) = mail_server(vec![], vec![]).await;
        let subject = "Código";
        let answer = plain(address)
            .send(&RenderedMessage {
                subject: subject.to_owned(),
                text: "你的验证码是 123456".to_owned().into(),
                ..mail()
            })
            .await;
        assert_eq!(answer, accepted());
        let lines = transcript.lock().unwrap().clone();
        assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("Subject: =?utf-8?")), "{lines:#?}");
    }

    #[tokio::test]
    async fn a_quoted_local_part_is_quoted_in_envelope_and_header() {
        let (address, transcript) = mail_server(vec![], vec![]).await;
        let to = "\"abc.\"@docomo.ne.jp";
        assert_eq!(
            plain(address).send(&RenderedMessage { to: to.to_owned().into(), ..mail() }).await,
            accepted()
        );
        let lines = transcript.lock().unwrap().clone();
        for line in [format!("RCPT TO:<{to}>"), format!("To: <{to}>")] {
            assert!(lines.contains(&line), "no {line:?} in {lines:#?}");
        }
    }

    #[tokio::test]
    async fn ehlo_says_the_domain_of_the_sender_or_what_is_set() {
        for (ehlo_name, said) in
            [(None, "acme.example"), (Some("mx1.acme.example"), "mx1.acme.example")]
        {
            let (address, transcript) = mail_server(vec![], vec![]).await;
            let url = format!("smtp://{address}?tls=none");
            let ehlo_name = ehlo_name.map(str::to_owned);
            let gateway = Smtp::new(SmtpSettings { ehlo_name, ..settings(&url) }).unwrap();
            assert_eq!(gateway.send(&mail()).await, accepted());
            let ehlo = format!("EHLO {said}");
            assert!(transcript.lock().unwrap().contains(&ehlo), "{transcript:?}");
        }
    }

    #[tokio::test]
    async fn a_subject_that_looks_encoded_is_read_as_it_was_given() {
        for subject in [
            "=?utf-8?q?Your_bank?=: your code",
            "Your code for =?utf-8?B?QWNtZQ==?= =?x",
            "Caffè =?utf-8?q?_?= Österreich, and a name that is longer than one line of a header is",
            "plain = ? code",
        ] {
            let (address, transcript) = mail_server(vec![], vec![]).await;
            assert_eq!(
                plain(address)
                    .send(&RenderedMessage { subject: subject.to_owned(), ..mail() })
                    .await,
                accepted()
            );
            let lines = transcript.lock().unwrap().join("\r\n");
            let (_, content) = lines.split_once("DATA\r\n").unwrap();
            let read = MessageParser::default().parse(content.as_bytes()).unwrap();
            assert_eq!(read.subject(), Some(subject));
        }
    }

    #[tokio::test]
    async fn a_recipient_that_is_no_address_is_refused_without_a_connection() {
        let gateway = plain(closed_port().await);
        for to in ["", "ana", "ana@", "ana@example.org>\r\nRCPT TO:<eve@example.org", "a b@x.org"] {
            let refused = ProviderAnswer::refused(Scope::Recipient, "invalid_address");
            assert_eq!(
                gateway.send(&RenderedMessage { to: to.to_owned().into(), ..mail() }).await,
                refused,
                "{to}"
            );
        }
        let refused = ProviderAnswer::refused(Scope::Recipient, "non_ascii_address");
        assert_eq!(
            gateway
                .send(&RenderedMessage { to: "aña@example.org".to_owned().into(), ..mail() })
                .await,
            refused
        );
    }

    #[tokio::test]
    async fn without_a_session_the_answer_is_closed() {
        let connect = ProviderAnswer::unreachable("connect");
        assert_eq!(plain(closed_port().await).send(&mail()).await, connect);
        let garbage = Say("HTTP/1.1 400 Bad Request\r\n");
        for (step, act) in [
            ("greeting", Close),
            ("greeting", Hang),
            ("greeting", garbage),
            ("EHLO", Close),
            ("EHLO", Hang),
        ] {
            assert_eq!(answer_when(step, act).await, connect);
        }
        let (address, _) = mail_server(vec![], vec![]).await;
        assert_eq!(smtp(&format!("smtps://{address}")).unwrap().send(&mail()).await, connect);
        assert_eq!(
            answer_when("greeting", Say("421 4.3.2 busy\r\n")).await,
            ProviderAnswer::unreachable("smtp_421")
        );
        assert_eq!(
            answer_when("EHLO", Say("504 5.5.2 need a full name\r\n")).await,
            ProviderAnswer::refuses_us(Scope::Account, "smtp_504")
        );
    }

    #[tokio::test]
    async fn failures_before_the_content_are_transient() {
        let lost = ProviderAnswer::transient("connection_lost");
        let timeout = ProviderAnswer::transient("timeout");
        assert_eq!(answer_when("MAIL", Close).await, lost);
        assert_eq!(answer_when("RCPT", Close).await, lost);
        assert_eq!(answer_when("DATA", Close).await, lost);
        assert_eq!(answer_when("DATA", Say("250 out of step\r\n")).await, lost);
        assert_eq!(answer_when("MAIL", Hang).await, timeout);
        assert_eq!(answer_when("DATA", Hang).await, timeout);
    }

    #[tokio::test]
    async fn after_the_content_no_answer_is_unknown() {
        assert_eq!(answer_when(".", Close).await, ProviderAnswer::unknown("no_answer"));
        assert_eq!(answer_when(".", Hang).await, ProviderAnswer::unknown("timeout"));
        assert_eq!(answer_when(".", Say("what?\r\n")).await, ProviderAnswer::unknown("no_answer"));
    }

    #[tokio::test]
    async fn replies_are_classified_by_step() {
        assert_eq!(
            answer_when("RCPT", Say("451 4.7.1 greylisted\r\n")).await,
            ProviderAnswer::transient("smtp_451")
        );
        assert_eq!(
            answer_when("RCPT", Say("550 5.1.1 no such user\r\n")).await,
            ProviderAnswer::refused(Scope::Recipient, "smtp_550")
        );
        assert_eq!(
            answer_when("MAIL", Say("553 5.7.1 not your address\r\n")).await,
            ProviderAnswer::refuses_us(Scope::Sender, "smtp_553")
        );
        assert_eq!(
            answer_when("MAIL", Say("530 5.7.0 log in first\r\n")).await,
            ProviderAnswer::refuses_us(Scope::Account, "smtp_530")
        );
        assert_eq!(
            answer_when(".", Say("554 5.7.1 spam\r\n")).await,
            ProviderAnswer::refused(Scope::Message, "smtp_554")
        );
        assert_eq!(
            answer_when(".", Say("452 4.3.1 disk full\r\n")).await,
            ProviderAnswer::transient("smtp_452")
        );
    }

    #[tokio::test]
    async fn encryption_and_login_are_never_skipped() {
        let (address, transcript) = mail_server(vec![], vec![]).await;
        let required = smtp(&format!("smtp://u:hunter2@{address}")).unwrap().send(&mail()).await;
        assert_eq!(required, ProviderAnswer::refuses_us(Scope::Account, "starttls_unavailable"));
        let login = smtp(&format!("smtp://u:hunter2@{address}?tls=none")).unwrap();
        let unsupported = ProviderAnswer::refuses_us(Scope::Account, "auth_unsupported");
        assert_eq!(login.send(&mail()).await, unsupported);
        assert!(!transcript.lock().unwrap().iter().any(|line| line.starts_with("MAIL")));
        let acts = vec![
            ("EHLO", Say("250-mx.example\r\n250 AUTH PLAIN\r\n")),
            ("AUTH", Say("535 5.7.8 no\r\n")),
        ];
        let (address, _) = mail_server(acts, vec![]).await;
        let login = smtp(&format!("smtp://u:hunter2@{address}?tls=none")).unwrap();
        assert_eq!(
            login.send(&mail()).await,
            ProviderAnswer::refuses_us(Scope::Account, "smtp_535")
        );
    }

    fn connections(transcript: &Transcript) -> usize {
        let lines = transcript.lock().unwrap();
        lines.iter().filter(|line| line.starts_with("connection ")).count()
    }

    #[tokio::test]
    async fn a_connection_is_reused_also_after_a_refusal() {
        let (address, transcript) = mail_server(vec![], vec![]).await;
        let gateway = plain(address);
        assert_eq!(gateway.send(&mail()).await, accepted());
        assert_eq!(gateway.send(&mail()).await, accepted());
        assert_eq!(connections(&transcript), 1);
        let (address, transcript) = mail_server(vec![("RCPT", Say("550 no\r\n"))], vec![]).await;
        let gateway = plain(address);
        gateway.send(&mail()).await;
        gateway.send(&mail()).await;
        assert_eq!(connections(&transcript), 1);
    }

    #[tokio::test]
    async fn a_connection_that_died_idle_is_replaced_unnoticed() {
        for act in [Close, Hang, Say("421 4.4.2 idle for too long\r\n")] {
            let (address, transcript) = mail_server(vec![("RSET", act)], vec![]).await;
            let gateway = plain(address);
            assert_eq!(gateway.send(&mail()).await, accepted());
            assert_eq!(gateway.send(&mail()).await, accepted());
            assert_eq!(connections(&transcript), 2);
        }
    }

    #[tokio::test]
    async fn a_dialogue_that_was_broken_off_is_never_continued() {
        let (address, transcript) = mail_server(vec![(".", Hang)], vec![]).await;
        let gateway = plain(address);
        assert_eq!(gateway.send(&mail()).await, ProviderAnswer::unknown("timeout"));
        assert_eq!(gateway.send(&mail()).await, accepted());
        assert_eq!(connections(&transcript), 2);
    }

    #[tokio::test]
    async fn a_server_of_a_private_authority_is_trusted_once_its_file_is_named() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("smtps://{}", mail_server_over_tls().await);
        let with = |ca_file: Option<&str>| {
            let (ca_file, timeout) = (ca_file.map(PathBuf::from), Duration::from_secs(10));
            Smtp::new(SmtpSettings { ca_file, timeout, ..settings(&url) })
        };
        assert_eq!(with(None).unwrap().send(&mail()).await, ProviderAnswer::unreachable("connect"));
        assert_eq!(with(Some(CA_FILE)).unwrap().send(&mail()).await, accepted());
        assert!(with(Some("/nowhere/ca.pem")).err().unwrap().to_string().starts_with("ca_file: "));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(smtp("smtp://u:hunter2@").is_err());
        let settings = |from: &str, timeout_ms| SmtpSettings {
            from: from.to_owned(),
            timeout: Duration::from_millis(timeout_ms),
            ..settings("smtp://mx.example?tls=none")
        };
        assert!(Smtp::new(settings("a@localhost", 1)).is_err(), "no full name for EHLO");
        let named = |name: &str| SmtpSettings {
            ehlo_name: Some(name.to_owned()),
            ..settings("a@localhost", 1)
        };
        assert!(Smtp::new(named("mail.acme.example")).is_ok());
        for name in ["", "vm", "mail.", ".example", "a b.example", "-a.example", "a.example\r\nX"] {
            assert!(Smtp::new(named(name)).is_err(), "{name}");
        }
        assert!(Smtp::new(settings("nobody", 1)).is_err());
        assert!(Smtp::new(settings("a@exämple.org", 1)).is_err());
        assert!(Smtp::new(settings("a@example.org", 0)).is_err());
        assert!(Smtp::new(settings("a@example.org\r\nBcc: b@example.org", 1)).is_err());
    }
}

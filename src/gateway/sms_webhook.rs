//! SMS through any provider that can take a signed HTTP request.
//!
//! `POST` of `{"to","text","reference"}` with the three Standard Webhooks headers; `webhook-id` and
//! `reference` are the delivery attempt, so the other side can recognise a repeat.
//!
//! | outcome | answer |
//! |---|---|
//! | 2xx with a whole body | accepted; a JSON body's `id` is the provider's reference |
//! | 2xx, body over 64 KiB | accepted, without a reference |
//! | 2xx, body is an HTML page | unknown `html_page`: a proxy may have answered |
//! | 2xx, body cut off | unknown `no_answer`, or `timeout` |
//! | any other status | [`http_status::meaning`]; `http_NNN`; redirects are not followed |
//! | no status, and the request's body had not been handed to a connection | transient `connect` |
//! | no status, and it had | unknown `no_answer`, or `timeout` |
//!
//! A refusal about the recipient or the message has the `scope` of a JSON body, if that names one.
//!
//! # Kept connections
//!
//! A request on a kept connection can cross with the other side's decision to close it. Such a
//! request was probably not read, but nothing proves it: a server that reads a request and then dies
//! looks the same (docs/adr/0013). So a call gets a connection of its own, unless many calls are
//! under way; then connections are kept for a short time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, Response, Url, redirect};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::hand_over::HandOver;
use super::http_status::{self, Meaning};
use super::retry_after::retry_after_seconds;
use super::{Gateway, SettingsError, WebhookKey, authorities, provider_ref};
use crate::domain::provider::{ProviderAnswer, RenderedMessage, Scope};

const RESPONSE_BYTES_MAX: usize = 64 * 1024;
const IDLE_CONNECTIONS_MAX: usize = 32;
// Servers close an idle connection after a second at the earliest.
const IDLE_CONNECTION_MAX: Duration = Duration::from_millis(500);
/// With more calls than this under way, connections are kept.
const CALLS_ON_NEW_CONNECTIONS: usize = 8;

/// Where and how [`SmsWebhook`] sends.
pub struct SmsWebhookSettings {
    /// `https://` or `http://`; user and password in it become HTTP Basic authentication.
    pub url: String,
    /// The shared secret, see [`WebhookKey::parse`].
    pub secret: Zeroizing<String>,
    /// For `https://`: a PEM file with certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// For one whole call, connecting and the answer's body included.
    pub timeout: Duration,
    /// For name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
}

/// A generic SMS provider behind a signed webhook.
pub struct SmsWebhook {
    /// Opens a connection for each call.
    opening: Client,
    /// Keeps connections.
    keeping: Client,
    calls: Calls,
    url: Url,
    key: WebhookKey,
}

/// How many calls are under way.
#[derive(Default)]
struct Calls(AtomicUsize);

/// One call, until it is dropped.
struct Call<'a>(&'a Calls);

impl Calls {
    /// One more, and how many there are with it.
    fn begin(&self) -> (Call<'_>, usize) {
        (Call(self), self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SmsWebhook {
    /// The usual [`SmsWebhookSettings::connect_timeout`].
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// Checks the settings and prepares the client; opens no connection. A rustls provider must be
    /// installed for the process.
    ///
    /// # Errors
    ///
    /// The URL, the secret, the CA file or a timeout cannot work, or the system's certificates cannot
    /// be read.
    pub fn new(settings: SmsWebhookSettings) -> Result<Self, SettingsError> {
        let url = Url::parse(&settings.url)
            .map_err(|error| SettingsError::new(format!("url: {error}")))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(SettingsError::new("url: must begin with https:// or http://"));
        }
        if settings.timeout.is_zero() || settings.connect_timeout.is_zero() {
            return Err(SettingsError::new("timeout: must be longer than zero"));
        }
        let trusted = Certificate::from_pem_bundle(&authorities(settings.ca_file.as_deref())?)
            .map_err(|_| SettingsError::new("ca_file: is not PEM"))?;
        let client = |idle_connections_max| {
            Client::builder()
                .tls_certs_merge(trusted.clone())
                .user_agent(concat!("stepup/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                // The environment is read in src/config only.
                .no_proxy()
                .timeout(settings.timeout)
                .connect_timeout(settings.connect_timeout)
                .pool_max_idle_per_host(idle_connections_max)
                .pool_idle_timeout(IDLE_CONNECTION_MAX)
                .build()
                .map_err(|_| SettingsError::new("tls: the client cannot be set up"))
        };
        Ok(Self {
            opening: client(0)?,
            keeping: client(IDLE_CONNECTIONS_MAX)?,
            calls: Calls::default(),
            url,
            key: WebhookKey::parse(&settings.secret)?,
        })
    }
}

impl Gateway for SmsWebhook {
    async fn send(&self, sms: &RenderedMessage) -> ProviderAnswer {
        let Some(body) = render(sms) else {
            return ProviderAnswer::refused(Scope::Message, "invalid_message");
        };
        let id = sms.attempt.to_string();
        let timestamp_seconds = clock().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.key.sign(&id, timestamp_seconds, &body);
        let (hand_over, body) = HandOver::new(body);
        let (_call, calls) = self.calls.begin();
        let client = if calls > CALLS_ON_NEW_CONNECTIONS { &self.keeping } else { &self.opening };
        let sent = client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_seconds)
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => judge(response, sms).await,
            Err(_) if hand_over.withdraw() => ProviderAnswer::transient("connect"),
            Err(error) => ProviderAnswer::unknown(cut_code(&error)),
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    to: &'a str,
    text: &'a str,
    reference: Uuid,
}

/// The body, in a buffer that is large enough never to move, since only the last one is zeroised.
fn render(sms: &RenderedMessage) -> Option<Zeroizing<Vec<u8>>> {
    // JSON writes one byte as six at most (`\u00XX`).
    let capacity = 6 * (sms.to.len() + sms.text.len()) + 128;
    let mut body = Zeroizing::new(Vec::with_capacity(capacity));
    let request = Request { to: &sms.to, text: &sms.text, reference: sms.attempt };
    serde_json::to_writer(&mut *body, &request).ok().map(|()| body)
}

/// The verdict of a status, refined by the body where that has something to add. Another body is not
/// waited for.
async fn judge(response: Response, sms: &RenderedMessage) -> ProviderAnswer {
    let status = response.status().as_u16();
    let code = format!("http_{status}");
    let retry_after_seconds = retry_after_seconds(response.headers(), clock());
    match http_status::meaning(status) {
        Meaning::Accepted => match read(response).await {
            Ok(body) if is_html(&body) => ProviderAnswer::unknown("html_page"),
            Ok(body) => ProviderAnswer::Accepted { provider_ref: reference(&json(&body), sms) },
            Err(cut) => ProviderAnswer::unknown(cut),
        },
        Meaning::Throttled => ProviderAnswer::Throttled { retry_after_seconds },
        Meaning::Transient => ProviderAnswer::Transient { retry_after_seconds, code },
        Meaning::Refused(Scope::Account) => ProviderAnswer::refused(Scope::Account, code),
        Meaning::Refused(usual) => {
            let body = read(response).await.map_or(Value::Null, |body| json(&body));
            let named = body.get("scope").and_then(Value::as_str).and_then(Scope::from_label);
            ProviderAnswer::refused(named.unwrap_or(usual), code)
        }
        Meaning::Unknown => ProviderAnswer::unknown(code),
    }
}

/// The body as far as it is read, or why it was cut off.
async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| cut_code(&error))? {
        let room = RESPONSE_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(body)
}

/// `null` if it is something else.
fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// By its first word: many frameworks call any text `text/html` by default.
fn is_html(body: &[u8]) -> bool {
    let text = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii_start();
    let begins = |with: &str| {
        text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    begins("<!doctype html") || begins("<html")
}

fn cut_code(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() { "timeout" } else { "no_answer" }
}

/// The provider's id, text or integer; empty if it has none or builds it from what was sent.
fn reference(body: &Value, sms: &RenderedMessage) -> String {
    let raw = match body.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return String::new(),
    };
    provider_ref(&raw, &[&sms.to, &sms.text])
}

#[expect(
    clippy::disallowed_methods,
    reason = "for fields of the protocol, which are of this clock"
)]
fn clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::gateway::loopback::{CA_FILE, closed_port, never_answer, serve, tls};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const TO: &str = "+15005550006";

    fn settings(url: &str) -> SmsWebhookSettings {
        SmsWebhookSettings {
            url: url.to_owned(),
            secret: Zeroizing::new(SECRET.to_owned()),
            ca_file: None,
            timeout: Duration::from_millis(200),
            connect_timeout: Duration::from_millis(100),
        }
    }

    fn webhook(url: &str) -> Result<SmsWebhook, SettingsError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        SmsWebhook::new(settings(url))
    }

    fn sms() -> RenderedMessage {
        RenderedMessage {
            attempt: Uuid::from_u128(7),
            to: TO.to_owned().into(),
            subject: String::new(),
            text: "Code 123456".to_owned().into(),
        }
    }

    async fn send_to(scheme: &str, address: SocketAddr) -> ProviderAnswer {
        webhook(&format!("{scheme}://{address}/sms")).unwrap().send(&sms()).await
    }

    /// Reads one request, head and body; `None` when the connection ends first.
    async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8(bytes.clone()).unwrap();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() == length.unwrap().parse::<usize>().unwrap() {
                    return Some(text);
                }
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Sends to a server that answers one request with these bytes and closes.
    async fn answered(response: &str) -> ProviderAnswer {
        let response = response.to_owned();
        let address = serve(move |mut stream, _| {
            let response = response.clone();
            async move {
                read_request(&mut stream).await.unwrap();
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        })
        .await;
        send_to("http", address).await
    }

    async fn status(line: &str, body: &str) -> ProviderAnswer {
        let length = body.len();
        answered(&format!("HTTP/1.1 {line}\r\ncontent-length: {length}\r\n\r\n{body}")).await
    }

    fn accepted(provider_ref: &str) -> ProviderAnswer {
        ProviderAnswer::Accepted { provider_ref: provider_ref.to_owned() }
    }

    #[tokio::test]
    async fn the_request_is_signed_json_with_the_attempt_as_id() {
        let (requests, mut seen) = mpsc::channel(1);
        let address = serve(move |mut stream, _| {
            let requests = requests.clone();
            async move {
                requests.send(read_request(&mut stream).await.unwrap()).await.unwrap();
                stream.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n{\"id\":\"SM1\"}").await.unwrap();
            }
        })
        .await;
        assert_eq!(send_to("http", address).await, accepted("SM1"));
        let request = seen.recv().await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
        };
        let id = Uuid::from_u128(7).to_string();
        assert_eq!(body, format!(r#"{{"to":"{TO}","text":"Code 123456","reference":"{id}"}}"#));
        assert!(head.starts_with("POST /sms HTTP/1.1\r\n"));
        assert!(header("user-agent").starts_with("stepup/"));
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("webhook-id"), id);
        let timestamp = header("webhook-timestamp").parse().unwrap();
        let signature = WebhookKey::parse(SECRET).unwrap().sign(&id, timestamp, body.as_bytes());
        assert_eq!(header("webhook-signature"), signature);
    }

    #[tokio::test]
    async fn success_is_accepted_with_the_reference_if_there_is_a_usable_one() {
        assert_eq!(status("200 OK", r#"{"id":"a\u0007b"}"#).await, accepted(""));
        assert_eq!(status("200 OK", r#"{"id":"Code 123456"}"#).await, accepted(""));
        assert_eq!(status("200 OK", r#"{"id":42}"#).await, accepted("42"));
        assert_eq!(status("200 OK", r#"{"id":"15005550006-1"}"#).await, accepted(""));
        assert_eq!(status("200 OK", "thanks").await, accepted(""));
        assert_eq!(status("200 OK", &"x".repeat(RESPONSE_BYTES_MAX + 1)).await, accepted(""));
        assert_eq!(answered("HTTP/1.1 204 No Content\r\n\r\n").await, accepted(""));
    }

    #[tokio::test]
    async fn a_status_is_judged_and_its_retry_after_kept() {
        let later = |retry_after_seconds, code: &str| ProviderAnswer::Transient {
            retry_after_seconds,
            code: code.to_owned(),
        };
        assert_eq!(status("408 Request Timeout", "").await, later(None, "http_408"));
        assert_eq!(status("503 Service Unavailable", "").await, later(None, "http_503"));
        let asked = "HTTP/1.1 503 No\r\nretry-after: 6\r\n\r\n";
        assert_eq!(answered(asked).await, later(Some(6), "http_503"));
        let throttled = |retry_after_seconds| ProviderAnswer::Throttled { retry_after_seconds };
        assert_eq!(status("429 Too Many Requests", "").await, throttled(None));
        let asked = "HTTP/1.1 429 No\r\nretry-after: 7\r\n\r\n";
        assert_eq!(answered(asked).await, throttled(Some(7)));
        let asked = "HTTP/1.1 429 No\r\ndate: Sun, 06 Nov 1994 08:49:35 GMT\r\n\
            retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        assert_eq!(answered(asked).await, throttled(Some(2)));
        assert_eq!(status("502 Bad Gateway", "").await, ProviderAnswer::unknown("http_502"));
        assert_eq!(status("504 Gateway Timeout", "").await, ProviderAnswer::unknown("http_504"));
        assert_eq!(
            status("101 Switching Protocols", "").await,
            ProviderAnswer::unknown("http_101")
        );
        assert_eq!(
            status("302 Found", "").await,
            ProviderAnswer::refused(Scope::Account, "http_302")
        );
    }

    #[tokio::test]
    async fn a_refusal_has_the_scope_of_the_status_or_of_the_body() {
        let refused = |scope, code| ProviderAnswer::refused(scope, code);
        assert_eq!(status("400 Bad Request", "").await, refused(Scope::Message, "http_400"));
        assert_eq!(status("404 Not Found", "").await, refused(Scope::Recipient, "http_404"));
        assert_eq!(status("410 Gone", "{}").await, refused(Scope::Recipient, "http_410"));
        let sender = r#"{"title":"no","scope":"sender"}"#;
        assert_eq!(status("422 No", sender).await, refused(Scope::Sender, "http_422"));
        assert_eq!(status("401 No", sender).await, refused(Scope::Account, "http_401"));
        let nonsense = r#"{"scope":{"is":"+15005550006"}}"#;
        assert_eq!(status("422 No", nonsense).await, refused(Scope::Recipient, "http_422"));
        let half = "HTTP/1.1 400 Bad Request\r\ncontent-length: 90\r\n\r\n{";
        assert_eq!(answered(half).await, refused(Scope::Message, "http_400"));
    }

    #[tokio::test]
    async fn a_page_for_people_is_not_taken_for_an_answer() {
        for page in ["<!DOCTYPE html>\n<p>back soon", " \n<HTML lang=en>", "\u{feff}<html>"] {
            assert_eq!(
                status("200 OK", page).await,
                ProviderAnswer::unknown("html_page"),
                "{page}"
            );
        }
        let long = format!("<html>{}", "x".repeat(RESPONSE_BYTES_MAX));
        assert_eq!(status("200 OK", &long).await, ProviderAnswer::unknown("html_page"));
        for word in ["<ok/>", "<htm", "html", "<p>sent</p>"] {
            assert_eq!(status("200 OK", word).await, accepted(""), "{word}");
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_delays_no_answer_that_needs_none() {
        let endless = serve(|mut stream, _| async move {
            read_request(&mut stream).await.unwrap();
            let head = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
            stream.write_all(head).await.unwrap();
            never_answer(stream).await;
        });
        assert_eq!(send_to("http", endless.await).await, ProviderAnswer::transient("http_503"));
        let flood = serve(|mut stream, _| async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        assert_eq!(send_to("http", flood.await).await, accepted(""));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let elsewhere = serve(move |stream, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            never_answer(stream)
        });
        let location = format!("location: http://{}/", elsewhere.await);
        let moved = answered(&format!("HTTP/1.1 307 No\r\n{location}\r\n\r\n")).await;
        assert_eq!(moved, ProviderAnswer::refused(Scope::Account, "http_307"));
        let result = answered(&format!("HTTP/1.1 303 No\r\n{location}\r\n\r\n")).await;
        assert_eq!(result, ProviderAnswer::unknown("http_303"));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_connection_that_never_came_about_is_transient() {
        assert_eq!(
            send_to("http", closed_port().await).await,
            ProviderAnswer::transient("connect")
        );
        // TLS that fails, and TLS that gets no answer.
        let closes = serve(|_, _| std::future::ready(())).await;
        assert_eq!(send_to("https", closes).await, ProviderAnswer::transient("connect"));
        let speaks_plain = serve(|mut stream, _| async move {
            let _ = stream.write_all(b"220 mx.example ESMTP\r\n").await;
            never_answer(stream).await;
        });
        assert_eq!(
            send_to("https", speaks_plain.await).await,
            ProviderAnswer::transient("connect")
        );
        let silent = serve(|stream, _| never_answer(stream)).await;
        assert_eq!(send_to("https", silent).await, ProviderAnswer::transient("connect"));
    }

    #[tokio::test]
    async fn running_out_of_time_while_connecting_is_transient_even_without_a_connect_timeout() {
        let silent = serve(|stream, _| never_answer(stream)).await;
        let settings = SmsWebhookSettings {
            timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(9),
            ..settings(&format!("https://{silent}/"))
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let slow_tls = SmsWebhook::new(settings).unwrap().send(&sms()).await;
        assert_eq!(slow_tls, ProviderAnswer::transient("connect"));
    }

    #[tokio::test]
    async fn a_server_that_closes_at_once_is_never_called_accepted_or_refused() {
        // Whether the request was taken by then is a race; both honest answers are allowed.
        let closes = serve(|_, _| std::future::ready(())).await;
        let webhook = webhook(&format!("http://{closes}/")).unwrap();
        for _ in 0..50 {
            let answer = webhook.send(&sms()).await;
            let honest =
                [ProviderAnswer::transient("connect"), ProviderAnswer::unknown("no_answer")];
            assert!(honest.contains(&answer), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_request_that_went_out_without_an_answer_is_unknown() {
        assert_eq!(answered("").await, ProviderAnswer::unknown("no_answer"));
        assert_eq!(answered("what?\r\n\r\n").await, ProviderAnswer::unknown("no_answer"));
        assert_eq!(answered("HTTP/1.1 2").await, ProviderAnswer::unknown("no_answer"));
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"id\":\"SM1\"";
        assert_eq!(answered(half).await, ProviderAnswer::unknown("no_answer"));
        let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n";
        assert_eq!(answered(half).await, ProviderAnswer::unknown("no_answer"));
        let silent = serve(|stream, _| never_answer(stream)).await;
        assert_eq!(send_to("http", silent).await, ProviderAnswer::unknown("timeout"));
        let stuck_body = serve(|mut stream, _| async move {
            read_request(&mut stream).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{";
            stream.write_all(head).await.unwrap();
            never_answer(stream).await;
        });
        assert_eq!(send_to("http", stuck_body.await).await, ProviderAnswer::unknown("timeout"));
    }

    /// A gateway that has as many calls under way as make it keep its connections.
    fn busy(address: SocketAddr) -> SmsWebhook {
        let webhook = webhook(&format!("http://{address}/")).unwrap();
        webhook.calls.0.store(CALLS_ON_NEW_CONNECTIONS, Ordering::Relaxed);
        webhook
    }

    #[tokio::test]
    async fn a_busy_sender_uses_connections_again_and_one_that_died_idle_costs_nothing() {
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let (closed, mut is_closed) = mpsc::channel(1);
        let address = serve(move |mut stream, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            let closed = closed.clone();
            async move {
                for _ in 0..2 {
                    read_request(&mut stream).await.unwrap();
                    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(response).await.unwrap();
                }
                drop(stream);
                closed.send(()).await.unwrap();
            }
        })
        .await;
        let webhook = busy(address);
        for _ in 0..2 {
            assert_eq!(webhook.send(&sms()).await, accepted(""));
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
        is_closed.recv().await.unwrap();
        assert_eq!(webhook.send(&sms()).await, accepted(""));
        assert_eq!(connections.load(Ordering::Relaxed), 2);
        assert_eq!(webhook.calls.0.load(Ordering::Relaxed), CALLS_ON_NEW_CONNECTIONS);
    }

    /// Answers one request, and closes the connection when the next one arrives, without reading it.
    async fn drops_the_second(mut stream: TcpStream) {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let _ = stream.peek(&mut [0]).await;
    }

    #[tokio::test]
    async fn a_few_calls_at_a_time_have_a_connection_each() {
        let address = serve(|stream, _| drops_the_second(stream)).await;
        let webhook = webhook(&format!("http://{address}/")).unwrap();
        for _ in 0..20 {
            let sms = sms();
            let (first, second) = tokio::join!(webhook.send(&sms), webhook.send(&sms));
            assert_eq!((first, second), (accepted(""), accepted("")));
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_rested_is_not_used_again() {
        let address = serve(|stream, _| drops_the_second(stream)).await;
        let webhook = busy(address);
        for _ in 0..2 {
            assert_eq!(webhook.send(&sms()).await, accepted(""));
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    }

    #[tokio::test]
    async fn a_request_on_a_kept_connection_that_dies_may_have_been_read() {
        let address = serve(|stream, _| drops_the_second(stream)).await;
        let webhook = busy(address);
        assert_eq!(webhook.send(&sms()).await, accepted(""));
        assert_eq!(webhook.send(&sms()).await, ProviderAnswer::unknown("no_answer"));
    }

    #[tokio::test]
    async fn a_receiver_of_a_private_authority_is_trusted_once_its_file_is_named() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = serve(|stream, _| async move {
            // Who does not trust the certificate ends the handshake.
            let Ok(mut stream) = tls().accept(stream).await else { return };
            read_request(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        })
        .await;
        let with = |ca_file: Option<&str>| {
            let (ca_file, patience) = (ca_file.map(PathBuf::from), Duration::from_secs(10));
            SmsWebhook::new(SmsWebhookSettings {
                ca_file,
                timeout: patience,
                connect_timeout: patience,
                ..settings(&format!("https://{address}/"))
            })
        };
        assert_eq!(with(None).unwrap().send(&sms()).await, ProviderAnswer::transient("connect"));
        assert_eq!(with(Some(CA_FILE)).unwrap().send(&sms()).await, accepted(""));
        assert!(with(Some("/nowhere/ca.pem")).err().unwrap().to_string().starts_with("ca_file: "));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_without_repeating_a_secret() {
        for url in ["hunter2", "ftp://u:hunter2@sms.example/", "http://u:hunter2@:80/"] {
            let error = webhook(url).err().unwrap().to_string();
            assert!(error.starts_with("url: ") && !error.contains("hunter2"), "{error}");
        }
    }
}

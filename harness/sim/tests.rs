//! Both servers over loopback sockets.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use stepup::{
    domain::email::EmailAddress,
    domain::provider::{ProviderAnswer, RenderedMessage},
    gateway::{Gateway, Smtp, SmtpSettings},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use uuid::Uuid;

use super::{Settings, Sim, signature::Secret};

const NUMBER: &str = "+12025550123";
const ADDRESS: &str = "ana@example.org";

struct Running {
    http: SocketAddr,
    smtp: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), String>>,
}

async fn start(settings: Settings) -> Running {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let sim = Sim::bind(Settings { http_addr: any, smtp_addr: any, ..settings }).await.unwrap();
    let (http, smtp) = sim.addresses().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(sim.serve(async { drop(stopped.await) }));
    Running { http, smtp, stop, serving }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Running {
    /// The answer to one request; none if the connection closes without one.
    async fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Some(Answer { status, head: head.to_ascii_lowercase(), body })
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "", "").await.unwrap()
    }

    async fn text(&self, id: &str, to: &str) -> Option<Answer> {
        let text = "Your code is 123456.\n\n@shop.example #123456";
        let body = json!({ "to": to, "text": text, "reference": id }).to_string();
        self.call("POST", "/carrier/messages", &format!("webhook-id: {id}\r\n"), &body).await
    }

    async fn fault(&self, recipient: &str, order: Value) {
        let path = format!("/faults/{recipient}");
        let answer = self.call("PUT", &path, "", &order.to_string()).await.unwrap();
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// How many messages are on the phone or in the mailbox.
    async fn shown(&self, path: &str) -> usize {
        self.get(path).await.body["messages"].as_array().unwrap().len()
    }

    async fn last_entry(&self) -> Value {
        self.get("/ledger").await.body["entries"].as_array().unwrap().last().unwrap().clone()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }

    async fn dial(&self) -> Dialogue {
        let mut dialogue = Dialogue(BufReader::new(TcpStream::connect(self.smtp).await.unwrap()));
        assert!(dialogue.answer().await.starts_with("220 "));
        dialogue
    }

    async fn mail(&self, to: &str) -> String {
        self.dial().await.mail(to).await
    }
}

struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    /// The next complete answer; empty if the connection was closed.
    async fn answer(&mut self) -> String {
        let mut answer = String::new();
        loop {
            let begin = answer.len();
            let read = self.0.read_line(&mut answer).await.unwrap();
            if read == 0 || answer.as_bytes()[begin..].get(3) == Some(&b' ') {
                return answer;
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn expect(&mut self, line: &str, code: &str) {
        let answer = self.say(line).await;
        assert!(answer.starts_with(code), "{line}: {answer}");
    }

    async fn mail(&mut self, to: &str) -> String {
        self.expect("EHLO test", "250").await;
        self.expect("MAIL FROM:<shop@example.org> BODY=8BITMIME SIZE=100", "250").await;
        self.expect(&format!("RCPT TO:<{to}>"), "250").await;
        self.expect("DATA", "354").await;
        self.say("Subject: Code\r\nX-Stepup-Reference: a-1\r\n\r\n..123456\r\n.").await
    }
}

#[tokio::test]
async fn the_stream_tells_every_new_message_in_order_and_nothing_else() {
    let sim = start(Settings::default()).await;
    sim.text("old", NUMBER).await.unwrap();
    let mut stream = BufReader::new(TcpStream::connect(sim.http).await.unwrap());
    stream.write_all(b"GET /ledger/stream HTTP/1.1\r\nhost: sim\r\n\r\n").await.unwrap();
    let mut read = async || {
        let mut line = String::new();
        timeout(Duration::from_secs(10), stream.read_line(&mut line)).await.unwrap().unwrap();
        line
    };
    while !read().await.trim().is_empty() {}
    let lost = json!({ "fault": "lose", "times": 1 });
    sim.fault(&NUMBER.replace('+', "%2B"), lost).await;
    sim.text("lost", NUMBER).await.unwrap();
    sim.text("new", NUMBER).await.unwrap();
    sim.text("new", NUMBER).await.unwrap();
    sim.mail(ADDRESS).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        // Between the lines are the lengths of the pieces.
        let line = read().await;
        told.extend(line.starts_with('{').then(|| serde_json::from_str::<Value>(&line).unwrap()));
    }
    assert_eq!(told[0]["reference"], "new");
    assert_eq!(told[0]["code"], "123456");
    assert_eq!((&told[0]["to"], &told[0]["channel"]), (&json!(NUMBER), &json!("sms")));
    assert_eq!((&told[1]["to"], &told[1]["channel"]), (&json!(ADDRESS), &json!("email")));
    drop(stream);
    sim.stop().await;
}

#[tokio::test]
async fn a_text_reaches_the_phone_once_however_often_it_is_sent() {
    let sim = start(Settings::default()).await;
    let first = sim.text("a-1", NUMBER).await.unwrap();
    let again = sim.text("a-1", NUMBER).await.unwrap();
    assert_eq!((first.status, &first.body), (200, &again.body));

    for path in ["+12025550123", "%2B12025550123", "%2012025550123", "12025550123"] {
        let phone = sim.get(&format!("/phones/{path}")).await.body;
        assert_eq!(phone["number"], NUMBER);
        assert_eq!(phone["messages"].as_array().unwrap().len(), 1);
        assert_eq!(phone["messages"][0]["code"], "123456");
        assert_eq!(phone["messages"][0]["id"], first.body["id"]);
    }
    let ledger = sim.get("/ledger?after=1&limit=5").await.body;
    assert_eq!(ledger["next"], 2);
    let repeat = &ledger["entries"][0];
    assert_eq!((&repeat["repeat"], &repeat["shown"]), (&json!(true), &json!(false)));
    assert_eq!(repeat["provider_ref"], first.body["id"]);
    assert_eq!(sim.get("/phones").await.body["phones"], json!([{"number": NUMBER, "count": 1}]));

    assert_eq!(sim.call("DELETE", "/ledger", "", "").await.unwrap().status, 204);
    assert_eq!(sim.shown("/phones/+12025550123").await, 0);
    sim.stop().await;
}

#[tokio::test]
async fn a_malformed_call_gets_a_problem_that_does_not_repeat_it() {
    let sim = start(Settings::default()).await;
    for (headers, body) in [
        ("webhook-id: a\r\n", "{\"to\":\"+12025550123\",\"text\":\"123456\""),
        ("webhook-id: a\r\n", r#"{"to":"+12025550123","text":"123456"}"#),
        ("webhook-id: a\r\n", r#"{"to":"12025550123","text":"123456","reference":"a"}"#),
        ("webhook-id: a\r\n", r#"{"to":"ana@example.org","text":"123456","reference":"a"}"#),
        ("webhook-id: a\r\n", r#"{"to":"+12025550123","text":"","reference":"a"}"#),
        ("", r#"{"to":"+12025550123","text":"123456","reference":"a"}"#),
    ] {
        let answer = sim.call("POST", "/carrier/messages", headers, body).await.unwrap();
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
        assert!(!answer.body.to_string().contains("123456"), "{answer:?}");
        let entry = sim.last_entry().await;
        assert_eq!((&entry["accepted"], &entry["answer"]), (&json!(false), &json!(400)));
    }
    sim.stop().await;
}

#[tokio::test]
async fn with_a_secret_an_unsigned_call_is_refused() {
    let sms_secret = Secret::parse("whsec_c2VjcmV0");
    let sim = start(Settings { sms_secret, ..Settings::default() }).await;
    assert_eq!(sim.text("a-1", NUMBER).await.unwrap().status, 401);
    assert_eq!(sim.last_entry().await["answer"], 401);
    assert_eq!(sim.shown("/phones/+12025550123").await, 0);
    sim.stop().await;
}

#[tokio::test]
async fn every_fault_of_the_carrier_does_what_it_says() {
    let sim = start(Settings::default()).await;
    let phone = "/phones/+12025550123";
    for (order, status, accepted, shown) in [
        (json!({"fault": "status", "status": 503}), Some(503), false, 0),
        (json!({"fault": "status", "status": 307}), Some(307), false, 0),
        (json!({"fault": "throttle", "retry_after": 2}), Some(429), false, 0),
        (json!({"fault": "refuse"}), Some(422), false, 0),
        (json!({"fault": "lose"}), Some(200), true, 0),
        (json!({"fault": "hang_up"}), None, true, 1),
        (json!({"fault": "slow", "seconds": 0.3}), Some(200), true, 2),
    ] {
        let name = order["fault"].as_str().unwrap().to_owned();
        sim.fault(NUMBER, order).await;
        let began = Instant::now();
        let answer = sim.text(&name, NUMBER).await;
        assert_eq!(answer.as_ref().map(|answer| answer.status), status, "{name}");
        assert!(name != "slow" || began.elapsed() >= Duration::from_millis(300));
        let entry = sim.last_entry().await;
        assert_eq!(entry["fault"], name);
        assert_eq!(entry["answer"], json!(status));
        assert_eq!(entry["accepted"], accepted, "{name}");
        assert_eq!(sim.shown(phone).await, shown, "{name}");
        match name.as_str() {
            "throttle" => assert!(answer.unwrap().head.contains("retry-after: 2")),
            "refuse" => assert_eq!(answer.unwrap().body["scope"], "recipient"),
            _ => {}
        }
    }
    // What was accepted without an answer is answered when it is sent again.
    assert_eq!(sim.text("hang_up", NUMBER).await.unwrap().status, 200);
    assert_eq!(sim.shown(phone).await, 2);
    sim.stop().await;
}

#[tokio::test]
async fn a_time_to_wait_is_told_in_seconds_as_a_date_or_as_any_text() {
    let sim = start(Settings::default()).await;
    for (order, value) in [
        (json!({"fault": "throttle", "retry_after": 2}), "retry-after: 2\r\n"),
        (json!({"fault": "throttle", "retry_after": 2, "date": true}), " gmt\r\n"),
        (json!({"fault": "status", "status": 503, "retry_after": "1.5"}), "retry-after: 1.5\r\n"),
    ] {
        sim.fault(NUMBER, order).await;
        let head = sim.text("a-1", NUMBER).await.unwrap().head;
        let line = head.lines().find(|line| line.starts_with("retry-after: ")).unwrap();
        assert!(format!("{line}\r\n").ends_with(value), "{head}");
    }
    sim.stop().await;
}

/// A message by a connection that is kept; `true` if it was answered.
async fn text_on(stream: &mut TcpStream, id: &str) -> bool {
    let body = json!({ "to": NUMBER, "text": "Your code is 123456.", "reference": id }).to_string();
    let length = body.len();
    let request = format!(
        "POST /carrier/messages HTTP/1.1\r\nhost: sim\r\nwebhook-id: {id}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    matches!(stream.read(&mut [0; 4096]).await, Ok(bytes) if bytes > 0)
}

#[tokio::test]
async fn a_kept_connection_is_dropped_with_its_next_request_unread() {
    let sim = start(Settings::default()).await;
    let order = json!({ "drop_kept": true });
    let ordered = sim.call("PUT", "/connections", "", &order.to_string()).await.unwrap();
    assert_eq!(ordered.status, 204);
    assert_eq!(sim.get("/connections").await.body, order);
    let mut stream = TcpStream::connect(sim.http).await.unwrap();
    assert!(text_on(&mut stream, "a-1").await);
    assert!(!text_on(&mut stream, "a-2").await);
    assert_eq!(sim.get("/ledger").await.body["entries"].as_array().unwrap().len(), 1);
    // Who reads phones keeps the connection.
    let mut reader = TcpStream::connect(sim.http).await.unwrap();
    for _ in 0..2 {
        reader.write_all(b"GET /phones HTTP/1.1\r\nhost: sim\r\n\r\n").await.unwrap();
        assert!(reader.read(&mut [0; 4096]).await.unwrap() > 0);
    }
    assert_eq!(sim.call("DELETE", "/connections", "", "").await.unwrap().status, 204);
    let mut stream = TcpStream::connect(sim.http).await.unwrap();
    assert!(text_on(&mut stream, "a-2").await && text_on(&mut stream, "a-3").await);
    sim.stop().await;
}

#[tokio::test]
async fn a_kept_connection_is_closed_once_it_was_idle_for_too_long() {
    let sim = start(Settings::default()).await;
    for wrong in [r#"{"idle_seconds":-1}"#, r#"{"idle_seconds":301}"#, r#"{"idle":1}"#] {
        assert_eq!(
            sim.call("PUT", "/connections", "", wrong).await.unwrap().status,
            400,
            "{wrong}"
        );
    }
    let order = r#"{"idle_seconds":0.4}"#;
    assert_eq!(sim.call("PUT", "/connections", "", order).await.unwrap().status, 204);
    // The time in which an answer is made is not idle.
    sim.fault(NUMBER, json!({ "fault": "slow", "seconds": 0.8, "times": 1 })).await;
    let mut stream = TcpStream::connect(sim.http).await.unwrap();
    assert!(text_on(&mut stream, "a-1").await && text_on(&mut stream, "a-2").await);
    let answered = Instant::now();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(answered.elapsed() >= Duration::from_millis(350), "{:?}", answered.elapsed());
    sim.stop().await;
}

#[tokio::test]
async fn a_hanging_call_is_never_answered_nor_delivered() {
    let sim = start(Settings::default()).await;
    sim.fault("*", json!({"fault": "hang", "times": 2})).await;
    let answers = async { tokio::join!(sim.text("a-1", NUMBER), sim.mail(ADDRESS)) };
    assert!(timeout(Duration::from_millis(300), answers).await.is_err());
    assert_eq!(sim.text("a-1", NUMBER).await.unwrap().status, 200);
    let entries = sim.get("/ledger").await.body["entries"].clone();
    let accepted = entries.as_array().unwrap().iter().filter(|entry| entry["accepted"] == true);
    assert_eq!((entries.as_array().unwrap().len(), accepted.count()), (3, 1));
    sim.stop().await;
}

#[tokio::test]
async fn a_fault_ends_when_it_is_healed() {
    let sim = start(Settings::default()).await;
    for path in ["/faults/+12025550123", "/faults"] {
        sim.fault(NUMBER, json!({"fault": "refuse"})).await;
        assert_eq!(sim.text("a", NUMBER).await.unwrap().status, 422);
        assert_eq!(sim.call("DELETE", path, "", "").await.unwrap().status, 204);
        assert_eq!(sim.text(path, NUMBER).await.unwrap().status, 200);
    }
    for order in [
        r#"{"fault":"melt"}"#,
        r#"{"fault":"slow"}"#,
        "{}",
        "",
        r#"{"fault":"status","status":99999}"#,
    ] {
        let answer = sim.call("PUT", "/faults/*", "", order).await.unwrap();
        assert_eq!(answer.status, 400, "{order}");
    }
    assert_eq!(sim.get("/faults").await.body, json!({"faults": {}}));
    sim.stop().await;
}

#[tokio::test]
async fn a_long_poll_ends_with_the_message_it_waits_for() {
    let sim = start(Settings::default()).await;
    assert_eq!(sim.get("/phones/+12025550123/next").await.status, 204);
    let (answer, ()) = tokio::join!(sim.get("/phones/+12025550123/next?after=1&wait=10"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sim.text("a-1", NUMBER).await.unwrap();
        sim.text("a-2", NUMBER).await.unwrap();
    });
    assert_eq!((answer.status, &answer.body["index"]), (200, &json!(1)));
    assert_eq!(sim.get("/mailboxes/nobody@example.org/next?wait=0").await.status, 204);
    assert_eq!(sim.get("/phones/me/next").await.status, 400);
    sim.stop().await;
}

#[tokio::test]
async fn a_mail_reaches_every_recipients_mailbox() {
    let sim = start(Settings::default()).await;
    let mut dialogue = sim.dial().await;
    assert!(dialogue.mail("Ana@Example.org").await.starts_with("250 "));
    // All in one packet: nothing that follows a command may be lost.
    let pipelined = "MAIL FROM:<>\r\nRCPT TO:<ana@example.org>\r\nRCPT TO:<bo@example.org>\r\nDATA";
    for code in ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354"] {
        let answer = match code {
            "250 2.1.0" => dialogue.say(pipelined).await,
            _ => dialogue.answer().await,
        };
        assert!(answer.starts_with(code), "{answer}");
    }
    dialogue.expect("\r\ntwo\r\n.\r\nQUIT", "250").await;
    assert!(dialogue.answer().await.starts_with("221 "));

    let mailbox = sim.get("/mailboxes/ana@example.org").await.body;
    assert_eq!(mailbox["messages"][0]["text"], ".123456\n");
    assert_eq!(mailbox["messages"][0]["subject"], "Code");
    assert_eq!(mailbox["messages"][1]["text"], "two\n");
    assert_eq!(sim.shown("/mailboxes/bo@example.org").await, 1);
    let entries = sim.get("/ledger").await.body["entries"].clone();
    assert_eq!(
        (&entries[0]["reference"], &entries[0]["channel"]),
        (&json!("a-1"), &json!("email"))
    );
    assert_eq!(entries.as_array().unwrap().len(), 3);
    sim.stop().await;
}

#[tokio::test]
async fn every_fault_of_the_mailbox_does_what_it_says() {
    let sim = start(Settings::default()).await;
    for (order, code, shown) in [
        (json!({"fault": "status", "status": 500}), "451 ", 0),
        (json!({"fault": "throttle", "retry_after": 2}), "451 ", 0),
        (json!({"fault": "refuse"}), "550 ", 0),
        (json!({"fault": "lose"}), "250 ", 0),
        (json!({"fault": "hang_up"}), "", 1),
        (json!({"fault": "slow", "seconds": 0.3}), "250 ", 2),
    ] {
        let name = order["fault"].as_str().unwrap().to_owned();
        sim.fault("ANA%40example.org", order).await;
        let began = Instant::now();
        let answer = sim.mail(ADDRESS).await;
        assert!(
            answer.starts_with(code) && answer.is_empty() == code.is_empty(),
            "{name}: {answer}"
        );
        assert!(name != "slow" || began.elapsed() >= Duration::from_millis(300));
        assert_eq!(sim.last_entry().await["fault"], name);
        assert_eq!(sim.shown("/mailboxes/ana@example.org").await, shown, "{name}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn smtp_credentials_are_checked_if_there_are_any() {
    let smtp_credentials = Some(("shop".into(), "secret".into()));
    let sim = start(Settings { smtp_credentials, ..Settings::default() }).await;
    let mut dialogue = sim.dial().await;
    dialogue.expect("EHLO test", "250").await;
    dialogue.expect("MAIL FROM:<shop@example.org>", "530 ").await;
    dialogue.expect("AUTH PLAIN AHNob3AAd3Jvbmc=", "535 ").await;
    dialogue.expect("AUTH PLAIN AHNob3AAc2VjcmV0", "235 ").await;
    dialogue.expect("MAIL FROM:<shop@example.org>", "250 ").await;
    let mut dialogue = sim.dial().await;
    dialogue.expect("EHLO test", "250").await;
    dialogue.expect("AUTH LOGIN", "334 ").await;
    dialogue.expect("*", "501 ").await;
    dialogue.expect("AUTH LOGIN", "334 ").await;
    dialogue.expect("c2hvcA==", "334 ").await;
    dialogue.expect("c2VjcmV0", "235 ").await;
    sim.stop().await;
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_garbage_ends_the_connection() {
    let sim = start(Settings::default()).await;
    let mut dialogue = sim.dial().await;
    for (line, code) in [
        ("MAIL FROM:<a@b>", "503 "),
        ("EHLO test", "250"),
        ("RCPT TO:<a@b>", "503 "),
        ("DATA", "503 "),
        ("MAIL FROM:<a@b> SIZE=1048577", "552 "),
        ("MAIL FROM:<a@b>", "250 "),
        ("MAIL FROM:<a@b>", "503 "),
        ("RCPT TO:<+12025550123>", "501 "),
        ("RSET", "250 "),
        ("RCPT TO:<a@b>", "503 "),
        ("NOOP", "250 "),
    ] {
        dialogue.expect(line, code).await;
    }
    let mut dialogue = sim.dial().await;
    dialogue.expect(&"x".repeat(100_000), "500 ").await;
    for _ in 1..20 {
        dialogue.expect("\u{1}\u{0}ÿ", "500 ").await;
    }
    assert!(dialogue.answer().await.starts_with("421 "));
    assert_eq!(dialogue.answer().await, "");
    sim.stop().await;
}

#[tokio::test]
async fn a_mail_over_the_size_limit_is_refused_and_the_connection_goes_on() {
    let sim = start(Settings::default()).await;
    let mut dialogue = sim.dial().await;
    dialogue.expect("EHLO test", "250").await;
    dialogue.expect("MAIL FROM:<a@b>", "250 ").await;
    dialogue.expect("RCPT TO:<ana@example.org>", "250 ").await;
    dialogue.expect("DATA", "354 ").await;
    dialogue.expect(&format!("{}\r\n.", "0123456789\r\n".repeat(100_000)), "552 ").await;
    assert_eq!(sim.last_entry().await["answer"], 552);
    assert!(dialogue.mail(ADDRESS).await.starts_with("250 "));
    sim.stop().await;
}

#[tokio::test]
async fn a_restarted_simulator_keeps_its_contents() {
    let path: PathBuf = std::env::temp_dir().join(format!("sim-restart-{}", std::process::id()));
    let settings = || Settings { ledger_file: Some(path.clone()), ..Settings::default() };
    let sim = start(settings()).await;
    let first = sim.text("a-1", NUMBER).await.unwrap();
    sim.mail(ADDRESS).await;
    sim.stop().await;

    let sim = start(settings()).await;
    assert_eq!(sim.text("a-1", NUMBER).await.unwrap().body, first.body);
    assert_eq!(sim.shown("/phones/+12025550123").await, 1);
    assert_eq!(sim.shown("/mailboxes/ana@example.org").await, 1);
    assert_eq!(sim.last_entry().await["seq"], 3);
    sim.stop().await;
    std::fs::remove_file(path).unwrap();
}

/// Texts that look like addresses, most of which are some.
fn addresses() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,66}@([a-z0-9-]{1,20}\\.){1,3}[a-z0-9]{1,8}",
        2 => "\"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{0,10}\"@example\\.com",
        1 => "\"[ -~]{0,10}\"@example\\.com",
        1 => "[ -~\r\n]{0,20}@[ -~\r\n]{0,20}",
        1 => "\\PC{0,12}@\\PC{0,12}",
    ]
}

#[tokio::test]
async fn whatever_address_the_directory_accepts_is_mailed_under_the_same_address() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sim = start(Settings::default()).await;
    let smtp = Smtp::new(SmtpSettings {
        url: format!("smtp://{}?tls=none", sim.smtp).into(),
        from: "Sign-in <no-reply@acme.example>".into(),
        ehlo_name: None,
        ca_file: None,
        timeout: Duration::from_secs(30),
    });
    let (smtp, mut runner) = (smtp.unwrap(), TestRunner::deterministic());
    let named =
        ["abc.@docomo.ne.jp", "a..b@example.net", "\"ada.\"@example.com", "o'neil@a.example"];
    let drawn: Vec<String> =
        (0..400).map(|_| addresses().new_tree(&mut runner).unwrap().current()).collect();
    let mut mailed = 0;
    for text in named.iter().copied().chain(drawn.iter().map(String::as_str)) {
        let Ok(address) = EmailAddress::parse(text) else { continue };
        let wire = address.wire();
        let mail = RenderedMessage {
            attempt: Uuid::nil(),
            to: wire.clone(),
            subject: "Code".into(),
            text: "123456".to_owned().into(),
        };
        let answer = smtp.send(&mail).await;
        assert!(matches!(answer, ProviderAnswer::Accepted { .. }), "{text}: {answer:?}");
        let path: String = address.as_str().bytes().map(|b| format!("%{b:02X}")).collect();
        let mailbox = sim.get(&format!("/mailboxes/{path}")).await.body;
        assert_eq!(mailbox["address"], *address.folded(), "{text}");
        let seen = mailbox["messages"].as_array().unwrap().last().unwrap();
        let to = EmailAddress::parse(seen["to"].as_str().unwrap()).unwrap();
        assert_eq!(to.folded(), address.folded(), "{text}: {seen}");
        mailed += 1;
    }
    assert!(mailed > 100, "{mailed}");
    sim.stop().await;
}

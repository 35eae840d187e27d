//! Mail: which addresses get it, what it says of who sends it, and a server that refuses us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::app::App;
use crate::support::{PATIENCE, World};

const PHONE: &str = "+12025550123";

async fn world() -> World {
    World::start(&[vec!["all"]], &[]).await
}

/// A mail server that refuses every EHLO while `refuses` is set, and each that is not `EHLO name`.
async fn mail_server(name: &'static str, refuses: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, name, Arc::clone(&refuses)));
        }
    });
    address
}

async fn converse(stream: TcpStream, name: &str, refuses: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut answer, mut in_content) = ("220 mx.example ESMTP\r\n", false);
    loop {
        stream.write_all(answer.as_bytes()).await?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if !in_content || line == ".\r\n" {
                let known = line == format!("EHLO {name}\r\n") && !refuses.load(Ordering::SeqCst);
                answer = match line.get(..4) {
                    Some("EHLO") if !known => "504 5.5.2 need a fully-qualified hostname\r\n",
                    Some("DATA") => "354 go on\r\n",
                    _ => "250 2.0.0 ok\r\n",
                };
                in_content = answer.starts_with("354");
                break;
            }
        }
    }
}

/// Waits until a metric has this value.
async fn until_shown(world: &World, metric: &str, value: &str) {
    let (started, wanted) = (Instant::now(), format!("{metric} {value}"));
    loop {
        let (_, page) = world.metrics().await.remove(0);
        if page.lines().any(|line| line == wanted) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "no {wanted} in {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_the_session_is_told_once_and_the_mails_keep() {
    const REFUSED: &str = r#"stepup_mail_refused{worker="notice_delivery"}"#;
    let refuses = Arc::new(AtomicBool::new(true));
    let address = mail_server("mail.acme.example", Arc::clone(&refuses)).await;
    let url = format!("smtp://{address}?tls=none");
    let settings = [("STEPUP_SMTP_URL", &*url), ("STEPUP_MAIL_EHLO_NAME", "mail.acme.example")];
    let world = World::start(&[vec!["all"]], &settings).await;
    let lines = |text: &str| {
        let log = std::fs::read_to_string(world.folder.join("all.log")).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    };
    until_shown(&world, REFUSED, "0").await;
    for n in 0..3 {
        let (member, email) = (format!("m{n}"), format!("m{n}@acme.example"));
        world.register("acme", &member, &format!("+1202555011{n}"), Some(&email)).await;
        let moved = json!({ "version": 2, "phone": format!("+1202555012{n}") });
        world.put_member("acme", &member, moved).await;
    }
    world.until("SELECT count(*) FROM notice WHERE tries >= 2", 3, PATIENCE).await;
    until_shown(&world, REFUSED, "1").await;
    assert_eq!(lines("the mail server refuses us"), 1);
    assert_eq!(lines("account_smtp_504"), 1);
    assert_eq!(world.count("SELECT count(*) FROM notice WHERE state = 'failed'").await, 0);
    refuses.store(false, Ordering::SeqCst);
    world.until("SELECT count(*) FROM notice WHERE state = 'accepted'", 3, PATIENCE).await;
    until_shown(&world, REFUSED, "0").await;
    assert_eq!(lines("the mail server takes mail again"), 1);
    assert_eq!(lines("the mail server refuses us"), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_mailed_or_refused_with_its_field() {
    let world = world().await;
    let app = App::connect(&world, "demo").await;
    world.register("acme", "ada", PHONE, None).await;
    for (address, why) in [
        ("ada@-lab.example", "domain"),
        ("ada@localhost", "domain"),
        ("ü@example.com", "ASCII"),
        ("ada@exämple.com", "ASCII"),
        ("\"a b\"@example.com", "before the @"),
        ("ada@example.com\r\nBcc: eve@example.com", "before the @"),
    ] {
        let body = json!({ "version": 2, "email": address });
        let (status, answer) = world.call(Method::PUT, "/v1/accounts/acme/members/ada", body).await;
        assert_eq!((status, &answer["field"]), (422, &json!("email")), "{address}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(why), "{address}: {answer}");
        let body = json!({ "account": "acme", "member": "ada", "version": 2,
            "email": app.seal(address) });
        let answer = app.ask("directory.member", &body).await;
        assert_eq!((&answer["outcome"], &answer["field"]), (&json!("invalid"), &json!("email")));
    }
    for (n, address) in ["abc.@docomo.ne.jp", "a..b@example.net"].iter().enumerate() {
        let (member, phone) = (format!("m{n}"), format!("+1202555013{n}"));
        world.fault(&phone, json!({ "fault": "lose" })).await;
        world.register("acme", &member, &phone, Some(address)).await;
        assert_eq!(world.login("acme", &member, "l1").await["outcome"], "open");
    }
    world.advance(Duration::from_secs(60)).await;
    for address in ["abc.@docomo.ne.jp", "a..b@example.net"] {
        let mailbox = world.sim_get(&format!("/mailboxes/{address}")).await;
        let (local, domain) = address.split_once('@').unwrap();
        assert_eq!(mailbox["messages"].as_array().unwrap().len(), 1, "{mailbox}");
        let to = mailbox["messages"][0]["to"].as_str().unwrap();
        assert_eq!(to.replace('"', ""), format!("{local}@{domain}"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_calls_itself_is_plain_text_and_is_shown_as_it_is() {
    let world = world().await;
    let app = App::connect(&world, "demo").await;
    world.register("acme", "ada", PHONE, Some("ada@acme.example")).await;
    let account = |name: &str| json!({ "version": 2, "name": name, "country": "US" });
    let put = async |body: Value| world.call(Method::PUT, "/v1/accounts/acme", body).await;
    for name in [
        "\u{202E}emcA",
        "Acme\u{2066}",
        "Acme\u{200B}",
        "Acme\nBcc: eve@evil.example",
        "Acme\u{2028}X",
        "http://evil.example",
        "www.evil.example",
        "Acme evil.example/login",
        "help@evil.example",
    ] {
        let (status, answer) = put(account(name)).await;
        assert_eq!((status, &answer["field"]), (422, &json!("name")), "{name:?}: {answer}");
        let mut body = account(name);
        body["account"] = "acme".into();
        let answer = app.ask("directory.account", &body).await;
        assert_eq!((&answer["outcome"], &answer["field"]), (&json!("invalid"), &json!("name")));
    }
    let change = |summary: &str| {
        json!({ "change": "c1", "setting": "bank_account", "before": "1", "after": "2",
            "summary": summary })
    };
    let path = "/v1/accounts/acme/members/ada/settings";
    let (status, answer) = world.call(Method::POST, path, change("pay \u{202E}0001")).await;
    assert_eq!((status, &answer["field"]), (422, &json!("summary")), "{answer}");
    let mut body = change("");
    for secret in ["before", "after"] {
        body[secret] = app.seal("1");
    }
    (body["account"], body["member"]) = ("acme".into(), "ada".into());
    body["summary"] = app.seal("pay \u{2028} me");
    let answer = app.ask("settings.change.request", &body).await;
    assert_eq!((&answer["outcome"], &answer["field"]), (&json!("invalid"), &json!("summary")));

    let literal = "=?utf-8?q?Your_bank?= Söhne";
    assert_eq!(put(account(literal)).await.0, 200);
    world.fault(PHONE, json!({ "fault": "lose" })).await;
    assert_eq!(world.login("acme", "ada", "l1").await["outcome"], "open");
    world.advance(Duration::from_secs(60)).await;
    let mailbox = world.sim_get("/mailboxes/ada@acme.example").await;
    let mail = &mailbox["messages"][0];
    assert_eq!(mail["subject"], format!("Your {literal} sign-in code"), "{mailbox}");
    assert!(mail["text"].as_str().unwrap().contains(literal), "{mailbox}");
    world.end().await;
}

//! The door as callers see it: over a loopback connection, with a fake broker and a fake store.

use std::sync::Mutex;

use reqwest::{Client, Method};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::domain::id::request_id;
use crate::domain::keys::Keyring;
use crate::fault::Dependency;
use crate::message::{Outcome, OutcomeKind};

const KNOWN: Uuid = Uuid::from_u128(1);
const PANICS: Uuid = Uuid::from_u128(2);
const AWAY: Uuid = Uuid::from_u128(3);

/// A broker that always answers the same, and remembers what it was asked.
struct Fixed(Result<Answer, Fault>, Arc<Mutex<Vec<Outgoing>>>);

impl Asks for Fixed {
    async fn ask(&self, out: Outgoing, _: &AppName, _: Uuid, _: Duration) -> Result<Answer, Fault> {
        self.1.lock().unwrap().push(out);
        self.0.clone()
    }
}

struct OneChallenge;

impl Views for OneChallenge {
    async fn challenge(&self, app: &AppName, id: Uuid) -> Result<Option<Value>, Fault> {
        match id {
            PANICS => panic!("a bug"),
            AWAY => Err(Fault::Down(Dependency::Database, "connection refused".into())),
            id => Ok((id == KNOWN && app.as_str() == "crm").then(|| json!({ "challenge": id }))),
        }
    }

    async fn review(
        &self,
        app: &AppName,
        account: &AccountId,
        id: Uuid,
        after: &str,
    ) -> Result<Option<Value>, Fault> {
        let own = account.as_str() == "acme" && id == KNOWN && app.as_str() == "crm";
        Ok(own.then(|| json!({ "review": id, "after": after })))
    }

    async fn activity(
        &self,
        app: &AppName,
        account: &AccountId,
        filter: &Filter,
    ) -> Result<Option<Page>, Fault> {
        let own = account.as_str() == "acme" && app.as_str() == "crm";
        Ok(own.then(|| Page { rows: Vec::new(), next: filter.before.map(|before| before - 1) }))
    }
}

struct Door {
    base: String,
    asked: Arc<Mutex<Vec<Outgoing>>>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

async fn open(answer: Result<Answer, Fault>) -> Door {
    open_with(answer, Limits::default()).await
}

async fn open_with(answer: Result<Answer, Fault>, limits: Limits) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let key = |app| ApiKey {
        app: AppName::parse(app).unwrap(),
        sha256: Sha256::digest(format!("{app}-key")).into(),
    };
    let state = State::new(
        Fixed(answer, Arc::clone(&asked)),
        OneChallenge,
        vec![key("crm"), key("shop")],
        Keyring::for_tests().public(),
        Duration::from_secs(1),
    );
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, state, limits, stop.clone()));
    Door { base, asked, stop, serving }
}

async fn replying(kind: OutcomeKind) -> Door {
    open(Ok(Answer::Replied(Outcome::new(kind).body().into_bytes()))).await
}

/// No proxy of the environment may come between.
fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

impl Door {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        client().request(method, format!("{}{path}", self.base)).bearer_auth("crm-key")
    }

    fn login(&self) -> reqwest::RequestBuilder {
        let body = json!({ "account": "acme", "member": "ada", "login": "l1" });
        self.request(Method::POST, "/v1/logins").json(&body)
    }

    fn published(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Checks the form of a problem and gives its body.
async fn problem(response: reqwest::Response, status: u16, kind: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let row = format!("| `{kind}` | {status}");
    let document = include_str!("../../docs/http.md");
    assert!(document.lines().any(|line| line.starts_with(&row)), "not documented: {row}");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], format!("urn:stepup:{kind}"));
    assert_eq!(body["outcome"], kind);
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    body
}

#[tokio::test]
async fn an_outcome_is_the_body_of_a_200() {
    let door = replying(OutcomeKind::Open).await;
    let response = door.login().send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "outcome": "open" }));
    assert_eq!(door.asked.lock().unwrap()[0].key, "challenge.issue");
}

#[tokio::test]
async fn every_endpoint_publishes_its_key() {
    let door = replying(OutcomeKind::Stored).await;
    let challenge = format!("/v1/challenges/{KNOWN}");
    let account = json!({ "account": "acme" });
    let calls = [
        (Method::POST, format!("{challenge}/cancel"), account.clone(), "challenge.cancel"),
        (Method::POST, format!("{challenge}/resend"), account, "challenge.resend"),
        (
            Method::POST,
            format!("{challenge}/verify"),
            json!({ "account": "acme", "guess": "123456" }),
            "challenge.verify",
        ),
        (
            Method::PUT,
            "/v1/accounts/acme".into(),
            json!({ "version": 1, "name": "Acme", "country": "US" }),
            "directory.account",
        ),
        (
            Method::PUT,
            "/v1/accounts/acme/members/ada".into(),
            json!({ "version": 1, "phone": "+12025550123" }),
            "directory.member",
        ),
    ];
    for (method, path, body, key) in calls {
        let response = door.request(method, &path).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let published = door.asked.lock().unwrap().pop().unwrap();
        assert_eq!(published.key, key);
        assert!(!published.body.contains("123456") && !published.body.contains("20255501"));
        assert!(published.body.contains(r#""account":"acme""#), "{}", published.body);
    }
}

#[tokio::test]
async fn stored_without_an_outcome_is_202_and_says_where_the_outcome_will_be() {
    let door = open(Ok(Answer::Accepted)).await;
    let login = || door.login().header("Idempotency-Key", "k1").send();
    let (first, again) = (login().await.unwrap(), login().await.unwrap());
    assert_eq!(first.status(), 202);
    let crm = AppName::parse("crm").unwrap();
    let id = request_id(&crm, "k1");
    let request = request_id(&crm, &id.to_string());
    let location = format!("/v1/challenges/{request}");
    assert_eq!(first.headers()["location"], location);
    assert_eq!(again.headers()["location"], location);
    let body: Value = first.json().await.unwrap();
    assert_eq!(body, json!({ "outcome": "accepted", "request": request }));
    let asked = door.asked.lock().unwrap().clone();
    assert_eq!((asked[0].id, &asked[0]), (id, &asked[1]));
    drop(asked);
    let (one, two) = (door.login().send().await.unwrap(), door.login().send().await.unwrap());
    assert_ne!(one.headers()["location"], two.headers()["location"], "without a key each is new");
}

#[tokio::test]
async fn r106_without_a_confirm_there_is_no_2xx() {
    let door = open(Err(Fault::Down(Dependency::Broker, "no confirm".into()))).await;
    let response = door.login().send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let body = problem(response, 503, "unavailable").await;
    assert!(body["detail"].as_str().unwrap().contains("repeat with the same Idempotency-Key"));
    assert!(!body.to_string().contains("no confirm"), "what is down is not the caller's business");
}

#[tokio::test]
async fn nobody_gets_in_without_a_key() {
    let door = replying(OutcomeKind::Open).await;
    let known = format!("/v1/challenges/{KNOWN}");
    for (method, path) in [(Method::POST, "/v1/logins"), (Method::GET, known.as_str())] {
        let request = client().request(method, format!("{}{path}", door.base));
        let response = request.bearer_auth("wrong").send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        problem(response, 401, "unauthorized").await;
    }
    assert_eq!(door.published(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_not_published() {
    let door = replying(OutcomeKind::Open).await;
    let login = || door.request(Method::POST, "/v1/logins");
    let json = |body: String| login().header("content-type", "application/json").body(body).send();
    problem(json("{".into()).await.unwrap(), 400, "malformed").await;
    problem(json("[]".into()).await.unwrap(), 422, "invalid").await;
    problem(json(" ".repeat(BODY_MAX + 1)).await.unwrap(), 413, "too_large").await;
    problem(login().body("{}").send().await.unwrap(), 415, "unsupported_media_type").await;
    let body = problem(json(r#"{"account":"acme"}"#.into()).await.unwrap(), 422, "invalid").await;
    assert_eq!(body["field"], "member");
    let spaced = door.login().header("Idempotency-Key", "a b").send().await.unwrap();
    problem(spaced, 400, "idempotency_key").await;
    assert_eq!(door.published(), 0);
}

#[tokio::test]
async fn a_refusal_keeps_its_outcome_and_says_when_to_come_again() {
    let outcome = Outcome { retry_after: Some(30), ..Outcome::new(OutcomeKind::Cooldown) };
    let door = open(Ok(Answer::Replied(outcome.body().into_bytes()))).await;
    let response = door.login().send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "30");
    let body = problem(response, 429, "cooldown").await;
    assert_eq!((&body["outcome"], &body["retry_after"]), (&json!("cooldown"), &json!(30)));
}

#[tokio::test]
async fn unknown_foreign_and_misspelt_challenges_look_the_same() {
    let door = replying(OutcomeKind::Open).await;
    let known = format!("/v1/challenges/{KNOWN}");
    let get = |path: &str| door.request(Method::GET, path);
    let found: Value = get(&known).send().await.unwrap().json().await.unwrap();
    assert_eq!(found, json!({ "challenge": KNOWN }));
    let url = format!("{}{known}", door.base);
    let foreign = client().get(url).bearer_auth("shop-key").send().await.unwrap();
    let foreign = problem(foreign, 404, "not_found").await;
    for path in [&format!("/v1/challenges/{}", Uuid::from_u128(9)), "/v1/challenges/x%FF", "/v2"] {
        let other = problem(get(path).send().await.unwrap(), 404, "not_found").await;
        assert_eq!(other, foreign, "{path}");
    }
    let away = get(&format!("/v1/challenges/{AWAY}")).send().await.unwrap();
    problem(away, 503, "unavailable").await;
}

#[tokio::test]
async fn a_panic_costs_its_own_request_only() {
    let door = replying(OutcomeKind::Open).await;
    let panics = door.request(Method::GET, &format!("/v1/challenges/{PANICS}"));
    problem(panics.send().await.unwrap(), 500, "internal").await;
    assert_eq!(door.login().send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_wrong_method_says_which_one_is_right() {
    let door = replying(OutcomeKind::Open).await;
    let response = door.request(Method::DELETE, "/v1/logins").send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    problem(response, 405, "method_not_allowed").await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let slow = get(|| async { tokio::time::sleep(Duration::from_secs(60)).await });
    let short = Duration::from_millis(20);
    let guarded = middleware::from_fn(move |request, next| guard(short, request, next));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", slow).layer(guarded);
    let serving = tokio::spawn(axum::serve(listener, router).into_future());
    problem(client().get(url).send().await.unwrap(), 503, "unavailable").await;
    serving.abort();
}

#[tokio::test]
async fn it_stops_when_told() {
    let door = replying(OutcomeKind::Open).await;
    assert_eq!(door.login().send().await.unwrap().status(), 200);
    door.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), door.serving).await;
    ended.unwrap().unwrap();
}

/// Connections that have begun a request and do not end its head.
async fn slow(door: &Door, count: usize) -> Vec<TcpStream> {
    let address = door.base.strip_prefix("http://").unwrap();
    let mut slow = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /v1/logins HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    slow
}

#[tokio::test]
async fn callers_who_never_end_their_heads_keep_nobody_out() {
    let limits = Limits { connections_max: 4, ..Limits::default() };
    let door = open_with(Ok(Answer::Accepted), limits).await;
    let mut slow = slow(&door, 20).await;
    for _ in 0..3 {
        // Each of these has a connection of its own.
        let login = tokio::time::timeout(Duration::from_secs(5), door.login().send());
        assert_eq!(login.await.unwrap().unwrap().status(), 202);
    }
    // The first ones were closed, for those that came after.
    assert_eq!(slow[0].read(&mut [0; 9]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_head_without_end_is_refused_and_not_kept() {
    let door = replying(OutcomeKind::Open).await;
    let large = "x".repeat(40 * 1024);
    let refused = door.login().header("x-large", large).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 431);
    let fits = door.login().header("x-large", "x".repeat(20 * 1024)).send().await.unwrap();
    assert_eq!(fits.status().as_u16(), 200);
}

#[tokio::test]
async fn a_connection_at_work_is_not_closed_for_another() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let door = open_with(Ok(Answer::Accepted), limits).await;
    let mut at_work = TcpStream::connect(door.base.strip_prefix("http://").unwrap()).await.unwrap();
    let body = r#"{"account":"acme","member":"ada","login":"l1"}"#;
    let head = format!(
        "POST /v1/logins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer crm-key\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    at_work.write_all(head.as_bytes()).await.unwrap();
    let finish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        at_work.write_all(body.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        at_work.read_exact(&mut status).await.unwrap();
        status
    };
    let other = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        door.login().send().await.unwrap().status().as_u16()
    };
    let (status, other) = tokio::join!(finish, other);
    assert_eq!((status.as_slice(), other), (b"HTTP/1.1 202".as_slice(), 202));
}

#[tokio::test]
async fn a_head_that_does_not_come_and_a_stop_end_a_connection() {
    let limits = Limits { idle_max: Duration::from_millis(100), ..Limits::default() };
    let door = open_with(Ok(Answer::Accepted), limits).await;
    let mut ended = slow(&door, 1).await;
    assert_eq!(ended[0].read(&mut [0; 9]).await.unwrap_or(0), 0);

    let door = open(Ok(Answer::Accepted)).await;
    let _unended = slow(&door, 3).await;
    door.stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(2), door.serving).await;
    stopped.unwrap().unwrap();
}

#[tokio::test]
async fn r65_the_review_of_a_foreign_account_is_that_of_none() {
    let door = replying(OutcomeKind::Stored).await;
    let of = |account: &str, query: &str| {
        door.request(Method::GET, &format!("/v1/accounts/{account}/reviews/{KNOWN}{query}"))
    };
    let own = of("acme", "?after=ada").send().await.unwrap();
    assert_eq!(own.json::<Value>().await.unwrap()["after"], "ada");
    let none = problem(of("umbrella", "").send().await.unwrap(), 404, "not_found").await;
    let foreign = client()
        .get(format!("{}/v1/accounts/acme/reviews/{KNOWN}", door.base))
        .bearer_auth("shop-key");
    assert_eq!(problem(foreign.send().await.unwrap(), 404, "not_found").await, none);
    problem(of("acme", "?page=2").send().await.unwrap(), 422, "invalid").await;
}

#[tokio::test]
async fn the_report_of_a_foreign_account_is_that_of_none() {
    let door = replying(OutcomeKind::Stored).await;
    let report =
        |account: &str| door.request(Method::GET, &format!("/v1/accounts/{account}/activity"));
    let own = report("acme").send().await.unwrap();
    assert_eq!(own.status(), 200);
    assert_eq!(own.json::<Value>().await.unwrap(), json!({ "activity": [], "next_cursor": null }));
    let path = format!("{}/v1/accounts/acme/activity", door.base);
    let foreign = client().get(&path).bearer_auth("shop-key").send().await.unwrap();
    let none = problem(report("umbrella").send().await.unwrap(), 404, "not_found").await;
    assert_eq!(problem(foreign, 404, "not_found").await, none);
    let strange = report("a.b").send().await.unwrap();
    assert_eq!(problem(strange, 404, "not_found").await, none);
    problem(client().get(&path).send().await.unwrap(), 401, "unauthorized").await;
}

#[tokio::test]
async fn the_report_is_csv_for_who_wants_it_and_a_wrong_filter_is_named() {
    let door = replying(OutcomeKind::Stored).await;
    let report =
        |query: &str| door.request(Method::GET, &format!("/v1/accounts/acme/activity{query}"));
    for csv in [report("?format=csv"), report("").header("accept", "text/csv")] {
        let csv = csv.send().await.unwrap();
        assert!(csv.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
        assert!(csv.text().await.unwrap().starts_with("seq,at,account,member,"));
    }
    let page = report("?cursor=AAAAAAAAAAk").send().await.unwrap();
    assert_eq!(
        page.headers()["link"],
        "</v1/accounts/acme/activity?cursor=AAAAAAAAAAg>; rel=\"next\""
    );
    assert_eq!(page.json::<Value>().await.unwrap()["next_cursor"], "AAAAAAAAAAg");
    let wrong = problem(report("?limit=s3cret").send().await.unwrap(), 422, "invalid").await;
    assert_eq!(wrong["field"], "limit");
    assert!(!wrong.to_string().contains("s3cret"));
}

#[test]
fn labels_on_metrics_hold_no_ids() {
    for (path, label) in [
        ("/v1/logins", "/v1/logins"),
        ("/v1/challenges/7", CHALLENGE),
        ("/v1/challenges/7/verify", "/v1/challenges/{challenge}/verify"),
        ("/v1/accounts/acme/members/ada", "/v1/accounts/{account}/members/{member}"),
        ("/v1/accounts/acme/activity", ACTIVITY),
        ("/v1/accounts/acme/members", "other"),
        ("/v1/challenges/7/verify/8", "other"),
        ("/", "other"),
    ] {
        assert_eq!(route(path), label, "{path}");
    }
}

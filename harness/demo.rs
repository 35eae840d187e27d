//! `stepup-harness demo`: two logins against a running system, over HTTP as an app would, with a look at
//! the simulated phone and mailbox.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use stepup_workers::cli::output::print as say;

/// How long the demo waits for a message to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
const PHONE: &str = "+12025550123";
const EMAIL: &str = "ada@fieldservice.example";

struct Demo {
    http: Client,
    url: String,
    sim: String,
    metrics: String,
    api_key: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo is a client; the product's settings are none of its own"
)]
fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is missing: `make demo` sets it"))
}

/// Runs the demo.
///
/// # Errors
/// A sentence on what was not as it should be.
pub async fn run() -> Result<(), String> {
    let key_file = setting("STEPUP_DEMO_API_KEY_FILE")?;
    let api_key = std::fs::read_to_string(&key_file).map_err(|e| format!("{key_file}: {e}"))?;
    let http = Client::builder().no_proxy().timeout(Duration::from_secs(70)).build();
    let demo = Demo {
        http: http.map_err(|error| error.to_string())?,
        url: setting("STEPUP_DEMO_URL")?,
        sim: setting("STEPUP_DEMO_SIM_URL")?,
        metrics: setting("STEPUP_DEMO_METRICS_URL")?,
        api_key: api_key.trim().to_owned(),
    };
    // A version that grows with each run, so that the directory takes the member again.
    #[expect(clippy::disallowed_methods, reason = "names of this run's logins; nothing is decided")]
    let run = time::OffsetDateTime::now_utc().unix_timestamp();
    demo.register(run).await?;
    demo.first_login(run).await?;
    demo.second_login(run).await?;
    demo.figures().await?;
    say(&format!(
        "\nGo on by hand, for example:\n  curl -s -X POST {url}/v1/logins \\\n    \
         -H \"Authorization: Bearer $(cat {key_file})\" -H 'Content-Type: application/json' \\\n    \
         -d '{{\"account\":\"acme\",\"member\":\"ada\",\"login\":\"by-hand-1\"}}'\n  \
         curl -s {sim}/phones/{PHONE}\n  # a key of its own for each guess\n  \
         curl -s -X POST {url}/v1/challenges/CHALLENGE/verify \\\n    \
         -H \"Authorization: Bearer $(cat {key_file})\" -H 'Content-Type: application/json' \\\n    \
         -H 'Idempotency-Key: guess-1' -d '{{\"account\":\"acme\",\"guess\":\"CODE\"}}'\n  \
         curl -s {metrics}/metrics | grep stepup_messages_total",
        url = demo.url,
        sim = demo.sim,
        metrics = demo.metrics,
    ));
    Ok(())
}

impl Demo {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let request = self.http.request(method.clone(), format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.api_key);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        let shown = body.get("outcome").or_else(|| body.get("state")).and_then(Value::as_str);
        say(&format!("  {method} {path} -> {} {}", status.as_u16(), shown.unwrap_or("")));
        Ok(body)
    }

    async fn register(&self, run: i64) -> Result<(), String> {
        say("An account and a member, as the upstream app would register them:");
        let account = json!({ "version": run, "name": "Acme Plumbing", "country": "US",
            "origin": "app.fieldservice.example" });
        expect(&self.call(Method::PUT, "/v1/accounts/acme", Some(account)).await?, "stored")?;
        let member = json!({ "version": run, "phone": PHONE, "email": EMAIL,
            "email_verified": true, "two_factor": true, "email_backup": true });
        let path = "/v1/accounts/acme/members/ada";
        expect(&self.call(Method::PUT, path, Some(member)).await?, "stored")
    }

    async fn login(&self, login: &str) -> Result<String, String> {
        let body = json!({ "account": "acme", "member": "ada", "login": login });
        let answer = self.call(Method::POST, "/v1/logins", Some(body)).await?;
        expect(&answer, "open")?;
        let challenge = answer.get("challenge").and_then(Value::as_str);
        challenge.map(str::to_owned).ok_or_else(|| "no challenge in the answer".to_owned())
    }

    async fn verify(&self, challenge: &str, guess: &str) -> Result<Value, String> {
        let path = format!("/v1/challenges/{challenge}/verify");
        let body = json!({ "account": "acme", "guess": guess });
        self.call(Method::POST, &path, Some(body)).await
    }

    /// How many messages a phone or mailbox holds.
    async fn count(&self, place: &str) -> Result<usize, String> {
        let body = self.sim_get(place).await?;
        Ok(body.get("messages").and_then(Value::as_array).map_or(0, Vec::len))
    }

    async fn sim_get(&self, place: &str) -> Result<Value, String> {
        let answer = self.http.get(format!("{}{place}", self.sim)).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }

    /// The text of message `n`, as soon as it is there.
    async fn arrival(&self, place: &str, n: usize) -> Result<String, String> {
        let started = Instant::now();
        let wait = ARRIVAL_MAX.as_secs();
        let next = format!("{}{place}/next?after={n}&wait={wait}", self.sim);
        let answer = self.http.get(next).send().await.map_err(|error| error.to_string())?;
        if answer.status().as_u16() != 200 {
            return Err(format!("nothing arrived at {place} within {wait} s"));
        }
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        let text = body.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        let shown = text.trim().replace('\n', "\n    | ");
        say(&format!("  arrived after {:.1} s:\n    | {shown}", started.elapsed().as_secs_f64()));
        Ok(text)
    }

    async fn first_login(&self, run: i64) -> Result<(), String> {
        say("\nA login: the code comes by SMS.");
        let phone = format!("/phones/{PHONE}");
        let before = self.count(&phone).await?;
        let challenge = self.login(&format!("demo-{run}-a")).await?;
        let text = self.arrival(&phone, before).await?;
        let code = first_word(&text);
        say("  a wrong code, then the right one:");
        let wrong = if code == "000000" { "000001" } else { "000000" };
        expect(&self.verify(&challenge, wrong).await?, "wrong_code")?;
        expect(&self.verify(&challenge, &code).await?, "verified")?;
        self.timeline(&challenge, "challenge.verified").await
    }

    async fn second_login(&self, run: i64) -> Result<(), String> {
        say("\nA second login: the carrier loses the SMS, and the email comes.");
        let lose = json!({ "fault": "lose", "times": 1 });
        let order = self.http.put(format!("{}/faults/{PHONE}", self.sim)).json(&lose).send().await;
        order.map_err(|error| error.to_string())?;
        let mailbox = format!("/mailboxes/{EMAIL}");
        let before = self.count(&mailbox).await?;
        let challenge = self.login(&format!("demo-{run}-b")).await?;
        let code = first_word(&self.arrival(&mailbox, before).await?);
        expect(&self.verify(&challenge, &code).await?, "verified")?;
        self.timeline(&challenge, "challenge.verified").await
    }

    /// Shows the timeline, once the trail has its last event.
    async fn timeline(&self, challenge: &str, last: &str) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let answer = self
                .http
                .get(format!("{}/v1/challenges/{challenge}", self.url))
                .bearer_auth(&self.api_key)
                .send()
                .await
                .map_err(|error| error.to_string())?;
            let view: Value = answer.json().await.map_err(|error| error.to_string())?;
            let events =
                view.get("timeline").and_then(Value::as_array).cloned().unwrap_or_default();
            let kind = |event: &Value| {
                event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            if events.iter().any(|event| kind(event) == last) {
                say("  what happened:");
                for event in &events {
                    let at = event.get("at").and_then(Value::as_str).unwrap_or_default();
                    let channel = event.get("channel").and_then(Value::as_str).unwrap_or_default();
                    say(&format!("    {at}  {} {channel}", kind(event)));
                }
                return Ok(());
            }
            if started.elapsed() > ARRIVAL_MAX {
                return Err(format!("`{last}` did not reach the trail"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn figures(&self) -> Result<(), String> {
        say("\nSome of the metrics:");
        let answer = self.http.get(format!("{}/metrics", self.metrics)).send().await;
        let text = answer.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
        let lines = text.lines().filter(|line| {
            line.starts_with("stepup_messages_total")
                || line.starts_with("stepup_provider_seconds_count")
        });
        for line in lines.take(14) {
            say(&format!("  {line}"));
        }
        Ok(())
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

fn expect(answer: &Value, outcome: &str) -> Result<(), String> {
    match answer.get("outcome").and_then(Value::as_str) {
        Some(found) if found == outcome => Ok(()),
        _ => Err(format!("expected `{outcome}`, got {answer}")),
    }
}

//! What an app does: asks with one id until there is an outcome, over HTTP or AMQP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use stepup::broker::{Answer, Requester};
use stepup::domain::keys::PublicKey;
use stepup::message::{Exchange, Outgoing};
use time::OffsetDateTime;
use uuid::Uuid;

use super::history::{Call, History, What};
use super::world::{API_KEY, World};

/// For how long an app asks again. Longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two tries, doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// By which door a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Http,
    Amqp,
}

/// A request before it is sent.
pub struct Ask {
    pub what: What,
    pub member: String,
    pub challenge: Option<Uuid>,
    /// Method and path for HTTP.
    pub method: Method,
    pub path: String,
    /// Routing key for AMQP.
    pub key: &'static str,
    pub body: Value,
}

#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    url: String,
    sim: String,
    app: Requester,
    public_key: PublicKey,
    history: Arc<History>,
}

impl Client {
    pub fn new(world: &World) -> Self {
        let timeout = Duration::from_secs(20);
        Self {
            http: reqwest::Client::builder().no_proxy().timeout(timeout).build().unwrap(),
            url: world.url.clone(),
            sim: world.sim.clone(),
            app: world.app.clone(),
            public_key: world.public_key.clone(),
            history: Arc::clone(&world.history),
        }
    }

    /// Asks until there is an outcome, and writes all of it down. `again` asks once more after
    /// that, which must change nothing.
    pub async fn ask(&self, ask: Ask, door: Door, again: bool) -> Option<Value> {
        let id = Uuid::from_u128(rand::random());
        let mut call = Call {
            id: id.to_string(),
            what: ask.what,
            member: ask.member.clone(),
            challenge: ask.challenge,
            sent_at: OffsetDateTime::now_utc(),
            accepted: false,
            outcomes: Vec::new(),
        };
        let started = Instant::now();
        let mut pause = PAUSE;
        let wanted = if again { 2 } else { 1 };
        while call.outcomes.len() < wanted && started.elapsed() < PATIENCE {
            let answer = match door {
                Door::Http => self.over_http(&ask, id).await,
                Door::Amqp => self.over_amqp(&ask, id).await,
            };
            match answer {
                Some(Some(outcome)) => {
                    call.accepted = true;
                    call.outcomes.push(outcome);
                }
                stored => {
                    call.accepted |= stored.is_some();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        let outcome = call.outcomes.first().cloned();
        let named = outcome.as_ref().and_then(|outcome| outcome["challenge"].as_str());
        call.challenge = call.challenge.or(named.and_then(|id| Uuid::parse_str(id).ok()));
        self.history.add(call);
        outcome
    }

    /// An outcome; `Some(None)` when it is stored and not judged yet; `None` when nobody knows.
    async fn over_http(&self, ask: &Ask, id: Uuid) -> Option<Option<Value>> {
        let request = self.http.request(ask.method.clone(), format!("{}{}", self.url, ask.path));
        let request = request.bearer_auth(API_KEY).header("idempotency-key", id.to_string());
        let answer = request.json(&ask.body).send().await.ok()?;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.ok()?;
        match status {
            202 => Some(None),
            500.. => None,
            _ => Some(Some(body)),
        }
    }

    /// What can be read under a path, if it is answered.
    pub async fn view(&self, path: &str) -> Option<Value> {
        let asked = self.http.get(format!("{}{path}", self.url)).bearer_auth(API_KEY);
        asked.send().await.ok()?.json().await.ok()
    }

    async fn over_amqp(&self, ask: &Ask, id: Uuid) -> Option<Option<Value>> {
        let mut body = ask.body.clone();
        if let Some(challenge) = ask.challenge {
            body["challenge"] = challenge.to_string().into();
        }
        for secret in ["guess", "phone", "email", "before", "after", "summary"] {
            if let Some(clear) = body[secret].as_str() {
                body[secret] = self.public_key.seal(clear.as_bytes()).into();
            }
        }
        // An index into an object makes what is not there.
        body.as_object_mut()?.retain(|_, value| !value.is_null());
        let message = Outgoing {
            exchange: Exchange::Requests,
            key: ask.key.to_owned(),
            id,
            body: body.to_string(),
            delay: None,
            traceparent: None,
        };
        let correlation = Uuid::from_u128(rand::random());
        let wait = Duration::from_secs(3);
        match self.app.request(message, "demo", correlation, wait).await.ok()? {
            Answer::Replied(body) => Some(serde_json::from_slice(&body).ok()),
            Answer::Accepted => Some(None),
        }
    }

    /// Tells the sim to misbehave towards a number or address.
    pub async fn order(&self, recipient: &str, fault: Value) {
        let url = format!("{}/faults/{recipient}", self.sim);
        let _ = self.http.put(url).json(&fault).send().await;
    }

    /// The code in message `n` of a phone (`/phones/…`) or mailbox, if it comes in time.
    pub async fn code(&self, place: &str, n: usize, patience: Duration) -> Option<String> {
        let started = Instant::now();
        while started.elapsed() < patience {
            let url = format!("{}{place}/next?after={n}&wait=2", self.sim);
            if let Ok(answer) = self.http.get(url).send().await
                && answer.status().as_u16() == 200
            {
                let body: Value = answer.json().await.ok()?;
                let word = body["text"].as_str()?.split_whitespace().next()?;
                return Some(word.to_owned());
            }
        }
        None
    }
}

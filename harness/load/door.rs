//! The two ways to ask: over AMQP as an app's service would, and over HTTP.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Map, Value};
use stepup::broker::{Answer, Broker, Requester};
use stepup::domain::id::{AppName, request_id};
use stepup::domain::keys::PublicKey;
use stepup::message::{Exchange, Outgoing};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long an outcome may take. Longer than anything that still counts as an answer.
const OUTCOME_MAX: Duration = Duration::from_secs(30);
/// Between two looks at a challenge whose outcome came too late for its request.
const LOOK: Duration = Duration::from_millis(200);

/// How far a request is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Until the broker has it; over HTTP there is no such thing, and the outcome is awaited.
    Confirmed,
    /// Until its outcome says that it is stored.
    Stored,
}

/// How requests get in.
pub(super) enum Door {
    /// Published to the broker, the outcome by direct reply-to.
    Amqp(Amqp),
    /// Through the ingress.
    Http(Http),
}

/// The broker, and for which app we speak.
pub(super) struct Amqp {
    requester: Requester,
    app: AppName,
    seal_to: PublicKey,
}

/// The ingress, and the app's key.
pub(super) struct Http {
    client: Client,
    url: String,
    api_key: String,
}

/// A random id. It names a request; nothing is decided by it.
fn fresh() -> Uuid {
    Uuid::from_u128(rand::random())
}

impl Amqp {
    /// Speaks for `app`, as our own broker user may.
    pub fn new(broker: &Broker, app: AppName, seal_to: PublicKey) -> Self {
        let requester = Requester::start(broker, &CancellationToken::new());
        Self { requester, app, seal_to }
    }

    /// Publishes a request and waits for its outcome for as long as `wait` from the confirm on.
    /// Returns its id, too.
    async fn request(
        &self,
        key: &str,
        mut body: Value,
        sealed: &[&str],
        wait: Duration,
    ) -> Result<(Uuid, Answer), String> {
        for field in sealed {
            if let Some(Value::String(clear)) = body.get_mut(field) {
                *clear = self.seal_to.seal(clear.as_bytes());
            }
        }
        let id = fresh();
        let message = Outgoing {
            exchange: Exchange::Requests,
            key: key.to_owned(),
            id,
            body: body.to_string(),
            delay: None,
            traceparent: None,
        };
        let asked = self.requester.request(message, self.app.as_str(), fresh(), wait);
        Ok((id, asked.await.map_err(|fault| fault.to_string())?))
    }

    async fn ask(&self, key: &str, body: Value, sealed: &[&str]) -> Result<Value, String> {
        let (id, answer) = self.request(key, body, sealed, OUTCOME_MAX).await?;
        match answer {
            Answer::Replied(body) => {
                serde_json::from_slice(&body).map_err(|_| "an outcome is no JSON".to_owned())
            }
            Answer::Accepted => {
                let request = request_id(&self.app, &id.to_string());
                Err(format!("no outcome of {key} within {} s ({request})", OUTCOME_MAX.as_secs()))
            }
        }
    }
}

impl Http {
    /// Speaks to the ingress at `url`.
    pub fn new(url: String, api_key: String) -> Result<Self, String> {
        let client = Client::builder().no_proxy().timeout(OUTCOME_MAX).tcp_nodelay(true).build();
        Ok(Self { client: client.map_err(|error| error.to_string())?, url, api_key })
    }

    async fn ask(&self, key: &str, mut body: Value) -> Result<Value, String> {
        let fields = body.as_object_mut().ok_or("a request is no object")?;
        let mut take = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let challenge = take("challenge");
        let (method, path) = match key {
            "challenge.issue" => (Method::POST, "/v1/logins".to_owned()),
            "challenge.verify" => (Method::POST, format!("/v1/challenges/{challenge}/verify")),
            other => return Err(format!("{other} is not asked over HTTP here")),
        };
        let (status, answer) = self.call(method, &path, Some(&body)).await?;
        match status {
            200..=201 => Ok(answer),
            // The outcome was too slow for the request; the challenge tells it later.
            202 if key == "challenge.issue" => {
                self.look(&text(&answer, "request").unwrap_or_default(), |_| true).await
            }
            202 => self.look(&challenge, |state| state != "open").await,
            _ if answer.get("outcome").is_some() => Ok(answer),
            _ => Err(format!("{path}: {status}")),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), String> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.api_key);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Object(Map::new()))))
    }

    /// Looks at a challenge until its state is what was waited for; its state is the outcome then.
    async fn look(&self, challenge: &str, over: fn(&str) -> bool) -> Result<Value, String> {
        let path = format!("/v1/challenges/{challenge}");
        let end = tokio::time::Instant::now() + OUTCOME_MAX;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            let (status, mut view) = self.call(Method::GET, &path, None).await?;
            if let (200, Some(state)) = (status, text(&view, "state"))
                && over(&state)
            {
                view["outcome"] = state.into();
                view["challenge"] = challenge.into();
                return Ok(view);
            }
        }
        Err(format!("no outcome of {challenge} within {} s", OUTCOME_MAX.as_secs()))
    }
}

impl Door {
    /// Asks, and waits for the outcome. The fields named in `sealed` are sealed on their way.
    ///
    /// # Errors
    /// A sentence, when there is none.
    pub async fn ask(&self, key: &str, body: Value, sealed: &[&str]) -> Result<Value, String> {
        match self {
            Self::Amqp(amqp) => amqp.ask(key, body, sealed).await,
            Self::Http(http) => http.ask(key, body).await,
        }
    }

    /// Asks for something that must be stored.
    ///
    /// # Errors
    /// A sentence, when it is not.
    pub async fn put(
        &self,
        key: &str,
        body: Value,
        sealed: &[&str],
        until: Until,
    ) -> Result<(), String> {
        if let (Until::Confirmed, Self::Amqp(amqp)) = (until, self) {
            return amqp.request(key, body, sealed, Duration::ZERO).await.map(drop);
        }
        let answer = self.ask(key, body, sealed).await?;
        match text(&answer, "outcome").as_deref() {
            Some("stored" | "outdated") => Ok(()),
            _ => Err(format!("{key}: expected `stored`, got {answer}")),
        }
    }
}

/// A text of a JSON object.
pub(super) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

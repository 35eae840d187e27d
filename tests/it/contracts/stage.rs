//! A running product and an app that speaks to it, for the scenes of `live.rs`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Example, examples};
use crate::app::App;
use crate::support::World;

/// A wrong code; right in one of ten thousand million runs.
pub const WRONG: &str = "0123456789";

/// Small limits, so that each can be reached.
const SETTINGS: &[(&str, &str)] = &[
    ("STEPUP_CODE_DIGITS", "10"),
    // An SMS, the automatic email, and one more.
    ("STEPUP_SENDS_PER_CHALLENGE", "3"),
    ("STEPUP_SENDS_PER_NUMBER", "4/600"),
    ("STEPUP_WRONG_PER_DAY", "5"),
    ("STEPUP_WRONG_PER_MONTH", "6"),
    ("STEPUP_RESET_HOLD_SECONDS", "60"),
];

/// The same as in [`SETTINGS`].
pub const RESET_HOLD_SECONDS: u64 = 60;

/// A running product, an app, and what the app was answered.
pub struct Stage {
    pub world: World,
    pub app: App,
    pub examples: Vec<Example>,
    /// Each outcome, with the request that it answered.
    pub outcomes: Mutex<Vec<(String, Value)>>,
}

impl Stage {
    pub async fn set() -> Self {
        let world = World::start(&[vec!["all"]], SETTINGS).await;
        let app = App::connect(&world, "demo").await;
        app.listen().await;
        Self { world, app, examples: examples(), outcomes: Mutex::default() }
    }

    pub fn documented(&self, kind: &str) -> BTreeSet<&str> {
        let of_kind = self.examples.iter().filter(|(found, _, _)| found == kind);
        of_kind.map(|(_, key, _)| key.as_str()).collect()
    }

    pub fn example(&self, kind: &str, key: &str) -> &Value {
        let mut found = self.examples.iter().filter(|(k, name, _)| k == kind && name == key);
        &found.next().unwrap_or_else(|| panic!("docs/messages.md shows no {kind} {key}")).2
    }

    /// What an example of the document becomes here. All else is sent as it stands.
    pub fn live(&self, example: &Value, challenge: &str, code: &str, notice: &str) -> Value {
        let mut body = example.clone();
        let seal = |value: &mut Value| {
            if let Some(clear) = value.as_str().and_then(|shown| shown.strip_prefix("SEALED:")) {
                *value = self.app.seal(clear);
            }
        };
        for (field, value) in body.as_object_mut().unwrap() {
            match (field.as_str(), value) {
                ("challenge", value) => *value = challenge.into(),
                ("notice", value) => *value = notice.into(),
                ("guess", value) => *value = self.app.seal(code),
                (_, Value::Array(list)) => list.iter_mut().for_each(seal),
                (_, value) => seal(value),
            }
        }
        body
    }

    pub async fn ask(&self, key: &str, body: Value) -> Value {
        let outcome = self.app.ask(key, &body).await;
        self.outcomes.lock().unwrap().push((key.to_owned(), outcome.clone()));
        outcome
    }

    /// As [`Self::ask`]; the outcome must be this one.
    pub async fn gets(&self, wanted: &str, key: &str, body: Value) -> Value {
        let outcome = self.ask(key, body).await;
        assert_eq!(outcome["outcome"], wanted, "{key}: {outcome}");
        outcome
    }

    /// A member of `acme` with 2FA on, and what else is said.
    pub async fn member(&self, name: &str, more: Value) {
        let mut body = json!({ "account": "acme", "member": name, "version": 1,
            "two_factor": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.gets("stored", "directory.member", body).await;
    }

    pub async fn login(&self, wanted: &str, member: &str, login: &str) -> String {
        let body = json!({ "account": "acme", "member": member, "login": login });
        let outcome = self.gets(wanted, "challenge.issue", body).await;
        outcome["challenge"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn guess(&self, wanted: &str, challenge: &str, guess: &str) -> Value {
        let guess = self.app.seal(guess);
        let body = json!({ "account": "acme", "challenge": challenge, "guess": guess });
        self.gets(wanted, "challenge.verify", body).await
    }

    pub async fn resend(&self, wanted: &str, challenge: &str, channel: &str) {
        let body = json!({ "account": "acme", "challenge": challenge, "channel": channel });
        self.gets(wanted, "challenge.resend", body).await;
    }

    pub async fn hears_of(&self, kind: &str, challenge: &str) {
        self.app.hears(kind, |event| event["challenge"] == challenge).await;
    }

    /// Lets as many seconds go by.
    pub async fn pass(&self, seconds: &Value) {
        self.world.advance(Duration::from_secs(seconds.as_u64().unwrap())).await;
    }
}

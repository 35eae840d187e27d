//! Logins against the whole product, over HTTP, by the default configuration. Nobody waits for a
//! timer: the clock is moved. Only what a provider asks to wait is waited for.

mod activity;
mod directory;
mod email;
mod guesses;
mod login;
mod provider;

use std::time::Duration;

use serde_json::Value;

use crate::support::World;

const PHONE: &str = "+12025550123";
const PHONE_PLACE: &str = "/phones/+12025550123";
const EMAIL: &str = "ada@acme.example";
const MAIL_PLACE: &str = "/mailboxes/ada@acme.example";

/// Everything in one process, and an account `acme`.
async fn world() -> World {
    World::start(&[vec!["all"]], &[]).await
}

fn challenge(answer: &Value) -> String {
    answer["challenge"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A code that is not this one.
fn wrong(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

/// How many events of this kind the trail holds.
fn events(kind: &str) -> String {
    format!("SELECT count(*) FROM trail WHERE kind = '{kind}'")
}

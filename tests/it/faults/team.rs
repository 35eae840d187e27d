//! A thin stream of what admins and support ask: for a small account a review of contacts and then a
//! mandate, and the reset of a lost number by two people, with its hold.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{Ask, Client, Door};
use super::history::What;

/// A new account so often.
const PACE: Duration = Duration::from_secs(3);
/// No more accounts than this are under way.
const AT_ONCE: usize = 8;
/// Longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(150);

/// Small accounts, one after the other, until `stop`. Returns when all are done.
pub async fn run(client: Client, stop: CancellationToken) {
    let mut teams = JoinSet::new();
    for n in 0.. {
        if stop.is_cancelled() {
            break;
        }
        if teams.len() < AT_ONCE {
            let client = client.clone();
            teams.spawn(
                async move { Team { client: &client, name: format!("t{n}"), n }.go().await },
            );
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = stop.cancelled() => {}
        }
        while teams.try_join_next().is_some() {}
    }
    while teams.join_next().await.is_some() {}
}

/// An account; its primary admin has the same name.
struct Team<'a> {
    client: &'a Client,
    name: String,
    n: usize,
}

impl Team<'_> {
    /// `None` if it comes to no end because a code did not come in time; whatever was answered is
    /// judged all the same.
    async fn go(&self) -> Option<()> {
        let put = json!({ "version": 1, "name": "Team", "country": "US" });
        self.ask(What::Register, Method::PUT, "", put, None).await?;
        let admin = json!({ "role": "primary_admin", "two_factor": true,
            "email": format!("{}@example.org", self.name), "email_verified": true });
        self.member(&self.name, 0, admin).await?;
        self.member("lost", 1, json!({ "two_factor": true })).await?;
        self.member("plain", 2, json!({})).await?;
        // The reset comes second: it changes what the review rests on.
        let mandated = self.mandate().await;
        self.reset().await.and(mandated)
    }

    fn phone(&self, of: usize) -> String {
        format!("+1203{}{:04}", 230 + of, self.n % 10_000)
    }

    async fn member(&self, member: &str, phone: usize, more: Value) -> Option<Value> {
        let mut body = json!({ "version": 1, "phone": self.phone(phone) });
        body.as_object_mut()?.extend(more.as_object()?.clone());
        let path = format!("/members/{member}");
        self.ask(What::Register, Method::PUT, &path, body, None).await
    }

    async fn reset(&self) -> Option<()> {
        let asked = json!({ "requested_by": "sue", "reason": "the phone is lost" });
        let asked =
            self.ask(What::Reset, Method::POST, "/members/lost/resets", asked, None).await?;
        let path = format!("/resets/{}/approve", asked["reset"].as_str()?);
        let approved = json!({ "approved_by": "tom" });
        self.ask(What::Approval, Method::POST, &path, approved, None).await.map(drop)
    }

    async fn mandate(&self) -> Option<()> {
        let (name, actor) = (&self.name, json!({ "actor": self.name }));
        let begun = self.ask(What::Review, Method::POST, "/reviews", actor, None).await?;
        let review = begun["review"].as_str()?;
        self.reviewed(review).await?;
        let mut body = json!({ "actor": name, "review": review, "confirmed": true });
        let opened = self.ask(What::Mandate, Method::POST, "/mandate", body.clone(), None).await?;
        let challenge = Uuid::parse_str(opened["challenge"].as_str()?).ok()?;
        let place = format!("/phones/{}", self.phone(0));
        let code = self.client.code(&place, 0, Duration::from_secs(60)).await?;
        let guess = json!({ "account": name, "guess": code });
        let what = What::Guess { right: true };
        let judged = self.client.about(what, name, challenge, guess, Door::Http).await?;
        if judged["outcome"] != "verified" {
            return None;
        }
        body["proof"] = challenge.to_string().into();
        self.ask(What::Mandate, Method::POST, "/mandate", body, Some(challenge)).await.map(drop)
    }

    /// Until every member was looked at.
    async fn reviewed(&self, review: &str) -> Option<()> {
        let (path, started) = (self.path(&format!("/reviews/{review}")), Instant::now());
        while started.elapsed() < PATIENCE {
            let seen = self.client.view(&path).await;
            if seen.is_some_and(|seen| seen["state"] == "done") {
                return Some(());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        None
    }

    fn path(&self, below: &str) -> String {
        format!("/v1/accounts/{}{below}", self.name)
    }

    async fn ask(
        &self,
        what: What,
        method: Method,
        below: &str,
        body: Value,
        challenge: Option<Uuid>,
    ) -> Option<Value> {
        let (member, path) = (self.name.clone(), self.path(below));
        // The key is for AMQP; this all goes by HTTP.
        let ask = Ask { what, member, challenge, method, path, key: "", body };
        self.client.ask(ask, Door::Http, rand::random_ratio(1, 3)).await
    }
}

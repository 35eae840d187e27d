//! What an app can ask for, each by either door.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Ask, Client, Door};
use super::history::What;

const ACCOUNT: &str = "acme";

impl Client {
    pub async fn register(
        &self,
        member: &str,
        version: i64,
        phone: &str,
        email: Option<&str>,
        door: Door,
    ) -> bool {
        let mut body = json!({ "version": version, "phone": phone, "two_factor": true,
            "email": email, "email_verified": email.is_some(), "email_backup": email.is_some() });
        if door == Door::Amqp {
            body["account"] = ACCOUNT.into();
            body["member"] = member.into();
        }
        let ask = Ask {
            what: What::Register,
            member: member.to_owned(),
            challenge: None,
            method: Method::PUT,
            path: format!("/v1/accounts/{ACCOUNT}/members/{member}"),
            key: "directory.member",
            body,
        };
        self.ask(ask, door, false).await.is_some_and(|outcome| outcome["outcome"] == "stored")
    }

    pub async fn login(&self, member: &str, login: &str, door: Door, again: bool) -> Option<Value> {
        let ask = Ask {
            what: What::Login,
            member: member.to_owned(),
            challenge: None,
            method: Method::POST,
            path: "/v1/logins".into(),
            key: "challenge.issue",
            body: json!({ "account": ACCOUNT, "member": member, "login": login }),
        };
        self.ask(ask, door, again).await
    }

    /// Asks for a code that approves a change of the bank account.
    pub async fn change(&self, member: &str, door: Door) -> Option<Value> {
        let mut body = json!({ "change": format!("{member}-change"), "setting": "bank_account",
            "before": "DE02", "after": "DE03", "summary": "payouts to another account" });
        if door == Door::Amqp {
            body["account"] = ACCOUNT.into();
            body["member"] = member.into();
        }
        let ask = Ask {
            what: What::Change,
            member: member.to_owned(),
            challenge: None,
            method: Method::POST,
            path: format!("/v1/accounts/{ACCOUNT}/members/{member}/settings"),
            key: "settings.change.request",
            body,
        };
        self.ask(ask, door, false).await
    }

    /// A resend, a cancel, a redemption or a guess.
    pub async fn about(
        &self,
        what: What,
        member: &str,
        challenge: Uuid,
        more: Value,
        door: Door,
    ) -> Option<Value> {
        let (verb, key) = match what {
            What::Resend => ("resend", "challenge.resend"),
            What::Cancel => ("cancel", "challenge.cancel"),
            What::Redeem => ("redeem", "settings.change.redeem"),
            _ => ("verify", "challenge.verify"),
        };
        let mut body = json!({ "account": ACCOUNT });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let ask = Ask {
            what,
            member: member.to_owned(),
            challenge: Some(challenge),
            method: Method::POST,
            path: format!("/v1/challenges/{challenge}/{verb}"),
            key,
            body,
        };
        // Every third is asked twice: the repeat must get the same answer and change nothing.
        self.ask(ask, door, rand::random_ratio(1, 3)).await
    }

    /// The account, and an admin who is told of changed numbers.
    pub async fn put_account(&self) {
        let ask = Ask {
            what: What::Register,
            member: String::new(),
            challenge: None,
            method: Method::PUT,
            path: format!("/v1/accounts/{ACCOUNT}"),
            key: "directory.account",
            body: json!({ "version": 1, "name": "Acme", "country": "US",
                "origin": "app.acme.example" }),
        };
        assert!(self.ask(ask, Door::Http, false).await.is_some(), "no account can be put");
        let ask = Ask {
            what: What::Register,
            member: "boss".into(),
            challenge: None,
            method: Method::PUT,
            path: format!("/v1/accounts/{ACCOUNT}/members/boss"),
            key: "directory.member",
            body: json!({ "version": 1, "role": "primary_admin", "email": "boss@example.org",
                "email_verified": true, "notify_number_changes": true }),
        };
        assert!(self.ask(ask, Door::Http, false).await.is_some(), "no admin can be put");
    }
}

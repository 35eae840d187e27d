//! From a delivery to a message: who asks, what is sealed, what the body says.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::body::Fields;
use super::catalogue;
use super::envelope::Incoming;
use super::kind::{Message, Rejected};
use crate::domain::id::{AppName, request_id};
use crate::domain::keys::Keyring;

/// The largest body, in bytes. The largest real one is under 2 KiB.
pub const BODY_MAX: usize = 64 * 1024;

/// Who may ask: broker users and the apps behind them.
#[derive(Clone, Debug)]
pub struct Senders {
    /// Our own broker user, which speaks for any app that it names.
    pub own_user: String,
    /// Broker user to app.
    pub apps: BTreeMap<String, AppName>,
}

impl Senders {
    fn trusts(&self, incoming: &Incoming) -> bool {
        incoming.user.as_deref() == Some(self.own_user.as_str())
    }

    /// The app that asks. `incoming.app` was left out by the broker floor unless our own user
    /// published the message.
    fn app_of(&self, incoming: &Incoming) -> Result<AppName, Rejected> {
        let Some(user) = &incoming.user else {
            return Err(Rejected::unidentified(
                "the property user_id is missing or not UTF-8: set it to the broker user you log in with",
            ));
        };
        if let (true, Some(app)) = (self.trusts(incoming), &incoming.app) {
            return AppName::parse(app)
                .map_err(|_| Rejected::unidentified("x-stepup-app is no app name"));
        }
        self.apps.get(user).cloned().ok_or_else(|| {
            Rejected::unidentified("user_id belongs to no app: add it to STEPUP_APPS")
        })
    }
}

/// A message that was read.
#[derive(Debug)]
pub struct Decoded<M> {
    /// Its identity: for a request a function of app and `message_id`, else the `message_id`.
    pub id: Uuid,
    /// For requests, a keyed digest of what was asked: the same id must ask the same.
    pub digest: Option<[u8; 32]>,
    /// For requests, who asks.
    pub app: Option<AppName>,
    /// What it says.
    pub message: M,
}

/// Reads a delivery. Sealed fields are opened here, in memory that is wiped.
pub fn decode<M: Message>(
    incoming: &Incoming,
    senders: &Senders,
    keys: &Keyring,
) -> Result<Decoded<M>, Rejected> {
    let known = catalogue::request(&incoming.key);
    let request = known.is_some();
    let app = if request {
        Some(senders.app_of(incoming)?)
    } else if senders.trusts(incoming) {
        None
    } else {
        return Err(Rejected::unidentified(
            "the routing key is no request's; commands and events are published by stepup alone",
        ));
    };
    if let Some(property) = incoming.unreadable {
        return Err(Rejected::malformed(format!("the property {property} is not UTF-8")));
    }
    let message_id = incoming.message_id.as_deref().unwrap_or_default();
    let id = match &app {
        Some(app) if (1..=255).contains(&message_id.len()) => request_id(app, message_id),
        Some(_) => {
            return Err(Rejected::malformed(
                "the property message_id is missing or longer than 255: it makes repeats harmless",
            ));
        }
        None => Uuid::parse_str(message_id)
            .map_err(|_| Rejected::malformed("the property message_id is not a UUID"))?,
    };
    let mut body = object(&incoming.body, request)?;
    if let Some(known) = known {
        open_sealed(&known.sealed, &mut body, keys)?;
    }
    let digest = app.as_ref().map(|_| {
        // Keys of a JSON object are kept sorted, so this form is canonical.
        let canonical = Zeroizing::new(body.to_string());
        let fields = [incoming.key.as_bytes(), canonical.as_bytes()];
        keys.fingerprint("stepup/request/v1", &fields)
    });
    Ok(Decoded { id, digest, message: M::read(&incoming.key, app.clone(), body)?, app })
}

fn object(body: &[u8], request: bool) -> Result<Value, Rejected> {
    if body.len() > BODY_MAX {
        return Err(Rejected::malformed(format!("the body is over {BODY_MAX} bytes")));
    }
    let Fields { members, twice } =
        Fields::read(body).map_err(|why| Rejected::malformed(why.to_string()))?;
    if let Some(name) = twice.filter(|_| request) {
        return Err(Rejected::foreign_field(&name, "is there more than once: send it once"));
    }
    match members.get("v") {
        None => Ok(Value::Object(members)),
        Some(v) if v.as_u64() == Some(1) => Ok(Value::Object(members)),
        Some(_) => Err(Rejected::malformed("field `v`: this version is not known here, 1 is")),
    }
}

fn open_sealed(fields: &[String], body: &mut Value, keys: &Keyring) -> Result<(), Rejected> {
    for name in fields {
        match body.get_mut(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(values)) => {
                for value in values {
                    open_one(name, value, keys)?;
                }
            }
            Some(value) => open_one(name, value, keys)?,
        }
    }
    Ok(())
}

fn open_one(name: &str, value: &mut Value, keys: &Keyring) -> Result<(), Rejected> {
    let sealed = value.as_str().unwrap_or_default();
    let clear = keys
        .open_request(sealed)
        .map_err(|why| Rejected::field(name, format!("field `{name}` {why}")))?;
    let not_text = format!("field `{name}` is not UTF-8 when opened");
    let text = std::str::from_utf8(&clear).map_err(|_| Rejected::field(name, not_text))?;
    *value = Value::String(text.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::body::unquoted;
    use super::*;
    use crate::message::{
        DeadReason, EnableMandate, Flaw, IssueChallenge, PutAccount, Request, ResendChallenge,
        VerifyChallenge,
    };
    use serde_json::json;

    fn senders() -> Senders {
        let apps = BTreeMap::from([("crm-user".to_owned(), AppName::parse("crm").unwrap())]);
        Senders { own_user: "stepup".into(), apps }
    }

    fn login(user: Option<&str>) -> Incoming {
        Incoming {
            key: "challenge.issue".into(),
            message_id: Some("r1".into()),
            user: user.map(str::to_owned),
            body: json!({ "account": "acme", "member": "ada", "login": "l1" }).to_string().into(),
            ..Incoming::default()
        }
    }

    fn read(incoming: &Incoming) -> Result<Decoded<Request<IssueChallenge>>, Rejected> {
        decode(incoming, &senders(), &Keyring::for_tests())
    }

    #[test]
    fn the_broker_checked_user_says_who_asks() {
        assert_eq!(read(&login(Some("crm-user"))).unwrap().message.app.as_str(), "crm");
        for user in [None, Some("stranger"), Some("stepup")] {
            assert_eq!(read(&login(user)).unwrap_err().reason, DeadReason::Unidentified);
        }
        let for_crm = Incoming { app: Some("crm".into()), ..login(Some("stepup")) };
        assert_eq!(read(&for_crm).unwrap().message.app.as_str(), "crm");
    }

    #[test]
    fn a_request_needs_a_message_id() {
        let nameless = Incoming { message_id: None, ..login(Some("crm-user")) };
        assert!(read(&nameless).unwrap_err().detail.contains("message_id"));
    }

    #[test]
    fn a_property_that_is_not_utf8_is_named_once_it_is_known_who_asks() {
        for property in ["message_id", "correlation_id"] {
            let unreadable = Incoming { unreadable: Some(property), ..login(Some("crm-user")) };
            let why = read(&unreadable).unwrap_err();
            assert_eq!(why.reason, DeadReason::Malformed);
            assert!(why.detail.contains(property), "{}", why.detail);
        }
        let from_nobody = Incoming { unreadable: Some("message_id"), ..login(None) };
        assert_eq!(read(&from_nobody).unwrap_err().reason, DeadReason::Unidentified);
    }

    #[test]
    fn the_error_names_the_field_and_does_not_repeat_its_value() {
        let keys = Keyring::for_tests();
        let detail = |key: &str, body: Value| {
            let body = body.to_string().into();
            let incoming = Incoming { key: key.into(), body, ..login(Some("crm-user")) };
            let senders = senders();
            match key {
                "challenge.issue" => {
                    why(decode::<Request<IssueChallenge>>(&incoming, &senders, &keys))
                }
                "challenge.resend" => {
                    why(decode::<Request<ResendChallenge>>(&incoming, &senders, &keys))
                }
                "challenge.verify" => {
                    why(decode::<Request<VerifyChallenge>>(&incoming, &senders, &keys))
                }
                "directory.account" => {
                    why(decode::<Request<PutAccount>>(&incoming, &senders, &keys))
                }
                _ => why(decode::<Request<EnableMandate>>(&incoming, &senders, &keys)),
            }
        };
        let guess = keys.public().seal(b"123456");
        for (key, body, wanted) in [
            (
                "challenge.issue",
                json!({ "account": "acme", "login": "l1" }),
                "missing field `member`",
            ),
            (
                "challenge.issue",
                json!({ "account": "acme", "member": 12025550123_u64, "login": "l1" }),
                "field `member`: invalid type: integer …, expected a string",
            ),
            (
                "challenge.issue",
                json!({ "account": "acme", "member": "ada", "login": "+12025550123" }),
                "field `login`: an id is 1 to 128 of A-Z a-z 0-9 _ - and begins with a letter or digit",
            ),
            (
                "challenge.issue",
                json!({ "account": "acme", "member": "ada", "login": "l1", "purpose": "a`2025550123`b" }),
                "field `purpose`: unknown variant …, expected `login`",
            ),
            (
                "challenge.issue",
                json!({ "account": ["a\"2025550123\"b"], "member": "ada", "login": "l1" }),
                "field `account`: invalid type: sequence, expected a string",
            ),
            (
                "challenge.resend",
                json!({ "account": "acme", "challenge": Uuid::nil(), "channel": "2025550123" }),
                "field `channel`: invalid value: another word, expected one of `sms` `email`",
            ),
            (
                "challenge.verify",
                json!({ "account": "acme", "challenge": Uuid::nil(), "guess": "2025550123" }),
                "field `guess` ",
            ),
            (
                "challenge.verify",
                json!({ "account": "acme", "challenge": "2025550123", "guess": &*guess }),
                "field `challenge`: ",
            ),
            (
                "challenge.verify",
                json!({ "account": "acme", "challenge": Uuid::nil(), "guess": &*guess, "ip": 2025550123 }),
                "field `ip`, expected an IPv4 or IPv6 address, or null",
            ),
            (
                "challenge.verify",
                json!({
                    "account": "acme", "challenge": Uuid::nil(), "guess": &*guess,
                    "user_agent": { "2025550123": 1 },
                }),
                "field `user_agent`, expected a text or null",
            ),
            (
                "directory.account",
                json!({ "account": "acme", "version": "2025550123", "name": "Acme", "country": "US" }),
                "field `version`: invalid type: string …, expected i64",
            ),
            (
                "directory.account",
                json!({
                    "account": "acme", "version": 1, "name": "Acme", "country": "US",
                    "countries": ["US", "2025550123"],
                }),
                "field `countries[1]`: invalid value: another text, expected a country",
            ),
            (
                "team.mandate.enable",
                json!({
                    "account": "acme", "actor": "boss", "review": Uuid::nil(), "confirmed": true,
                    "grace_until": "2025550123",
                }),
                "field `grace_until`: ",
            ),
            ("challenge.issue", json!({ "v": 2 }), "field `v`: this version"),
            ("challenge.issue", json!(["2025550123"]), "the body is not a JSON object"),
        ] {
            let detail = detail(key, body);
            assert!(detail.starts_with(wanted), "{detail}");
            assert!(!detail.contains("2025550123"), "{detail}");
        }
    }

    fn why<M: Message>(read: Result<Decoded<M>, Rejected>) -> String {
        let Err(Rejected { reason: DeadReason::Malformed, detail, .. }) = read else {
            panic!("read")
        };
        detail
    }

    #[test]
    fn whatever_a_value_holds_nothing_of_it_is_left_of_a_message() {
        for value in ["4711", "`4711", "4711`", "a`4711`b", "a, expected 4711", "\"4711\", \"", ""]
        {
            for message in [
                format!("unknown variant `{value}`, expected `sms` or `email`"),
                format!("invalid type: string {value:?}, expected a sequence"),
                format!("found `{value}` at 3"),
            ] {
                let left = unquoted(&message);
                assert!(!left.contains("4711") && !left.is_empty(), "{message}: {left}");
            }
        }
    }

    #[test]
    fn a_field_of_a_request_that_is_there_twice_is_named() {
        let body = br#"{"account":"acme","member":"ada","login":"l1","member":"eve"}"#;
        let incoming = Incoming { body: body.to_vec(), ..login(Some("crm-user")) };
        assert_eq!(read(&incoming).unwrap_err().flaw, Flaw::Field(Some("member".into())));
    }

    #[test]
    fn the_digest_is_of_what_was_asked_not_of_how_it_was_sealed() {
        let keys = Keyring::for_tests();
        let verify = |guess: &str, challenge: u128| {
            let body = json!({
                "guess": keys.public().seal(guess.as_bytes()),
                "account": "acme",
                "challenge": Uuid::from_u128(challenge),
            });
            let incoming = Incoming {
                key: "challenge.verify".into(),
                body: body.to_string().into(),
                ..login(Some("crm-user"))
            };
            decode::<Request<VerifyChallenge>>(&incoming, &senders(), &keys).unwrap().digest
        };
        assert_eq!(verify("123456", 1), verify("123456", 1));
        assert_ne!(verify("123456", 1), verify("123457", 1));
        assert_ne!(verify("123456", 1), verify("123456", 2));
    }
}

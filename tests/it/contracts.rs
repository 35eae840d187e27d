//! `docs/messages.md` shows every message, and each example reads as what it says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use stepup::message::Queue;

use serde_json::{Value, json};
use stepup::domain::id::AppName;
use stepup::domain::keys::Keyring;
use stepup::message::{
    Command, Decoded, EventKind, EventRecord, Exchange, Flaw, Incoming, Message, Rejected, Request,
    Senders, VerifyChallenge, decode,
};
use stepup::rules::challenge::decide::CodeGenerationMessage;
use stepup::rules::directory::facts::DirectoryMessage;
use stepup::rules::factor::message::SettingsMessage;
use stepup::rules::support::decide::SupportMessage;
use stepup::rules::team::decide::TeamMessage;

mod factor;
mod live;
mod stage;
mod team;

/// `request`, `challenge.issue`, and the JSON below.
pub type Example = (String, String, Value);

fn document() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("docs/messages.md")).unwrap()
}

/// The outcomes that the document lists for each request: the words in code style of the paragraph
/// that begins with `Answers`.
pub fn answers() -> BTreeMap<String, BTreeSet<String>> {
    let mut answers = BTreeMap::new();
    for section in document().split("\n### `").skip(1) {
        let (key, text) = section.split_once('`').unwrap();
        let listed = text.split("\n\n").find(|paragraph| paragraph.starts_with("Answers "));
        let listed = listed.unwrap_or_else(|| panic!("docs/messages.md: what does {key} answer?"));
        let words = listed.split('`').skip(1).step_by(2).map(str::to_owned);
        answers.insert(key.to_owned(), words.collect());
    }
    answers
}

/// Every example, in the document's order.
pub fn examples() -> Vec<Example> {
    let text = document();
    let mut found = Vec::new();
    for part in text.split("<!-- ").skip(1) {
        let (title, rest) = part.split_once(" -->").unwrap();
        let Some((kind, key)) = title.split_once(' ') else { continue };
        let Some((_, json)) = rest.split_once("```json") else { continue };
        let (json, _) = json.split_once("```").unwrap();
        let body = serde_json::from_str(json).unwrap_or_else(|why| panic!("{title}: {why}"));
        found.push((kind.to_owned(), key.to_owned(), body));
    }
    found
}

/// An example as it travels: what is written as `SEALED:text` is sealed.
pub fn sealed(mut body: Value, keys: &Keyring) -> Value {
    let seal = |value: &mut Value| {
        if let Some(clear) = value.as_str().and_then(|text| text.strip_prefix("SEALED:")) {
            *value = Value::String(keys.public().seal(clear.as_bytes()));
        }
    };
    for value in body.as_object_mut().unwrap().values_mut() {
        match value {
            Value::Array(list) => list.iter_mut().for_each(seal),
            one => seal(one),
        }
    }
    body
}

fn read<M: Message>(key: &str, user: &str, body: &Value) -> Result<Decoded<M>, Rejected> {
    let keys = Keyring::for_tests();
    let body = sealed(body.clone(), &keys);
    let apps = BTreeMap::from([("demo".to_owned(), AppName::parse("demo").unwrap())]);
    let senders = Senders { own_user: "stepup".into(), apps };
    let incoming = Incoming {
        key: key.to_owned(),
        message_id: Some("6b7c521f-3337-5e00-8288-d824407cfd2c".into()),
        user: Some(user.to_owned()),
        body: body.to_string().into_bytes(),
        ..Incoming::default()
    };
    decode(&incoming, &senders, &keys)
}

/// Reads a message as the worker does that takes it.
fn read_as(kind: &str, key: &str, body: &Value) -> Result<(), Rejected> {
    match (kind, key) {
        ("request", "challenge.verify") => {
            read::<Request<VerifyChallenge>>(key, "demo", body).map(drop)
        }
        ("request", key) if key.starts_with("directory") => {
            read::<DirectoryMessage>(key, "demo", body).map(drop)
        }
        ("request", key) if Queue::of(Exchange::Requests, key) == Some(Queue::SettingsSettings) => {
            read::<SettingsMessage>(key, "demo", body).map(drop)
        }
        ("request", key) if key.starts_with("team") => {
            read::<TeamMessage>(key, "demo", body).map(drop)
        }
        ("request", key) if key.starts_with("support") => {
            read::<SupportMessage>(key, "demo", body).map(drop)
        }
        ("request", key) => read::<CodeGenerationMessage>(key, "demo", body).map(drop),
        ("command", key) => read::<Command>(key, "stepup", body).map(drop),
        ("event", key) => read::<EventRecord>(key, "stepup", body).map(|event| {
            assert_eq!(event.message.kind.label(), key);
        }),
        _ => Ok(()),
    }
}

#[test]
fn every_example_reads_as_what_it_says_it_is() {
    for (kind, key, body) in examples() {
        let read = read_as(&kind, &key, &body);
        assert!(read.is_ok(), "{kind} {key}: {:?}", read.err());
    }
}

#[test]
fn a_misspelt_field_of_a_request_is_named_and_our_own_workers_ignore_what_is_newer() {
    for (kind, key, body) in examples() {
        for (name, shown) in [("locate", Some("locate")), ("+12025550123", None)] {
            let mut more = body.clone();
            more[name] = "s3cret".into();
            match (kind.as_str(), read_as(&kind, &key, &more)) {
                ("request", read) => {
                    let why = read.unwrap_err();
                    assert_eq!(why.flaw, Flaw::Field(shown.map(str::to_owned)), "{key}");
                    let told = format!("{why:?}");
                    assert!(!told.contains("s3cret") && !told.contains("2025550123"), "{told}");
                }
                (_, read) => assert!(read.is_ok(), "{kind} {key}: {:?}", read.err()),
            }
        }
    }
}

#[test]
fn a_missing_and_a_wrong_field_of_a_request_are_named() {
    let field = |key: &str, body: Value| match read_as("request", key, &body).unwrap_err().flaw {
        Flaw::Field(name) => name.unwrap(),
        Flaw::Message => panic!("{key} {body} names no field"),
    };
    let login = |member: Value| json!({ "account": "acme", "login": "l1", "member": member });
    assert_eq!(field("challenge.issue", json!({ "account": "acme", "login": "l1" })), "member");
    assert_eq!(field("challenge.issue", login(json!(7))), "member");
    let guess = |guess: &str, ip: &str| {
        let challenge = "1a14dd77-51e1-54ae-8676-f683f76e3fe1";
        json!({ "account": "acme", "challenge": challenge, "guess": guess, "ip": ip })
    };
    assert_eq!(field("challenge.verify", guess("123456", "192.0.2.7")), "guess", "not sealed");
    assert_eq!(field("challenge.verify", guess("SEALED:123456", "here")), "ip");
    let account = json!({ "account": "acme", "version": 1, "name": "Acme", "country": "US",
        "countries": ["US", "Mars"] });
    assert_eq!(field("directory.account", account), "countries");
}

#[test]
fn every_message_has_an_example() {
    let examples = examples();
    let shown =
        |kind: &str, key: &str| examples.iter().any(|(k, name, _)| k == kind && name == key);
    for queue in Queue::ALL {
        for (exchange, key) in queue.bindings() {
            let kind = match exchange.label() {
                "requests" => "request",
                "commands" => "command",
                _ => continue,
            };
            assert!(shown(kind, &key), "docs/messages.md shows no {kind} {key}");
        }
    }
    for kind in EventKind::ALL {
        assert!(shown("event", kind.label()), "docs/messages.md shows no event {}", kind.label());
    }
}

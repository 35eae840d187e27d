//! What operators type, as they type it.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepup::broker::{Broker, Consumer, Publication, Publisher};
use stepup::domain::keys::{Keyring, PublicKey};
use stepup::message::{DeadLetter, DeadReason, Incoming};

use crate::broker::{random_prefix, under, url};
use crate::support::World;

const QUEUE: &str = "code_generation.login";

/// `stepup` with a key file and nothing else of this shell's environment.
struct Shell {
    prefix: String,
    keys: PathBuf,
}

/// The key file goes when the test does.
impl Drop for Shell {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.keys);
    }
}

impl Shell {
    fn new(prefix: &str) -> Self {
        let keys = std::env::temp_dir().join(format!("stepup-keys-{prefix}"));
        let shell = Self { prefix: prefix.to_owned(), keys };
        let file = shell.keys.display().to_string();
        assert!(shell.run(&["keys", "create", &file]).status.success());
        shell
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_stepup"))
            .args(arguments)
            .env_clear()
            .env("STEPUP_AMQP_URL", url("STEPUP_AMQP_URL"))
            .env("STEPUP_PREFIX", &self.prefix)
            .env("STEPUP_KEYS_FILE", &self.keys)
            .output()
            .unwrap()
    }

    /// What a command prints, which must succeed.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn public_key(&self) -> PublicKey {
        let text = std::fs::read_to_string(&self.keys).unwrap();
        Keyring::parse(&text).unwrap().public()
    }
}

async fn set_aside(broker: &Broker, shell: &Shell, id: &str) {
    let letter = DeadLetter {
        message: Incoming {
            key: "challenge.issue".into(),
            message_id: Some(id.into()),
            user: Some("shop".into()),
            attempt: 4,
            body: shell.public_key().seal(b"{\"member\":\"\x1b[31mada\"}").into_bytes(),
            ..Incoming::default()
        },
        reason: DeadReason::Exhausted,
        detail: "the database said no".into(),
        worker: "code_generation".into(),
        queue: QUEUE.into(),
    };
    Publisher::open(broker).await.unwrap().publish(&[Publication::Dead(&letter)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_replayed_and_dropped_and_steer_no_terminal() {
    let prefix = random_prefix();
    under(prefix.clone(), move |broker| async move {
        let shell = Shell::new(&prefix);
        set_aside(&broker, &shell, "a\u{1b}]0;owned\u{7}\nforged").await;
        set_aside(&broker, &shell, "b").await;

        let list = shell.says(&["dead-letters", "list"]);
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 3, "{list}");
        let columns: Vec<&str> = lines[0].split('\t').collect();
        let id = columns[0];
        let rest = ["exhausted", "challenge.issue", "code_generation", "the database said no"];
        assert_eq!(columns[1..], rest);
        assert_eq!(lines[2], "2 dead letters");
        assert_eq!(shell.says(&["dead-letters", "list", "--limit", "1"]).lines().count(), 2);

        let sheet = shell.says(&["dead-letters", "show", id]);
        let row = |name: &str| {
            let row = sheet.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            row.trim().to_owned()
        };
        assert_eq!(row("message_id"), r"a\u{1b}]0;owned\u{7}\nforged");
        assert_eq!(
            (row("attempts"), row("queue"), row("user")),
            ("4".into(), QUEUE.into(), "shop".into())
        );
        assert!(row("first seen").ends_with('Z'), "{sheet}");
        assert!(row("body").ends_with("bytes, sealed") && !sheet.contains("ada"), "{sheet}");
        let open = shell.says(&["dead-letters", "show", id, "--open"]);
        assert!(open.contains(r#"{"member":"\u{1b}[31mada"}"#), "{open}");

        shell.says(&["dead-letters", "replay", id]);
        let mut consumer = Consumer::open(&broker, QUEUE, 1).await.unwrap();
        let replayed = consumer.next_batch(1).await.unwrap().unwrap().remove(0).incoming;
        assert_eq!((replayed.attempt, replayed.user.as_deref()), (0, Some("shop")));
        assert!(replayed.body.starts_with(b"{\"member\""));

        shell.says(&["dead-letters", "drop", "b"]);
        assert_eq!(shell.says(&["dead-letters", "list"]), "0 dead letters\n");
        for command in ["show", "replay", "drop"] {
            let output = shell.run(&["dead-letters", command, "b"]);
            assert!(!output.status.success(), "{command}");
            assert_eq!(output.stderr, b"stepup: no such dead letter\n");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_changes_without_a_gap() {
    let digest = |key: &str| {
        Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let keys = [digest("old-key"), digest("new-key")];
    let apps = json!([{ "app": "demo", "api_key_sha256": keys }]).to_string();
    let roles = [vec!["ingress"], vec!["work", "directory"]];
    let world = World::start(&roles, &[("STEPUP_APPS", &apps)]).await;
    let put = async |key: &str, version: i64| {
        let body = json!({ "version": version, "name": "Acme", "country": "US" });
        let request = world.http.put(format!("{}/v1/accounts/acme", world.url)).json(&body);
        request.bearer_auth(key).send().await.unwrap().json::<Value>().await.unwrap()["outcome"]
            .clone()
    };
    assert_eq!(put("old-key", 1).await, "stored");
    assert_eq!(put("new-key", 2).await, "stored");
    assert_eq!(put("older-key", 3).await, "unauthorized");
    world.end().await;
}

#[test]
fn a_check_of_the_settings_tells_what_is_wrong_and_what_all_roles_would_lack() {
    let check = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
        let output = command.args(arguments).env_clear().env("STEPUP_PREFIX", "mine").output();
        output.unwrap()
    };
    let some = check(&["config", "check"]);
    assert!(some.status.success());
    assert!(String::from_utf8(some.stdout).unwrap().contains("mine"));
    let all = check(&["config", "check", "--all"]);
    assert_eq!(all.status.code(), Some(1));
    let lacks = String::from_utf8(all.stderr).unwrap();
    for name in ["STEPUP_AMQP_URL", "STEPUP_DATABASE_URL", "STEPUP_KEYS", "STEPUP_SMS_URL"] {
        assert!(lacks.contains(name), "{lacks}");
    }
}

#[test]
fn a_reader_that_wants_no_more_ends_a_command_without_a_word() {
    let stepup = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepup"));
        command.args(arguments).env_clear();
        command
    };
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for command in [&["schemas"][..], &["schemas", "--http"], &["config", "check"]] {
        let output = stepup(command).stdout(gone()).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{command:?}");
        // As of a program that SIGPIPE ends: not a success, since not everything was said.
        assert_eq!(output.status.code(), Some(141), "{command:?}");
    }
    let failed = stepup(&["keys", "list"]).stderr(gone()).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn a_check_of_the_topology_tells_what_to_do() {
    let output = Shell::new(&random_prefix()).run(&["topology", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let (missing, advice) = said.trim_end().rsplit_once('\n').unwrap();
    assert!(missing.contains("audit.bulk is missing"), "{said}");
    assert!(advice.starts_with("Run `stepup topology`"), "{said}");
}

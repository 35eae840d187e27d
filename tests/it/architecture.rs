//! Keeps the floors: who may import whom, and where SQL, AMQP, metrics and the environment live.

mod circles;
mod functions;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

/// Each floor and what of ours it may use.
const FLOORS: &[(&str, &[&str])] = &[
    ("fault.rs", &[]),
    ("observe.rs", &["fault"]),
    ("failpoint", &["fault", "failpoint"]),
    ("domain", &["domain"]),
    ("message", &["domain", "message"]),
    ("rules", &["domain", "message", "rules"]),
    ("store", &["domain", "fault", "message", "observe", "rules", "store"]),
    ("broker", &["broker", "fault", "message", "observe", "failpoint"]),
    ("gateway", &["domain", "gateway", "observe"]),
    (
        "runtime",
        &[
            "broker",
            "domain",
            "fault",
            "message",
            "observe",
            "rules",
            "runtime",
            "failpoint",
            "store",
        ],
    ),
    ("ingress", &["broker", "domain", "fault", "ingress", "message", "observe", "failpoint"]),
];
const PURE: &[&str] = &["fault.rs", "domain", "message", "rules"];
const IMPURE: &[&str] = &[
    "tokio::",
    "lapin",
    "deadpool",
    "metrics::",
    "tracing::",
    "std::env",
    "::now_utc",
    "async fn",
];
/// A word, and the only places whose code may hold it.
const HOMES: &[(&str, &[&str])] = &[
    ("lapin::", &["src/broker/", "harness/bare/"]),
    ("tokio_postgres::", &["src/store/", "src/config/"]),
    ("Claimed::after_commit", &["src/runtime/batch/provider.rs"]),
    ("tx.rows(", &["src/store/", "harness/bare/"]),
    ("tx.execute(", &["src/store/", "harness/bare/"]),
    ("metrics::", &["src/observe.rs"]),
    ("backoff::", &["src/broker/supervise.rs"]),
    ("std::env::var", &["src/config/", "harness/sim/", "harness/demo.rs"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|entry| sources(&entry))
        .filter(|file| file.extension().is_some_and(|ext| ext == "rs"))
        .collect()
}

/// The code of a file: without its tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test_file(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.ends_with("tests_support.rs")
}

#[test]
fn each_floor_uses_only_what_lies_below() {
    let mut wrong = Vec::new();
    for (floor, allowed) in FLOORS {
        for file in sources(&root().join("src").join(floor)) {
            if is_test_file(&file) {
                continue;
            }
            for part in code(&file).split("crate::").skip(1) {
                let used: String =
                    part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if !used.is_empty() && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{} uses crate::{used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rules_and_what_lies_below_are_pure() {
    let mut wrong = Vec::new();
    for floor in PURE {
        for file in sources(&root().join("src").join(floor)) {
            let code = code(&file);
            let found = IMPURE.iter().filter(|word| code.contains(**word));
            wrong.extend(found.map(|word| format!("{} says {word}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_dependency_is_spoken_to_from_one_place() {
    let mut wrong = Vec::new();
    for folder in ["src", "workers", "harness"] {
        for file in sources(&root().join(folder)) {
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            let code = code(&file);
            for (word, homes) in HOMES {
                let at_home = homes.iter().any(|home| name.starts_with(home));
                if code.contains(word) && !at_home && !is_test_file(&file) {
                    wrong.push(format!("{name} says {word}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn workers_do_not_import_workers() {
    const ROSTER: &[&str] = &[
        "audit",
        "chain",
        "code_generation",
        "directory",
        "email_fallback",
        "notice_delivery",
        "notification",
        "settings",
        "sms_delivery",
        "support",
        "team",
        "team_batch",
        "timers",
        "janitor",
        "verification",
    ];
    for worker in ROSTER {
        let code = code(&root().join("workers").join(format!("{worker}.rs")));
        for other in ROSTER {
            assert!(!code.contains(&format!("crate::{other}")), "{worker} imports {other}");
        }
    }
}

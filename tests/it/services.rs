//! Which Docker `scripts/services.sh` takes, with a stand-in for Docker's client.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const CLIENT: &str = r#"#!/bin/sh
case "$1" in
version) [ -n "$ENGINE" ] && echo "$ENGINE" ;;
compose) [ -n "$COMPOSE" ] && echo "$COMPOSE" ;;
esac
"#;

/// Whether a Docker of these versions is taken, and what is said. Empty: it gives no answer.
fn taken(engine: &str, compose: &str) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-client");
    let client = folder.join("docker");
    if !client.exists() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&client, CLIENT).unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script =
        "set -euo pipefail; source processes.sh; source services/compose.sh; docker_answers";
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(root.join("scripts"))
        .env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()))
        .env("ENGINE", engine)
        .env("COMPOSE", compose)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_docker_that_cannot_run_the_compose_file_is_passed_over_and_why_is_said_in_one_line() {
    for (engine, compose) in [
        ("25.0.0", "2.23.1"),
        ("26.1.5+dfsg1", "2.26.1-4"),
        ("28.2.2", "v2.40.0-desktop.1"),
        ("100.0.0", "10.0"),
    ] {
        assert_eq!(taken(engine, compose), (true, String::new()), "{engine} {compose}");
    }
    for (engine, compose, why) in [
        ("", "2.26.1", "no engine answers"),
        ("20.10.24+dfsg1", "2.26.1", "its engine is 20.10.24+dfsg1, and 25 or later is needed"),
        ("9.0", "2.26.1", "its engine is 9.0,"),
        ("26.1.5", "", "Compose is not installed"),
        ("26.1.5", "2.23.0", "its Compose is 2.23.0, and 2.23.1 or later is needed"),
        ("26.1.5", "v2.9.0", "its Compose is v2.9.0,"),
        ("26.1.5", "dev", "its Compose is dev,"),
    ] {
        let (taken, said) = taken(engine, compose);
        assert!(!taken, "{engine} {compose}");
        assert!(said.contains(why) && said.lines().count() == 1, "{engine} {compose}: {said}");
    }
}

//! No code, number or address in clear: not in the broker's files, the database's files and WAL,
//! the logs or the metrics. The scanner is shown to find what is planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;

use crate::support::{PATIENCE, World};

/// Files below `folder` that hold `needle`.
fn holding(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, needle));
        } else if fs::read(&path).is_ok_and(|bytes| contains(&bytes, needle.as_bytes())) {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

fn services() -> PathBuf {
    let given = std::env::var("STEPUP_SERVICES_DIR").map(PathBuf::from);
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".services");
    let folder = given.unwrap_or_else(|_| usual());
    // Where the servers' files had to move to, if they had to.
    match fs::read_to_string(folder.join("state-folder")) {
        Ok(moved) => PathBuf::from(moved.trim()),
        Err(_) => folder,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r108_no_code_number_or_address_is_found_on_any_disk_and_the_scanner_finds_planted_ones() {
    // Ten digits, so that a find is no coincidence.
    let extra = [("STEPUP_CODE_DIGITS", "10")];
    let world = World::start(&[vec!["all"]], &extra).await;
    let digits: u32 = rand::rng().random_range(2_000_000..9_999_999);
    let national = format!("202{digits}");
    let (phone, email) = (format!("+1{national}"), format!("canary{digits}@acme.example"));
    world.register("acme", "ada", &phone, Some(&email)).await;
    let id = world.login("acme", "ada", "l1").await["challenge"].as_str().unwrap().to_owned();
    let code = world.code(&format!("/phones/{phone}"), 0).await;
    assert_eq!(code.len(), 10);
    let guess = "4815162342";
    world.verify("acme", &id, guess).await;
    world.advance(Duration::from_secs(60)).await;
    world.code(&format!("/mailboxes/{email}"), 0).await;
    assert_eq!(world.verify("acme", &id, &code).await.0, 200);
    let verified = "SELECT count(*) FROM trail WHERE kind = 'challenge.verified'";
    world.until(verified, 1, PATIENCE).await;

    let places = [services(), world.folder.clone()];
    let planted = world.folder.join("planted");
    for canary in [national.as_str(), email.as_str(), code.as_str(), guess] {
        for place in &places {
            let found = holding(place, canary);
            assert!(found.is_empty(), "{canary} in {found:?}");
        }
        fs::write(&planted, format!("xx{canary}xx")).unwrap();
        assert_eq!(holding(&world.folder, canary), [planted.as_path()]);
        fs::remove_file(&planted).unwrap();
    }
    // The scan has reached the servers' files: the account's name is there, in clear by design.
    assert!(!holding(&services(), "refinery_schema_history").is_empty(), "{:?}", services());
    world.end().await;
}

//! No code, number or address in clear: not in the broker's files with its dead letters, not in the
//! database's files and WAL, not in the logs at their most talkative, not in the metrics. The scanner
//! is shown to find what is planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use reqwest::Method;
use serde_json::{Value, json};
use stepup::broker::dead;
use stepup::domain::keys::Keyring;

use crate::app::App;
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
    let files = match fs::read_to_string(folder.join("state-folder")) {
        Ok(moved) => PathBuf::from(moved.trim()),
        Err(_) => folder,
    };
    assert!(
        files.join("rabbitmq").is_dir() && files.join("postgres").is_dir(),
        "{} has no files of the servers, which this test searches: run it with those that \
         `scripts/services.sh up --private` starts",
        files.display()
    );
    files
}

/// Requests that an app seals as it should and that are set aside all the same: a version that is
/// not known, a key that nobody takes, an id that was used for another request.
async fn make_dead_letters(world: &World, guess: &str, phone: &str, email: &str, run: u32) {
    let app = App::connect(world, "demo").await;
    let member = |version: u8| {
        json!({ "v": version, "account": "acme", "member": "eve", "version": 1,
            "phone": app.seal(phone), "email": app.seal(email) })
    };
    let verify = |guess: &str| {
        let nobody = "6b7c521f-3337-5e00-8288-d824407cfd2c";
        json!({ "account": "acme", "challenge": nobody, "guess": app.seal(guess) })
    };
    let id = |what: &str| format!("{what}-{run}");
    let refused = [
        app.ask_as(&id("version"), "directory.member", &member(2)).await,
        app.ask_as(&id("key"), "directory.nothing", &member(1)).await,
        {
            app.ask_as(&id("reused"), "challenge.verify", &verify("another")).await;
            app.ask_as(&id("reused"), "challenge.verify", &verify(guess)).await
        },
    ];
    assert!(refused.iter().all(|reply| reply["outcome"] == "refused"), "{refused:?}");
    let shows = |canary: &&str| refused.iter().any(|reply| reply.to_string().contains(*canary));
    assert!(![guess, phone, email].iter().any(shows), "{refused:?}");
}

/// A change of a sensitive setting, approved, and a list of a company's numbers; what must not be
/// found of them.
async fn change_a_setting(world: &World, phone: &str, run: u32) -> (String, [String; 3]) {
    let owned = format!("212{run}");
    let list = json!({ "version": 1, "numbers": [format!("+1{owned}")] });
    let path = "/v1/accounts/acme/owned-numbers";
    assert_eq!(world.call(Method::PUT, path, list).await.0, 200);
    let values = ["before", "after", "summary"].map(|what| format!("{what}-{run}"));
    let change = json!({ "change": "c1", "setting": "bank_account", "before": values[0],
        "after": values[1], "summary": values[2] });
    let path = "/v1/accounts/acme/members/ada/settings";
    let (_, opened) = world.call(Method::POST, path, change).await;
    let code = world.code(&format!("/phones/{phone}"), 1).await;
    let id = opened["challenge"].as_str().unwrap_or_else(|| panic!("{opened}"));
    let (status, verified) = world.verify("acme", id, &code).await;
    assert_eq!(status, 200, "{verified}");
    (owned, values)
}

/// Each dead letter is a sealed whole, and holds the request as the app sealed it.
async fn assert_dead_letters_are_sealed(world: &World, guess: &str, run: u32) {
    let keys = fs::read_to_string(world.folder.join("keys")).unwrap();
    let keys = Keyring::parse(&keys).unwrap();
    let broker = world.broker();
    assert_eq!(dead::list(&broker, 10).await.unwrap().len(), 3);
    for (what, reason) in
        [("version", "malformed"), ("key", "unidentified"), ("reused", "id_reused")]
    {
        let id = format!("{what}-{run}");
        let (view, body) = dead::show(&broker, &id).await.unwrap().unwrap();
        assert_eq!((view.reason.as_str(), view.sealed), (reason, true), "{what}");
        let text = std::str::from_utf8(&body).unwrap();
        let request: Value = serde_json::from_slice(&keys.open_request(text).unwrap()).unwrap();
        assert_eq!(request["account"], "acme", "{what}");
        if what == "reused" {
            let sealed = request["guess"].as_str().unwrap();
            assert_eq!(&keys.open_request(sealed).unwrap()[..], guess.as_bytes());
        }
        // The scan reaches the broker's files: what a dead letter shows in clear is found in them.
        assert!(!holding(&services(), &id).is_empty(), "{id} in {:?}", services());
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r108_no_code_number_or_address_is_found_on_any_disk_and_the_scanner_finds_planted_ones() {
    // Ten digits, so that a find is no coincidence.
    let extra = [("STEPUP_CODE_DIGITS", "10"), ("STEPUP_LOG", "trace")];
    let roles = [
        vec!["ingress"],
        vec!["work", "code-generation", "verification", "settings", "directory", "timers"],
        vec!["work", "sms-delivery", "email-fallback", "audit", "notification", "notice-delivery"],
    ];
    let world = World::start(&roles, &extra).await;
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
    let (owned, values) = change_a_setting(&world, &phone, digits).await;
    make_dead_letters(&world, guess, &phone, &email, digits).await;
    assert_dead_letters_are_sealed(&world, guess, digits).await;

    // What the scanner finds on disk it finds in the metrics too.
    for (process, page) in world.metrics().await {
        assert!(page.contains("stepup_build_info"), "{process}: {page}");
        fs::write(world.folder.join(format!("{process}.metrics")), page).unwrap();
    }
    let places = [services(), world.folder.clone()];
    let planted = world.folder.join("planted");
    let canaries = [national.as_str(), email.as_str(), code.as_str(), guess, owned.as_str()];
    for canary in canaries.into_iter().chain(values.iter().map(String::as_str)) {
        for place in &places {
            let found = holding(place, canary);
            assert!(found.is_empty(), "{canary} in {found:?}");
        }
        fs::write(&planted, format!("xx{canary}xx")).unwrap();
        assert_eq!(holding(&world.folder, canary), [planted.as_path()]);
        fs::remove_file(&planted).unwrap();
    }
    // The scan has reached the database's files and the logs.
    assert!(!holding(&services(), "refinery_schema_history").is_empty(), "{:?}", services());
    assert!(!holding(&world.folder, "\"level\":\"TRACE\"").is_empty());
    world.end().await;
}

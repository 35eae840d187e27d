//! The Activity report of the whole product: written, read, chained, attested, verified.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use super::PHONE;
use crate::support::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn r90_r91_r92_changes_are_reported_chained_and_attested() {
    let file = std::env::temp_dir().join(format!("{}-checkpoints", crate::support::random_name()));
    let place = file.display().to_string();
    let extra = [("STEPUP_CHECKPOINT_FILE", place.as_str()), ("STEPUP_CHECKPOINT_SECONDS", "0.5")];
    let world = World::start(&[vec!["all"]], &extra).await;
    world.register("acme", "ada", PHONE, None).await;
    world.put_member("acme", "boss", json!({ "version": 1, "role": "admin" })).await;
    let by_boss = json!({ "version": 2, "phone": "+12025550188", "two_factor": true,
        "actor": "boss", "ip": "2001:DB8::7", "user_agent": "=Mozilla/5.0" });
    world.put_member("acme", "ada", by_boss).await;
    let off = json!({ "version": 3, "phone": "+12025550188", "two_factor": false });
    world.put_member("acme", "ada", off).await;

    let report = "/v1/accounts/acme/activity";
    let (status, all) = world.call(Method::GET, report, Value::Null).await;
    assert_eq!((status, &all["next_cursor"]), (200, &Value::Null), "{all}");
    let rows = all["activity"].as_array().unwrap();
    let actions: Vec<&Value> = rows.iter().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["two_factor_disabled", "number_changed", "two_factor_enabled"]);
    let (own, changed) = (&rows[0], &rows[1]);
    assert_eq!((&own["actor"], &own["origin"]), (&json!("ada"), &json!("self")));
    for (field, value) in [
        ("account", "acme"),
        ("member", "ada"),
        ("actor", "boss"),
        ("origin", "admin"),
        ("old_number", "•••23"),
        ("new_number", "•••88"),
        ("ip", "2001:db8::7"),
        ("user_agent", "=Mozilla/5.0"),
    ] {
        assert_eq!(changed[field], value, "{field}");
    }
    assert!(!all.to_string().contains("2025550"));
    let only = format!("{report}?action=number_changed&member=ada&limit=1");
    let (_, one) = world.call(Method::GET, &only, Value::Null).await;
    assert_eq!(one["activity"], json!([changed]));
    let (status, none) = world.call(Method::GET, "/v1/accounts/other/activity", Value::Null).await;
    assert_eq!((status, &none["outcome"]), (404, &json!("not_found")));

    world.until("SELECT count(*) FROM activity_checkpoint WHERE position = 3", 1, PATIENCE).await;
    let keys = world.folder.join("keys");
    let verify = || {
        Command::new(env!("CARGO_BIN_EXE_stepup"))
            .args(["audit", "verify", "--checkpoints", &place])
            .env_clear()
            .env("STEPUP_DATABASE_URL", &world.database)
            .env("STEPUP_KEYS_FILE", &keys)
            .output()
            .unwrap()
    };
    let fine = verify();
    let text = String::from_utf8_lossy(&fine.stdout);
    assert!(fine.status.success(), "{text}");
    assert!(text.starts_with("1 accounts, 3 rows in order, 3 of them attested"), "{text}");
    let edit = "ALTER TABLE activity DISABLE TRIGGER USER;
        UPDATE activity SET actor = 'eve' WHERE action = 'number_changed'";
    world.execute(edit).await;
    let found = verify();
    assert_eq!(found.status.code(), Some(2));
    let seq = changed["seq"].as_i64().unwrap();
    let named = format!("account acme, seq {seq}: ");
    assert!(String::from_utf8_lossy(&found.stdout).starts_with(&named));
    std::fs::remove_file(&file).unwrap();
    world.end().await;
}

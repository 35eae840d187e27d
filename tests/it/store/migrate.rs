//! A migration whose table is in use.

use std::time::{Duration, Instant};

use stepup::store;
use tokio_postgres::Client;

use crate::support::{Database, PATIENCE, random_name};

/// Takes the last migration back, and has a session read the table that it changes, as `pg_dump` does.
async fn in_use(database: &Database) -> Client {
    let admin = database.client().await;
    let back = "ALTER TABLE inbox DROP COLUMN app; \
        DELETE FROM refinery_schema_history WHERE version >= 8";
    admin.batch_execute(back).await.unwrap();
    let dump = database.client().await;
    dump.batch_execute(
        "SET application_name = 'pg_dump'; BEGIN; LOCK TABLE inbox IN ACCESS SHARE MODE",
    )
    .await
    .unwrap();
    dump
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_behind_pg_dump_lets_others_pass_and_is_applied_afterwards() {
    let database = Database::create(&random_name()).await;
    let dump = in_use(&database).await;
    // Two of them, as when two processes are started at once.
    let migrating = [database.store(), database.store()]
        .map(|store| tokio::spawn(async move { store::migrate(&store, PATIENCE).await }));
    let reader = database.client().await;
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        reader.query("SELECT count(*) FROM inbox", &[]).await.unwrap();
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(longest < Duration::from_secs(4), "a reader waited {longest:?}");
    assert!(!migrating.iter().any(tokio::task::JoinHandle::is_finished), "it does not wait");
    dump.batch_execute("COMMIT").await.unwrap();
    let mut applied = 0;
    for migrating in migrating {
        applied += migrating.await.unwrap().unwrap().len();
    }
    assert!(applied > 0, "nothing was applied");
    database.store().takes_work().await.unwrap();
    assert_eq!(
        database
            .count("SELECT count(DISTINCT version) - count(*) FROM refinery_schema_history")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_too_long_says_which_session_is_in_the_way() {
    let database = Database::create(&random_name()).await;
    let _dump = in_use(&database).await;
    let failed = store::migrate(&database.store(), Duration::ZERO).await.unwrap_err().to_string();
    assert!(failed.contains("pg_dump, idle in transaction"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_be_applied_says_all_causes() {
    let database = Database::create(&random_name()).await;
    let admin = database.client().await;
    // What it adds is there already.
    admin.batch_execute("DELETE FROM refinery_schema_history WHERE version >= 8").await.unwrap();
    let failed = store::migrate(&database.store(), Duration::ZERO).await.unwrap_err().to_string();
    let cause = r#"column "app" of relation "inbox" already exists (42701)"#;
    assert!(failed.contains("cannot be applied") && failed.ends_with(cause), "{failed}");
}

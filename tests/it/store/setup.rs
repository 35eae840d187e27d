//! The databases of the tests, and the migrations they are made by.

use std::time::Duration;

use futures_util::future::join_all;
use stepup::store;

use crate::support::{Database, PATIENCE, random_name};

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_made_side_by_side_and_do_not_share_rows_or_clocks() {
    let databases = join_all((0..4).map(|_| async {
        let name = random_name();
        Database::create(&name).await
    }));
    let databases = databases.await;
    databases[0].jump(Duration::from_secs(3600)).await;
    databases[0]
        .client()
        .await
        .batch_execute("INSERT INTO watermark VALUES ('x', now())")
        .await
        .unwrap();
    let ahead = "SELECT extract(epoch FROM stepup_now() - clock_timestamp())::bigint";
    for (n, database) in databases.iter().enumerate() {
        let first = i64::from(n == 0);
        assert_eq!(database.count("SELECT count(*) FROM watermark").await, first);
        assert_eq!(database.count(ahead).await, first * 3600);
        database.store().takes_work().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_applies_each_migration_once() {
    let database = Database::create(&random_name()).await;
    let store = database.store();
    // The template was migrated already.
    assert_eq!(store::migrate(&store, PATIENCE).await.unwrap(), Vec::<String>::new());
    let found = "SELECT count(*) FROM refinery_schema_history";
    let before = database.count(found).await;
    let both = join_all([store::migrate(&store, PATIENCE), store::migrate(&store, PATIENCE)]).await;
    assert!(both.iter().all(|applied| applied.as_ref().is_ok_and(Vec::is_empty)));
    assert_eq!(database.count(found).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lacks_a_migration_is_told_to_be_behind() {
    let database = Database::create(&random_name()).await;
    let forget = "DELETE FROM refinery_schema_history WHERE version = \
        (SELECT max(version) FROM refinery_schema_history)";
    database.client().await.batch_execute(forget).await.unwrap();
    let behind = database.store().takes_work().await.unwrap_err();
    assert!(behind.to_string().contains("stepup migrate"), "{behind}");
}

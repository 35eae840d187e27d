//! What the database does not do, or not now, counts against no message, and holds up no other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stepup::domain::id::{AppName, request_id};
use stepup::message::{Outgoing, RetryDelay};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Transaction};

use super::fake::{Act, FakeProvider, FakeTransaction};
use super::fixture::{QUEUE, RuntimeFixture, endless, note, short};
use crate::support::{Door, PATIENCE};

/// A message of which three attempts were counted never comes back.
fn short_at_first(delay: RetryDelay) -> Duration {
    match delay {
        RetryDelay::Second1 | RetryDelay::Second5 => Duration::from_millis(200),
        RetryDelay::Second30 | RetryDelay::Second120 => endless(delay),
    }
}

/// A row under the key of this message, not committed: who writes that row waits.
async fn keep_back(hold: &Transaction<'_>, message: &Outgoing) {
    let app = AppName::parse("demo").unwrap();
    let id = request_id(&app, &message.id.to_string());
    let sql = "INSERT INTO inbox (worker, message, label, at) VALUES ('fake', $1, 'x', now())";
    hold.execute(sql, &[&id]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_row_that_another_session_holds_keeps_its_own_message_waiting_and_no_other() {
    let fixture = RuntimeFixture::open(short_at_first).await;
    let held = note("ada", Act::Write);
    let mut console = fixture.database.client().await;
    let hold = console.transaction().await.unwrap();
    keep_back(&hold, &held).await;
    let mut batch: Vec<_> = (0..20).map(|n| note(&format!("bob{n}"), Act::Write)).collect();
    batch.insert(10, held);
    fixture.publish(&batch).await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    fixture.written(20).await;
    // It comes again and again, and its neighbour is handled.
    worker.looked("ada", 5).await;
    fixture.publish(&[note("eve", Act::Write)]).await;
    fixture.written(21).await;
    assert_eq!(fixture.rows().await, 21, "it is not held");
    hold.rollback().await.unwrap();
    fixture.written(22).await;
    assert_eq!(fixture.events(22).await.len(), 22);
    process.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_row_another_session_holds_is_kept_and_its_neighbours_are_settled() {
    let fixture = RuntimeFixture::open(endless).await;
    let held = note("ada", Act::Write);
    let mut console = fixture.database.client().await;
    let hold = console.transaction().await.unwrap();
    keep_back(&hold, &held).await;
    fixture.publish(&[note("bob", Act::Write), held, note("eve", Act::Write)]).await;
    let worker = FakeProvider::new();
    let process = fixture.start(&worker).await;
    fixture.written(2).await;
    fixture.publish(&[note("dan", Act::Write)]).await;
    fixture.written(3).await;
    // Long enough to be tried again.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(fixture.rows().await, 3, "it is not held");
    hold.rollback().await.unwrap();
    fixture.written(4).await;
    assert_eq!(fixture.events(4).await.len(), 4);
    process.drain().await;
    assert_eq!(worker.called.load(Ordering::Relaxed), 4, "each was called once");
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_connections_that_are_accepted_and_silent_count_against_no_message() {
    let fixture = RuntimeFixture::open(endless).await;
    let door = Door::before(&fixture.database).await;
    let store = fixture.database.store_by(&door.url);
    let worker = FakeTransaction::new();
    let process = fixture.start_with(store.clone(), &worker).await;
    fixture.publish(&[note("ada", Act::Write)]).await;
    fixture.written(1).await;
    store.takes_work().await.unwrap();
    door.silent(true);
    let notes = ["bob", "eve", "dan"].map(|name| note(name, Act::Write));
    fixture.publish(&notes).await;
    let told = store.takes_work().await.unwrap_err().to_string();
    assert!(told.contains("database is down"), "{told}");
    // Longer than a pass may take.
    sleep(Duration::from_secs(23)).await;
    door.silent(false);
    fixture.written(4).await;
    assert_eq!(fixture.events(4).await.len(), 4);
    process.drain().await;
    assert_eq!(fixture.rows().await, 4);
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_claim_whose_commit_was_not_answered_is_taken_back_and_its_call_is_made_once() {
    let fixture = RuntimeFixture::open(endless).await;
    let door = Door::before(&fixture.database).await;
    let worker = FakeProvider::new();
    let process = fixture.start_with(fixture.database.store_by(&door.url), &worker).await;
    door.lose_the_answer_to_a_commit();
    fixture.publish(&[note("ada", Act::Write)]).await;
    fixture.written(1).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    process.drain().await;
    assert_eq!(worker.released.load(Ordering::Relaxed), 1);
    assert_eq!(worker.called.load(Ordering::Relaxed), 1);
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_table_that_is_locked_is_told_with_the_session_that_holds_it() {
    let fixture = RuntimeFixture::open(endless).await;
    let store = fixture.database.store();
    let console = fixture.database.client().await;
    console.batch_execute("SET application_name = 'psql'").await.unwrap();
    console.batch_execute("BEGIN; LOCK TABLE activity IN SHARE MODE").await.unwrap();
    let told = store.takes_work().await.unwrap_err().to_string();
    assert!(told.contains("activity by session") && told.contains("psql"), "{told}");
    console.batch_execute("COMMIT").await.unwrap();
    let started = Instant::now();
    while store.takes_work().await.is_err() {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_waited_for_is_no_table_that_is_locked() {
    let fixture = RuntimeFixture::open(endless).await;
    let console = fixture.database.client().await;
    let lock = "BEGIN; SELECT FROM watermark FOR UPDATE";
    console.batch_execute("INSERT INTO watermark VALUES ('x', now())").await.unwrap();
    console.batch_execute(lock).await.unwrap();
    // Who waits for a row locks its place in the table, which `pg_locks` shows beside the table.
    let waiting = fixture.database.client().await;
    let waiting = tokio::spawn(async move { waiting.batch_execute(lock).await });
    let places = "SELECT count(*) FROM pg_locks WHERE locktype = 'tuple' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let started = Instant::now();
    while fixture.database.count(places).await == 0 {
        assert!(started.elapsed() < PATIENCE);
    }
    fixture.database.store().takes_work().await.unwrap();
    console.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
}

/// From now on, writing down what was done runs out of time (at once, so that tests do not), where
/// `when` holds.
async fn slow(console: &Client, when: &str) {
    let sql = format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE query_canceled; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON activity FOR EACH ROW WHEN ({when}) \
         EXECUTE FUNCTION slow()"
    );
    console.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_table_that_is_slow_for_every_message_counts_against_none() {
    let fixture = RuntimeFixture::open(short_at_first).await;
    let console = fixture.database.client().await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    fixture.publish(&[note("eve", Act::Write)]).await;
    fixture.written(1).await;
    slow(&console, "true").await;
    fixture.publish(&["ada", "bob"].map(|name| note(name, Act::Write))).await;
    // Apart, and as often as would end three attempts.
    worker.looked("ada", 6).await;
    worker.looked("bob", 6).await;
    console.batch_execute("DROP TRIGGER slow ON activity").await.unwrap();
    fixture.written(3).await;
    process.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_a_message_that_alone_is_slow_is_a_dead_letter_in_the_end() {
    let fixture = RuntimeFixture::open(short).await;
    let console = fixture.database.client().await;
    slow(&console, "NEW.member = 'ada'").await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    fixture.publish(&[note("ada", Act::Write)]).await;
    // Once without a count, five times with one.
    for times in 1..=6 {
        worker.looked("ada", times).await;
        fixture.publish(&["bob", "eve"].map(|name| note(name, Act::Write))).await;
    }
    let dead = fixture.dead(1).await;
    assert_eq!((dead[0].reason.as_str(), dead[0].attempt), ("exhausted", 4), "{dead:?}");
    assert_eq!(fixture.rows().await, 12);
    process.drain().await;
}

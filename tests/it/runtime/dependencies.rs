//! A dependency that is away is no fault of the messages: no attempt is counted, no retry delay is used.
//! The retry queues of these tests return nothing, so a message that enters one is never written.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use stepup::broker::{Delivery, topology};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::fake::{Act, Fake, FakeProvider, FakeTransaction, Run};
use super::fixture::{QUEUE, RuntimeFixture, endless, note, raw};
use crate::support::{Line, PATIENCE, setting};

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_database_that_goes_away_in_a_pass_pauses_it_and_the_pass_is_done_again() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    fixture.publish(&[note("ada", Act::Hold)]).await;
    worker.looked("ada", 1).await;
    fixture.database.shut().await;
    // In the middle of its transaction; and once more before the first look after it.
    worker.gate.add_permits(2);
    fixture.publish(&[note("bob", Act::Write)]).await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    fixture.database.reopen().await;
    fixture.written(2).await;
    assert_eq!(fixture.events(2).await.len(), 2);
    assert!(worker.looks_at("ada").len() >= 2);
    process.drain().await;
    assert_eq!(fixture.rows().await, 2);
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_table_that_somebody_locks_is_waited_for_and_counts_against_no_message() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    let console = fixture.database.client().await;
    console.batch_execute("BEGIN; LOCK TABLE activity IN SHARE MODE").await.unwrap();
    let notes = ["ada", "bob", "eve"].map(|name| note(name, Act::Write));
    fixture.publish(&notes).await;
    // What waits too long is cancelled; here it is at once. Then nothing is tried until the table is free.
    cancel_until_nothing_waits(&fixture.database.client().await).await;
    let looks = worker.looks_at("ada").len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(worker.looks_at("ada").len(), looks, "it goes on trying");
    console.batch_execute("COMMIT").await.unwrap();
    fixture.written(3).await;
    assert_eq!(fixture.events(3).await.len(), 3);
    process.drain().await;
    fixture.no_dead().await;
}

/// Cancels what waits for a lock, until nothing has waited for a while.
async fn cancel_until_nothing_waits(console: &Client) {
    const WAITING: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let cancelling = async {
        let (mut cancelled, mut quiet) = (0, 0);
        while cancelled == 0 || quiet < 50 {
            let waiting = console.execute(WAITING, &[]).await.unwrap();
            (cancelled, quiet) = (cancelled + waiting, if waiting > 0 { 0 } else { quiet + 1 });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, cancelling).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_an_answer_that_finds_no_database_is_kept_until_it_is_back() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeProvider::new();
    let process = fixture.start(&worker).await;
    fixture.publish(&[note("ada", Act::Hold)]).await;
    worker.looked("ada", 1).await;
    fixture.database.shut().await;
    worker.gate.add_permits(1);
    fixture.database.reopen().await;
    fixture.written(1).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    assert_eq!(worker.looks_at("ada").len(), 1, "it was called once");
    process.drain().await;
    assert_eq!(fixture.rows().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_what_waited_for_the_database_is_called_as_soon_as_it_is_claimed() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeProvider::new();
    let process = fixture.start(&worker).await;
    fixture.database.shut().await;
    fixture.publish(&[note("ada", Act::Write)]).await;
    // Longer than a claim stays fresh.
    tokio::time::sleep(Duration::from_secs(6)).await;
    fixture.database.reopen().await;
    fixture.written(1).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_of_the_broker_pauses_what_publishes_and_costs_no_message_a_return() {
    let fixture = RuntimeFixture::open(endless).await;
    let line = Line::lay().await;
    let process = fixture.start_by(&line.url, &FakeTransaction::new()).await;
    line.alarm(true);
    fixture.publish(&[note("ada", Act::Write), note("bob", Act::Write)]).await;
    // Committed by then, and not published: it waits.
    fixture.written(1).await;
    fixture.depth("audit.bulk", |depth| depth.messages == 0).await;
    line.alarm(false);
    fixture.written(2).await;
    let events = fixture.events(2).await;
    assert!(events.iter().all(|event| event.returns == 0));
    process.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    assert_eq!(fixture.rows().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_what_finds_no_queue_waits_at_its_worker_and_costs_its_message_no_return() {
    let fixture = RuntimeFixture::open(endless).await;
    waits_for_a_queue(&fixture, FakeTransaction::new(), "ada", 1).await;
    waits_for_a_queue(&fixture, FakeProvider::new(), "bob", 2).await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    fixture.no_dead().await;
}

async fn waits_for_a_queue<const PROVIDER: bool>(
    fixture: &RuntimeFixture,
    worker: Arc<Fake<PROVIDER>>,
    name: &str,
    rows: i64,
) where
    Fake<PROVIDER>: Run,
{
    let process = fixture.start(&worker).await;
    fixture.route_events(false).await;
    fixture.publish(&[note(name, Act::Write)]).await;
    fixture.written(rows).await;
    // Long enough for several attempts, and for the next session if this one had ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    fixture.route_events(true).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    process.drain().await;
    assert_eq!(worker.looks_at(name).len(), 1, "it came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_what_the_broker_takes_does_not_go_out_again_and_again_with_what_it_refuses() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    fixture.publish(&[note("eve", Act::Hold)]).await;
    worker.looked("eve", 1).await;
    // These come meanwhile, so they share the next pass.
    fixture.publish(&[raw("{ not json"), note("ada", Act::Hold)]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    worker.gate.add_permits(1);
    worker.looked("ada", 1).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    fixture.route_events(false).await;
    worker.gate.add_permits(1);
    fixture.written(2).await;
    // Long enough for several attempts to publish the event.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fixture.route_events(true).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    process.drain().await;
    // Once in the first attempt, of which nothing is known, and once by itself.
    assert_eq!(fixture.dead(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_broker_that_is_cut_off_again_and_again_loses_and_doubles_nothing() {
    const MESSAGES: usize = 200;
    let fixture = RuntimeFixture::open(endless).await;
    let line = Line::lay().await;
    let worker = FakeTransaction::new();
    let process = fixture.start_by(&line.url, &worker).await;
    for round in 0..4 {
        let names = (0..MESSAGES / 4).map(|n| note(&format!("r{round}m{n}"), Act::Write));
        fixture.publish(&names.collect::<Vec<_>>()).await;
        worker.looked(&format!("r{round}m0"), 1).await;
        line.cut();
    }
    fixture.written(MESSAGES as i64).await;
    // Copies under the same id are allowed: they die in the next inbox.
    let ids = |events: &[Delivery]| -> HashSet<_> {
        events.iter().map(|event| event.incoming.message_id.clone()).collect()
    };
    fixture.events_until(|events| ids(events).len() == MESSAGES).await;
    process.drain().await;
    // What a cut has left unacked comes again, and is known.
    let second = fixture.start(&worker).await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    second.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    assert_eq!(fixture.rows().await, MESSAGES as i64);
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_a_worker_whose_queue_is_deleted_and_declared_at_once_goes_on() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    let url = setting("STEPUP_AMQP_URL");
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&url, properties).await.unwrap();
    let operator = connection.create_channel().await.unwrap();
    let (queue, options) = (fixture.broker.names().queue(QUEUE), Default::default());
    operator.queue_delete(queue.into(), options).await.unwrap();
    topology::declare_with_delays(&fixture.broker, endless).await.unwrap();
    fixture.publish(&[note("ada", Act::Write)]).await;
    fixture.written(1).await;
    process.drain().await;
    fixture.no_dead().await;
}

//! The same message again: by the broker, by its sender, by two processes at once.

use std::collections::HashSet;

use stepup::broker::topology;

use super::fake::{Act, FakeProvider, FakeTransaction};
use super::fixture::{QUEUE, RuntimeFixture, endless, note, short};
use crate::support::Line;

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_repeat_brings_the_same_messages_and_the_same_answer_and_changes_nothing() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeTransaction::new()).await;
    let message = note("ada", Act::Write);
    let answers = [fixture.ask(message.clone()).await, fixture.ask(message.clone()).await];
    assert_eq!(answers[0], answers[1]);
    let events = fixture.events(2).await;
    assert_eq!(events[0].incoming.message_id, events[1].incoming.message_id);
    assert_eq!(events[0].incoming.body, events[1].incoming.body);
    assert_eq!(fixture.rows().await, 1);
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_another_body_is_refused_and_gets_nobody_s_answer() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeTransaction::new()).await;
    let message = note("ada", Act::Write);
    assert_eq!(fixture.ask(message.clone()).await["outcome"], "stored");
    let mut other = note("bob", Act::Write);
    other.id = message.id;
    assert_eq!(fixture.ask(other).await["outcome"], "refused");
    assert_eq!(fixture.dead(1).await[0].reason, "id_reused");
    assert_eq!(fixture.rows().await, 1);
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_two_processes_that_race_for_one_message_write_it_once() {
    let fixture = RuntimeFixture::open(short).await;
    let worker = FakeTransaction::new();
    let processes = [fixture.start(&worker).await, fixture.start(&worker).await];
    let message = note("ada", Act::Hold);
    // The broker hands them out in turn: one to each.
    fixture.publish(&[message.clone(), message]).await;
    worker.looked("ada", 2).await;
    worker.gate.add_permits(10);
    // The one that was slower found the other's row, and hands out what is kept there.
    let events = fixture.events(2).await;
    assert_eq!(events[0].incoming.message_id, events[1].incoming.message_id);
    assert_eq!(fixture.rows().await, 1);
    for process in processes {
        process.drain().await;
    }
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_r109_a_process_killed_between_commit_and_publishing_loses_no_message() {
    let fixture = RuntimeFixture::open(endless).await;
    let line = Line::lay().await;
    let first = fixture.start_by(&line.url, &FakeTransaction::new()).await;
    // State first: it is committed. Message second: it cannot get out.
    line.alarm(true);
    fixture.publish(&[note("ada", Act::Write)]).await;
    fixture.written(1).await;
    fixture.depth("audit.bulk", |depth| depth.messages == 0).await;
    line.cut();
    first.kill().await;
    fixture.depth(QUEUE, |depth| depth.consumers == 0).await;
    let second = fixture.start(&FakeTransaction::new()).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    assert_eq!(fixture.rows().await, 1);
    second.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r107_what_is_done_of_a_batch_does_not_come_again_when_its_process_is_killed() {
    let fixture = RuntimeFixture::open(endless).await;
    // Both about Ada, so one after the other, and in one batch.
    fixture.publish(&[note("ada", Act::Write), note("ada", Act::Hold)]).await;
    let worker = FakeTransaction::new();
    let first = fixture.start(&worker).await;
    worker.looked("ada", 2).await;
    assert_eq!(fixture.events(1).await.len(), 1);
    first.kill().await;
    fixture.depth(QUEUE, |depth| depth.consumers == 0 && depth.messages == 1).await;
    worker.gate.add_permits(1);
    let second = fixture.start(&worker).await;
    fixture.written(2).await;
    second.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_under_load_finishes_what_it_has_and_leaves_the_rest() {
    const MESSAGES: usize = 500;
    let fixture = RuntimeFixture::open(endless).await;
    let batch: Vec<_> = (0..MESSAGES).map(|n| note(&format!("m{n}"), Act::Write)).collect();
    fixture.publish(&batch).await;
    let worker = FakeTransaction::new();
    let first = fixture.start(&worker).await;
    fixture.written(1).await;
    first.drain().await;
    let after = fixture.rows().await as u32;
    // What was not finished is back, none of it in anybody's hands.
    fixture.depth(QUEUE, |depth| depth.messages == MESSAGES as u32 - after).await;
    let second = fixture.start(&worker).await;
    fixture.written(MESSAGES as i64).await;
    let events = fixture.events(MESSAGES).await;
    let ids: HashSet<_> = events.iter().map(|event| event.incoming.message_id.clone()).collect();
    assert_eq!((events.len(), ids.len()), (MESSAGES, MESSAGES));
    second.drain().await;
    assert_eq!(fixture.rows().await, MESSAGES as i64);
    fixture.no_dead().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_waits_for_the_calls_under_way_and_settles_them() {
    let fixture = RuntimeFixture::open(endless).await;
    let worker = FakeProvider::new();
    let process = fixture.start(&worker).await;
    fixture.publish(&[note("a", Act::Hold), note("b", Act::Hold)]).await;
    worker.looked("a", 1).await;
    worker.looked("b", 1).await;
    let draining = tokio::spawn(process.drain());
    // From a moment on it takes no more.
    let mut later = 0;
    while topology::depth(&fixture.broker, QUEUE).await.unwrap().messages == 0 {
        later += 1;
        fixture.publish(&[note(&format!("later{later}"), Act::Hold)]).await;
    }
    assert!(!draining.is_finished() && fixture.rows().await == 0);
    worker.gate.add_permits(1 + later);
    draining.await.unwrap();
    let (written, left) =
        (fixture.rows().await, topology::depth(&fixture.broker, QUEUE).await.unwrap().messages);
    assert!(written >= 2 && left >= 1, "{written} written, {left} left");
    assert_eq!(written + i64::from(left), 2 + later as i64);
    assert_eq!(fixture.events(written as usize).await.len(), written as usize);
}

//! What became of a message that cannot be handled.

use serde_json::json;
use stepup::message::{Exchange, RetryDelay};

use super::fake::{Act, FakeProvider, FakeTransaction};
use super::fixture::{KEY, QUEUE, RuntimeFixture, endless, note, raw, short};

#[tokio::test(flavor = "multi_thread")]
async fn r110_what_does_not_decode_is_a_dead_letter_with_its_reason_and_its_sender_is_told() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeTransaction::new()).await;
    let broken = [
        (raw("{"), "the body is not JSON"),
        (raw("[]"), "the body is not a JSON object"),
        (raw(&format!("{{\"v\":{}}}", "9".repeat(400))), "a number that is out of range"),
        (raw("{\"v\":2}"), "field `v`"),
        (raw("{\"name\":\"ada\"}"), "missing field `act`"),
    ];
    for (message, why) in &broken {
        let reply = fixture.ask(message.clone()).await;
        assert_eq!(reply["outcome"], "refused", "{reply}");
        assert!(reply["detail"].as_str().unwrap().contains(why), "{reply}");
    }
    // The queue flows on.
    assert_eq!(fixture.ask(note("ada", Act::Write)).await["outcome"], "stored");
    let dead = fixture.dead(5).await;
    assert_eq!(dead.len(), 5, "{dead:?}");
    for letter in &dead {
        assert_eq!((letter.reason.as_str(), letter.worker.as_str()), ("malformed", "fake"));
        assert_eq!((letter.key.as_str(), letter.queue.as_str()), (KEY, QUEUE));
        assert!(letter.sealed && letter.attempt == 0, "{letter:?}");
        assert!(broken.iter().any(|(_, why)| letter.detail.contains(why)), "{letter:?}");
    }
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_of_what_is_far_too_large_the_beginning_is_kept() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeTransaction::new()).await;
    fixture.publish(&[raw(&"x".repeat(3 << 20))]).await;
    let dead = &fixture.dead(1).await[0];
    assert!(dead.detail.contains("of its 3145728 bytes the first 1048576 are kept"), "{dead:?}");
    assert!((1 << 20..2 << 20).contains(&dead.bytes), "{dead:?}");
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_uses_every_retry_delay_then_is_exhausted_and_its_sender_is_answered() {
    let fixture = RuntimeFixture::open(short).await;
    let worker = FakeTransaction::new();
    let process = fixture.start(&worker).await;
    let message = note("ada", Act::Transient);
    let reply = fixture.ask(message.clone()).await;
    assert_eq!(reply["outcome"], "refused", "{reply}");
    let looks = worker.looks_at("ada");
    assert_eq!(looks.len(), 1 + RetryDelay::ALL.len());
    for (pair, delay) in looks.windows(2).zip(RetryDelay::ALL) {
        assert!(pair[1] - pair[0] >= short(delay), "{delay:?}: {:?}", pair[1] - pair[0]);
    }
    let [letter] = &fixture.dead(1).await[..] else { panic!() };
    assert_eq!((letter.reason.as_str(), letter.attempt), ("exhausted", 4));
    assert_eq!(letter.message_id, Some(message.id.to_string()));
    assert!(letter.first_seen.is_some() && letter.detail.contains("as it was told"));
    assert_eq!(fixture.rows().await, 0);
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_a_panic_is_a_dead_letter_and_the_queue_flows_on() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeTransaction::new()).await;
    assert_eq!(fixture.ask(note("ada", Act::Panic)).await["outcome"], "refused");
    assert_eq!(fixture.ask(note("ada", Act::Permanent)).await["outcome"], "refused");
    assert_eq!(fixture.ask(note("ada", Act::Write)).await["outcome"], "stored");
    let mut reasons: Vec<_> = fixture.dead(2).await.into_iter().map(|dead| dead.reason).collect();
    reasons.sort();
    assert_eq!(reasons, ["panicked", "permanent"]);
    process.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_a_call_that_panics_is_a_dead_letter_and_its_neighbours_are_settled() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeProvider::new()).await;
    fixture.publish(&[note("a", Act::Write), note("b", Act::Panic), note("c", Act::Write)]).await;
    fixture.written(2).await;
    let [letter] = &fixture.dead(1).await[..] else { panic!() };
    assert_eq!(letter.reason, "panicked");
    process.drain().await;
    assert_eq!(fixture.rows().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn r110_a_poisoned_message_in_a_batch_of_fifty_spoils_only_itself() {
    for poison in [Act::Panic, Act::Permanent, Act::Transient] {
        let fixture = RuntimeFixture::open(endless).await;
        let mut batch: Vec<_> = (0..50).map(|n| note(&format!("m{n}"), Act::Write)).collect();
        batch[25] = note("poison", poison);
        fixture.publish(&batch).await;
        fixture.depth(QUEUE, |depth| depth.messages == 50).await;
        let worker = FakeTransaction::new();
        let process = fixture.start(&worker).await;
        fixture.written(49).await;
        let delay = if poison == Act::Transient { "retry.1s" } else { "dead" };
        fixture.depth(delay, |depth| depth.messages == 1).await;
        assert_eq!(fixture.events(49).await.len(), 49);
        process.drain().await;
        fixture.depth(QUEUE, |depth| depth.messages == 0).await;
        assert_eq!(fixture.rows().await, 49, "{poison:?}");
        let batches = worker.batches.lock().unwrap().clone();
        assert!(batches.iter().any(|size| *size > 1), "never a batch: {batches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_stranger_is_no_command() {
    let fixture = RuntimeFixture::open(endless).await;
    let process = fixture.start(&FakeTransaction::new()).await;
    // By our own user, but under a key that only events have.
    let mut event = note("ada", Act::Write);
    event.exchange = Exchange::Events;
    event.key = "acme.challenge.resend".into();
    fixture.publish(&[event]).await;
    // It is an event like any other: it never reaches the queue of requests.
    assert_eq!(fixture.events(1).await.len(), 1);
    assert_eq!(fixture.ask(note("bob", Act::Write)).await, json!({ "outcome": "stored" }));
    process.drain().await;
    assert_eq!(fixture.rows().await, 1);
}

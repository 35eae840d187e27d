//! What shares a pass.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fake::{Act, FakeProvider, Gathering, HELD};
use super::fixture::{QUEUE, RuntimeFixture, endless, note, short};

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_worker_gathers_shares_its_pass() {
    let fixture = RuntimeFixture::open(endless).await;
    let fake = Gathering::new();
    let process = fixture.start(&fake).await;
    fixture.publish(&[note("ada", Act::Write)]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    fixture.publish(&[note("bob", Act::Write), note("cyd", Act::Write)]).await;
    fixture.written(3).await;
    assert_eq!(*fake.batches.lock().unwrap(), [3]);
    process.drain().await;
}

/// On one thread, as on a machine that is too busy: while one call holds it, the others' claims grow old.
#[tokio::test]
async fn r109_a_claim_that_grew_old_before_its_call_is_given_back_and_its_message_comes_again() {
    const MESSAGES: usize = 5;
    let mut fixture = RuntimeFixture::open(short).await;
    fixture.claim_fresh = HELD - Duration::from_millis(500);
    let fake = FakeProvider::new();
    let notes: Vec<_> = (0..MESSAGES).map(|n| note(&format!("m{n}"), Act::Block)).collect();
    fixture.publish(&notes).await;
    let process = fixture.start(&fake).await;
    fixture.written(MESSAGES as i64).await;
    assert!(fake.blocked.load(Ordering::Relaxed), "no two calls were started together");
    assert!(fake.released.load(Ordering::Relaxed) > 0, "no claim was given back");
    assert_eq!(fake.claimed_twice.load(Ordering::Relaxed), 0, "a claim was not given back");
    assert_eq!(fake.called.load(Ordering::Relaxed), MESSAGES, "each is called once");
    assert_eq!(fixture.events(MESSAGES).await.len(), MESSAGES);
    process.drain().await;
    fixture.depth(QUEUE, |depth| depth.messages == 0).await;
    fixture.no_dead().await;
}

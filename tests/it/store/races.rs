//! Two transactions about the same thing: the later one waits, and then judges what it finds; and
//! whoever judged stale facts writes nothing.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use stepup::domain::id::{AccountId, MemberId};
use stepup::domain::member::Member;
use stepup::fault::Fault;
use stepup::rules::claimed::Decision;
use stepup::rules::delivery::Settled;
use stepup::rules::factor::change::Change;
use stepup::store::{self, Claim};
use tokio::time::timeout;

use super::fixture::{CLAIM, Judged, SMS, Sending, StoreFixture, call};

/// Long enough to have come through if nothing stood in the way.
const A_WHILE: Duration = Duration::from_millis(200);

/// A code that is not this one.
fn wrong(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

fn is_stale(fault: &Fault) -> bool {
    matches!(fault, Fault::Transient(why) if why.contains("as judged"))
}

/// Has `second` wait while `first` is open, then commits `first` and brings what `second` found.
async fn after<T>(first: Judged<'_>, second: impl Future<Output = T>) -> T {
    let mut second = std::pin::pin!(second);
    assert!(timeout(A_WHILE, second.as_mut()).await.is_err(), "it did not wait");
    first.tx.commit().await.unwrap();
    second.await
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_of_two_right_guesses_at_once_the_second_waits_and_finds_the_code_used() {
    let fixture = StoreFixture::open().await;
    let (id, code) = fixture.issue("ada", "l1").await;
    let (mut a, mut b) = (fixture.client().await, fixture.client().await);
    let first = fixture.guess(&mut a, id, &code).await;
    assert_eq!(first.outcome(), "verified");
    let second = after(first, fixture.guess(&mut b, id, &code)).await;
    assert_eq!(second.outcome(), "already_used");
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_guess_that_was_judged_on_stale_facts_counts_nothing() {
    let fixture = StoreFixture::open().await;
    let (id, code) = fixture.issue("ada", "l1").await;
    let mut client = fixture.client().await;
    let Judged { tx, guess, .. } = fixture.guess(&mut client, id, wrong(&code)).await;
    let write = guess.unwrap();
    tx.commit().await.unwrap();
    // The same judgement once more, and twice in one batch.
    for writes in [vec![&write], vec![&write, &write]] {
        let tx = client.begin().await.unwrap();
        assert!(matches!(
            store::write_guesses(&tx, &writes, write.now).await,
            Err(Fault::Transient(_))
        ));
    }
    assert_eq!(fixture.database.count("SELECT count(*) FROM wrong_guess").await, 1);
    assert_eq!(fixture.database.count("SELECT wrong::bigint FROM challenge").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_r54_two_logins_for_one_number_at_once_share_its_timer() {
    let fixture = StoreFixture::open().await;
    // Two members, so that nothing but the number is common to them.
    fixture.member("bob", json!({ "version": 1, "phone": SMS, "two_factor": true })).await;
    let (mut a, mut b) = (fixture.client().await, fixture.client().await);
    let first = fixture.login(&mut a, "ada", "l1").await;
    assert!(first.causes("sms.send"));
    let second = after(first, fixture.login(&mut b, "bob", "l1")).await;
    assert_eq!(second.outcome(), "open");
    assert!(!second.causes("sms.send"), "it waits for the number's timer");
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_a_login_and_a_resend_for_one_number_in_one_pass_are_not_judged_on_the_same_facts() {
    let fixture = StoreFixture::open().await;
    fixture.member("bob", json!({ "version": 1, "phone": SMS, "two_factor": true })).await;
    fixture
        .member("eve", json!({ "version": 1, "phone": "+12025550177", "two_factor": true }))
        .await;
    let (id, _) = fixture.issue("ada", "l1").await;
    fixture.database.jump(Duration::from_secs(61)).await;
    let same = fixture.login_and_resend("bob", id).await;
    assert!(matches!(same, Err(Fault::Transient(_))), "{same:?}");
    assert_eq!(fixture.login_and_resend("eve", id).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r45_two_requests_for_one_pending_login_at_once_open_one_challenge() {
    let fixture = StoreFixture::open().await;
    let (mut a, mut b) = (fixture.client().await, fixture.client().await);
    let first = fixture.login(&mut a, "ada", "l1").await;
    let id = first.challenge();
    let second = after(first, fixture.login(&mut b, "ada", "l1")).await;
    assert_eq!(second.challenge(), id);
    second.tx.commit().await.unwrap();
    assert_eq!(fixture.database.count("SELECT count(*) FROM challenge").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_of_two_resends_at_once_one_is_granted() {
    let fixture = StoreFixture::open().await;
    let (id, _) = fixture.issue("ada", "l1").await;
    fixture.database.jump(Duration::from_secs(60)).await;
    let (mut a, mut b) = (fixture.client().await, fixture.client().await);
    let first = fixture.resend(&mut a, id).await;
    assert_eq!(first.outcome(), "resent");
    let second = after(first, fixture.resend(&mut b, id)).await;
    assert_eq!(second.outcome(), "cooldown");
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_of_two_claims_of_one_send_at_once_one_calls_and_a_stale_one_cannot() {
    let fixture = StoreFixture::open().await;
    let (id, _) = fixture.issue("ada", "l1").await;
    let (mut a, mut b) = (fixture.client().await, fixture.client().await);
    let (tx, first) = fixture.sms(&mut a, id).await;
    let first = call(first);
    store::claim_sends(&tx, &[&first], CLAIM).await.unwrap();
    let mut second = std::pin::pin!(fixture.sms(&mut b, id));
    assert!(timeout(A_WHILE, second.as_mut()).await.is_err(), "it did not wait");
    tx.commit().await.unwrap();
    let (tx, second) = second.await;
    assert!(matches!(second, Decision::Wait { label: "leased", .. }));
    // What was judged before the other's claim cannot be claimed after it.
    assert!(is_stale(&store::claim_sends(&tx, &[&first], CLAIM).await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_claim_that_was_not_carried_out_is_taken_back_by_the_one_who_made_it_alone() {
    let fixture = StoreFixture::open().await;
    let (id, _) = fixture.issue("ada", "l1").await;
    let mut client = fixture.client().await;
    let state = "SELECT count(*) FROM delivery_attempt WHERE state = 'queued' AND tries = 0 \
        AND lease_until IS NULL";
    let (tx, ours) = fixture.sms(&mut client, id).await;
    let ours = call(ours);
    // One that was not committed leaves nothing to take back.
    store::release_sends(&tx, &[&ours], CLAIM).await.unwrap();
    store::claim_sends(&tx, &[&ours], CLAIM).await.unwrap();
    tx.commit().await.unwrap();
    let tx = client.begin().await.unwrap();
    let another = Claim { lease: CLAIM.lease + Duration::from_secs(1), ..CLAIM };
    store::release_sends(&tx, &[&ours], another).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.database.count(state).await, 0, "it was another's claim");
    let tx = client.begin().await.unwrap();
    store::release_sends(&tx, &[&ours], CLAIM).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fixture.database.count(state).await, 1);
    let (_tx, again) = fixture.sms(&mut client, id).await;
    call(again);
}

fn is_skipped(sending: &Sending) -> bool {
    matches!(sending, Decision::Settle(send) if matches!(send.settled, Settled::Skipped("challenge_ended")))
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_r44_no_send_is_claimed_once_the_end_of_the_challenge_is_committed() {
    let fixture = StoreFixture::open().await;
    let (id, code) = fixture.issue("ada", "l1").await;
    let (mut a, mut b) = (fixture.client().await, fixture.client().await);
    let first = fixture.guess(&mut a, id, &code).await;
    let (_tx, sending) = after(first, fixture.sms(&mut b, id)).await;
    assert!(is_skipped(&sending));

    fixture.database.jump(Duration::from_secs(3600)).await;
    let (id, _) = fixture.issue("ada", "l2").await;
    let gone = json!({ "version": 2, "phone": SMS, "two_factor": true, "active": false });
    let first = fixture.put(&mut a, "ada", gone).await;
    let mut other = fixture.client().await;
    let (_tx, sending) = after(first, fixture.sms(&mut other, id)).await;
    assert!(is_skipped(&sending));
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_r40_a_challenge_that_has_ended_never_changes() {
    let fixture = StoreFixture::open().await;
    let (id, code) = fixture.issue("ada", "l1").await;
    let mut client = fixture.client().await;
    let Judged { tx, guess, .. } = fixture.guess(&mut client, id, &code).await;
    let ending = guess.unwrap().ending.unwrap();
    tx.commit().await.unwrap();
    let row = "SELECT count(*) FROM challenge WHERE state = 'verified'";
    for _ in 0..2 {
        let tx = client.begin().await.unwrap();
        assert!(is_stale(&store::end_challenges(&tx, &[&ending]).await.unwrap_err()));
    }
    assert_eq!(fixture.database.count(row).await, 1);
    assert_eq!(fixture.resend(&mut client, id).await.outcome(), "already_used");
    let gone = json!({ "version": 2, "phone": SMS, "two_factor": false });
    fixture.put(&mut client, "ada", gone).await.tx.commit().await.unwrap();
    assert_eq!(fixture.database.count(row).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_to_the_locking_order_meets_no_deadlock() {
    let fixture = StoreFixture::open().await;
    fixture.member("bob", json!({ "version": 1, "phone": SMS, "two_factor": true })).await;
    let (one, code) = fixture.issue("ada", "l1").await;
    let (two, other) = fixture.issue("bob", "l1").await;
    let rounds = (0..8_i64).map(|n| {
        let (fixture, code, other) = (&fixture, &code, &other);
        async move {
            let (name, id, own) = if n % 2 == 0 { ("ada", one, code) } else { ("bob", two, other) };
            let mut client = fixture.client().await;
            for version in 0..5 {
                let put = json!({ "version": 100 * version + n, "phone": SMS, "two_factor": true });
                fixture.put(&mut client, name, put).await.tx.commit().await.unwrap();
                fixture.guess(&mut client, id, wrong(own)).await.tx.commit().await.unwrap();
                fixture
                    .login(&mut client, name, &format!("n{version}"))
                    .await
                    .tx
                    .commit()
                    .await
                    .unwrap();
                fixture.resend(&mut client, id).await.tx.commit().await.unwrap();
                let (tx, sending) = fixture.sms(&mut client, id).await;
                if let Decision::Call(call) = sending {
                    store::claim_sends(&tx, &[&call], CLAIM).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
            fixture.guess(&mut client, id, code).await.tx.commit().await.unwrap();
        }
    });
    // Each of these statements would say so.
    join_all(rounds).await;
}

/// A batch of members as the directory and as members themselves write them: all of it or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_members_with_one_that_was_judged_on_stale_facts_writes_none() {
    let fixture = StoreFixture::open().await;
    let account = AccountId::parse("acme").unwrap();
    let change = |name: &str, version, locale: &str| {
        let id = MemberId::parse(name).unwrap();
        let member = Member { version, locale: locale.into(), ..Member::new(&account, &id) };
        Change { member: Box::new(member), endings: Vec::new(), activity: Vec::new() }
    };
    let (bob, cid) = (change("bob", 1, "de"), change("cid", 3, "fr"));
    let mut client = fixture.client().await;
    let tx = client.begin().await.unwrap();
    let now = tx.now().await.unwrap();
    store::put_members(&tx, &[&cid, &bob], now).await.unwrap();
    tx.commit().await.unwrap();
    let of = |locale| format!("SELECT count(*) FROM member WHERE locale = '{locale}'");
    assert_eq!(fixture.database.count(&of("de")).await, 1);
    assert_eq!(fixture.database.count(&of("fr")).await, 1);

    // One is newer than what is stored, the other is not.
    let (newer, as_stored) = (change("bob", 2, "it"), change("cid", 3, "it"));
    let tx = client.begin().await.unwrap();
    assert!(is_stale(&store::put_members(&tx, &[&newer, &as_stored], now).await.unwrap_err()));
    drop(tx);
    // What members change themselves leaves the version as it is.
    let (ours, stale) = (change("bob", 1, "de"), change("cid", 2, "fr"));
    let tx = client.begin().await.unwrap();
    assert!(is_stale(&store::write_changes(&tx, &[&ours, &stale], now).await.unwrap_err()));
    drop(tx);
    assert_eq!(fixture.database.count(&of("it")).await, 0);
    let tx = client.begin().await.unwrap();
    let cid = change("cid", 3, "fr");
    store::write_changes(&tx, &[&ours, &cid], now + time::Duration::hours(1)).await.unwrap();
    tx.commit().await.unwrap();
    let later = "SELECT count(*) FROM member WHERE changed_at > stepup_now() + interval '30 min'";
    assert_eq!(fixture.database.count(later).await, 2);
}

//! Numbers that an earlier reader stored.

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use stepup::domain::keys::{Keyring, Place};
use stepup::message::{Command, Effect};
use stepup::rules::Verdict;
use stepup::rules::claimed::Decision;
use stepup::rules::delivery::{Answer, Settled};
use stepup::store;
use stepup_workers::cli::numbers;

use super::fixture::{SMS, StoreFixture};

/// What the earlier reader made of `392 123 4567` in Italy.
const OLD: &str = "+3921234567";

impl StoreFixture {
    /// Stores a number for `ada` as the earlier reader did.
    async fn store_as_it_was(&self, e164: &str) {
        let keys = Keyring::for_tests();
        let place = Place::Contact("acme", "ada", "phone");
        let sealed = keys.seal(&place, e164.as_bytes(), &mut StdRng::seed_from_u64(7));
        let index = keys.blind("phone", e164).to_vec();
        let sql = "UPDATE member SET phone = $1, phone_index = $2 WHERE member = 'ada'";
        let client = self.database.client().await;
        assert_eq!(client.execute(sql, &[&sealed, &index]).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_texted_to_a_stored_number_that_no_longer_reads_as_itself() {
    let fixture = StoreFixture::open().await;
    let backup = json!({ "version": 2, "phone": SMS, "two_factor": true, "email_backup": true,
        "email": "ada@acme.example", "email_verified": true });
    fixture.member("ada", backup).await;
    fixture.store_as_it_was(OLD).await;
    let (id, _) = fixture.issue("ada", "l1").await;
    let mut client = fixture.client().await;
    let (tx, sending) = fixture.sms(&mut client, id).await;
    let Decision::Settle(send) = sending else { panic!("it is sent") };
    let Settled::Answered(Answer::Refused { code }) = &send.settled else { panic!("not refused") };
    assert_eq!(code, "number_unreadable");
    let email = |effect: &Effect| matches!(effect, Effect::Command(Command::SendEmail { .. }, _));
    assert!(send.effects().iter().any(email), "the email follows at once");
    let now = tx.now().await.unwrap();
    store::settle_sends(&tx, &[&send], now).await.unwrap();
    tx.commit().await.unwrap();
    let failed = "SELECT count(*) FROM delivery_attempt \
        WHERE state = 'failed' AND answer = 'number_unreadable' AND tries = 0";
    assert_eq!(fixture.database.count(failed).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_lists_members_whose_number_reads_otherwise_and_shows_no_number() {
    let fixture = StoreFixture::open().await;
    let keys = Keyring::for_tests();
    let store = fixture.database.store();
    fixture.member("bob", json!({ "version": 1, "phone": "+12025550199" })).await;
    fixture.member("eve", json!({ "version": 1 })).await;
    let report = numbers::check(&store, &keys).await.unwrap();
    assert_eq!((report.found, report.lines.len()), (0, 1));
    fixture.store_as_it_was(OLD).await;
    let report = numbers::check(&store, &keys).await.unwrap();
    assert_eq!(report.found, 1);
    assert!(report.lines[0].starts_with("acme\tada\t•••67\tlacks digits"), "{:?}", report.lines);
    assert!(report.lines.iter().all(|line| !line.contains("21234")), "{:?}", report.lines);
}

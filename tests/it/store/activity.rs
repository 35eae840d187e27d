//! The report as it is stored and read, a page at a time.

use std::collections::BTreeSet;
use stepup::domain::activity::Action;
use stepup::domain::activity::Origin;

use serde_json::json;
use stepup::domain::activity::{Client, Filter, USER_AGENT_MAX};
use stepup::domain::id::{AccountId, AppName, ChallengeId, MemberId};
use stepup::rules::activity::Activity;
use stepup::store::{self, Store};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::{Database, random_name};

/// What happens to a member of `account`, at a second of its own.
pub fn change(account: &str, n: i64) -> Activity {
    let proved = n % 3 == 0;
    let masked = |digits: i64| (n % 2 == 0).then(|| format!("•••{:02}", digits % 100));
    let begin = time::macros::datetime!(2026-01-01 0:00 UTC);
    Activity {
        account: AccountId::parse(account).unwrap(),
        member: MemberId::parse(&format!("m{}", n % 5)).ok(),
        actor: MemberId::parse(if n % 4 == 0 { "boss" } else { "ada" }).unwrap(),
        action: if n % 2 == 0 { Action::NumberChanged } else { Action::TwoFactorEnabled },
        origin: Origin::ALL[(n % 4) as usize],
        old_number: masked(n),
        new_number: masked(n + 1),
        challenge: proved.then(|| ChallengeId(Uuid::from_u128(n as u128))),
        client: Client {
            ip: proved.then(|| format!("192.0.2.{}", n % 250).parse().unwrap()),
            user_agent: proved.then(|| "Mozilla/5.0".into()),
        },
        at: begin + Duration::seconds(n),
    }
}

/// Writes rows in one transaction.
pub async fn write(store: &Store, rows: &[Activity]) {
    let mut client = store.client().await.unwrap();
    let tx = client.begin().await.unwrap();
    let rows: Vec<&Activity> = rows.iter().collect();
    store::append_activity(&tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
}

async fn database() -> (Database, Store) {
    let database = Database::create(&random_name()).await;
    let own = "INSERT INTO account (account, app, version, name, country, countries, \
        email_fallback, changed_at) VALUES ('acme', 'crm', 1, 'Acme', 'US', '{US}', 'automatic', \
        now())";
    database.client().await.batch_execute(own).await.unwrap();
    let store = database.store();
    (database, store)
}

fn all() -> Filter {
    Filter { member: None, action: None, from: None, to: None, before: None, limit: 1000 }
}

/// The numbers `n` of the rows that [`change`] made, newest first.
async fn found(store: &Store, filter: &Filter) -> Vec<i64> {
    let (app, account) = (AppName::parse("crm").unwrap(), AccountId::parse("acme").unwrap());
    let page = store::activity_page(store, &app, &account, filter).await.unwrap().unwrap();
    let begin = time::macros::datetime!(2026-01-01 0:00 UTC);
    page.rows.iter().map(|row| (row.at - begin).whole_seconds()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r92_every_field_is_read_as_it_was_written() {
    let (_database, store) = database().await;
    let long = "x".repeat(USER_AGENT_MAX) + "y";
    let told = json!({ "ip": "2001:DB8::7", "user_agent": format!("\0{long}") });
    let client: Client = serde_json::from_value(told).unwrap();
    write(&store, &[Activity { client, ..change("acme", 6) }, change("acme", 7)]).await;
    let (app, account) = (AppName::parse("crm").unwrap(), AccountId::parse("acme").unwrap());
    let page = store::activity_page(&store, &app, &account, &all()).await.unwrap().unwrap();
    let [bare, full] = &page.rows[..] else { panic!("{page:?}") };
    assert_eq!((full.account.as_str(), full.member.as_deref()), ("acme", Some("m1")));
    assert_eq!((full.actor.as_str(), full.action.as_str()), ("ada", "number_changed"));
    assert_eq!((full.origin.as_str(), full.challenge), ("mandate", Some(Uuid::from_u128(6))));
    assert_eq!(full.old_number.as_deref(), Some("•••06"));
    assert_eq!(full.new_number.as_deref(), Some("•••07"));
    assert_eq!(full.ip.as_deref(), Some("2001:db8::7"));
    assert_eq!(full.user_agent.as_deref(), Some(&long[..USER_AGENT_MAX]));
    assert_eq!(full.at, time::macros::datetime!(2026-01-01 00:00:06 UTC));
    assert_eq!((&bare.old_number, &bare.challenge, &bare.ip), (&None, &None, &None));
    assert!(bare.seq > full.seq && page.next.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_a_page_does_not_shift_while_rows_are_added() {
    let (_database, store) = database().await;
    let rows: Vec<Activity> = (0..50).map(|n| change("acme", n)).collect();
    write(&store, &rows).await;
    let (app, account) = (AppName::parse("crm").unwrap(), AccountId::parse("acme").unwrap());
    let (mut filter, mut seen) = (Filter { limit: 7, ..all() }, Vec::new());
    loop {
        let page = store::activity_page(&store, &app, &account, &filter).await.unwrap().unwrap();
        seen.extend(page.rows.iter().map(|row| row.seq));
        // Somebody else's changes, and this account's, come in between.
        write(&store, &[change("acme", 99), change("other", 99)]).await;
        let Some(next) = page.next else { break };
        filter.before = Some(next);
    }
    assert_eq!(seen.len(), 50);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 50);
    assert!(seen.is_sorted_by(|newer, older| newer > older));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filters_are_taken_together() {
    let (_database, store) = database().await;
    let rows: Vec<Activity> = (0..40).map(|n| change("acme", n)).collect();
    write(&store, &rows).await;
    let at = |n: i64| Some(time::macros::datetime!(2026-01-01 0:00 UTC) + Duration::seconds(n));
    let member = MemberId::parse("m2").ok();
    let of = |filter: Filter| {
        let store = store.clone();
        async move { found(&store, &filter).await }
    };
    assert_eq!(of(Filter { from: at(37), ..all() }).await, [39, 38, 37]);
    assert_eq!(of(Filter { to: at(2), ..all() }).await, [1, 0]);
    assert_eq!(
        of(Filter { member: member.clone(), from: at(20), ..all() }).await,
        [37, 32, 27, 22]
    );
    let action = Some("number_changed".to_owned());
    let all_of_it = Filter { member, action, from: at(20), to: at(32), ..all() };
    assert_eq!(of(all_of_it).await, [22]);
    let none: [i64; 0] = [];
    assert_eq!(of(Filter { to: Some(OffsetDateTime::UNIX_EPOCH), ..all() }).await, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn r81_another_app_sees_no_account() {
    let (_database, store) = database().await;
    write(&store, &[change("acme", 1), change("other", 1)]).await;
    for (app, account) in [("shop", "acme"), ("crm", "other"), ("crm", "nobody")] {
        let (app, account) = (AppName::parse(app).unwrap(), AccountId::parse(account).unwrap());
        assert_eq!(store::activity_page(&store, &app, &account, &all()).await.unwrap(), None);
    }
}

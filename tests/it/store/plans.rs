//! What a login costs must not grow with the tables, also for connections that planned their
//! statements when the tables were empty.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::NoTls;

use crate::support::World;

/// Rows of all tables that were read, by an index or by going through the table.
const TOUCHED: &str = "SELECT relname::text, coalesce(idx_tup_fetch, 0) + seq_tup_read \
    FROM pg_stat_user_tables WHERE relname NOT IN ('test_clock', 'watermark')";

/// Rows read, by table.
type Reads = BTreeMap<String, i64>;

const GROWN: &str = "
    INSERT INTO account SELECT 'a' || g, 'demo', 1, 'Acme', NULL, 'US', '{US}', 'automatic', now()
        FROM generate_series(1, 5000) g;
    INSERT INTO member (account, member, version, active, role, locale, phone, phone_index,
            phone_textable, email_verified, two_factor, email_backup, notify_number_changes, changed_at)
        SELECT 'a' || g, 'm' || g, 1, true, 'member', 'en', '\\x00', sha256(g::text::bytea), true,
            false, true, false, false, now() FROM generate_series(1, 5000) g;
    INSERT INTO challenge (id, account, member, login, purpose, state, created_at, expires_at,
            code_digits, code_kid, code_mac, code_sealed, phone_index, email_fallback, sends, resend_at)
        SELECT gen_random_uuid(), 'a' || g, 'm' || g, 'l', 'login', 'open', now(),
            now() + interval '9 min', 6, 'k', '\\x00', '\\x00', sha256(g::text::bytea), 'automatic', 1,
            now() FROM generate_series(1, 5000) g;
    INSERT INTO login SELECT account, member, login, id FROM challenge ON CONFLICT DO NOTHING;
    INSERT INTO delivery_attempt (challenge, channel, send, state, destination_index, granted_at)
        SELECT id, 'sms', 1, 'accepted', phone_index, now() FROM challenge ON CONFLICT DO NOTHING;
    INSERT INTO destination SELECT phone_index, now(), now() FROM challenge ON CONFLICT DO NOTHING;
    INSERT INTO wrong_guess SELECT account, member, now(), id FROM challenge;
    INSERT INTO inbox (worker, message, label, at)
        SELECT w, id, 'x', now() FROM challenge, unnest(ARRAY['code_generation', 'verification',
            'sms_delivery']) w ON CONFLICT DO NOTHING;
    INSERT INTO trail SELECT gen_random_uuid(), 'x', account, member, id, now(), '{}' FROM challenge;";

/// A server process reports what it did within a second, or when it ends.
const REPORTED: Duration = Duration::from_millis(1500);

/// The rows read so far, once every server process has reported.
async fn touched(world: &World) -> Reads {
    let (client, connection) = tokio_postgres::connect(&world.database, NoTls).await.unwrap();
    tokio::spawn(connection);
    let (mut seen, mut quiet) = (Reads::new(), 0);
    loop {
        let rows = client.query(TOUCHED, &[]).await.unwrap();
        let now: Reads = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        // The timers always read a few.
        let few = less(&now, &seen).values().sum::<i64>() < 20;
        quiet = if few { quiet + 1 } else { 0 };
        if quiet == 2 {
            return now;
        }
        seen = now;
        tokio::time::sleep(REPORTED).await;
    }
}

fn less(now: &Reads, then: &Reads) -> Reads {
    let before = |table: &str| then.get(table).copied().unwrap_or_default();
    now.iter().map(|(table, rows)| (table.clone(), rows - before(table))).collect()
}

/// One login with a resend that comes too early, and what it reads. Looks at no row meanwhile.
async fn cost(world: &World, member: &str, place: &str) -> Reads {
    world.drain().await;
    let before = touched(world).await;
    let login = world.login("acme", member, "l1").await;
    let code = world.code(place, 0).await;
    let challenge = login["challenge"].as_str().unwrap();
    assert_eq!(world.resend("acme", challenge, "sms").await.0, 429);
    assert_eq!(world.verify("acme", challenge, &code).await.0, 200);
    less(&touched(world).await, &before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_reads_as_many_rows_in_grown_tables_as_in_empty_ones() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let phone = |n: usize| format!("+1202555012{n}");
    for n in 0..4 {
        world.register("acme", &format!("m{n}"), &phone(n), None).await;
    }
    let small = cost(&world, "m0", &format!("/phones/{}", phone(0))).await;
    world.execute(GROWN).await;
    // A loop of the product or of the test may look at everything meanwhile; a login may not, so the
    // cheapest of three tells what it costs.
    let mut grown = i64::MAX;
    for n in 1..4 {
        let reads = cost(&world, &format!("m{n}"), &format!("/phones/{}", phone(n))).await;
        grown = grown.min(reads.values().sum());
    }
    let small: i64 = small.values().sum();
    println!("rows read by a login: {small} in empty tables, {grown} in grown ones");
    assert!(grown < small + 500, "{grown} rows, in empty tables {small}");
    world.end().await;
}

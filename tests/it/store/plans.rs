//! What a login costs must not grow with the tables, also for connections that planned their
//! statements when the tables were empty.

use std::time::Duration;

use crate::support::World;

/// Rows of all tables that were read, by an index or by going through the table.
const TOUCHED: &str = "SELECT sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint \
    FROM pg_stat_user_tables WHERE relname NOT IN ('test_clock', 'watermark')";

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

/// A server process reports what it did within a second.
const REPORTED: Duration = Duration::from_millis(1500);

/// One login with a resend that comes too early, and what it reads. Looks at no row meanwhile.
async fn cost(world: &World, member: &str, place: &str) -> i64 {
    world.drain().await;
    tokio::time::sleep(REPORTED).await;
    let before = world.count(TOUCHED).await;
    let login = world.login("acme", member, "l1").await;
    let code = world.code(place, 0).await;
    let challenge = login["challenge"].as_str().unwrap();
    assert_eq!(world.resend("acme", challenge, "sms").await.0, 429);
    assert_eq!(world.verify("acme", challenge, &code).await.0, 200);
    tokio::time::sleep(REPORTED).await;
    world.count(TOUCHED).await - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_reads_as_many_rows_in_grown_tables_as_in_empty_ones() {
    let world = World::start(&[vec!["all"]], &[]).await;
    world.register("acme", "ada", "+12025550123", None).await;
    world.register("acme", "bob", "+12025550124", None).await;
    let small = cost(&world, "ada", "/phones/+12025550123").await;
    world.execute(GROWN).await;
    let grown = cost(&world, "bob", "/phones/+12025550124").await;
    println!("rows read by a login: {small} in empty tables, {grown} in grown ones");
    // The timers read some, too, but nothing that has grown.
    assert!(grown < small + 500, "{small} rows in empty tables, {grown} in grown ones");
    world.end().await;
}

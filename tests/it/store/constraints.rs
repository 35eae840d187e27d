//! What the tables themselves forbid, whatever the code does.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::{Database, random_name};

/// An open challenge with the id `…1` and its first SMS, written by hand.
const ROWS: &str = "
    INSERT INTO challenge (id, account, member, login, purpose, state, created_at, expires_at,
        code_digits, code_kid, code_mac, code_sealed, phone_index, email_index, email_fallback,
        sends, resend_at)
    VALUES ('00000000-0000-0000-0000-000000000001', 'acme', 'ada', 'l1', 'login', 'open', now(),
        now() + interval '10 minutes', 6, 'k', 'm', 's', 'p', 'e', 'automatic', 1, now());
    INSERT INTO delivery_attempt (challenge, channel, send, state, destination_index, granted_at)
    VALUES ('00000000-0000-0000-0000-000000000001', 'sms', 1, 'queued', 'p', now());
    INSERT INTO trail VALUES ('00000000-0000-0000-0000-000000000002', 'challenge.issued', 'acme',
        'ada', NULL, now(), '{}');
    INSERT INTO activity (account, member, actor, action, origin, at)
    VALUES ('acme', 'ada', 'ada', 'two_factor_enabled', 'self', now());
    INSERT INTO activity_chain VALUES ('acme', 1, 1, sha256('1'));
    INSERT INTO activity_checkpoint VALUES ('acme', 1, '{}');";

async fn database() -> (Database, Client) {
    let database = Database::create(&random_name()).await;
    let client = database.client().await;
    client.batch_execute(ROWS).await.unwrap();
    (database, client)
}

/// The server's "no" to a statement.
async fn refusal(client: &Client, sql: &str) -> SqlState {
    match client.batch_execute(sql).await {
        Ok(()) => panic!("was not refused: {sql}"),
        Err(error) => error.code().unwrap().clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_r29_an_email_cannot_be_stored_without_the_sms_it_backs_up() {
    let (_database, client) = database().await;
    let email = |challenge: &str, backs_up: &str| {
        format!(
            "INSERT INTO delivery_attempt (challenge, channel, send, state, destination_index, \
             granted_at, backs_up_channel, backs_up_send) VALUES \
             ('00000000-0000-0000-0000-00000000000{challenge}', 'email', 0, 'calling', 'e', now(), \
             {backs_up})"
        )
    };
    // First and alone, in whatever guise.
    assert_eq!(refusal(&client, &email("1", "NULL, NULL")).await, SqlState::CHECK_VIOLATION);
    assert_eq!(refusal(&client, &email("1", "'email', 0")).await, SqlState::CHECK_VIOLATION);
    // Beside an SMS that is another challenge's, or that does not exist.
    assert_eq!(refusal(&client, &email("9", "'sms', 1")).await, SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(refusal(&client, &email("1", "'sms', 2")).await, SqlState::FOREIGN_KEY_VIOLATION);
    // An SMS is nobody's backup, and no third channel exists.
    let sms = email("1", "'sms', 1").replace("'email', 0", "'sms', 2");
    assert_eq!(refusal(&client, &sms).await, SqlState::CHECK_VIOLATION);
    let pigeon = email("1", "'sms', 1").replace("'email', 0", "'pigeon', 0");
    assert_eq!(refusal(&client, &pigeon).await, SqlState::CHECK_VIOLATION);
    client.batch_execute(&email("1", "'sms', 1")).await.unwrap();
    // Nor can the SMS go from under it and leave the email first.
    let sms = "UPDATE delivery_attempt SET send = 7 WHERE channel = 'sms'";
    assert_eq!(refusal(&client, sms).await, SqlState::FOREIGN_KEY_VIOLATION);
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_one_send_of_a_challenge_has_one_row() {
    let (_database, client) = database().await;
    let again = "INSERT INTO delivery_attempt (challenge, channel, send, state, \
        destination_index, granted_at) SELECT challenge, channel, send, 'queued', \
        destination_index, granted_at FROM delivery_attempt";
    assert_eq!(refusal(&client, again).await, SqlState::UNIQUE_VIOLATION);
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_no_challenge_lives_longer_than_ten_minutes() {
    let (_database, client) = database().await;
    let longer = "UPDATE challenge SET expires_at = created_at + interval '601 seconds'";
    assert_eq!(refusal(&client, longer).await, SqlState::CHECK_VIOLATION);
}

#[tokio::test(flavor = "multi_thread")]
async fn r108_a_finished_challenge_holds_no_deliverable_code() {
    let (_database, client) = database().await;
    let keep = "UPDATE challenge SET state = 'verified', ended_at = now()";
    assert_eq!(refusal(&client, keep).await, SqlState::CHECK_VIOLATION);
    let lose = "UPDATE challenge SET code_sealed = NULL";
    assert_eq!(refusal(&client, lose).await, SqlState::CHECK_VIOLATION);
    let unknown = "UPDATE challenge SET state = 'done', ended_at = now(), code_sealed = NULL";
    assert_eq!(refusal(&client, unknown).await, SqlState::CHECK_VIOLATION);
    client.batch_execute(&format!("{keep}, code_sealed = NULL")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r93_trail_and_activity_are_append_only() {
    let (_database, client) = database().await;
    // Superusers pass every privilege: first as one, for the triggers, then as a plain owner.
    let owner = random_name();
    let hand_over = format!("CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}");
    client.batch_execute(&hand_over).await.unwrap();
    for table in ["trail", "activity", "activity_chain", "activity_checkpoint"] {
        let changes = [
            format!("UPDATE {table} SET account = 'x'"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ];
        for sql in &changes {
            assert_eq!(refusal(&client, sql).await, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
        }
        let give = format!("ALTER TABLE {table} OWNER TO {owner}");
        client.batch_execute(&format!("{give}; SET ROLE {owner}")).await.unwrap();
        let free = format!("ALTER TABLE {table} DISABLE TRIGGER USER");
        client.batch_execute(&free).await.unwrap();
        for sql in &changes {
            assert_eq!(refusal(&client, sql).await, SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
        }
        let back = format!("RESET ROLE; ALTER TABLE {table} ENABLE TRIGGER USER");
        client.batch_execute(&back).await.unwrap();
    }
    client.batch_execute(&format!("REASSIGN OWNED BY {owner} TO CURRENT_USER")).await.unwrap();
    client.batch_execute(&format!("DROP OWNED BY {owner}; DROP ROLE {owner}")).await.unwrap();
    // The same event again is no second row.
    let again = "INSERT INTO trail SELECT * FROM trail";
    assert_eq!(refusal(&client, again).await, SqlState::UNIQUE_VIOLATION);
}

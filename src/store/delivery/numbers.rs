//! The timers of numbers.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::try_join;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::policy::Policy;
use crate::fault::Fault;
use crate::rules::limits::NumberFacts;
use crate::store::row;
use crate::store::tx::{Param, Tx, ago};

pub(in crate::store) fn sends_window(policy: &Policy) -> Duration {
    policy.sends_per_number.iter().map(|window| window.within).max().unwrap_or_default()
}

/// Where the numbers of a batch are found: by members, by challenges, or given.
pub(in crate::store) enum Numbers<'a> {
    Members(&'a [&'a str], &'a [&'a str]),
    Challenges(&'a [Uuid]),
    Given(&'a [&'a [u8]]),
}

const MEMBERS_NUMBERS: &str = "SELECT phone_index FROM member WHERE (account, member) IN \
    (SELECT * FROM unnest($1::text[], $2::text[])) AND phone_index IS NOT NULL";

const CHALLENGES_NUMBERS: &str = "SELECT phone_index FROM challenge WHERE id = ANY($1)";

const GIVEN_NUMBERS: &str = "SELECT phone_index FROM unnest($1::bytea[]) AS g(phone_index)";

/// Locks the rows of the numbers, in their order, and reads what was sent to them over the last
/// `window`.
pub(in crate::store) async fn lock_numbers(
    tx: &Tx<'_>,
    numbers: Numbers<'_>,
    window: Duration,
) -> Result<HashMap<Vec<u8>, NumberFacts>, Fault> {
    let (source, params): (&str, Vec<Param<'_>>) = match &numbers {
        Numbers::Members(accounts, members) => (MEMBERS_NUMBERS, vec![accounts, members]),
        Numbers::Challenges(ids) => (CHALLENGES_NUMBERS, vec![ids]),
        Numbers::Given(indexes) => (GIVEN_NUMBERS, vec![indexes]),
    };
    let insert = format!(
        "INSERT INTO destination (destination_index, used_at) SELECT DISTINCT n.phone_index, \
         (SELECT stepup_now()) FROM ({source}) n LEFT JOIN destination d \
         ON d.destination_index = n.phone_index WHERE d.destination_index IS NULL \
         ORDER BY 1 ON CONFLICT DO NOTHING"
    );
    let lock = format!(
        "SELECT destination_index, next_send_at FROM destination \
         WHERE destination_index IN ({source}) ORDER BY destination_index FOR UPDATE"
    );
    let sends = format!(
        "SELECT destination_index, array_agg(granted_at) FROM delivery_attempt \
         WHERE destination_index IN ({source}) AND granted_at > {} \
         GROUP BY destination_index",
        ago(params.len() + 1)
    );
    let window = window.as_secs_f64();
    let mut with_window = params.clone();
    with_window.push(&window);
    // Pipelined: the server takes them in this order.
    let (_, locked, sent) = try_join!(
        tx.execute(&insert, &params),
        tx.rows(&lock, &params),
        tx.rows(&sends, &with_window)
    )?;
    let mut found: HashMap<Vec<u8>, NumberFacts> = HashMap::new();
    for number in &locked {
        let next_send_at = row::get(number, 1)?;
        found.insert(row::get(number, 0)?, NumberFacts { next_send_at, sends: Vec::new() });
    }
    for number in &sent {
        found.entry(row::get(number, 0)?).or_default().sends = row::get(number, 1)?;
    }
    Ok(found)
}

/// A number, from when on it may get an SMS again, and when this was decided.
pub(in crate::store) type NumberTimer<'a> = (&'a [u8], Timestamp, Timestamp);

/// Sets the timers of numbers. Each number may be in a batch once: two sends to one number were
/// decided on the same facts.
pub(in crate::store) async fn set_number_timers(
    tx: &Tx<'_>,
    timers: &[NumberTimer<'_>],
) -> Result<(), Fault> {
    const SQL: &str = "UPDATE destination d SET next_send_at = u.next_send_at, used_at = u.now \
        FROM unnest($1::bytea[], $2::timestamptz[], $3::timestamptz[]) \
        AS u(destination_index, next_send_at, now) \
        WHERE d.destination_index = u.destination_index";
    let numbers: Vec<&[u8]> = timers.iter().map(|(number, ..)| *number).collect();
    let next: Vec<Timestamp> = timers.iter().map(|(_, next, _)| *next).collect();
    let now: Vec<Timestamp> = timers.iter().map(|(.., now)| *now).collect();
    tx.guarded(SQL, &[&numbers, &next, &now], timers.len()).await
}

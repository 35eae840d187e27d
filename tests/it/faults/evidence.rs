//! Everything that is known when a run is over, gathered from outside and from the rows.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::Value;
use stepup::broker::Names;
use stepup::message::{Queue, RetryDelay};
use time::OffsetDateTime;
use uuid::Uuid;

use super::checker::Outage;
use super::history::{self, Call, Seen};
use super::world::{self, World};

/// The longest wait for everything to come to rest: a challenge's life, what a pause of a worker
/// leaves for the longest retry delays, and room for a busy machine.
pub const REST_MAX: Duration = Duration::from_secs(240);

#[derive(Debug)]
pub struct Challenge {
    pub state: String,
    pub expires_at: OffsetDateTime,
    pub ended_at: Option<OffsetDateTime>,
    pub sends: i16,
    pub wrong: i16,
    pub wrong_guesses: i64,
}

#[derive(Debug)]
pub struct Attempt {
    pub channel: String,
    pub send: i16,
    pub state: String,
    pub tries: i16,
}

/// An event as the trail keeps it.
#[derive(Debug)]
pub struct Row {
    pub kind: String,
    pub challenge: Option<Uuid>,
    pub member: Option<String>,
    pub at: OffsetDateTime,
    pub body: Value,
}

#[derive(Debug, Default)]
pub struct Evidence {
    pub calls: Vec<Call>,
    /// Those that a subscriber got.
    pub events: HashMap<Uuid, Seen>,
    pub commands: HashMap<(String, String), Vec<Uuid>>,
    pub challenges: HashMap<Uuid, Challenge>,
    pub attempts: HashMap<Uuid, Vec<Attempt>>,
    pub trail: HashMap<Uuid, Row>,
    pub ledger: Vec<Value>,
    /// Notices, and where each stands.
    pub notices: HashMap<Uuid, String>,
    /// Dead letters by message id, with what was said about them.
    pub dead: HashMap<String, String>,
    pub provoked: Vec<String>,
    /// Reviews and resets by id, mandates by account, and whether each was carried out to its end.
    pub works: HashMap<String, bool>,
    /// Why the Activity report does not agree with its chain and its checkpoints, if it does not.
    pub report: Option<String>,
    pub outages: Vec<Outage>,
    /// Queues that are not empty, and what has not ended.
    pub unrest: Vec<String>,
    pub surprises: Vec<String>,
}

async fn depth(channel: &lapin::Channel, queue: String) -> lapin::Result<u64> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let found = channel.queue_declare(queue.as_str().into(), options, FieldTable::default());
    Ok(found.await?.message_count().into())
}

/// What is not at rest, each in words.
async fn look(world: &World) -> Result<Vec<String>, String> {
    let direct = world.servers.direct();
    let names = Names::new("stepup");
    let channel = history::channel(&direct.amqp).await.map_err(|error| error.to_string())?;
    let mut unrest = Vec::new();
    let work = Queue::ALL.iter().map(|queue| names.queue(queue.label()));
    let retries = RetryDelay::ALL.map(|delay| names.retry_queue(delay));
    let taps = ["faults.events", "faults.commands"].map(str::to_owned);
    for queue in work.chain(retries).chain(taps) {
        let messages =
            depth(&channel, queue.clone()).await.map_err(|error| format!("{queue}: {error}"))?;
        if messages > 0 {
            unrest.push(format!("{messages} messages in {queue}"));
        }
    }
    let client = world::sql(&direct.database).await.map_err(|error| error.to_string())?;
    for (what, query) in [
        ("open challenges", "SELECT count(*) FROM challenge WHERE state = 'open'"),
        (
            "calls that were not settled",
            "SELECT count(*) FROM delivery_attempt WHERE state = 'calling'",
        ),
        ("reviews that are not done", "SELECT count(*) FROM review WHERE done_at IS NULL"),
        ("mandates that are not applied", "SELECT count(*) FROM mandate WHERE done_at IS NULL"),
        ("resets that wait", "SELECT count(*) FROM reset WHERE state = 'approved'"),
        ("rows that are not in the chain", "SELECT count(*) FROM activity_unchained"),
        ("accounts that are not attested", "SELECT count(*) FROM activity_unattested"),
    ] {
        let rows: i64 =
            client.query_one(query, &[]).await.map_err(|error| error.to_string())?.get(0);
        if rows > 0 {
            unrest.push(format!("{rows} {what}"));
        }
    }
    Ok(unrest)
}

/// Waits until nothing moves any more, then gathers everything.
pub async fn gather(world: &World, http: &reqwest::Client, rest_max: Duration) -> Evidence {
    let (started, mut calm, mut before) = (Instant::now(), 0, None);
    let unrest = loop {
        let seen = world.history.events.lock().unwrap().len();
        let looked = look(world).await;
        // Unacked messages are in no count: so it must be calm for a while, without a new event.
        let resting = matches!(&looked, Ok(unrest) if unrest.is_empty());
        calm = if resting && before == Some(seen) { calm + 1 } else { 0 };
        before = Some(seen);
        match looked {
            Ok(looked) if calm >= 6 || started.elapsed() > rest_max => break looked,
            Err(error) if started.elapsed() > rest_max => break vec![error],
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    };
    let client = world::sql(&world.servers.direct().database).await.unwrap();
    let events = world.history.events.lock().unwrap().clone();
    let commands = world.history.commands.lock().unwrap().clone();
    let provoked = world.history.provoked.lock().unwrap().clone();
    let mut outages = std::mem::take(&mut *world.history.outages.lock().unwrap());
    outages.extend(world.fleet.stops());
    Evidence {
        calls: world.history.calls(),
        events,
        commands,
        challenges: challenges(&client).await,
        attempts: attempts(&client).await,
        trail: trail(&client).await,
        ledger: world.ledger(http).await,
        notices: notices(&client).await,
        dead: dead_letters(world).await.unwrap(),
        provoked,
        works: works(&client).await,
        report: world.unverified(),
        outages,
        unrest,
        surprises: world.fleet.surprises(),
    }
}

async fn challenges(client: &tokio_postgres::Client) -> HashMap<Uuid, Challenge> {
    const SQL: &str = "SELECT id, state, expires_at, ended_at, sends, wrong, \
        (SELECT count(*) FROM wrong_guess w WHERE w.challenge = c.id) FROM challenge c";
    let rows = client.query(SQL, &[]).await.unwrap();
    let read = |row: tokio_postgres::Row| {
        let challenge = Challenge {
            state: row.get(1),
            expires_at: row.get(2),
            ended_at: row.get(3),
            sends: row.get(4),
            wrong: row.get(5),
            wrong_guesses: row.get(6),
        };
        (row.get(0), challenge)
    };
    rows.into_iter().map(read).collect()
}

async fn attempts(client: &tokio_postgres::Client) -> HashMap<Uuid, Vec<Attempt>> {
    const SQL: &str = "SELECT challenge, channel, send, state, tries FROM delivery_attempt";
    let mut attempts: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for row in client.query(SQL, &[]).await.unwrap() {
        let attempt =
            Attempt { channel: row.get(1), send: row.get(2), state: row.get(3), tries: row.get(4) };
        attempts.entry(row.get(0)).or_default().push(attempt);
    }
    attempts
}

async fn trail(client: &tokio_postgres::Client) -> HashMap<Uuid, Row> {
    const SQL: &str = "SELECT event, kind, challenge, member, at, body FROM trail";
    let rows = client.query(SQL, &[]).await.unwrap();
    let read = |row: tokio_postgres::Row| {
        let kept = Row {
            kind: row.get(1),
            challenge: row.get(2),
            member: row.get(3),
            at: row.get(4),
            body: row.get(5),
        };
        (row.get(0), kept)
    };
    rows.into_iter().map(read).collect()
}

async fn notices(client: &tokio_postgres::Client) -> HashMap<Uuid, String> {
    let rows = client.query("SELECT id, state FROM notice", &[]).await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn works(client: &tokio_postgres::Client) -> HashMap<String, bool> {
    const SQL: &str = "SELECT id::text, done_at IS NOT NULL AND checked = (SELECT count(*) \
            FROM member m WHERE m.account = r.account AND m.active) FROM review r \
        UNION ALL SELECT account, done_at IS NOT NULL AND mandatory AND NOT EXISTS (SELECT \
            FROM member m WHERE m.account = a.account AND NOT m.two_factor) FROM mandate a \
        UNION ALL SELECT id::text, state = 'done' AND m.phone IS NULL AND m.two_factor \
            FROM reset JOIN member m USING (account, member)";
    let rows = client.query(SQL, &[]).await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Takes every dead letter. A crash may set one message aside twice.
async fn dead_letters(world: &World) -> lapin::Result<HashMap<String, String>> {
    let channel = history::channel(&world.servers.direct().amqp).await?;
    let queue = Names::new("stepup").dead();
    let mut dead = HashMap::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(letter) = channel.basic_get(queue.as_str().into(), options).await? {
        let properties = &letter.delivery.properties;
        let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        dead.insert(id, format!("{:?}", properties.headers()));
    }
    Ok(dead)
}

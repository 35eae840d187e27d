//! A broker that lost everything, with the database intact: what comes back by itself, and what
//! does not. A figure to publish, not an invariant: no promise is made for it yet.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueuePurgeOptions;
use serde_json::{Value, json};
use stepup::broker::Names;
use stepup::message::{Queue, RetryDelay};
use tokio::time::sleep;

use super::checker::check;
use super::client::{Client, Door};
use super::evidence::gather;
use super::history::channel;
use super::servers::Servers;
use super::world::{SHORT_LIFE, World};

const LOGINS: usize = 8;

/// Empties every queue while sends and events wait in them, and counts what is missing afterwards.
pub async fn emptied(servers: &Arc<Servers>) -> Value {
    let world = World::start(servers, "emptied", None, Duration::from_secs(5), SHORT_LIFE).await;
    let client = Client::new(&world);
    client.put_account().await;
    let phone = |n: usize| format!("+1202777{n:04}");
    for n in 0..LOGINS {
        client.register(&format!("m{n}"), 1, &phone(n), None, Door::Http).await;
    }
    let away: Vec<usize> =
        ["sms-delivery", "audit"].iter().flat_map(|role| world.fleet.with_role(role)).collect();
    away.iter().for_each(|at| world.fleet.hold(*at));
    // A process that was killed may still have messages in its hands.
    sleep(Duration::from_secs(1)).await;
    for n in 0..LOGINS {
        client.login(&format!("m{n}"), &format!("l{n}"), Door::Http, false).await;
    }
    let purged = purge(&world).await.unwrap();
    away.iter().for_each(|at| world.fleet.release(*at));
    sleep(Duration::from_secs(12)).await;
    let mut texted = 0;
    for n in 0..LOGINS {
        let code = client.code(&format!("/phones/{}", phone(n)), 0, Duration::from_secs(1)).await;
        texted += usize::from(code.is_some());
    }
    let evidence = gather(&world, &client.http, Duration::from_secs(40)).await;
    let findings = check(&evidence);
    let open = evidence.challenges.values().filter(|c| c.ended_at.is_none()).count();
    let untold = evidence.events.keys().filter(|id| !evidence.trail.contains_key(*id)).count();
    world.end().await;
    json!({
        "logins": LOGINS,
        "messages_purged": purged,
        "first_sms_that_came_back": texted,
        "challenges_that_came_to_no_end": open,
        "events_missing_in_the_trail": untold,
        "violations": findings.violations.len(),
    })
}

async fn purge(world: &World) -> lapin::Result<u32> {
    let (names, mut purged) = (Names::new("stepup"), 0);
    let channel = channel(&world.servers.direct().amqp).await?;
    let work = Queue::ALL.iter().map(|queue| names.queue(queue.label()));
    for queue in work.chain(RetryDelay::ALL.map(|delay| names.retry_queue(delay))) {
        purged += channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await?;
    }
    Ok(purged)
}

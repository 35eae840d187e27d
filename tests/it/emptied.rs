//! A broker that has lost everything: what was pending comes back from the database.

use std::time::Duration;

use stepup::broker::topology;

use crate::support::{PATIENCE, World, setting};

async fn empty_the_broker(world: &World) {
    let broker = world.broker();
    topology::delete(&broker).await.unwrap();
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_sends_and_events_that_the_broker_lost_come_back_from_the_database() {
    let roles = [
        vec!["ingress"],
        vec!["work", "code-generation", "verification", "directory"],
        vec!["work", "timers"],
    ];
    let mut world = World::start(&roles, &[]).await;
    let phone = |n: usize| format!("+120255501{n:02}");
    let mut challenges = Vec::new();
    for n in 0..5 {
        world.register("acme", &format!("m{n}"), &phone(n), None).await;
        let login = world.login("acme", &format!("m{n}"), "l1").await;
        challenges.push(login["challenge"].as_str().unwrap().to_owned());
    }
    // The sends and the events wait in their queues, for workers that do not run.
    world.until("SELECT count(*) FROM delivery_attempt WHERE state = 'queued'", 5, PATIENCE).await;
    empty_the_broker(&world).await;
    world.kill(3);
    world.begin(vec!["work", "sms-delivery", "audit"]);
    for (n, challenge) in challenges.iter().enumerate() {
        let code = world.code(&format!("/phones/{}", phone(n)), 0).await;
        assert_eq!(world.verify("acme", challenge, &code).await.0, 200);
        assert_eq!(world.arrived(&format!("/phones/{}", phone(n))).await, 1);
    }
    for kind in ["challenge.issued", "delivery.accepted", "challenge.verified"] {
        let told = format!("SELECT count(*) FROM trail WHERE kind = '{kind}'");
        world.until(&told, 5, PATIENCE).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r109_an_end_that_the_broker_has_stranded_is_asked_for_again() {
    let roles =
        [vec!["ingress"], vec!["work", "code-generation", "directory"], vec!["work", "timers"]];
    let mut world = World::start(&roles, &[]).await;
    world.register("acme", "ada", "+12025550101", None).await;
    world.login("acme", "ada", "l1").await;
    // Nobody takes the command, and then it is gone.
    world.stop(2);
    world.jump(Duration::from_secs(601)).await;
    let swept = "SELECT count(*) FROM watermark, challenge WHERE timer = 'expiry' \
        AND reached > expires_at";
    world.until(swept, 1, PATIENCE).await;
    let broker = world.broker();
    let queue = broker.names().queue("code_generation.bulk");
    let url = setting("STEPUP_AMQP_URL");
    let connection = lapin::Connection::connect(&url, Default::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let purged = channel.queue_purge(queue.as_str().into(), Default::default()).await.unwrap();
    assert_eq!(purged, 1);
    world.begin(vec!["work", "code-generation"]);
    world.jump(Duration::from_secs(15)).await;
    world.until("SELECT count(*) FROM challenge WHERE state = 'expired'", 1, PATIENCE).await;
    broker.close().await;
    world.end().await;
}

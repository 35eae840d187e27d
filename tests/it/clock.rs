//! A database whose clock was set back: after a failover to one that is behind, or by hand.

use std::time::Duration;

use crate::support::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn r109_a_clock_that_was_set_back_hides_no_end() {
    let roles =
        [vec!["ingress"], vec!["work", "code-generation", "directory"], vec!["work", "timers"]];
    let mut world = World::start(&roles, &[]).await;
    world.jump(Duration::from_secs(7200)).await;
    let ahead = "SELECT count(*) FROM watermark \
        WHERE timer = 'expiry' AND reached > clock_timestamp() + interval '1 hour'";
    world.until(ahead, 1, PATIENCE).await;
    // The timers are away meanwhile: they find the clock behind, and an end that is due already.
    world.kill(3);
    world.execute("UPDATE test_clock SET ahead = '0'").await;
    world.register("acme", "ada", "+12025550101", None).await;
    assert_eq!(world.login("acme", "ada", "l1").await["outcome"], "open");
    world.jump(Duration::from_secs(601)).await;
    world.begin(vec!["work", "timers"]);
    world.until("SELECT count(*) FROM challenge WHERE state = 'expired'", 1, PATIENCE).await;
    world.end().await;
}

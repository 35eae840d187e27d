//! What shares a pass.

use std::time::Duration;

use super::fake::{Act, Gathering};
use super::house::{House, endless, note};

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_worker_gathers_shares_its_pass() {
    let house = House::open(endless).await;
    let fake = Gathering::new();
    let process = house.start(&fake).await;
    house.publish(&[note("ada", Act::Write)]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.publish(&[note("bob", Act::Write), note("cyd", Act::Write)]).await;
    house.written(3).await;
    assert_eq!(*fake.batches.lock().unwrap(), [3]);
    process.drain().await;
}

//! Deletes what is past its retention, a batch at a time.

use std::time::Duration;

use stepup::fault::Fault;
use stepup::observe;
use stepup::sabotage::{self, Point, reach};
use stepup::store::{self, Retention, Store};
use tokio_util::sync::CancellationToken;

/// Between turns that found nothing much. A turn reads all numbers, since no index names a column that
/// changes with every send; rows are kept for hours, so minutes do not matter.
const PAUSE: Duration = Duration::from_secs(300);
/// A turn that deleted as much as this from a table is followed by the next at once.
const BUSY: u64 = 1000;

/// The name in the log.
const NAME: &str = "janitor";

/// Deletes until `stop`.
pub async fn run(store: Store, retention: Retention, stop: CancellationToken) {
    sabotage::announce(NAME, sabotage::ROWS);
    while !stop.is_cancelled() {
        let pause = match turn(&store, &retention).await {
            Ok(most) if most >= BUSY => Duration::from_millis(100),
            Ok(_) => PAUSE,
            Err(fault) => {
                observe::loop_failed(NAME, &fault);
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn turn(store: &Store, retention: &Retention) -> Result<u64, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let now = tx.now().await?;
    let deleted = store::delete_expired(&tx, retention, now).await?;
    reach(NAME, Point::InTransaction).await?;
    tx.commit().await?;
    reach(NAME, Point::Committed).await?;
    for (table, rows) in &deleted {
        observe::rows_deleted(table, *rows);
    }
    Ok(deleted.iter().map(|(_, rows)| *rows).max().unwrap_or(0))
}

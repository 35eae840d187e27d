//! Deletes what is past its retention, a batch at a time.

use std::time::{Duration, Instant};

use stepup::failpoint::{self, Point, reach};
use stepup::fault::Fault;
use stepup::observe;
use stepup::store::{self, Retention, Store};
use tokio_util::sync::CancellationToken;

/// Between two looks at a table that held nothing much. A look at the numbers reads all of them, since
/// no index names a column that changes with every send; rows are kept for hours, so minutes do not
/// matter.
const PAUSE: Duration = Duration::from_secs(300);
/// A table of which a turn deleted as much as this is looked at again at once.
const BUSY: u64 = 1000;

/// The name in the log.
const NAME: &str = "janitor";

/// Deletes until `stop`.
pub async fn run(store: Store, retention: Retention, stop: CancellationToken) {
    failpoint::announce(NAME, failpoint::ROWS);
    let (mut rested, mut looked_at) = (Vec::new(), Instant::now());
    while !stop.is_cancelled() {
        if looked_at.elapsed() >= PAUSE {
            rested.clear();
            looked_at = Instant::now();
        }
        let (mut busy, mut failed) = (false, false);
        // Each for itself: what goes wrong with one table holds up no other.
        for table in store::EXPIRING {
            if rested.contains(&table) {
                continue;
            }
            match store.bounded(turn(&store, table, &retention)).await {
                Ok(rows) if rows >= BUSY => busy = true,
                Ok(_) => rested.push(table),
                Err(fault) => {
                    failed = true;
                    observe::loop_failed(NAME, &fault);
                }
            }
        }
        if !failed {
            observe::loop_done(NAME);
        }
        let pause = if busy { Duration::from_millis(100) } else { PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn turn(store: &Store, table: &'static str, retention: &Retention) -> Result<u64, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let now = tx.now().await?;
    let rows = store::delete_expired(&tx, table, retention, now).await?;
    reach(NAME, Point::InTransaction).await?;
    tx.commit().await?;
    reach(NAME, Point::Committed).await?;
    observe::rows_deleted(table, rows);
    Ok(rows)
}

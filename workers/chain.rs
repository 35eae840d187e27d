//! Extends the chain of the Activity report behind its rows, and attests it by checkpoints.
//!
//! A row of the report is written in the transaction of its change and waits for nobody; the chain
//! takes it up within a second. Checkpoints go to the operator's file first and are then committed:
//! after a crash between the two the file holds one twice, which harms nothing.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stepup::domain::activity::Head;
use stepup::domain::checkpoint::Checkpoint;
use stepup::domain::keys::Keyring;
use stepup::failpoint::{self, Point, reach};
use stepup::fault::Fault;
use stepup::observe;
use stepup::store::{self, CHAIN_ROWS, Store};
use tokio_util::sync::CancellationToken;

/// How often new rows are looked for.
const TICK: Duration = Duration::from_secs(1);

/// The names in the log.
const CHAIN: &str = "chain";
const CHECKPOINTS: &str = "checkpoints";

/// How the chain is attested.
pub struct Attesting {
    /// The active set signs.
    pub keys: Arc<Keyring>,
    /// At least this long after the last turn of checkpoints.
    pub every: Duration,
    /// Where the lines go besides the database.
    pub file: Option<PathBuf>,
}

/// Extends and attests until `stop`, and then attests what is there.
pub async fn run(store: Store, attesting: Attesting, stop: CancellationToken) {
    failpoint::announce(CHAIN, failpoint::ROWS);
    failpoint::announce(CHECKPOINTS, failpoint::ROWS);
    observe::checkpoints_signed(0);
    let mut last: Option<Instant> = None;
    let mut since = 0;
    while !stop.is_cancelled() {
        let mut pause = TICK;
        match store.bounded(extend(&store)).await {
            Ok(rows) => {
                observe::loop_done(CHAIN);
                since += rows;
                if rows >= CHAIN_ROWS as usize {
                    pause = Duration::ZERO;
                }
            }
            Err(fault) => observe::loop_failed(CHAIN, &fault),
        }
        let due = last.is_none_or(|last| last.elapsed() >= attesting.every);
        if due || since >= CHAIN_ROWS as usize {
            (last, since) = (Some(Instant::now()), 0);
            report(attest(&store, &attesting).await);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    report(attest(&store, &attesting).await);
}

fn report(attested: Result<(), Fault>) {
    match attested {
        Ok(()) => observe::loop_done(CHECKPOINTS),
        Err(fault) => observe::loop_failed(CHECKPOINTS, &fault),
    }
}

async fn extend(store: &Store) -> Result<usize, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let rows = store::extend_chain(&tx).await?.unwrap_or(0);
    if rows > 0 {
        reach(CHAIN, Point::InTransaction).await?;
    }
    tx.commit().await?;
    if rows > 0 {
        reach(CHAIN, Point::Committed).await?;
    }
    observe::activity_chained(rows);
    Ok(rows)
}

/// A checkpoint for each account whose chain has grown.
async fn attest(store: &Store, attesting: &Attesting) -> Result<(), Fault> {
    while store.bounded(attest_some(store, attesting)).await? {}
    Ok(())
}

/// For some of them; false when there are none.
async fn attest_some(store: &Store, attesting: &Attesting) -> Result<bool, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let heads = store::unattested_heads(&tx).await?;
    if heads.is_empty() {
        return Ok(false);
    }
    let now = tx.now().await?;
    let sign = |head: &Head| Checkpoint::sign(head, now, &attesting.keys).line();
    let lines: Vec<String> = heads.iter().map(sign).collect();
    if let Some(file) = attesting.file.clone() {
        let text = lines.join("\n") + "\n";
        let written = tokio::task::spawn_blocking(move || append(&file, &text)).await;
        let written = written.map_err(|error| Fault::Transient(error.to_string()))?;
        written.map_err(|error| Fault::Transient(format!("STEPUP_CHECKPOINT_FILE: {error}")))?;
    }
    let signed: Vec<_> = heads.iter().zip(lines).collect();
    store::attest_chain(&tx, &signed).await?;
    reach(CHECKPOINTS, Point::InTransaction).await?;
    tx.commit().await?;
    reach(CHECKPOINTS, Point::Committed).await?;
    observe::checkpoints_signed(heads.len());
    Ok(true)
}

/// Appends whole lines and waits until they are on the disk. A line that a crash has torn is ended
/// first, so that it spoils only itself.
fn append(path: &Path, lines: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let end_of_line = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{end_of_line}{lines}").as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_spoils_only_itself() {
        let path =
            std::env::temp_dir().join(format!("stepup-checkpoints-{}", rand::random::<u32>()));
        append(&path, "one\ntwo\n").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"thr").unwrap();
        append(&path, "three\n").unwrap();
        append(&path, "four\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "one\ntwo\nthr\nthree\nfour\n");
    }
}

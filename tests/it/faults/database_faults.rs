//! What is done to the database, from inside and below.

use std::process::{Command, Stdio};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::server_faults::ServerFault as F;
use super::world::{self, World};

/// The inbox moves to a small disk, which is filled up. Not possible without the right to mount:
/// see [`disks_can_be_small`].
pub async fn full_disk(world: &World, moment: Duration) {
    let disk = std::env::temp_dir().join("stepup-faults-disk");
    let shell = |script: &str| {
        let script = script.replace("DISK", &disk.display().to_string());
        Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(shell("mkdir -p DISK && mount -t tmpfs -o size=64m none DISK && chown postgres DISK"));
    let session = world::sql(&world.servers.direct().database).await.unwrap();
    let sql = format!(
        "CREATE TABLESPACE small LOCATION '{}'; ALTER TABLE inbox SET TABLESPACE small",
        disk.display()
    );
    for statement in sql.split("; ") {
        session.batch_execute(statement).await.unwrap();
    }
    shell("dd if=/dev/zero of=DISK/filler bs=64k");
    sleep(moment).await;
    shell("rm DISK/filler");
    for statement in ["ALTER TABLE inbox SET TABLESPACE pg_default", "DROP TABLESPACE small"] {
        session.batch_execute(statement).await.unwrap();
    }
    assert!(shell("umount DISK && rmdir DISK"));
}

/// Whether this machine lets us mount a small disk.
pub fn disks_can_be_small() -> bool {
    let script =
        "d=$(mktemp -d) && mount -t tmpfs -o size=1m none $d && umount $d; s=$?; rmdir $d; exit $s";
    Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status().unwrap().success()
}

/// Faults that a session of ours brings about.
pub async fn in_database(
    fault: F,
    world: &World,
    rng: &mut StdRng,
    moment: Duration,
) -> Result<(), tokio_postgres::Error> {
    const OURS: &str = "FROM pg_stat_activity WHERE application_name = 'stepup' ORDER BY random()";
    let url = world.servers.direct().database;
    let session = world::sql(&url).await?;
    match fault {
        F::BackendsTerminated => {
            let some = rng.random_range(1..10);
            let sql =
                format!("SELECT pg_terminate_backend(pid) FROM (SELECT pid {OURS} LIMIT {some}) t");
            session.batch_execute(&sql).await?;
        }
        F::BackendKilled => {
            let row = session.query_one(&format!("SELECT pid {OURS} LIMIT 1"), &[]).await?;
            let _ = kill_process(Pid::from_raw(row.get(0)).unwrap(), Signal::KILL);
            sleep(Duration::from_secs(1)).await;
        }
        F::Deadlocks => {
            // Against the order in which everybody else locks.
            for _ in 0..5 {
                let _ = session
                    .batch_execute(
                        "BEGIN; SELECT 1 FROM (SELECT id FROM challenge WHERE state = 'open' \
                         LIMIT 50 FOR UPDATE) c; SELECT pg_sleep(0.3); \
                         SELECT 1 FROM (SELECT member FROM member FOR UPDATE) m; COMMIT",
                    )
                    .await;
                let _ = session.batch_execute("ROLLBACK").await;
            }
        }
        F::TableLocked => {
            let table = ["challenge", "inbox", "member", "trail", "delivery_attempt"];
            let table = table.choose(rng).unwrap();
            let seconds = moment.as_secs_f64();
            let sql = format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep({seconds}); COMMIT");
            session.batch_execute(&sql).await?;
        }
        F::RowsHeld => {
            // A console that locks rows, and does not commit.
            let seconds = 3.0 * moment.as_secs_f64();
            let sql = format!(
                "BEGIN; SELECT FROM (SELECT id FROM challenge WHERE state = 'open' \
                 ORDER BY random() LIMIT 5 FOR UPDATE) c; SELECT FROM (SELECT member FROM member \
                 ORDER BY random() LIMIT 5 FOR UPDATE) m; SELECT pg_sleep({seconds}); COMMIT"
            );
            session.batch_execute(&sql).await?;
        }
        F::CommitsWait => {
            // For a standby that does not exist.
            let set = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
            let reset = "ALTER SYSTEM RESET synchronous_standby_names";
            for (statement, after) in [(set, 6 * moment), (reset, Duration::ZERO)] {
                session.batch_execute(statement).await?;
                session.batch_execute("SELECT pg_reload_conf()").await?;
                sleep(after).await;
            }
        }
        F::ConnectionsUsedUp => {
            let mut hogs = Vec::new();
            while let Ok(hog) = world::sql(&url).await {
                hogs.push(hog);
            }
            // Those that come back need connections that are not to be had.
            for _ in 0..3 {
                world.fleet.kill(rng.random_range(0..world.fleet.len()));
            }
            sleep(moment).await;
        }
        _ => {
            let set = "ALTER DATABASE stepup SET default_transaction_read_only = on";
            let all = format!("SELECT pg_terminate_backend(pid) FROM (SELECT pid {OURS}) t");
            session.batch_execute(set).await?;
            session.batch_execute(&all).await?;
            sleep(moment).await;
            let reset = "SET default_transaction_read_only = off; \
                         ALTER DATABASE stepup RESET default_transaction_read_only";
            session.batch_execute(reset).await?;
            session.batch_execute(&all).await?;
        }
    }
    Ok(())
}

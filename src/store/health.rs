//! Whether the database takes work, and what is in the way when it does not.

use std::time::{Duration, Instant};

use super::failure::fault;
use super::pool::{Client, Store};
use super::{migrate, row};
use crate::fault::{Dependency, Fault};

/// A commit that takes longer does not count as done.
const COMMIT_MAX: Duration = Duration::from_secs(2);
/// How long it may take to find out what is in the way.
const REASON_MAX: Duration = Duration::from_secs(1);

impl Store {
    /// Whether the server answers.
    ///
    /// # Errors
    /// `Down` when it does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        let asking = async {
            let client = self.client().await?;
            client.0.simple_query("SELECT 1").await.map(drop).map_err(|error| fault(&error))
        };
        self.within(COMMIT_MAX, asking).await
    }

    /// Whether the database takes work: the tables are there, no other session keeps a whole one of
    /// them, and a small transaction that writes is committed soon. One look at a time: who asks
    /// during a look shares what it finds.
    ///
    /// # Errors
    /// `Down`, with what is in the way.
    pub async fn takes_work(&self) -> Result<(), Fault> {
        let asked = Instant::now();
        let mut latest = self.looks.lock().await;
        match &*latest {
            Some((ended, found)) if *ended >= asked => found.clone(),
            _ => {
                let found = self.look().await;
                *latest = Some((Instant::now(), found.clone()));
                found
            }
        }
    }

    async fn look(&self) -> Result<(), Fault> {
        let mut committing = None;
        let looking = async {
            migrate::check(self).await?;
            if let Some(table) = self.table_held().await? {
                return Err(down(format!("a whole table is locked: {table}")));
            }
            let client = self.client().await?;
            committing = Some(may_write(&client).await?);
            commit(&client).await?;
            committing = None;
            Ok(())
        };
        match (self.within(COMMIT_MAX, looking).await, committing) {
            (Err(_), Some(session)) => Err(down(self.why_no_commit(session).await)),
            (found, _) => found,
        }
    }

    /// A table that another session has locked as a whole, so that nothing is written through it: a
    /// migration, an index being built, a console.
    async fn table_held(&self) -> Result<Option<String>, Fault> {
        const SQL: &str = "SELECT c.relname::text, l.pid, coalesce(a.application_name, ''), \
            coalesce(a.state, '') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
            LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
            WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid() \
            AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') \
            AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', \
            'AccessExclusiveLock') AND l.database = (SELECT oid FROM pg_database \
            WHERE datname = current_database()) LIMIT 1";
        let client = self.client().await?;
        let held = client.0.query_opt(SQL, &[]).await.map_err(|error| fault(&error))?;
        held.map(|held| Ok(format!("{} by {}", row::get::<String>(&held, 0)?, session(&held, 1)?)))
            .transpose()
    }

    /// Why a transaction of ours does not come to its end. The session that showed it is let go: it
    /// would wait on, one more of them with every look.
    async fn why_no_commit(&self, shown_by: i32) -> String {
        const SQL: &str = "SELECT coalesce(wait_event_type, ''), coalesce(wait_event, ''), \
            pg_cancel_backend($1) FROM pg_stat_activity WHERE pid = $1";
        let asking = async {
            let client = self.client().await?;
            let found = client.0.query_opt(SQL, &[&shown_by]).await;
            match found.map_err(|error| fault(&error))? {
                Some(found) => Ok(Some((row::get(&found, 0)?, row::get(&found, 1)?))),
                None => Ok(None),
            }
        };
        let waits: Result<Option<(String, String)>, Fault> = self.within(REASON_MAX, asking).await;
        match waits {
            Ok(Some((kind, event))) => in_words(&kind, &event),
            Ok(None) => "a small transaction was not committed in time".to_owned(),
            Err(fault) => format!("the server does not answer: {fault}"),
        }
    }

    /// The sessions that others of ours wait for right now: process, name and state, not what they do,
    /// since a statement may show data. `None` where nothing waits, or where that cannot be told.
    pub async fn in_the_way(&self) -> Option<String> {
        const SQL: &str = "SELECT DISTINCT b.pid, coalesce(b.application_name, ''), \
            coalesce(b.state, '') FROM pg_stat_activity w \
            CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS h(pid) \
            JOIN pg_stat_activity b ON b.pid = h.pid WHERE w.datname = current_database() \
            AND w.wait_event_type = 'Lock' AND w.usename = current_user \
            AND b.wait_event_type IS DISTINCT FROM 'Lock' LIMIT 3";
        let asking = async {
            let client = self.client().await?;
            let found = client.0.query(SQL, &[]).await.map_err(|error| fault(&error))?;
            found.iter().map(|found| session(found, 0)).collect::<Result<Vec<_>, Fault>>()
        };
        let found = self.within(REASON_MAX, asking).await.ok()?;
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// A session, for the operator; its process, name and state are columns from `at` on.
fn session(found: &tokio_postgres::Row, at: usize) -> Result<String, Fault> {
    let (pid, name): (i32, String) = (row::get(found, at)?, row::get(found, at + 1)?);
    let state: String = row::get(found, at + 2)?;
    let state = if state.is_empty() { "state not shown" } else { &state };
    Ok(format!("session {pid} ({name}, {state})"))
}

/// The process of this session, if it may write.
async fn may_write(client: &Client) -> Result<i32, Fault> {
    const SQL: &str = "SELECT pg_backend_pid(), current_setting('transaction_read_only') = 'on'";
    let found = client.0.query_one(SQL, &[]).await.map_err(|error| fault(&error))?;
    if row::get::<bool>(&found, 1)? {
        return Err(down("it is read-only: is this server a standby?".to_owned()));
    }
    row::get(&found, 0)
}

/// Commits a transaction as every other is committed: with a record in the write-ahead log that is to
/// reach the disk, and the standby where there is one. It changes no table.
async fn commit(client: &Client) -> Result<(), Fault> {
    const SQL: &str = "BEGIN; SELECT pg_logical_emit_message(true, 'stepup', ''); COMMIT";
    client.0.batch_execute(SQL).await.map_err(|error| fault(&error))
}

fn down(why: String) -> Fault {
    Fault::Down(Dependency::Database, why)
}

/// What a wait of PostgreSQL (`wait_event`) means to an operator.
fn in_words(kind: &str, event: &str) -> String {
    let wait = format!("wait event {kind}/{event}");
    match (kind, event) {
        ("IPC", "SyncRep") => {
            "commits wait for a synchronous standby: see synchronous_standby_names".to_owned()
        }
        ("IO", _) | ("LWLock", "WALWrite") => {
            format!("commits wait for the disk of the database ({wait}): is it slow or full?")
        }
        ("Lock", _) => format!("commits wait for a lock ({wait}): see pg_locks"),
        ("", "") | ("Client", _) => {
            "commits take long, and the server does not say what they wait for".to_owned()
        }
        _ => format!("commits take long ({wait})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_the_server_is_told_in_words_that_say_where_to_look() {
        assert!(in_words("IPC", "SyncRep").contains("synchronous_standby_names"));
        assert!(in_words("IO", "WALSync").contains("disk"));
        assert!(in_words("LWLock", "WALWrite").contains("disk"));
        assert!(in_words("Lock", "transactionid").contains("pg_locks"));
        assert!(in_words("Timeout", "PgSleep").contains("Timeout/PgSleep"));
    }
}

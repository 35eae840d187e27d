//! One transaction.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll, try_join};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::failure::{fault, follows_another};
use super::row;
use crate::domain::Timestamp;
use crate::fault::Fault;

/// A value for a place in a statement.
pub type Param<'a> = &'a (dyn ToSql + Sync);

/// One value of each row, for a statement that takes all rows at once.
pub(super) fn column<'a, R, T>(rows: &[&'a R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

/// The moment as many seconds ago as the parameter at this place says. A subquery, since a condition
/// on an index takes no volatile call.
pub(super) fn ago(place: usize) -> String {
    format!("(SELECT stepup_now() - make_interval(secs => ${place}))")
}

/// One transaction. Dropped without [`Tx::commit`], it leaves nothing behind.
///
/// Its beginning is sent ahead of the first statement and answered with it: a round trip less for
/// every batch.
pub struct Tx<'a> {
    client: &'a deadpool_postgres::Object,
    /// The answer to the beginning, until a statement has waited for it.
    begun: Mutex<Option<BoxFuture<'a, Result<(), Fault>>>>,
    /// Statements sent so far.
    sent: AtomicU32,
    committed: bool,
}

impl<'a> Tx<'a> {
    /// Sends `sql`, which begins it.
    pub(super) async fn begin(
        client: &'a deadpool_postgres::Object,
        sql: &'static str,
    ) -> Result<Self, Fault> {
        let mut begun =
            async move { client.batch_execute(sql).await.map_err(|e| fault(&e)) }.boxed();
        // Polled once it is on its way.
        let begun = match poll!(&mut begun) {
            Poll::Ready(begun) => begun.map(|()| None)?,
            Poll::Pending => Some(begun),
        };
        Ok(Self { client, begun: Mutex::new(begun), sent: AtomicU32::new(0), committed: false })
    }

    /// The one clock.
    ///
    /// # Errors
    /// As every statement.
    pub async fn now(&self) -> Result<Timestamp, Fault> {
        let rows = self.rows("SELECT stepup_now()", &[]).await?;
        let row = rows.first().ok_or_else(|| Fault::Permanent("stepup_now() is empty".into()))?;
        row::get(row, 0)
    }

    /// Does `work`, and reads the one clock after the last of its statements: whoever waited for a
    /// lock is judged by the time it came free. Costs no round trip where all of them were sent at
    /// once.
    ///
    /// # Errors
    /// Those of `work`, and as every statement.
    pub async fn then_now<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<(T, Timestamp), Fault> {
        // Polled second: by then the statements of `work` are on their way.
        let clock = async {
            let before = self.sent.load(Ordering::Relaxed);
            self.now().await.map(|now| (now, before + 1))
        };
        let (done, (now, sent)) = try_join!(work, clock)?;
        if self.sent.load(Ordering::Relaxed) == sent {
            return Ok((done, now));
        }
        Ok((done, self.now().await?))
    }

    /// Commits. The server sets no limit to this: `statement_timeout` does not hold for `COMMIT`, which
    /// waits for the disk, and for a synchronous standby where there is one, for as long as it takes.
    ///
    /// # Errors
    /// `Down` when the connection is gone: then it is unknown whether it was committed, and
    /// the inbox shows it when the message comes again.
    pub async fn commit(mut self) -> Result<(), Fault> {
        self.begun().await?;
        self.client.batch_execute("COMMIT").await.map_err(|error| fault(&error))?;
        self.committed = true;
        Ok(())
    }

    async fn begun(&self) -> Result<(), Fault> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun {
            Some(begun) => begun.await,
            None => Ok(()),
        }
    }

    async fn prepared(&self, sql: &str) -> Result<Statement, Fault> {
        match self.client.prepare_cached(sql).await {
            Ok(statement) => Ok(statement),
            Err(error) => Err(told(&error).await),
        }
    }

    /// The rows of a statement. The product calls this from `store` only.
    ///
    /// # Errors
    /// As every statement.
    pub async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        let query = async {
            let statement = self.prepared(sql).await?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            match self.client.query(&statement, params).await {
                Ok(rows) => Ok(rows),
                Err(error) => Err(told(&error).await),
            }
        };
        try_join!(self.begun(), query).map(|((), rows)| rows)
    }

    /// How many rows a statement has changed. The product calls this from `store` only.
    ///
    /// # Errors
    /// As every statement.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Fault> {
        let query = async {
            let statement = self.prepared(sql).await?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            match self.client.execute(&statement, params).await {
                Ok(written) => Ok(written),
                Err(error) => Err(told(&error).await),
            }
        };
        try_join!(self.begun(), query).map(|((), written)| written)
    }

    /// Executes, and insists that each of `judged` rows was still as it was judged. A batch in which
    /// two messages were decided on the same facts fails here, and is walked one by one.
    pub(super) async fn guarded(
        &self,
        sql: &str,
        params: &[Param<'_>],
        judged: usize,
    ) -> Result<(), Fault> {
        let written = self.execute(sql, params).await?;
        if written == judged as u64 {
            return Ok(());
        }
        Err(Fault::Transient(format!("{written} of {judged} rows were still as judged")))
    }
}

/// What an error means. Where statements are sent side by side, one that only follows a failure steps
/// back, so that the one that met the failure tells it.
async fn told(error: &tokio_postgres::Error) -> Fault {
    if follows_another(error) {
        tokio::task::yield_now().await;
    }
    fault(error)
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // Polled once it is on its way, and nobody has to wait for the answer.
            let _ = self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

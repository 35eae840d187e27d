//! FLOOR 3. Every SQL statement of the product.
//!
//! Locks are taken in one order everywhere: accounts, members, destinations, challenges, each by key
//! (ARCHITECTURE.md has the rest). Whoever keeps to it cannot deadlock; whoever is told of one anyway
//! tries again.

mod accounts;
mod activity;
mod approvals;
mod attempts;
mod chain;
mod challenges;
mod email_proofs;
mod guesses;
mod inbox;
mod janitor;
pub mod measure;
mod members;
mod migrate;
mod notices;
mod owned;
mod pending;
mod resets;
mod row;
mod team;
mod timers;
mod trail;
mod views;

pub use accounts::put as put_accounts;
pub use activity::{append as append_activity, page as activity_page};
pub use approvals::{approval_facts, spend as spend_approvals};
pub use attempts::{Claim, Settlement, claim, delivery_facts, settle};
pub use chain::{
    CHAIN_ROWS, account_after, attest, checkpoints, extend as extend_chain, links, not_chained,
    unattested,
};
pub use challenges::{
    ChallengeKey, IssueKey, challenge_facts, end, grant, insert, issue_facts, lock_challenges,
};
pub use email_proofs::write as write_email_proofs;
pub use guesses::{verification_facts, write as write_guesses};
pub use inbox::{Caused, Entry, Known, caused, keep, known};
pub use janitor::{Retention, sweep as delete_expired};
pub use members::{actors, directory_facts, put as put_members, write_changes};
pub use migrate::{check as check_migrations, migrate};
pub use notices::{
    claim as claim_notices, insert as insert_notices, notice_facts, recipients,
    settle as settle_notices,
};
pub use owned::{among as owned_among, owned_numbers_facts, put as put_owned_numbers};
pub use pending::{Pending, found as pending_facts, parties};
pub use resets::{support_facts, write_resets};
pub use team::{
    begin_reviews, mandate_facts, review_facts, team_facts, write_applied, write_checked,
    write_mandates,
};
pub use timers::{Due, Sweep, look_back, sweep};
pub use trail::append as append_trail;
pub use views::{
    CHALLENGE_VIEW_EVENTS_MAX, REVIEW_PAGE_MAX, challenge as challenge_view, review as review_view,
};

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll, try_join};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::domain::Timestamp;
use crate::fault::{Dependency, Fault};

/// How long to wait for a connection of the pool, or for a new one. Longer means that the server is
/// away, or that the pool is too small.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Every statement is planned once for each connection, and finds its rows by key. What costs is
/// the rows that are touched, so that the plan is the same for an empty table and for millions of
/// rows: docs/adr/0011-plans-are-made-once.md has the figures.
const PLANS: &str =
    "-c plan_cache_mode=force_generic_plan -c cpu_tuple_cost=1 -c random_page_cost=1 -c jit=off";

/// The longest work on the database in one go, a pass with all its statements: longer than several of
/// them may take by the server's own limit.
const WORK_MAX: Duration = Duration::from_secs(20);

/// How to reach PostgreSQL.
pub struct Settings {
    /// `postgres://user:password@host/database`.
    pub url: String,
    /// Connections at most.
    pub connections_max: usize,
    /// The longest transaction.
    pub transaction_max: Duration,
    /// A private certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// What the server shows as the client's name.
    pub application_name: String,
}

/// A handle on the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
}

/// One connection.
pub struct Client(deadpool_postgres::Object);

/// One transaction. Dropped without [`Tx::commit`], it leaves nothing behind.
///
/// Its beginning is sent ahead of the first statement and answered with it: a round trip less for
/// every pass.
pub struct Tx<'a> {
    client: &'a deadpool_postgres::Object,
    /// The answer to the beginning, until a statement has waited for it.
    begun: Mutex<Option<BoxFuture<'a, Result<(), Fault>>>>,
    /// Statements sent so far.
    sent: AtomicU32,
    committed: bool,
}

type Param<'a> = &'a (dyn ToSql + Sync);

impl Store {
    /// A pool that connects when first asked.
    ///
    /// # Errors
    /// A sentence, when the URL or the CA file cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let mut config: tokio_postgres::Config = settings
            .url
            .parse()
            .map_err(|_| "STEPUP_DATABASE_URL is not postgres://user:password@host/database")?;
        let limit = settings.transaction_max.as_millis();
        let ours = format!(
            "{PLANS} -c statement_timeout={limit} \
             -c idle_in_transaction_session_timeout={limit} -c timezone=UTC"
        );
        let options =
            config.get_options().map_or(ours.clone(), |theirs| format!("{theirs} {ours}"));
        config.options(options);
        config.application_name(&settings.application_name);
        config.connect_timeout(CONNECT_MAX);
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_secs(15));
        let tls = MakeRustlsConnect::new(tls_config(settings.ca_file.as_deref())?);
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(settings.connections_max)
            .wait_timeout(Some(CONNECT_MAX))
            .create_timeout(Some(CONNECT_MAX))
            .recycle_timeout(Some(CONNECT_MAX))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { pool })
    }

    /// A connection.
    ///
    /// # Errors
    /// `Down` when none is to be had.
    pub async fn client(&self) -> Result<Client, Fault> {
        self.pool.get().await.map(Client).map_err(|error| match error {
            PoolError::Backend(error) => connect_fault(&error),
            PoolError::Timeout(TimeoutType::Wait) => {
                let why = "no connection came free: if the server is well, see STEPUP_POOL_SIZE";
                Fault::Down(Dependency::Database, why.into())
            }
            other => Fault::Down(Dependency::Database, other.to_string()),
        })
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// `Down` when it does not.
    pub async fn ping(&self) -> Result<(), Fault> {
        let asking = async {
            let client = self.client().await?;
            client.0.simple_query("SELECT 1").await.map(drop).map_err(|error| fault(&error))
        };
        self.within(CONNECT_MAX, asking).await
    }

    /// Does `work` on this database, but not for longer than 20 s.
    ///
    /// # Errors
    /// Those of `work`; `Down` when the time is over.
    pub async fn bounded<T, E: From<Fault>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.within(WORK_MAX, work).await
    }

    async fn within<T, E: From<Fault>>(
        &self,
        most: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let done = tokio::time::timeout(most, work).await;
        done.unwrap_or_else(|_| {
            // A server that is there ends what takes longer than a transaction may. So this is a
            // connection that is open and silent, and it has gone back to the others.
            self.pool.retain(|_, _| false);
            let why = format!("no answer within {} s", most.as_secs());
            Err(Fault::Down(Dependency::Database, why).into())
        })
    }

    /// Closes every connection.
    pub fn close(&self) {
        self.pool.close();
    }
}

impl Client {
    /// Begins a transaction.
    ///
    /// # Errors
    /// `Down` when the connection is gone.
    pub async fn begin(&mut self) -> Result<Tx<'_>, Fault> {
        self.start("BEGIN").await
    }

    /// Begins a transaction that only reads, and sees the database as it is now to its end.
    ///
    /// # Errors
    /// `Down` when the connection is gone.
    pub async fn begin_snapshot(&mut self) -> Result<Tx<'_>, Fault> {
        self.start("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn start(&mut self, sql: &'static str) -> Result<Tx<'_>, Fault> {
        let client = &self.0;
        let mut begun =
            async move { client.batch_execute(sql).await.map_err(|e| fault(&e)) }.boxed();
        // Polled once it is on its way.
        let begun = match poll!(&mut begun) {
            Poll::Ready(begun) => begun.map(|()| None)?,
            Poll::Pending => Some(begun),
        };
        Ok(Tx { client, begun: Mutex::new(begun), sent: AtomicU32::new(0), committed: false })
    }
}

impl Tx<'_> {
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

    /// Commits.
    ///
    /// # Errors
    /// `Down` when the connection is gone: then nobody knows whether it was committed, and the
    /// inbox tells when the message comes again.
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
        self.client.prepare_cached(sql).await.map_err(|error| fault(&error))
    }

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        let query = async {
            let statement = self.prepared(sql).await?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.client.query(&statement, params).await.map_err(|error| fault(&error))
        };
        try_join!(self.begun(), query).map(|((), rows)| rows)
    }

    async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Fault> {
        let query = async {
            let statement = self.prepared(sql).await?;
            self.sent.fetch_add(1, Ordering::Relaxed);
            self.client.execute(&statement, params).await.map_err(|error| fault(&error))
        };
        try_join!(self.begun(), query).map(|((), written)| written)
    }

    /// Executes, and insists that each of `judged` rows was still as it was judged. A batch in which
    /// two messages were decided on the same facts fails here, and is walked one by one.
    async fn guarded(&self, sql: &str, params: &[Param<'_>], judged: usize) -> Result<(), Fault> {
        let written = self.execute(sql, params).await?;
        if written == judged as u64 {
            return Ok(());
        }
        Err(Fault::Transient(format!("{written} of {judged} rows were still as judged")))
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // Polled once it is on its way, and nobody has to wait for the answer.
            let _ = self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

/// The moment as many seconds ago as the parameter at this place says. A subquery, since a condition
/// on an index takes no volatile call.
fn ago(place: usize) -> String {
    format!("(SELECT stepup_now() - make_interval(secs => ${place}))")
}

fn tls_config(ca_file: Option<&std::path::Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One unreadable certificate of the system is no reason not to start.
        let _ = roots.add(certificate);
    }
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("STEPUP_CA_FILE: {error}"))?;
        use rustls::pki_types::pem::PemObject;
        for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| "STEPUP_CA_FILE is not PEM".to_owned())?;
            roots.add(certificate).map_err(|error| format!("STEPUP_CA_FILE: {error}"))?;
        }
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// An error before there is a connection: the server is away, or does not let us in. Either way the
/// message is not to blame.
fn connect_fault(error: &tokio_postgres::Error) -> Fault {
    let why = error.as_db_error().map_or_else(
        // Said without its cause: "error performing TLS handshake".
        || match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
        |db| db.message().to_owned(),
    );
    Fault::Down(Dependency::Database, why)
}

/// The one classification of PostgreSQL's errors. The text is the server's message without its
/// detail, which can quote a row.
fn fault(error: &tokio_postgres::Error) -> Fault {
    let Some(db) = error.as_db_error() else {
        if error.is_closed()
            || std::error::Error::source(error).is_some_and(|e| e.is::<std::io::Error>())
        {
            return Fault::Down(Dependency::Database, "the connection is gone".to_owned());
        }
        return Fault::Permanent(error.to_string());
    };
    let why = format!("{} ({})", db.message(), db.code().code());
    match *db.code() {
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE
        | SqlState::QUERY_CANCELED
        | SqlState::UNIQUE_VIOLATION => Fault::Transient(why),
        // The tables are not there yet, or not ours to write: an operator's matter.
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_FUNCTION => {
            Fault::Down(Dependency::Database, format!("{why}: run `stepup migrate`"))
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            Fault::Down(Dependency::Database, format!("{why}: the database user lacks a right"))
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            Fault::Down(Dependency::Database, format!("{why}: is this server a standby?"))
        }
        // Classes 08, 53, 57, 58: connection, resources, operator intervention, system.
        _ if ["08", "53", "57", "58", "XX", "25"]
            .iter()
            .any(|c| db.code().code().starts_with(c)) =>
        {
            Fault::Down(Dependency::Database, why)
        }
        _ => Fault::Permanent(why),
    }
}

//! Connections to the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::sync::Mutex;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::connect_fault;
use super::tx::Tx;
use crate::fault::{Dependency, Fault};

/// The latest look: when it ended, and what it found.
pub(super) type Looks = Arc<Mutex<Option<(Instant, Result<(), Fault>)>>>;

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
pub struct DatabaseSettings {
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

/// Begins what may wait only shortly for a lock, since others wait behind it.
const SHORT: &str = "BEGIN; SET LOCAL lock_timeout = '250ms'";

/// A handle on the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// Looks at its health.
    pub(super) looks: Looks,
    /// Work ran out of time, and the database has not been seen to take work since.
    in_doubt: Arc<AtomicBool>,
}

/// One connection.
pub struct Client(pub(super) deadpool_postgres::Object);

impl Store {
    /// A pool that connects when first asked.
    ///
    /// # Errors
    /// A sentence, when the URL or the CA file cannot be read.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, String> {
        let mut config: tokio_postgres::Config = settings
            .url
            .parse()
            .map_err(|_| "STEPUP_DATABASE_URL is not postgres://user:password@host/database")?;
        let limit = settings.transaction_max.as_millis();
        // Shorter than a statement may take, so that its end tells whether it waited for a lock.
        let lock_limit = limit * 2 / 5;
        let ours = format!(
            "{PLANS} -c statement_timeout={limit} -c lock_timeout={lock_limit} \
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
        Ok(Self { pool, looks: Looks::default(), in_doubt: Arc::default() })
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

    /// Does `work` on this database, but not for longer than 20 s.
    ///
    /// What runs out of time may have left a session behind that still commits, and that holds its
    /// locks until then. So the next work waits until the database is seen to commit: it would leave
    /// another one, and so on until no connections are left.
    ///
    /// # Errors
    /// Those of `work`; `Down` when the time is over.
    pub async fn bounded<T, E: From<Fault>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.in_doubt.load(Ordering::Relaxed) {
            self.takes_work().await?;
            self.in_doubt.store(false, Ordering::Relaxed);
        }
        let ended = AtomicBool::new(false);
        let work = async {
            let done = work.await;
            ended.store(true, Ordering::Relaxed);
            done
        };
        let done = self.within(WORK_MAX, work).await;
        if !ended.load(Ordering::Relaxed) {
            self.in_doubt.store(true, Ordering::Relaxed);
        }
        done
    }

    pub(super) async fn within<T, E: From<Fault>>(
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
        Tx::begin(&self.0, "BEGIN").await
    }

    /// Begins a transaction that waits only shortly for a lock.
    ///
    /// # Errors
    /// `Down` when the connection is gone.
    pub async fn begin_short(&mut self) -> Result<Tx<'_>, Fault> {
        Tx::begin(&self.0, SHORT).await
    }

    /// Begins a transaction that only reads, and sees the database as it is now to its end.
    ///
    /// # Errors
    /// `Down` when the connection is gone.
    pub async fn begin_snapshot(&mut self) -> Result<Tx<'_>, Fault> {
        Tx::begin(&self.0, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }
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

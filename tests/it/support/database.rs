//! A database of one's own: a clone of a template that is migrated once, with a clock that a test
//! can move.

use std::path::Path;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use stepup::store::{self, Store};

use super::{block_on, setting};

/// All processes that look for, make or drop a template of this server take it.
const LOCK: i64 = 0x7465_6d70_6c61;
/// The longest time without a look.
const MOMENT: Duration = Duration::from_secs(1);
/// In front of every template's name.
const TEMPLATE: &str = "stepup_template_";

/// What the template has besides the migrations: a clock that runs ahead of the real one by what a
/// test says, and a bell that rings with every commit which may bring a test nearer to its end.
const FOR_TESTS: &str = "
    CREATE TABLE test_clock (ahead interval NOT NULL);
    INSERT INTO test_clock VALUES ('0');
    CREATE OR REPLACE FUNCTION stepup_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT clock_timestamp() + (SELECT ahead FROM public.test_clock)';
    CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NOTIFY progress; RETURN NULL; END';
    CREATE TRIGGER ring AFTER INSERT ON inbox FOR EACH STATEMENT EXECUTE FUNCTION ring();
    CREATE TRIGGER ring AFTER INSERT ON trail FOR EACH STATEMENT EXECUTE FUNCTION ring();
    CREATE TRIGGER ring AFTER INSERT OR UPDATE ON watermark
        FOR EACH STATEMENT EXECUTE FUNCTION ring();
    CREATE TRIGGER ring AFTER INSERT OR UPDATE ON delivery_attempt
        FOR EACH STATEMENT EXECUTE FUNCTION ring();
";

/// A database of a test. Dropped with it.
pub struct Database {
    pub url: String,
    name: String,
}

impl Database {
    /// A clone of the template, which is made first if it is not there.
    pub async fn create(name: &str) -> Self {
        let admin = connect(&setting("STEPUP_DATABASE_URL")).await;
        let template = template_name();
        // Shared: clones are made side by side, but not while somebody makes or drops a template.
        let shared = format!("SELECT pg_advisory_lock_shared({LOCK})");
        let release = format!("SELECT pg_advisory_unlock_shared({LOCK})");
        loop {
            admin.batch_execute(&shared).await.unwrap();
            let clone = format!("CREATE DATABASE {name} TEMPLATE {template}");
            let cloned = admin.batch_execute(&clone).await;
            admin.batch_execute(&release).await.unwrap();
            match cloned {
                Ok(()) => break,
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
                    make_template(&admin, &template).await;
                }
                Err(error) => panic!("{clone}: {error:?}"),
            }
        }
        Self { url: beside(name), name: name.to_owned() }
    }

    /// The store of the product on this database.
    pub fn store(&self) -> Store {
        open(&self.url)
    }

    /// The same, by another way.
    pub fn store_by(&self, url: &str) -> Store {
        open(url)
    }

    /// A connection for what the product does not do.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// One number.
    pub async fn count(&self, query: &str) -> i64 {
        self.client().await.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Moves the clock of all decisions, at once.
    pub async fn jump(&self, ahead: Duration) {
        let sql = "UPDATE test_clock SET ahead = ahead + make_interval(secs => $1)";
        self.client().await.execute(sql, &[&ahead.as_secs_f64()]).await.unwrap();
    }

    /// Throws everybody out, and lets nobody in.
    pub async fn shut(&self) {
        let admin = connect(&setting("STEPUP_DATABASE_URL")).await;
        let shut = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", self.name);
        admin.batch_execute(&shut).await.unwrap();
        let out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        admin.query(out, &[&self.name]).await.unwrap();
    }

    /// Lets everybody in again.
    pub async fn reopen(&self) {
        let admin = connect(&setting("STEPUP_DATABASE_URL")).await;
        let open = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", self.name);
        admin.batch_execute(&open).await.unwrap();
    }

    /// Looks until `look` sees nothing that still lacks: again whenever the product commits
    /// something, and once a second for what comes with the time alone. A server that is away is
    /// looked at again.
    ///
    /// # Panics
    /// With what lacks, after `patience`.
    pub async fn wait<F>(&self, patience: Duration, look: impl Fn(Client) -> F)
    where
        F: Future<Output = Result<Option<String>, tokio_postgres::Error>>,
    {
        let started = Instant::now();
        let mut bell = Bell::hang(&self.url).await;
        loop {
            bell.listen();
            let lacks = match tokio_postgres::connect(&self.url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    look(client).await.unwrap_or_else(|error| Some(error.to_string()))
                }
                Err(error) => Some(error.to_string()),
            };
            let Some(lacks) = lacks else { return };
            assert!(started.elapsed() < patience, "after {patience:?}: {lacks}");
            if !bell.ring().await {
                tokio::time::sleep(MOMENT / 10).await;
                bell = Bell::hang(&self.url).await;
            }
        }
    }
}

/// Rings whenever the product commits something, until the server goes away.
struct Bell {
    rings: watch::Receiver<()>,
    /// Kept, since the connection lives as long as it does.
    _client: Option<Client>,
}

impl Bell {
    async fn hang(url: &str) -> Self {
        let (ring, rings) = watch::channel(());
        let Ok((client, mut connection)) = tokio_postgres::connect(url, NoTls).await else {
            return Self { rings, _client: None };
        };
        tokio::spawn(std::future::poll_fn(move |context| {
            loop {
                match ready!(connection.poll_message(context)) {
                    Some(Ok(AsyncMessage::Notification(_))) => ring.send_replace(()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
        }));
        let _ = client.batch_execute("LISTEN progress").await;
        Self { rings, _client: Some(client) }
    }

    /// From here on a ring counts.
    fn listen(&mut self) {
        self.rings.borrow_and_update();
    }

    /// The next ring since [`Bell::listen`], or a moment; false when it can ring no more.
    async fn ring(&mut self) -> bool {
        !matches!(tokio::time::timeout(MOMENT, self.rings.changed()).await, Ok(Err(_)))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        block_on(async {
            // What cannot be dropped goes with `make down`.
            if let Ok((admin, connection)) =
                tokio_postgres::connect(&setting("STEPUP_DATABASE_URL"), NoTls).await
            {
                tokio::spawn(connection);
                let _ = admin.batch_execute(&sql).await;
            }
        });
    }
}

/// The URL of a database beside the configured one.
fn beside(name: &str) -> String {
    let url = setting("STEPUP_DATABASE_URL");
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn open(url: &str) -> Store {
    let settings = store::DatabaseSettings {
        url: url.to_owned(),
        connections_max: 8,
        transaction_max: Duration::from_secs(10),
        ca_file: None,
        application_name: "stepup test".to_owned(),
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    Store::new(&settings).unwrap()
}

/// A function of all that the template is made of: another version makes another template.
fn template_name() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("migrations");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut hash = Sha256::new_with_prefix(FOR_TESTS);
    for file in files {
        hash.update(file.file_name().unwrap().as_encoded_bytes());
        hash.update(std::fs::read(file).unwrap());
    }
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{TEMPLATE}{digest}")
}

/// Makes the template, unless somebody was faster, and drops those of other versions. It has its
/// name only once it is complete: what a run left half made is dropped too.
async fn make_template(admin: &Client, template: &str) {
    admin.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})")).await.unwrap();
    const NAMES: &str = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)";
    let found = admin.query(NAMES, &[&TEMPLATE]).await.unwrap();
    let names: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    if !names.iter().any(|name| name == template) {
        for stale in names {
            let drop = format!("DROP DATABASE {stale} WITH (FORCE)");
            admin.batch_execute(&drop).await.unwrap();
        }
        let raw = format!("{template}_raw");
        admin.batch_execute(&format!("CREATE DATABASE {raw}")).await.unwrap();
        let store = open(&beside(&raw));
        store::migrate(&store, Duration::ZERO).await.unwrap();
        store.close();
        connect(&beside(&raw)).await.batch_execute(FOR_TESTS).await.unwrap();
        // Nobody may connect: a database that somebody uses cannot be cloned.
        let close = format!("ALTER DATABASE {raw} WITH ALLOW_CONNECTIONS false");
        admin.batch_execute(&close).await.unwrap();
        let rename = format!("ALTER DATABASE {raw} RENAME TO {template}");
        admin.batch_execute(&rename).await.unwrap();
    }
    admin.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).await.unwrap();
}

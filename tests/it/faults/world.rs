//! The whole product under test: servers, proxies, sim, processes, and what was seen of it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepup::broker::{Broker, BrokerSettings, Requester, topology};
use stepup::domain::keys::PublicKey;
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::history::{History, Tap};
use super::servers::Servers;

pub const API_KEY: &str = "fault-test-api-key";
/// How long a login lives in the long form, and everywhere else, in seconds.
pub const LONG_LIFE: &str = "40";
pub const SHORT_LIFE: &str = "20";

/// Short lives, so that a run sees many of them end.
const SETTINGS: &[(&str, &str)] = &[
    ("STEPUP_LIFE_LEFT_SECONDS", "2"),
    ("STEPUP_FALLBACK_SECONDS", "4"),
    ("STEPUP_RESEND_SECONDS", "4,4,4,4"),
    ("STEPUP_PROVIDER_TIMEOUT_SECONDS", "2"),
    ("STEPUP_LEASE_MARGIN_SECONDS", "1"),
    ("STEPUP_TRANSACTION_SECONDS", "2"),
    ("STEPUP_REPLY_WAIT_SECONDS", "2"),
    // A build without optimisation judges a large batch for longer than a transaction may last.
    ("STEPUP_BATCH_MAX", "20"),
    ("STEPUP_DRAIN_SECONDS", "8"),
    ("STEPUP_RESET_HOLD_SECONDS", "4"),
    ("STEPUP_CHECKPOINT_SECONDS", "3"),
    ("STEPUP_MAIL_FROM", "security@example.com"),
    ("STEPUP_SMS_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ("STEPUP_LOG_FORMAT", "json"),
];

pub struct World {
    pub servers: Arc<Servers>,
    pub fleet: Arc<Fleet>,
    pub history: Arc<History>,
    pub url: String,
    pub sim: String,
    pub public_key: PublicKey,
    /// What an app of its own asks over AMQP with.
    pub app: Requester,
    pub folder: PathBuf,
    environment: Vec<(String, String)>,
    sim_process: Child,
    tap: Tap,
    stop: CancellationToken,
}

/// Below those that the system hands out to clients, so that nobody takes it while we restart.
fn free_port() -> u16 {
    (20_000..32_000)
        .map(|_| rand::random_range(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// The broker as `user`, without a proxy.
pub fn broker(url: &str) -> Broker {
    let settings = BrokerSettings {
        url: url.to_owned(),
        prefix: "stepup".into(),
        connection_name: "fault tests".into(),
        ca_file: None,
    };
    Broker::new(settings).unwrap()
}

pub async fn sql(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl World {
    /// Empty servers and every process; `bug` is seeded in all of them. What the processes say is
    /// kept in a folder called `name`.
    pub async fn start(
        servers: &Arc<Servers>,
        name: &str,
        bug: Option<&str>,
        stop_for: Duration,
        life_seconds: &str,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        // Another build may replace it while we run.
        let binary = folder.join("stepup");
        std::fs::copy(env!("CARGO_BIN_EXE_stepup"), &binary).unwrap();
        let direct = servers.direct();
        let admin = sql(&direct.database).await.unwrap();
        admin.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
        let owned = broker(&direct.amqp);
        topology::delete(&owned).await.unwrap();
        topology::declare(&owned).await.unwrap();
        owned.close().await;

        let (sim_process, sim_http, sim_smtp) = start_sim();
        let (http, keys) = (free_port(), folder.join("keys").display().to_string());
        let digest: String =
            Sha256::digest(API_KEY).iter().map(|byte| format!("{byte:02x}")).collect();
        let app = json!([{ "app": "demo", "broker_user": "demo", "api_key_sha256": digest }]);
        let proxied = servers.proxied();
        let mut environment: Vec<(String, String)> = vec![
            ("STEPUP_AMQP_URL".into(), proxied.amqp),
            ("STEPUP_DATABASE_URL".into(), proxied.database),
            ("STEPUP_CHALLENGE_SECONDS".into(), life_seconds.into()),
            ("STEPUP_HTTP_ADDR".into(), format!("127.0.0.1:{http}")),
            ("STEPUP_KEYS_FILE".into(), keys.clone()),
            ("STEPUP_CHECKPOINT_FILE".into(), checkpoints(&folder)),
            ("STEPUP_APPS".into(), app.to_string()),
            ("STEPUP_SMS_URL".into(), format!("http://{sim_http}/carrier/messages")),
            ("STEPUP_SMTP_URL".into(), format!("smtp://{sim_smtp}?tls=none")),
        ];
        environment.extend(SETTINGS.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&binary);
            let envs = environment.iter().cloned();
            let output = command.args(arguments).env_clear().envs(envs).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "stepup {arguments:?}: {error}");
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["keys", "create", &keys]);
        run(&["migrate"]);
        let public_key = PublicKey::parse(run(&["keys", "public"]).trim()).unwrap();
        environment.extend(bug.map(|bug| ("STEPUP_BUG".to_owned(), bug.to_owned())));

        let history = Arc::new(History::default());
        let tap = Tap::start(&direct.amqp, &history).await;
        let stop = CancellationToken::new();
        let world = Self {
            servers: Arc::clone(servers),
            fleet: Fleet::start(&binary, &folder, environment.clone(), stop_for),
            environment,
            history,
            url: format!("http://127.0.0.1:{http}"),
            sim: format!("http://{sim_http}"),
            public_key,
            app: Requester::start(&broker(&direct.app_amqp), &stop),
            folder,
            sim_process,
            tap,
            stop,
        };
        world.await_ready().await;
        world
    }

    async fn await_ready(&self) {
        let started = Instant::now();
        while tokio::net::TcpStream::connect(self.url.trim_start_matches("http://")).await.is_err()
        {
            let patience = Duration::from_secs(60);
            assert!(started.elapsed() < patience, "no ingress: see {:?}", self.folder);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything that the sim was asked to send, in order.
    pub async fn ledger(&self, http: &reqwest::Client) -> Vec<Value> {
        let (mut entries, mut after) = (Vec::new(), 0);
        loop {
            let url = format!("{}/ledger?after={after}&limit=10000", self.sim);
            let page: Value = http.get(url).send().await.unwrap().json().await.unwrap();
            let more = page["entries"].as_array().unwrap().clone();
            if more.is_empty() {
                return entries;
            }
            after = page["next"].as_u64().unwrap();
            entries.extend(more);
        }
    }

    /// What `stepup audit verify` finds wrong with the Activity report, given every checkpoint.
    pub fn unverified(&self) -> Option<String> {
        let mut command = Command::new(self.folder.join("stepup"));
        command.args(["audit", "verify", "--checkpoints", &checkpoints(&self.folder)]);
        command.env_clear().envs(self.environment.iter().cloned());
        // It reads the settings twice, and a bug is seeded once.
        command.env_remove("STEPUP_BUG");
        let output = command.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        (!output.status.success()).then(|| format!("stepup audit verify: {told}"))
    }

    /// Ends every process; the servers stay, and so does the folder, without the large copy of the
    /// program.
    pub async fn end(mut self) {
        self.stop.cancel();
        self.tap.end().await;
        let _ = self.sim_process.kill();
        let _ = self.sim_process.wait();
        let _ = std::fs::remove_file(self.folder.join("stepup"));
    }
}

fn checkpoints(folder: &Path) -> String {
    folder.join("checkpoints").display().to_string()
}

fn start_sim() -> (Child, String, String) {
    let mut child = Command::new(crate::support::harness())
        .arg("sim")
        .env_clear()
        .env("STEPUP_SIM_HTTP_ADDR", "127.0.0.1:0")
        .env("STEPUP_SIM_SMTP_ADDR", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = |name: &str| {
        let found = line.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
        found.unwrap_or_else(|| panic!("the sim did not start: its error is above")).to_owned()
    };
    let (http, smtp) = (address("http="), address("smtp="));
    (child, http, smtp)
}

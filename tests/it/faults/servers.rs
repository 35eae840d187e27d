//! The harness's own broker and database, behind its proxies: nobody else's servers are hurt.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::proxy::{Kind, Proxy};

/// Both servers and the doors in front of them.
pub struct Servers {
    folder: PathBuf,
    pub broker: Proxy,
    pub database: Proxy,
    addresses: Mutex<Addresses>,
}

/// Where the servers are, without a proxy.
#[derive(Clone, Default)]
pub struct Addresses {
    pub amqp: String,
    pub app_amqp: String,
    pub database: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `amqp://user:password@HOST:PORT/x` with another port.
fn through(url: &str, port: u16) -> String {
    let (start, rest) = url.rsplit_once('@').unwrap();
    let (_, path) = rest.split_once('/').unwrap();
    format!("{start}@127.0.0.1:{port}/{path}")
}

fn port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once('@').unwrap();
    let (authority, _) = rest.split_once('/').unwrap();
    authority.rsplit_once(':').unwrap().1.parse().unwrap()
}

impl Servers {
    pub async fn start() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-services");
        let servers = Self {
            folder,
            broker: Proxy::start(Kind::Amqp).await,
            database: Proxy::start(Kind::Postgres).await,
            addresses: Mutex::default(),
        };
        servers.run(&["up", "--private"]).await;
        servers.find().await;
        servers
    }

    /// A verb of `scripts/services.sh`.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(root().join("scripts/services.sh"));
        command.args(arguments).env("STEPUP_SERVICES_DIR", &self.folder).stdin(Stdio::null());
        let told = arguments.join(" ");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "services.sh {told}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `rabbitmqctl`, which takes about a second and is not asked for its success.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new(root().join("scripts/services.sh"));
        command.arg("rabbitmqctl").args(arguments).stdin(Stdio::null());
        command.env("STEPUP_SERVICES_DIR", &self.folder);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        output.status.success()
    }

    /// Reads where the servers are: after a start they may have moved.
    pub async fn find(&self) {
        let mut addresses = Addresses::default();
        for line in self.run(&["env"]).await.lines() {
            let Some((name, value)) = line.trim_start_matches("export ").split_once('=') else {
                continue;
            };
            let value = value.trim_matches('\'').to_owned();
            match name {
                "STEPUP_AMQP_URL" => addresses.amqp = value,
                "STEPUP_DEMO_AMQP_URL" => addresses.app_amqp = value,
                "STEPUP_DATABASE_URL" => addresses.database = value,
                _ => {}
            }
        }
        self.broker.lead_to(port(&addresses.amqp));
        self.database.lead_to(port(&addresses.database));
        *self.addresses.lock().unwrap() = addresses;
    }

    pub fn direct(&self) -> Addresses {
        self.addresses.lock().unwrap().clone()
    }

    /// What the processes under test are told.
    pub fn proxied(&self) -> Addresses {
        let direct = self.direct();
        Addresses {
            amqp: through(&direct.amqp, self.broker.port()),
            app_amqp: through(&direct.app_amqp, self.broker.port()),
            database: through(&direct.database, self.database.port()) + "?sslmode=disable",
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::env::var("FAULTS_KEEP").is_ok() {
            return;
        }
        let mut command = Command::new(root().join("scripts/services.sh"));
        command.arg("down").env("STEPUP_SERVICES_DIR", &self.folder).stderr(Stdio::null());
        let _ = command.status();
    }
}

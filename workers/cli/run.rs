//! `stepup all`, `ingress` and `work`: from the configuration to a running process.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stepup::broker::{Broker, Requester, topology};
use stepup::config::{Config, LogFormat};
use stepup::domain::activity::{Filter, Page};
use stepup::domain::id::{AccountId, AppName};
use stepup::fault::Fault;
use stepup::ingress::{self, ApiKey, Views};
use stepup::message::Queue;
use stepup::observe;
use stepup::runtime::{self, Health};
use stepup::store::{self, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cli::connect::{broker, configured, pool, store};
use crate::roles::{Role, Starting, needs};

/// Completes on SIGTERM or SIGINT; armed at once.
///
/// # Errors
/// When signals cannot be watched.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn log(config: &Config) {
    // The AMQP library logs the bodies of returned messages, which may hold anything; the reader of
    // numbers logs numbers.
    const SILENT: &str = "lapin=off,rlibphonenumber=off";
    let filter = EnvFilter::try_new(format!("{},{SILENT}", config.log))
        .unwrap_or_else(|_| EnvFilter::new(format!("info,{SILENT}")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match config.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.init(),
    }
}

/// Runs the workers of `roles`, and the ingress, until a signal.
///
/// # Errors
/// A sentence for the operator, when the process cannot start.
pub async fn run(roles: &[Role], with_ingress: bool) -> Result<(), String> {
    let config = configured(&needs(roles, with_ingress))?;
    log(&config);
    raise_open_files();
    let metrics = observe::install().map_err(|error| error.to_string())?;
    let store = store(&config, roles.len() + 4)?;
    let broker = broker(&config, "stepup")?;
    let stop = CancellationToken::new();
    runtime::stop_on_signal(stop.clone(), config.drain).map_err(|error| error.to_string())?;
    let health = Health::new(Some(store.clone()), broker.clone(), stop.clone());
    let address = runtime::serve_health(config.metrics_addr, health.clone(), metrics)
        .await
        .map_err(|error| format!("STEPUP_METRICS_ADDR {}: {error}", config.metrics_addr))?;
    tracing::info!(%address, "health and metrics");

    runtime::await_dependencies(&health).await;
    while let Err(fault) = topology::declare(&broker).await {
        tracing::warn!(%fault, "the topology cannot be declared yet");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    let (mut tasks, mut queues) = (JoinSet::new(), Vec::new());
    if with_ingress {
        queues.extend(Queue::ALL.iter().filter(|q| q.takes_requests()).map(|q| q.label()));
        start_ingress(&config, &broker, &stop, &mut tasks).await?;
        observe::role_started("ingress");
    }
    for role in roles {
        let (tasks, queues) = (&mut tasks, &mut queues);
        Starting { config: &config, store: &store, broker: &broker, stop: &stop, tasks, queues }
            .start(*role)?;
        observe::role_started(role.name().as_str());
    }
    health.set_started(queues);
    tracing::info!("started");
    while let Some(end) = tasks.join_next().await {
        // The others would go on, and its work would not be done.
        end.map_err(|error| format!("a worker has panicked: {error}"))?;
    }
    broker.close().await;
    store.close();
    tracing::info!("drained");
    Ok(())
}

/// Many systems begin with 1024 open files and allow more: connections to the ingress must not take those
/// that calls of providers need.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Connections for what the ingress reads. They are its own: clients that poll must not take those that
/// the workers of the same process need.
const READ_CONNECTIONS: usize = 4;

/// What the ingress reads, from the store.
struct Reads(Store);

impl Views for Reads {
    async fn challenge(
        &self,
        app: &AppName,
        id: uuid::Uuid,
    ) -> Result<Option<serde_json::Value>, Fault> {
        store::challenge_view(&self.0, app, id).await
    }

    async fn review(
        &self,
        app: &AppName,
        account: &AccountId,
        id: uuid::Uuid,
        after: &str,
    ) -> Result<Option<serde_json::Value>, Fault> {
        store::review_view(&self.0, app, account.as_str(), id, after).await
    }

    async fn activity(
        &self,
        app: &AppName,
        account: &AccountId,
        filter: &Filter,
    ) -> Result<Option<Page>, Fault> {
        store::activity_page(&self.0, app, account, filter).await
    }
}

async fn start_ingress(
    config: &Config,
    broker: &Broker,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    let listener = TcpListener::bind(config.http_addr)
        .await
        .map_err(|error| format!("STEPUP_HTTP_ADDR {}: {error}", config.http_addr))?;
    tracing::info!(address = %config.http_addr, "ingress");
    let keys = config.apps.iter().flat_map(|app| {
        let key = |sha256: &[u8; 32]| ApiKey { app: app.name.clone(), sha256: *sha256 };
        app.api_keys_sha256.iter().map(key)
    });
    let seal_to = config.public_key.clone().ok_or("STEPUP_PUBLIC_KEY is missing")?;
    // The requester outlives the listener: requests that run at the stop still get their answer.
    let requester = Requester::start(broker, &CancellationToken::new());
    let views = Reads(pool(config, READ_CONNECTIONS)?);
    let state = ingress::State::new(requester, views, keys.collect(), seal_to, config.reply_wait);
    let stop = stop.clone();
    tasks.spawn(ingress::serve(listener, state, ingress::Limits::default(), stop));
    Ok(())
}

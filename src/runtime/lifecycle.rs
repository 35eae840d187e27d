//! The life of a process: waiting for its dependencies, health, signals, draining.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, topology};
use crate::fault::{Dependency, Fault};
use crate::observe;
use crate::store::Store;

/// Pause between looks at a dependency that is away at start.
const START_PAUSE: Duration = Duration::from_secs(1);
/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(4);
/// How often the recorder's histograms are drained, so that they stay small without a scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// Whether this process may be given work.
#[derive(Clone)]
pub struct Health {
    store: Option<Store>,
    broker: Broker,
    /// The queues that this process needs, once everything was there.
    started: Arc<OnceLock<Vec<&'static str>>>,
    stop: CancellationToken,
}

impl Health {
    /// Health of a process with these dependencies.
    pub fn new(store: Option<Store>, broker: Broker, stop: CancellationToken) -> Self {
        Self { store, broker, started: Arc::default(), stop }
    }

    /// Everything needed was there once; `queues` (without the prefix) are needed from now on.
    pub fn set_started(&self, queues: Vec<&'static str>) {
        // A second time changes nothing.
        let _ = self.started.set(queues);
    }

    /// What keeps this process from working, each as a sentence.
    async fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        if self.stop.is_cancelled() {
            obstacles.push("draining".to_owned());
        }
        match self.started.get() {
            None => obstacles.push("starting: waiting for a dependency".to_owned()),
            Some(queues) => obstacles.extend(within(self.queues(queues)).await.err()),
        }
        if self.broker.blocked() {
            obstacles.push("the broker takes no messages: it has an alarm".to_owned());
        }
        obstacles.extend(self.away().await);
        obstacles
    }

    /// A queue that is missing is declared again, but for this once it is an obstacle.
    async fn queues(&self, needed: &[&'static str]) -> Result<(), Fault> {
        let missing = topology::missing(&self.broker, needed).await?;
        if missing.is_empty() {
            return Ok(());
        }
        topology::repair(&self.broker).await?;
        let missing = missing.join(", ");
        Err(Fault::Down(Dependency::Broker, format!("queues were missing: {missing}")))
    }

    async fn away(&self) -> Vec<String> {
        let mut away = Vec::new();
        let database = async {
            match &self.store {
                Some(store) => store.takes_work().await,
                None => Ok(()),
            }
        };
        for look in [within(self.broker.ping()).await, within(database).await] {
            away.extend(look.err());
        }
        away
    }
}

async fn within(look: impl Future<Output = Result<(), Fault>>) -> Result<(), String> {
    match tokio::time::timeout(LOOK_MAX, look).await {
        Ok(result) => result.map_err(|fault| fault.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOK_MAX.as_secs())),
    }
}

/// Waits until every dependency answers, and says for what it waits. Returns early on stop.
pub async fn await_dependencies(health: &Health) {
    let mut said = String::new();
    loop {
        let away = health.away().await;
        if away.is_empty() || health.stop.is_cancelled() {
            return;
        }
        let what = away.join("; ");
        if what != said {
            tracing::warn!(waiting_for = what, "waiting");
            said = what;
        }
        tokio::select! {
            () = tokio::time::sleep(START_PAUSE) => {}
            () = health.stop.cancelled() => {}
        }
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` for as long as the process lives.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_health(
    address: SocketAddr,
    health: Health,
    metrics: PrometheusHandle,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    let ready = move || {
        let health = health.clone();
        async move {
            let obstacles = health.obstacles().await;
            if obstacles.is_empty() {
                (StatusCode::OK, "ready\n".to_owned())
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, obstacles.join("\n") + "\n")
            }
        }
    };
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(async move || observe::page(&metrics)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

/// Cancels `stop` on SIGTERM or SIGINT. A second signal, or the end of `drain`, ends the process at
/// once: what was not finished is delivered again.
pub fn stop_on_signal(stop: CancellationToken, drain: Duration) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!(drain_seconds = drain.as_secs_f64(), "stopping: draining");
        stop.cancel();
        let cut = tokio::select! {
            () = next() => "second signal",
            () = tokio::time::sleep(drain) => "drain time is over",
        };
        tracing::warn!(cut, "stopping at once");
        std::process::exit(1);
    });
    Ok(())
}

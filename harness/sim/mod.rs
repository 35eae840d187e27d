//! `stepup-harness sim`: a stand-in SMS carrier and mailbox, for the demo and for tests.
//!
//! A process of its own that the product reaches over the network only: text messages by a signed
//! HTTP call ([`carrier`]), mail by SMTP ([`smtp`]). It keeps what it accepted, shows it on
//! phones and in mailboxes ([`http`], [`page`]), writes every call down in the order of
//! acceptance ([`ledger`]), and misbehaves on request ([`faults`]).
//!
//! It is a test double: it imports nothing of the product, so that a mistake of the product is not
//! made twice, and it shows codes, numbers and addresses in clear. Never put it in front of people.

mod carrier;
mod connections;
mod faults;
mod feed;
mod http;
mod ledger;
mod mail;
mod page;
mod problem;
mod settings;
mod signature;
mod smtp;
mod smtp_line;
mod state;
mod wire;

use std::{future::Future, io::Write, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, time::timeout};

pub use settings::Settings;
use state::State;
use wire::{Wire, WireListener};

/// How long calls that are being answered may go on after `stop`.
const DRAIN: Duration = Duration::from_secs(2);

/// Listens on both ports, prints `sim: http=<address> smtp=<address>` as one line on standard
/// output, and serves until `stop` completes.
///
/// # Errors
///
/// A sentence for the operator when an address cannot be bound, the ledger file cannot be read or
/// is in use by another process, or standard output is closed.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), String> {
    let sim = Sim::bind(settings).await?;
    let (http, smtp) = sim.addresses()?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "sim: http={http} smtp={smtp}")
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("standard output: {error}"))?;
    sim.serve(stop).await
}

/// A simulator that listens but does not answer yet.
struct Sim {
    http: TcpListener,
    smtp: TcpListener,
    state: Arc<State>,
}

impl Sim {
    async fn bind(settings: Settings) -> Result<Self, String> {
        let http = listen("STEPUP_SIM_HTTP_ADDR", settings.http_addr).await?;
        let smtp = listen("STEPUP_SIM_SMTP_ADDR", settings.smtp_addr).await?;
        Ok(Self { http, smtp, state: Arc::new(State::open(settings)?) })
    }

    fn addresses(&self) -> Result<(SocketAddr, SocketAddr), String> {
        let both = || Ok((self.http.local_addr()?, self.smtp.local_addr()?));
        both().map_err(|error: std::io::Error| format!("a bound socket has no address: {error}"))
    }

    async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), String> {
        let (stopping, stopped) = watch::channel(false);
        let router = http::router(Arc::clone(&self.state));
        let service = router.into_make_service_with_connect_info::<Wire>();
        let listener = WireListener { listener: self.http, state: Arc::clone(&self.state) };
        let http = axum::serve(listener, service).with_graceful_shutdown(until(stopped));
        let http = tokio::spawn(http.into_future());
        tokio::select! {
            () = smtp::serve(&self.smtp, &self.state) => {}
            () = stop => {}
        }
        stopping.send_replace(true);
        match timeout(DRAIN, http).await {
            // A call that hangs on purpose outlives the drain; it ends with the process.
            Err(_) | Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(format!("the HTTP server ended: {error}")),
            Ok(Err(error)) => Err(format!("the HTTP server ended: {error}")),
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn listen(name: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("{name}: {address}: {error}"))
}

#[cfg(test)]
mod tests;

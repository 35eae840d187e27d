//! Connections to the ingress: how many, how long one may be without a request, and how they end.
//!
//! Whoever opens connections and sends nothing, or one byte a minute, must not keep others out. So
//! at the limit the connection that has been without a request for longest gives way to a new one. A
//! request, once its head is there, is bounded by its own deadline.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::observe;

/// The largest head of a request, in bytes; a larger one is answered with 431. The library may keep
/// twice as much for a connection.
const HEAD_MAX: usize = 32 * 1024;

/// Pause after a connection could not be accepted; else a process without free descriptors would
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// How long a connection may be without a request: before its first, between two, and while a
    /// head is arriving.
    pub idle_max: Duration,
}

/// As many connections as requests may be in flight, and below the 1024 open files that systems
/// allow a process at least. Longer than the 60 s for which proxies keep idle connections, which
/// should be the ones to close them.
impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 1000, idle_max: Duration::from_secs(75) }
    }
}

/// The connections without a request, the one that has been so for longest first.
#[derive(Clone, Default)]
struct Idle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Somebody has become idle.
    entered: Notify,
}

#[derive(Default)]
struct Queue {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a connection that may be closed by `close`; the place it has in the queue.
    fn enter(&self, close: &CancellationToken) -> u64 {
        let mut queue = self.queue();
        let place = queue.next;
        queue.next += 1;
        queue.connections.insert(place, close.clone());
        self.0.entered.notify_one();
        place
    }

    fn leave(&self, place: u64) {
        self.queue().connections.remove(&place);
    }

    /// Closes the first; whether there was one.
    fn close_first(&self) -> bool {
        let first = self.queue().connections.pop_first();
        first.is_some_and(|(_, close)| {
            close.cancel();
            observe::http_evicted(1);
            true
        })
    }

    fn close_all(&self) {
        self.queue().connections.values().for_each(CancellationToken::cancel);
    }
}

/// Serves `router` until `stop` is cancelled. Then connections without a request are closed, and
/// the others when theirs is answered, or after `deadline`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    deadline: Duration,
    stop: CancellationToken,
) {
    let (mut open, idle) = (JoinSet::new(), Idle::default());
    loop {
        observe::http_connections(open.len());
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = make_room(&mut open, &idle, limits.connections_max) => {}
                }
                open.spawn(serve_one(stream, router.clone(), idle.clone(), limits, stop.clone()));
            }
            Err(error) => {
                observe::http_not_accepted(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    idle.close_all();
    let all_closed = async { while open.join_next().await.is_some() {} };
    // What is left after that is dropped with the set.
    let _ = tokio::time::timeout(deadline, all_closed).await;
}

/// Waits until there are fewer than `connections_max`, and closes an idle one as soon as one is.
async fn make_room(open: &mut JoinSet<()>, idle: &Idle, connections_max: usize) {
    while open.len() >= connections_max {
        let closing = idle.close_first();
        tokio::select! {
            _ = open.join_next() => {}
            () = idle.0.entered.notified(), if !closing => {}
        }
    }
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    idle: Idle,
    limits: Limits,
    stop: CancellationToken,
) {
    // Answers are small and must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let close = CancellationToken::new();
    let place = AtomicU64::new(idle.enter(&close));
    // One that begins after all idle ones were closed must not stay until the deadline.
    if stop.is_cancelled() {
        return idle.leave(place.into_inner());
    }
    let service = service_fn(|request: Request<Incoming>| {
        idle.leave(place.load(Ordering::Relaxed));
        let answering = TowerToHyperService::new(router.clone()).call(request);
        async {
            let answer: Result<Response, Infallible> = answering.await;
            place.store(idle.enter(&close), Ordering::Relaxed);
            answer
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.idle_max);
    builder.max_header_size(HEAD_MAX).max_buf_size(2 * HEAD_MAX);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // How a connection ends is its caller's affair.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = close.cancelled() => {}
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                _ = serving => {}
                () = close.cancelled() => {}
            }
        }
    }
    idle.leave(place.load(Ordering::Relaxed));
}

//! Runs a session again when it has ended, for ever, with growing pauses.
//!
//! This is the only file that knows the crate `backoff`. RUSTSEC-2025-0012 calls it unmaintained:
//! there is no vulnerability in it, and nothing of ours depends on it but the arithmetic of the next
//! pause, so the project's choice of it stands; to leave it, change this file alone.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use backoff::{ExponentialBackoffBuilder, backoff::Backoff};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;

/// The first pause. Short, since most sessions end by one cut that is over at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause, and so how late we notice that the broker is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A session that lived this long was well: the next pause is the first one again.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// Runs `session` until `stop` is cancelled. However a session ends, it is run again after a pause
/// of 100 ms to 5 s with jitter; an end without an error counts too, since a session ends so when
/// its queue is deleted. A session is never dropped half-way: it gets a clone of `stop`, is to end
/// soon after that is cancelled, and is awaited.
pub async fn supervise<S, F>(name: &str, stop: CancellationToken, mut session: S)
where
    S: FnMut(CancellationToken) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    let mut pauses = pauses();
    while !stop.is_cancelled() {
        let started = Instant::now();
        let end = session(stop.clone()).await;
        if stop.is_cancelled() {
            break;
        }
        if started.elapsed() > WELL_AFTER {
            pauses = self::pauses();
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match end {
            Ok(()) => tracing::warn!(session = name, pause_ms, "session ended, is run again"),
            Err(fault) => tracing::warn!(session = name, pause_ms, %fault, "session failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Pauses between attempts at something that is away, from 100 ms to 5 s with jitter, without end.
pub fn pauses() -> impl Iterator<Item = Duration> {
    let mut backoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_PAUSE)
        .with_max_interval(LONGEST_PAUSE)
        .with_max_elapsed_time(None)
        .build();
    std::iter::from_fn(move || backoff.next_backoff())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_end() {
        let all: Vec<Duration> = pauses().take(200).collect();
        assert_eq!(all.len(), 200);
        assert!(all[0] <= FIRST_PAUSE * 3 / 2, "{:?}", all[0]);
        assert!(all[199] >= LONGEST_PAUSE / 2 && all[199] <= LONGEST_PAUSE * 3 / 2);
    }

    #[tokio::test]
    async fn a_session_is_run_again_until_the_stop() {
        let stop = CancellationToken::new();
        let runs = Cell::new(0);
        supervise("test", stop.clone(), |inner| {
            runs.set(runs.get() + 1);
            if runs.get() == 5 {
                inner.cancel();
            }
            async { Err(Fault::Transient("cut".into())) }
        })
        .await;
        assert_eq!(runs.get(), 5);
        assert!(stop.is_cancelled());
    }
}

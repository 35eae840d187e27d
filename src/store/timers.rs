//! Due rows, found by watermark. Being due changes no state: it only causes a command.

use futures_util::try_join;
use time::Duration;
use uuid::Uuid;

use super::row;
use super::tx::Tx;
use crate::domain::Timestamp;
use crate::fault::Fault;
use crate::store::tx::Param;

/// How long ago the oldest row may be due that a watermark ahead of the clock has hidden: longer than any
/// challenge is open.
const HIDDEN_MAX: Duration = Duration::HOUR;
/// How many due rows one sweep takes at least, if there are as many. Rows that share the last due
/// time all come along, since the watermark passes them.
const SWEEP_ROWS: i64 = 1000;
/// The stretch of time one sweep looks at from the first row on, so that its statement stays short
/// however far it is behind: a minute of a busy site is 60,000 rows.
const SWEEP_SPAN: Duration = Duration::MINUTE;
/// How long after its end a challenge that is still open is asked for once more.
const OVERDUE_AFTER: Duration = Duration::seconds(15);

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A first SMS that had to wait for its number's timer.
    Send,
    /// The email fallback.
    Fallback,
    /// The end of a challenge's life.
    Expiry,
    /// The same, seen again a while later: a command that a broker has confirmed may be stranded there
    /// all the same, and a challenge must come to its end.
    Overdue,
    /// The end of a reset's hold.
    Reset,
}

impl Due {
    /// Everything that can be due.
    pub const ALL: [Self; 5] =
        [Self::Send, Self::Fallback, Self::Expiry, Self::Overdue, Self::Reset];

    /// The timer's name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Fallback => "fallback",
            Self::Expiry => "expiry",
            Self::Overdue => "overdue",
            Self::Reset => "reset",
        }
    }

    /// How far a sweep stays behind the clock.
    const fn lag(self) -> Duration {
        match self {
            Self::Overdue => OVERDUE_AFTER,
            _ => Duration::ZERO,
        }
    }

    /// The first row that a sweep comes to, open or not: the index alone tells it.
    const fn first(self) -> &'static str {
        match self {
            Self::Send => "SELECT min(send_at) FROM challenge WHERE send_at > $1",
            Self::Fallback => "SELECT min(fallback_at) FROM challenge WHERE fallback_at > $1",
            Self::Expiry | Self::Overdue => {
                "SELECT min(expires_at) FROM challenge WHERE expires_at > $1"
            }
            Self::Reset => "SELECT min(due_at) FROM reset WHERE due_at > $1",
        }
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Send => {
                "SELECT id, send_at FROM challenge WHERE send_at > $1 AND send_at <= $2 \
                 AND state = 'open' ORDER BY send_at FETCH FIRST $3 ROWS WITH TIES"
            }
            Self::Fallback => {
                "SELECT id, fallback_at FROM challenge WHERE fallback_at > $1 \
                 AND fallback_at <= $2 AND state = 'open' AND email_index IS NOT NULL \
                 ORDER BY fallback_at FETCH FIRST $3 ROWS WITH TIES"
            }
            Self::Expiry | Self::Overdue => {
                "SELECT id, expires_at FROM challenge WHERE expires_at > $1 AND expires_at <= $2 \
                 AND state = 'open' ORDER BY expires_at FETCH FIRST $3 ROWS WITH TIES"
            }
            Self::Reset => {
                "SELECT id, due_at FROM reset WHERE due_at > $1 AND due_at <= $2 \
                 AND state = 'approved' ORDER BY due_at FETCH FIRST $3 ROWS WITH TIES"
            }
        }
    }
}

/// What a sweep found.
pub struct Sweep {
    /// Open challenges that are due, and since when.
    pub due: Vec<(Uuid, Timestamp)>,
    /// Up to where the sweep has looked.
    pub reached: Timestamp,
    /// Up to where it was to look: the time of the sweep, less its lag.
    pub now: Timestamp,
}

/// Moves the watermarks back by `horizon`, so that what is still due is found again.
///
/// # Errors
/// As every statement.
pub async fn look_back(tx: &Tx<'_>, horizon: std::time::Duration) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO watermark (timer, reached) \
        SELECT timer, stepup_now() - make_interval(secs => $2) FROM unnest($1::text[]) AS u(timer) \
        ON CONFLICT (timer) DO UPDATE SET reached = least(watermark.reached, EXCLUDED.reached)";
    let timers = Due::ALL.map(Due::label);
    tx.execute(SQL, &[&&timers[..], &horizon.as_secs_f64()]).await?;
    Ok(())
}

/// Looks for what has become due since the watermark, and moves it; both count only once the
/// transaction is committed, so publish before. `None` while another process sweeps.
///
/// # Errors
/// As every statement.
pub async fn sweep(tx: &Tx<'_>, due: Due) -> Result<Option<Sweep>, Fault> {
    const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtext('stepup timer ' || $1))";
    const REACHED: &str = "SELECT reached FROM watermark WHERE timer = $1";
    const MOVE: &str = "INSERT INTO watermark (timer, reached) VALUES ($1, $2) \
        ON CONFLICT (timer) DO UPDATE SET reached = $2";
    let name = due.label();
    let params: [Param<'_>; 1] = [&name];
    let (locked, watermark, now) =
        try_join!(tx.rows(LOCK, &params), tx.rows(REACHED, &params), tx.now())?;
    if !locked.first().map_or(Ok(false), |locked| row::get(locked, 0))? {
        return Ok(None);
    }
    let now = now - due.lag();
    let reached: Timestamp = match watermark.first() {
        Some(watermark) => row::get(watermark, 0)?,
        // Nothing can be due before the first sweep: `look_back` goes before it.
        None => now,
    };
    // A watermark ahead of the clock (it was set back, or another server took over whose clock is
    // behind) would hide what becomes due until then, and has hidden what became due meanwhile.
    let since = if reached > now { now - HIDDEN_MAX } else { reached };
    let until = if now - since > SWEEP_SPAN {
        // A day without a row is passed in one sweep, and not in a minute each.
        let first: Option<Timestamp> = match tx.rows(due.first(), &[&since]).await?.first() {
            Some(first) => row::get(first, 0)?,
            None => None,
        };
        first.map_or(now, |first| now.min(first + SWEEP_SPAN))
    } else {
        now
    };
    let found = tx.rows(due.sql(), &[&since, &until, &SWEEP_ROWS]).await?;
    let due_rows: Vec<(Uuid, Timestamp)> = found
        .iter()
        .map(|found| Ok((row::get(found, 0)?, row::get(found, 1)?)))
        .collect::<Result<_, Fault>>()?;
    let full = due_rows.len() as i64 >= SWEEP_ROWS;
    let to = due_rows.last().filter(|_| full).map_or(until, |(_, at)| *at);
    let moved = reached > now || now - reached > Duration::seconds(1);
    if !due_rows.is_empty() || watermark.is_empty() || moved {
        tx.execute(MOVE, &[&name, &to]).await?;
    }
    Ok(Some(Sweep { due: due_rows, reached: to, now }))
}

//! Turns what is due into commands: delayed first sends, email fallbacks, expiries, resets after
//! their hold.
//!
//! Being due changes no state. The watermark moves only after the broker has confirmed, so a crash
//! publishes again, with the same ids.

use std::time::{Duration, Instant};

use futures_util::try_join;
use stepup::broker::{Broker, Publication, Publisher, supervise, topology};
use stepup::domain::Timestamp;
use stepup::domain::id::{ChallengeId, derived};
use stepup::failpoint::{self, Bug, Point, reach, seeded};
use stepup::fault::Fault;
use stepup::message::{Command, EmailCause, Outgoing};
use stepup::observe;
use stepup::rules::delivery::FALLBACK_SEND;
use stepup::store::{self, Client, Due, Store};
use tokio_util::sync::CancellationToken;

/// How often the timers look. Half of it is the usual lateness.
const TICK: Duration = Duration::from_millis(250);

/// The name in the log.
const NAME: &str = "timers";

/// What was caused in this time is published again when the broker was emptied: a code lives ten
/// minutes at most, and a notice is given up within three.
const REPLAY: time::Duration = time::Duration::HOUR;
/// How often it is declared what no message has found missing, and looked for what is overdue.
const DECLARE_EVERY: Duration = Duration::from_secs(15);
/// How often the broker is asked whether messages were lost with a queue.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How far back pending work is looked for when the broker was emptied.
pub struct LookBack {
    /// Longer than any open challenge has been due.
    pub horizon: Duration,
    /// The longest transaction.
    pub transaction_max: Duration,
}

/// Sweeps until `stop`. Declares what the broker lacks, and brings back what the database knows to
/// be pending when the broker was emptied or a queue was deleted.
pub async fn run(store: Store, broker: Broker, look_back: LookBack, stop: CancellationToken) {
    failpoint::announce(NAME, failpoint::TIMERS);
    observe::timers_started(&Due::ALL.map(Due::label));
    supervise(NAME, stop, async |stop: CancellationToken| {
        let end = session(&store, &broker, &look_back, &stop).await;
        if let Err(fault) = &end {
            observe::loop_failed(NAME, fault);
        }
        end
    })
    .await;
}

async fn session(
    store: &Store,
    broker: &Broker,
    look_back: &LookBack,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let mut publisher = Publisher::open(broker).await?;
    let (mut declared, mut asked) = (None, None);
    let mut complete = true;
    let is_over = |since: Option<Instant>, span| since.is_none_or(|then| then.elapsed() > span);
    while !stop.is_cancelled() {
        let declare = is_over(declared, DECLARE_EVERY);
        if declare {
            let repaired = topology::repair(broker).await;
            complete = repaired.is_ok();
            if let Err(fault) = repaired {
                // A queue that is there with other arguments does not keep the timers from their work.
                observe::loop_failed(NAME, &fault);
            }
        }
        if declare || is_over(asked, ASK_EVERY) {
            restore(store, broker, &mut publisher, look_back).await?;
            asked = Some(Instant::now());
        }
        if declare {
            let twice = !seeded(Bug::WatermarkFirst);
            while twice && swept(store, &mut publisher, Due::Overdue).await? {}
            declared = Some(Instant::now());
        }
        let mut again = false;
        for due in Due::ALL.into_iter().filter(|due| *due != Due::Overdue) {
            again |= swept(store, &mut publisher, due).await?;
        }
        if complete {
            observe::loop_done(NAME);
        }
        if !again {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    Ok(())
}

/// If the mark is missing, messages were lost with the whole broker or with a queue, and what the
/// database knows to be pending is published again.
async fn restore(
    store: &Store,
    broker: &Broker,
    publisher: &mut Publisher,
    look_back: &LookBack,
) -> Result<(), Fault> {
    if topology::emptied(broker).await? {
        observe::brought_back(bring_back(store, publisher, look_back).await?);
        topology::mark_filled(broker).await?;
    }
    Ok(())
}

/// Publishes again what the inbox says was caused, under the same ids, so that whatever was handled
/// before dies in an inbox; and sends the timers back to look for what is still due. Requests that
/// no worker had taken yet are gone with the broker: their senders repeat them.
async fn bring_back(
    store: &Store,
    publisher: &mut Publisher,
    look_back: &LookBack,
) -> Result<usize, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    store::look_back(&tx, look_back.horizon).await?;
    let now = tx.now().await?;
    tx.commit().await?;
    let mut published = replay(&mut client, publisher, now - REPLAY).await?;
    if published > 0 {
        // What was under way when the broker went is committed by now, or never.
        tokio::time::sleep(look_back.transaction_max).await;
        published += replay(&mut client, publisher, now - look_back.transaction_max).await?;
    }
    Ok(published)
}

async fn replay(
    client: &mut Client,
    publisher: &mut Publisher,
    mut since: Timestamp,
) -> Result<usize, Fault> {
    let mut published = 0;
    loop {
        let tx = client.begin().await?;
        let caused = store::caused_messages(&tx, since).await?;
        drop(tx);
        let Some(reached) = caused.reached else { return Ok(published) };
        let publications: Vec<_> = caused.messages.iter().map(Publication::Message).collect();
        publisher.publish(&publications).await?;
        published += publications.len();
        since = reached;
    }
}

/// One sweep of one timer, bounded in time; true when there may be more.
async fn swept(store: &Store, publisher: &mut Publisher, due: Due) -> Result<bool, Fault> {
    store.bounded(sweep(store, publisher, due)).await
}

/// The sweep itself.
async fn sweep(store: &Store, publisher: &mut Publisher, due: Due) -> Result<bool, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let Some(found) = store::sweep(&tx, due).await? else { return Ok(false) };
    let tx = if seeded(Bug::WatermarkFirst) {
        tx.commit().await?;
        client.begin().await?
    } else {
        tx
    };
    let due_rows = !found.due.is_empty();
    if due_rows {
        reach(NAME, Point::Received).await?;
        let messages: Vec<Outgoing> = found.due.iter().map(|(id, _)| command(due, *id)).collect();
        let publications: Vec<_> = messages.iter().map(Publication::Message).collect();
        try_join!(publisher.publish(&publications), reach(NAME, Point::Published))?;
        reach(NAME, Point::Confirmed).await?;
        let oldest = found.due.iter().map(|(_, at)| found.now - *at).max();
        let late = oldest.and_then(|late| late.try_into().ok()).unwrap_or_default();
        observe::timers_published(due.label(), messages.len(), late);
    }
    if !seeded(Bug::TimerIds) {
        tx.commit().await?;
    }
    if due_rows {
        reach(NAME, Point::Committed).await?;
    }
    Ok(found.reached < found.now)
}

fn command(due: Due, due_row: uuid::Uuid) -> Outgoing {
    let id = ChallengeId(due_row);
    let command = match due {
        Due::Send => Command::sms(id, 1),
        Due::Fallback => Command::SendEmail {
            challenge: id,
            send: FALLBACK_SEND,
            tries: 0,
            cause: EmailCause::Fallback,
        },
        Due::Expiry | Due::Overdue => Command::Expire { challenge: id },
        Due::Reset => Command::CarryOutReset { reset: due_row },
    };
    if seeded(Bug::TimerIds) {
        return command.outgoing(uuid::Uuid::from_u128(rand::random()));
    }
    // By its name the overdue one is another message: the first may have been judged by a clock that
    // was set back, as not due.
    command.outgoing(derived(due_row, &format!("timer/{}", due.label())))
}

//! Turns what is due into commands: delayed first sends, email fallbacks, expiries.
//!
//! Being due changes no state. The watermark moves only after the broker has confirmed, so a crash
//! publishes again, with the same ids.

use std::time::Duration;

use stepup::broker::{Broker, Publication, Publisher, supervise};
use stepup::domain::id::{ChallengeId, derived};
use stepup::fault::Fault;
use stepup::message::{Command, EmailCause, Outgoing};
use stepup::observe;
use stepup::rules::delivery::FALLBACK_SEND;
use stepup::store::{self, Due, Store};
use tokio_util::sync::CancellationToken;

/// How often the timers look. Half of it is the usual lateness.
const TICK: Duration = Duration::from_millis(250);

/// Sweeps until `stop`. On a first start it looks back over `horizon`.
pub async fn run(store: Store, broker: Broker, horizon: Duration, stop: CancellationToken) {
    let horizon = horizon.try_into().unwrap_or(time::Duration::DAY);
    supervise("timers", stop, async |stop: CancellationToken| {
        let mut publisher = Publisher::open(&broker).await?;
        while !stop.is_cancelled() {
            let mut again = false;
            for due in Due::ALL {
                again |= sweep(&store, &mut publisher, due, horizon).await?;
            }
            if !again {
                tokio::select! {
                    () = tokio::time::sleep(TICK) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        Ok(())
    })
    .await;
}

/// One sweep of one timer; true when there may be more.
async fn sweep(
    store: &Store,
    publisher: &mut Publisher,
    due: Due,
    horizon: time::Duration,
) -> Result<bool, Fault> {
    let mut client = store.client().await?;
    let tx = client.begin().await?;
    let Some(found) = store::sweep(&tx, due, horizon).await? else { return Ok(false) };
    if !found.due.is_empty() {
        let messages: Vec<Outgoing> = found.due.iter().map(|(id, _)| command(due, *id)).collect();
        let publications: Vec<_> = messages.iter().map(Publication::Message).collect();
        publisher.publish(&publications).await?;
        let oldest = found.due.iter().map(|(_, at)| found.now - *at).max();
        let late = oldest.and_then(|late| late.try_into().ok()).unwrap_or_default();
        observe::timers_published(due.label(), messages.len(), late);
    }
    tx.commit().await?;
    Ok(found.reached < found.now)
}

fn command(due: Due, challenge: uuid::Uuid) -> Outgoing {
    let id = ChallengeId(challenge);
    let command = match due {
        Due::Send => Command::SendSms { challenge: id, send: 1, tries: 0 },
        Due::Fallback => Command::SendEmail {
            challenge: id,
            send: FALLBACK_SEND,
            tries: 0,
            cause: EmailCause::Fallback,
        },
        Due::Expiry => Command::Expire { challenge: id },
    };
    command.outgoing(derived(challenge, &format!("timer/{}", due.label())))
}

//! What an armed failpoint does.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::{Bug, INGRESS, PROVIDER, Point};
use crate::fault::{Dependency, Fault};

/// What is to happen, and when: `sms_delivery.called=kill:3` is at the third call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    worker: String,
    point: Point,
    action: Action,
    nth: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// As SIGKILL from outside.
    Kill,
    /// As SIGSTOP; somebody must send SIGCONT.
    Stop,
    Panic,
    /// A fault of the message.
    Transient,
    /// A dependency that is away.
    Down,
    Sleep(Duration),
}

static ORDER: OnceLock<Order> = OnceLock::new();
static BUG: OnceLock<Bug> = OnceLock::new();
static REACHED: Mutex<Option<HashMap<(&'static str, Point), u64>>> = Mutex::new(None);

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            "must be worker.point=action or worker.point=action:nth, with an action of kill, stop, \
             panic, transient, down or sleep followed by milliseconds"
                .to_owned()
        };
        let (place, what) = text.split_once('=').ok_or_else(form)?;
        let (worker, point) = place.split_once('.').ok_or_else(form)?;
        let mut known = PROVIDER.iter().chain(INGRESS);
        let point = known.find(|known| known.label() == point).ok_or_else(form)?;
        let (action, nth) = what.split_once(':').unwrap_or((what, "1"));
        let action = match action {
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            "panic" => Action::Panic,
            "transient" => Action::Transient,
            "down" => Action::Down,
            other => {
                let pause = other.strip_prefix("sleep").and_then(|pause| pause.parse().ok());
                Action::Sleep(Duration::from_millis(pause.ok_or_else(form)?))
            }
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(form)?;
        Ok(Self { worker: worker.to_owned(), point: *point, action, nth })
    }
}

/// Takes the order of `STEPUP_FAULT`.
///
/// # Errors
/// A sentence when it cannot be read.
pub fn arm(text: &str) -> Result<(), String> {
    let order: Order = text.parse()?;
    ORDER.set(order).map_err(|_| "is set twice".to_owned())
}

/// Takes the name of `STEPUP_BUG`.
///
/// # Errors
/// A sentence when there is no such bug.
pub fn seed(name: &str) -> Result<(), String> {
    let bug = Bug::ALL.into_iter().find(|bug| bug.label() == name).ok_or_else(|| {
        let known: Vec<_> = Bug::ALL.iter().map(|bug| bug.label()).collect();
        format!("must be one of {}", known.join(", "))
    })?;
    BUG.set(bug).map_err(|_| "is set twice".to_owned())
}

/// Whether this bug was ordered.
pub fn seeded(bug: Bug) -> bool {
    BUG.get() == Some(&bug)
}

/// Says which points `worker` has, so that a test can tell which were never reached.
pub fn announce(worker: &'static str, points: &[Point]) {
    for point in points {
        tracing::info!(worker, point = point.label(), "failpoint exists");
    }
}

/// Says that `worker` has come to `point`: what `STEPUP_FAULT` ordered for it happens now.
///
/// # Errors
/// When a fault was ordered.
pub async fn reach(worker: &'static str, point: Point) -> Result<(), Fault> {
    let times = {
        let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
        let times = reached.get_or_insert_default().entry((worker, point)).or_default();
        *times += 1;
        *times
    };
    if times == 1 {
        tracing::info!(worker, point = point.label(), "failpoint reached");
    }
    match ORDER.get() {
        Some(order) if order.worker == worker && order.point == point && order.nth == times => {
            tracing::warn!(worker, point = point.label(), action = ?order.action, "failpoint acts");
            act(order.action, point).await
        }
        _ => Ok(()),
    }
}

async fn act(action: Action, point: Point) -> Result<(), Fault> {
    let why = || "ordered by STEPUP_FAULT".to_owned();
    match action {
        Action::Kill => signal(Signal::KILL),
        Action::Stop => signal(Signal::STOP),
        Action::Sleep(pause) => tokio::time::sleep(pause).await,
        #[expect(clippy::panic, reason = "a panic is what was ordered")]
        Action::Panic => panic!("{}", why()),
        Action::Transient => return Err(Fault::Transient(why())),
        Action::Down => {
            let dependency = match point {
                Point::InTransaction | Point::Committed | Point::Claimed => Dependency::Database,
                _ => Dependency::Broker,
            };
            return Err(Fault::Down(dependency, why()));
        }
    }
    Ok(())
}

/// Does not return for one that ends the process: until the signal has arrived, this thread waits.
fn signal(signal: Signal) {
    let sent = kill_process(getpid(), signal);
    while signal == Signal::KILL && sent.is_ok() {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_worker_point_action_and_time() {
        let order: Order = "sms_delivery.called=kill:3".parse().unwrap();
        assert_eq!((order.worker.as_str(), order.point), ("sms_delivery", Point::Called));
        assert_eq!((order.action, order.nth), (Action::Kill, 3));
        let order: Order = "audit.acked=sleep250".parse().unwrap();
        assert_eq!(order.action, Action::Sleep(Duration::from_millis(250)));
        let order: Order = "ingress.answered=stop".parse().unwrap();
        assert_eq!((order.point, order.nth), (Point::Answered, 1));
        for wrong in
            ["", "audit=kill", "audit.nowhere=kill", "audit.acked=maim", "audit.acked=kill:0"]
        {
            assert!(wrong.parse::<Order>().is_err(), "{wrong}");
        }
    }
}

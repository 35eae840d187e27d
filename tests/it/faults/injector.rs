//! Who does what to whom, and when: by a seed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use stepup::failpoint::{INGRESS, PROVIDER, Point, ROWS, TIMERS, TRANSACTION};
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::checker::Outage;
use super::database_faults::disks_can_be_small;
use super::history::channel;
use super::load::{Load, Way};
use super::server_faults::ServerFault;
use super::tally::{Tally, Victim};
use super::world::World;

/// Who has which points, and the role that runs it.
pub const WORKERS: &[(&str, &str, &[Point])] = &[
    ("ingress", "ingress", INGRESS),
    ("code_generation", "code-generation", TRANSACTION),
    ("verification", "verification", TRANSACTION),
    ("settings", "settings", TRANSACTION),
    ("team", "team", TRANSACTION),
    ("team_batch", "team-batch", TRANSACTION),
    ("support", "support", TRANSACTION),
    ("directory", "directory", TRANSACTION),
    ("unroutable", "directory", TRANSACTION),
    ("audit", "audit", TRANSACTION),
    ("notification", "notification", TRANSACTION),
    ("sms_delivery", "sms-delivery", PROVIDER),
    ("email_fallback", "email-fallback", PROVIDER),
    ("notice_delivery", "notice-delivery", PROVIDER),
    ("timers", "timers", TIMERS),
    ("janitor", "janitor", ROWS),
    ("chain", "audit", ROWS),
    ("checkpoints", "audit", ROWS),
];

/// What even a short run sees.
const FIRST: &[ServerFault] =
    &[ServerFault::CommitAnswersLost, ServerFault::BrokerKilled, ServerFault::DatabaseKilled];

/// What never happens: one reads no message to its end, the other causes none.
pub const NEVER: &[(&str, Point)] = &[
    ("unroutable", Point::InTransaction),
    ("unroutable", Point::Committed),
    ("audit", Point::Published),
];

/// Every place where a process may die.
pub fn pairs() -> Vec<(&'static str, &'static str, Point)> {
    let all = WORKERS.iter().flat_map(|(worker, role, points)| {
        points.iter().map(move |point| (*worker, *role, *point))
    });
    all.filter(|(worker, _, point)| !NEVER.contains(&(*worker, *point))).collect()
}

/// Requests that nobody can read: by what key, and what they say.
const UNREADABLE: &[(&str, &[u8])] = &[
    ("challenge.unheard_of", b"{}"),
    ("challenge.verify", b"{ not json"),
    ("challenge.issue", &[b' '; 64 * 1024 + 1]),
    ("directory.member", b"{\"account\":5}"),
];

/// At these a process that hangs does the most harm.
const STOPS: &[Point] = &[Point::Claimed, Point::Calling, Point::Committed, Point::Confirmed];

/// What can be ordered at a point without spoiling the message itself.
fn action(point: Point, rng: &mut StdRng) -> &'static str {
    let in_pass = [Point::InTransaction, Point::Committed, Point::Claimed, Point::Called];
    match rng.random_range(0..20) {
        0 if STOPS.contains(&point) => "stop",
        // A panic within a pass sets its message aside; here it ends the process.
        1..4 if !in_pass.contains(&point) && point != Point::Calling => "panic",
        4..6 => "transient",
        6..8 => "down",
        8 => "sleep800",
        _ => "kill",
    }
}

pub struct Injector {
    pub world: Arc<World>,
    pub load: Arc<Load>,
    pub tally: Arc<Tally>,
    pub seed: u64,
}

impl Injector {
    /// Every failpoint in turn, kills, stops and ends at random, until `stop`.
    pub async fn workers(&self, pace: Duration, stop: &CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x5757);
        let mut points = Vec::new();
        let fleet = &self.world.fleet;
        while !stop.is_cancelled() {
            sleep(pace.mul_f64(rng.random_range(0.3..1.7))).await;
            let at = rng.random_range(0..fleet.len());
            match rng.random_range(0..20) {
                0 => {
                    fleet.stop(at);
                    self.tally.count(Victim::Worker, "stopped");
                }
                1..3 => {
                    fleet.terminate(at);
                    self.tally.count(Victim::Worker, "terminated");
                }
                3..9 => {
                    fleet.kill(at);
                    self.tally.count(Victim::Worker, "killed");
                }
                _ => {
                    if points.is_empty() {
                        points = pairs();
                        points.shuffle(&mut rng);
                    }
                    let Some((worker, role, point)) = points.pop() else { continue };
                    let action = action(point, &mut rng);
                    let nth = if rng.random() { 1 } else { rng.random_range(1..6) };
                    let order = format!("{worker}.{}={action}:{nth}", point.label());
                    let signal = if rng.random() { Signal::KILL } else { Signal::TERM };
                    let at = *fleet.with_role(role).choose(&mut rng).unwrap();
                    fleet.arm(at, order, signal);
                    let action = action.trim_end_matches(char::is_numeric);
                    self.tally.count(Victim::Worker, &format!("{action} at {}", point.label()));
                }
            }
        }
        fleet.wake_all();
    }

    /// One fault of a server after the other, each followed by a look at how soon a login works
    /// again, until `stop`.
    pub async fn servers(&self, pause: Duration, stop: &CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x5e5e);
        let (mut broker, mut database) = (0, 0);
        let from = rng.random_range(0..100);
        let mut first = FIRST.iter();
        let ordered = ServerFault::ordered();
        let mut ordered = ordered.iter().cycle();
        while !stop.is_cancelled() {
            let fault = if let Some(fault) = ordered.next().or_else(|| first.next()) {
                *fault
            } else if rng.random_ratio(2, 5) {
                broker += 1;
                ServerFault::BROKER[(from + broker) % ServerFault::BROKER.len()]
            } else {
                database += 1;
                ServerFault::DATABASE[(from + database) % ServerFault::DATABASE.len()]
            };
            self.server(fault, &mut rng).await;
            sleep(pause.mul_f64(rng.random_range(0.3..1.7))).await;
        }
    }

    async fn server(&self, fault: ServerFault, rng: &mut StdRng) {
        if fault == ServerFault::DiskFull && !disks_can_be_small() {
            self.tally.skip("a full disk", "this user may not mount");
            return;
        }
        let from = OffsetDateTime::now_utc();
        let done = fault.inject(&self.world, rng).await;
        let outage = Outage { from, to: OffsetDateTime::now_utc() };
        self.world.history.outages.lock().unwrap().push(outage);
        if done {
            self.tally.count(fault.victim(), &format!("{fault:?}"));
        }
        self.tally.recovered(self.until_well().await);
    }

    /// How long it takes until a whole login works again.
    pub async fn until_well(&self) -> Duration {
        let started = Instant::now();
        let mut probes = tokio::task::JoinSet::new();
        loop {
            if probes.len() < 5 {
                let load = Arc::clone(&self.load);
                probes.spawn(async move { load.login(Some(Way::Right)).await });
            }
            tokio::select! {
                Some(Ok(true)) = probes.join_next() => {
                    // The others are logins like any other: they come to their end.
                    probes.detach_all();
                    return started.elapsed();
                }
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Messages that nobody can read, until `stop`, and each kind at least once. Each must end as a
    /// dead letter, and hurt nobody.
    pub async fn messages(&self, stop: &CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x3e3e);
        let kinds = UNREADABLE.len();
        let mut sent = 0;
        while !stop.is_cancelled() || sent < kinds {
            sleep(Duration::from_millis(rng.random_range(500..2500))).await;
            let id = format!("provoked-{:x}", rng.random::<u64>());
            let (key, body) = UNREADABLE[sent % kinds];
            if self.publish(key, &id, body).await.is_ok() {
                sent += 1;
                self.tally.count(Victim::Message, "unreadable");
                self.world.history.provoked.lock().unwrap().push(id);
            }
        }
    }

    async fn publish(&self, key: &str, id: &str, body: &[u8]) -> lapin::Result<()> {
        let channel = channel(&self.world.servers.direct().app_amqp).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let properties = BasicProperties::default()
            .with_user_id("demo".into())
            .with_message_id(id.into())
            .with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let sent =
            channel.basic_publish("stepup.requests".into(), key.into(), options, body, properties);
        let confirmed = sent.await?.await?;
        if !confirmed.is_ack() {
            return Err(lapin::ErrorKind::ChannelsLimitReached.into());
        }
        channel.close(200, "bye".into()).await
    }
}

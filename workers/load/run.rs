//! One run, from the configuration to the report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use stepup::broker::{Broker, bare};
use stepup::config::{Config, Need};
use stepup::domain::id::AppName;
use stepup::store::{Store, measure};
use tokio_util::task::TaskTracker;

use super::door::{Amqp, Door, Http};
use super::drive::{Drive, Plan, now};
use super::feed::{Feed, Stream};
use super::figures::{Figures, Percentiles};
use super::members::{ACCOUNT_PREFIX, Members, register_account, register_member};
use super::report::{Bare, Run, table};
use super::scrape::{Look, Scrape};
use super::{Order, Over};
use crate::roles::{broker, configured, store};

/// As large as the messages of a login are on average.
const BODY_BYTES: usize = 300;
/// Flat out, members for so many logins a second are registered unless the order says otherwise.
const FLAT_OUT_RATE: f64 = 3000.0;
/// How long the first SMS may take to come to the simulator.
const FIRST_SMS_MAX: Duration = Duration::from_secs(20);
/// How long the trail may take to hold what was done.
const TRAIL_MAX: Duration = Duration::from_secs(120);
/// A backend tells the statistics of its commits up to a second late.
const STATISTICS: Duration = Duration::from_millis(1500);

#[expect(clippy::print_stderr, reason = "progress goes to the one who started it")]
pub(super) fn say(text: &str) {
    eprintln!("load: {text}");
}

#[expect(clippy::print_stdout, reason = "a command's answer goes to the one who typed it")]
fn print(text: &str) {
    println!("{text}");
}

/// What a run works with.
struct Site {
    config: Config,
    broker: Broker,
    store: Store,
    app: AppName,
    sim: String,
    scrape: Scrape,
}

pub(super) async fn run(order: &Order) -> Result<(), String> {
    let site = Site::open(order)?;
    let mut stream = Stream::open(&site.sim).await?;
    let first_account = fault(measure::accounts(&site.store, ACCOUNT_PREFIX).await)?;
    let first_account = usize::try_from(first_account).unwrap_or(0);
    let amqp = Arc::new(site.amqp()?);
    site.probe(&amqp, first_account, &mut stream).await?;
    let bare = site.bare(order.bare_seconds).await?;

    let plan = site.plan(order);
    let seconds = order.seconds + order.warm_up_seconds;
    let usual = Members::needed(order.rate.unwrap_or(FLAT_OUT_RATE) * seconds) + 4 * plan.in_flight;
    // The probe has used the first account.
    let members = Members::new(first_account + 1, order.members.unwrap_or(usual));
    let members = Arc::new(members);
    let began = Instant::now();
    say(&format!("registering {} members", members.count()));
    members.register(&amqp).await?;
    say(&format!("registered in {:.1} s", began.elapsed().as_secs_f64()));

    let feed = Arc::new(Feed::new(Arc::clone(&members)));
    let reading = tokio::spawn({
        let feed = Arc::clone(&feed);
        async move { feed.read(stream).await }
    });
    let door = match order.over {
        Over::Amqp => amqp,
        Over::Http => Arc::new(site.http(order)?),
    };
    tokio::time::sleep(STATISTICS).await;
    let commits = fault(measure::commits(&site.store).await)?;
    let before = site.scrape.look().await?;
    let figures = Arc::new(Figures::default());
    let epoch = (Instant::now(), now());
    let drive = Arc::new(Drive {
        plan,
        door,
        members: Arc::clone(&members),
        feed: Arc::clone(&feed),
        figures: Arc::clone(&figures),
        epoch,
    });
    let peaks = Mutex::new(BTreeMap::new());
    let work = site.drive(&drive);
    let seconds = tokio::select! {
        seconds = work => seconds?,
        never = watch(&drive, &site.scrape, &peaks) => match never {},
        ended = reading => return Err(match ended {
            Ok(Err(why)) => why,
            Ok(Ok(())) | Err(_) => "the simulator's stream is gone".to_owned(),
        }),
    };
    tokio::time::sleep(STATISTICS).await;
    let after = site.scrape.look().await?;
    let commits = fault(measure::commits(&site.store).await)? - commits;
    let trail = fault(measure::verified(&site.store, &members.accounts()).await)?;
    let report = Run {
        over: match order.over {
            Over::Amqp => "amqp",
            Over::Http => "http",
        },
        rate: order.rate,
        seconds,
        bare,
        figures: &figures,
        looks: (before, after),
        rss_max: &|role| peak(&peaks, role),
        own_messages: own_messages(order.over, &figures),
        counted: site.scrape.sees_pages(),
        commits,
        trail,
        unexpected: feed.unexpected(),
        fallback_late: site.fallback_late(&figures).await?,
    }
    .json();
    print(&table(&report));
    if let Some(file) = &order.json {
        let written = std::fs::write(file, format!("{report:#}\n"));
        written.map_err(|error| format!("--json {}: {error}", file.display()))?;
    }
    site.broker.close().await;
    let count = |name: &str| report.get(name).and_then(Value::as_i64).unwrap_or(0);
    match (count("lost"), count("doubled")) {
        (0, 0) => Ok(()),
        (lost, doubled) => Err(format!("{lost} lost, {doubled} doubled")),
    }
}

/// Requests that we have published ourselves. Over HTTP the ingress counts them.
fn own_messages(over: Over, figures: &Figures) -> f64 {
    match over {
        Over::Http => 0.0,
        Over::Amqp => {
            let guesses = figures.verified.get() + figures.not_verified.get() + figures.wrong.get();
            (figures.begun.get() + guesses) as f64
        }
    }
}

fn fault<T>(result: Result<T, stepup::fault::Fault>) -> Result<T, String> {
    result.map_err(|fault| fault.to_string())
}

fn peak(peaks: &Mutex<BTreeMap<String, f64>>, role: &str) -> f64 {
    peaks.lock().unwrap_or_else(PoisonError::into_inner).get(role).copied().unwrap_or(0.0)
}

/// Says every second how it goes, and notes how much memory is used.
async fn watch(
    drive: &Drive,
    scrape: &Scrape,
    peaks: &Mutex<BTreeMap<String, f64>>,
) -> std::convert::Infallible {
    let figures = &drive.figures;
    let (mut seen, mut verified, mut looked) = (0, 0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let took = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        let (samples, sms) = figures.request_to_sms.since(seen);
        let done = figures.verified.get();
        say(&format!(
            "{:>4.0} s  {:>7.1} logins/s  {:>8} begun  {:>6} under way  SMS p50 {:.1} p99 {:.1} ms",
            drive.epoch.0.elapsed().as_secs_f64(),
            (done - verified) as f64 / took,
            figures.begun.get(),
            figures.begun.get() - done,
            sms.p50,
            sms.p99,
        ));
        (seen, verified) = (samples, done);
        // A page that does not answer now is missed at the end.
        let Look { usage, .. } = scrape.look().await.unwrap_or_default();
        let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
        for (role, usage) in usage {
            let most = peaks.entry(role).or_insert(0.0_f64);
            *most = most.max(usage.rss_bytes);
        }
    }
}

impl Site {
    fn open(order: &Order) -> Result<Self, String> {
        let config = configured(&[Need::Broker, Need::Database, Need::PublicKey, Need::Apps])?;
        let named = match &order.app {
            None => config.apps.first().map(|app| app.name.clone()),
            Some(name) => {
                let mut names = config.apps.iter().map(|app| &app.name);
                names.find(|known| known.as_str() == name).cloned()
            }
        };
        let app = named.ok_or("--app is none of STEPUP_APPS")?;
        let sim = match (&order.sim, config.sms_url.strip_suffix("/carrier/messages")) {
            (Some(sim), _) => sim.trim_end_matches('/').to_owned(),
            (None, Some(sim)) => sim.to_owned(),
            (None, None) => {
                return Err("where is the simulator? Give --sim http://host:port, or set \
                            STEPUP_SMS_URL as the workers have it"
                    .to_owned());
            }
        };
        let scrape = Scrape::new(&order.metrics, &order.process)?;
        let (broker, store) = (broker(&config, "stepup-load")?, store(&config, 2)?);
        Ok(Self { config, broker, store, app, sim, scrape })
    }

    fn plan(&self, order: &Order) -> Plan {
        Plan {
            rate: order.rate,
            in_flight: order.in_flight,
            warm_up: Duration::from_secs_f64(order.warm_up_seconds),
            span: Duration::from_secs_f64(order.seconds),
            wrong_share: order.wrong_share,
            fallback_share: order.fallback_share,
            fallback_after: self.config.policy.fallback_after,
        }
    }

    fn amqp(&self) -> Result<Door, String> {
        let seal_to = self.config.public_key.clone().ok_or("STEPUP_PUBLIC_KEY is missing")?;
        Ok(Door::Amqp(Amqp::new(&self.broker, self.app.clone(), seal_to)))
    }

    fn http(&self, order: &Order) -> Result<Door, String> {
        let file = order.api_key_file.as_ref().ok_or("--over http needs --api-key-file")?;
        let key = std::fs::read_to_string(file);
        let key = key.map_err(|error| format!("--api-key-file {}: {error}", file.display()))?;
        let usual = || format!("http://{}", self.config.http_addr);
        Ok(Door::Http(Http::new(order.url.clone().unwrap_or_else(usual), key.trim().to_owned())?))
    }

    /// One login with a number that belongs to nobody (555-01xx is kept free for fiction). Only when
    /// its SMS has come to the simulator are numbers used that might be somebody's.
    async fn probe(&self, door: &Door, run: usize, stream: &mut Stream) -> Result<(), String> {
        let (account, member) = (format!("{ACCOUNT_PREFIX}{run}"), "probe");
        let phone = format!("+120255501{:02}", run % 100);
        register_account(door, &account).await?;
        register_member(door, &account, member, &phone, "probe@load.example").await?;
        let login = format!("probe-{run}");
        let body = serde_json::json!({ "account": account, "member": member, "login": login });
        door.ask("challenge.issue", body, &[]).await?;
        match tokio::time::timeout(FIRST_SMS_MAX, stream.text_to(&phone)).await {
            Ok(arrived) => arrived,
            Err(_) => Err(format!(
                "no SMS has come to the simulator at {}: the load is not begun, since the numbers \
                 it uses may be real. Point STEPUP_SMS_URL of the workers to the simulator",
                self.sim
            )),
        }
    }

    async fn bare(&self, seconds: f64) -> Result<Option<Bare>, String> {
        if seconds == 0.0 {
            return Ok(None);
        }
        let span = Duration::from_secs_f64(seconds);
        say("measuring the broker and the database without the product");
        let publish = fault(bare::publish(&self.broker, BODY_BYTES, span).await)?;
        let store = self.store.clone();
        let commit = move |id| {
            let store = store.clone();
            async move { measure::commit_row(&store, id).await }
        };
        let step = bare::step(&self.broker, BODY_BYTES, span, commit).await;
        fault(measure::forget_rows(&self.store).await)?;
        // The broker may be faster on one queue or on several; its limit is the better of both.
        let mut best: f64 = 0.0;
        for queues in [1, 3] {
            let rate = fault(bare::limit(&self.broker, BODY_BYTES, queues, span / 2).await)?;
            say(&format!("the broker alone, {queues} queues: {rate:.0} messages/s"));
            best = best.max(rate);
        }
        Ok(Some(Bare {
            publish: Percentiles::of_durations(&publish),
            step: Percentiles::of_durations(&fault(step)?),
            messages_per_second: best,
        }))
    }

    /// Begins logins, waits until the measured ones are in the trail, then for the emails. Returns
    /// the seconds from the end of the warm-up to the former.
    async fn drive(&self, drive: &Arc<Drive>) -> Result<f64, String> {
        let logins = TaskTracker::new();
        drive.begin(&logins).await.unwrap_or_else(|why| drive.figures.complain(why));
        logins.close();
        let figures = &drive.figures;
        let waiting_for_mail = || {
            let arrived = figures.fallen_back.lock().unwrap_or_else(PoisonError::into_inner).len();
            figures.left.get() as usize - arrived - figures.email_missing.get() as usize
        };
        while logins.len() > waiting_for_mail() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let done = figures.verified.get();
        let accounts = drive.members.accounts();
        let end = Instant::now() + TRAIL_MAX;
        loop {
            let (_, told) = fault(measure::verified(&self.store, &accounts).await)?;
            if u64::try_from(told).unwrap_or(0) >= done || Instant::now() > end {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seconds = drive.measured_from().elapsed().as_secs_f64();
        if !logins.is_empty() {
            say(&format!("waiting for {} emails", logins.len()));
        }
        logins.wait().await;
        let told = async {
            while let Ok((_, told)) = measure::verified(&self.store, &accounts).await {
                if u64::try_from(told).unwrap_or(0) >= figures.verified.get() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        // Those that do not come in time are reported as lost.
        let _ = tokio::time::timeout(TRAIL_MAX, told).await;
        Ok(seconds)
    }

    async fn fallback_late(&self, figures: &Figures) -> Result<Percentiles, String> {
        let fallen = std::mem::take(
            &mut *figures.fallen_back.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let challenges: Vec<_> = fallen.iter().map(|login| login.challenge).collect();
        let due = fault(measure::fallbacks_due(&self.store, &challenges).await)?;
        let late = fallen.iter().filter_map(|login| {
            let late = login.arrived_at - *due.get(&login.challenge)?;
            Some(u32::try_from(late.whole_microseconds().max(0)).unwrap_or(u32::MAX))
        });
        Ok(Percentiles::of(late.collect()))
    }
}

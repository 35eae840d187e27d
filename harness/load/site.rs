//! What a run works with: the running system, the simulator, and the ways to both.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use stepup::broker::Broker;
use stepup::config::{Config, Need};
use stepup::domain::Timestamp;
use stepup::domain::id::AppName;
use stepup::store::Store;
use tokio_util::task::TaskTracker;

use super::door::{Amqp, Door, Http, Until};
use super::drive::{Drive, Plan};
use super::feed::Stream;
use super::figures::{Figures, Percentiles};
use super::members::{ACCOUNT_PREFIX, register_account, register_member};
use super::options::LoadOptions;
use super::report::Bare;
use super::say::{fault, say};
use super::scrape::Scrape;
use crate::bare::{self, database};
use stepup_workers::cli::connect::{broker, configured, store};

/// As large as the messages of a login are on average.
const BODY_BYTES: usize = 300;
/// How long the first SMS may take to come to the simulator.
const FIRST_SMS_MAX: Duration = Duration::from_secs(20);
/// How long the trail may take to hold what was done.
const TRAIL_MAX: Duration = Duration::from_secs(120);

/// What a run works with.
pub(super) struct Site {
    config: Config,
    pub broker: Broker,
    pub store: Store,
    app: AppName,
    pub sim: String,
    pub scrape: Scrape,
}

impl Site {
    pub fn open(options: &LoadOptions) -> Result<Self, String> {
        let config = configured(&[Need::Broker, Need::Database, Need::PublicKey, Need::Apps])?;
        let named = match &options.app {
            None => config.apps.first().map(|app| app.name.clone()),
            Some(name) => {
                let mut names = config.apps.iter().map(|app| &app.name);
                names.find(|known| known.as_str() == name).cloned()
            }
        };
        let app = named.ok_or("--app is none of STEPUP_APPS")?;
        let sim = match (&options.sim, config.sms_url.strip_suffix("/carrier/messages")) {
            (Some(sim), _) => sim.trim_end_matches('/').to_owned(),
            (None, Some(sim)) => sim.to_owned(),
            (None, None) => {
                return Err("where is the simulator? Give --sim http://host:port, or set \
                            STEPUP_SMS_URL as the workers have it"
                    .to_owned());
            }
        };
        let scrape = Scrape::new(&options.metrics, &options.process)?;
        let (broker, store) = (broker(&config, "stepup-load")?, store(&config, 2)?);
        Ok(Self { config, broker, store, app, sim, scrape })
    }

    pub fn plan(&self, options: &LoadOptions) -> Plan {
        Plan {
            rate: options.rate,
            in_flight: options.in_flight,
            warm_up: Duration::from_secs_f64(options.warm_up_seconds),
            span: Duration::from_secs_f64(options.seconds),
            wrong_share: options.wrong_share,
            fallback_share: options.fallback_share,
            fallback_after: self.config.policy.fallback_after,
        }
    }

    pub fn amqp(&self) -> Result<Door, String> {
        let seal_to = self.config.public_key.clone().ok_or("STEPUP_PUBLIC_KEY is missing")?;
        Ok(Door::Amqp(Amqp::new(&self.broker, self.app.clone(), seal_to)))
    }

    pub fn http(&self, options: &LoadOptions) -> Result<Door, String> {
        let file = options.api_key_file.as_ref().ok_or("--over http needs --api-key-file")?;
        let key = std::fs::read_to_string(file);
        let key = key.map_err(|error| format!("--api-key-file {}: {error}", file.display()))?;
        let usual = || format!("http://{}", self.config.http_addr);
        Ok(Door::Http(Http::new(options.url.clone().unwrap_or_else(usual), key.trim().to_owned())?))
    }

    /// One login with a number that belongs to nobody (555-01xx is kept free for fiction). Only when
    /// its SMS has come to the simulator are numbers used that might be somebody's.
    pub async fn probe(&self, door: &Door, run: usize, stream: &mut Stream) -> Result<(), String> {
        let (account, member) = (format!("{ACCOUNT_PREFIX}{run}"), "probe");
        let phone = format!("+120255501{:02}", run % 100);
        let contacts = (phone.as_str(), "probe@load.example");
        register_account(door, &account, Until::Stored).await?;
        register_member(door, &account, member, contacts, Until::Stored).await?;
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

    pub async fn bare(&self, seconds: f64) -> Result<Option<Bare>, String> {
        if seconds == 0.0 {
            return Ok(None);
        }
        let span = Duration::from_secs_f64(seconds);
        say("measuring the broker and the database without the product");
        let publish = fault(bare::broker::publish(&self.broker, BODY_BYTES, span).await)?;
        let store = self.store.clone();
        let commit = move |id| {
            let store = store.clone();
            async move { database::commit_row(&store, id).await }
        };
        let step = bare::broker::step(&self.broker, BODY_BYTES, span, commit).await;
        fault(database::forget_rows(&self.store).await)?;
        // The broker may be faster on one queue or on several; its limit is the better of both.
        let mut best: f64 = 0.0;
        for queues in [1, 3] {
            let rate =
                fault(bare::broker::limit(&self.broker, BODY_BYTES, queues, span / 2).await)?;
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
    pub async fn drive(&self, drive: &Arc<Drive>, since: Timestamp) -> Result<f64, String> {
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
            let (_, told) = fault(database::verified(&self.store, &accounts, since).await)?;
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
            while let Ok((_, told)) = database::verified(&self.store, &accounts, since).await {
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

    pub async fn fallback_late(&self, figures: &Figures) -> Result<Percentiles, String> {
        let fallen = std::mem::take(
            &mut *figures.fallen_back.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let challenges: Vec<_> = fallen.iter().map(|login| login.challenge).collect();
        let due = fault(database::fallbacks_due(&self.store, &challenges).await)?;
        let late = fallen.iter().filter_map(|login| {
            let late = login.arrived_at - *due.get(&login.challenge)?;
            Some(u32::try_from(late.whole_microseconds().max(0)).unwrap_or(u32::MAX))
        });
        Ok(Percentiles::of(late.collect()))
    }
}

//! The logins: when each begins, and what each does.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::door::{Door, text};
use super::feed::{Arrival, Feed, Medium};
use super::figures::{FallenBack, Figures};
use super::members::{Member, Members};

/// How long a message may take before it counts as lost. It stays open meanwhile, so that one that
/// is late is not taken for a second one.
const MESSAGE_MAX: Duration = Duration::from_secs(30);

/// What is driven.
pub(super) struct Plan {
    /// Logins a second; without it, as many as `in_flight` at a time bring about.
    pub rate: Option<f64>,
    /// Logins under way at most, where no rate is given.
    pub in_flight: usize,
    /// Not counted in the latencies, at the beginning.
    pub warm_up: Duration,
    /// How long logins are begun, after the warm-up.
    pub span: Duration,
    /// Share of logins with a wrong guess before the right one.
    pub wrong_share: f64,
    /// Share of logins left to the email.
    pub fallback_share: f64,
    /// How long the product waits before the email.
    pub fallback_after: Duration,
}

/// Everything a login needs.
pub(super) struct Drive {
    /// What is driven.
    pub plan: Plan,
    /// How requests get in.
    pub door: Arc<Door>,
    /// Who logs in.
    pub members: Arc<Members>,
    /// Where messages arrive.
    pub feed: Arc<Feed>,
    /// What is seen.
    pub figures: Arc<Figures>,
    /// Both clocks at the same moment.
    pub epoch: (Instant, OffsetDateTime),
}

/// The host's clock: arrival times are told by another process.
pub(super) fn now() -> OffsetDateTime {
    #[expect(clippy::disallowed_methods, reason = "measures from outside; nothing is decided")]
    OffsetDateTime::now_utc()
}

impl Drive {
    /// Begins logins until the time is over, and returns when. They go on in `logins`.
    pub async fn begin(self: &Arc<Self>, logins: &TaskTracker) -> Result<(), String> {
        match self.plan.rate {
            None => self.flat_out(logins).await,
            Some(rate) => {
                let (drive, logins, handle) = (Arc::clone(self), logins.clone(), Handle::current());
                // A timer of the runtime is up to 1 ms late, which would count as latency.
                let pacing = move || drive.paced(rate, &logins, &handle);
                tokio::task::spawn_blocking(pacing).await.map_err(|error| error.to_string())
            }
        }
    }

    async fn flat_out(self: &Arc<Self>, logins: &TaskTracker) -> Result<(), String> {
        let places = Arc::new(Semaphore::new(self.plan.in_flight));
        let end = self.measured_from() + self.plan.span;
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.map_err(|error| error.to_string())?;
            if Instant::now() >= end {
                return Ok(());
            }
            let Some(turn) = self.members.next() else {
                return Err("every member has had all its turns: give more by --members".to_owned());
            };
            let drive = Arc::clone(self);
            logins.spawn(async move { drive.login(turn, Instant::now(), Some(place)).await });
        }
    }

    /// Begins each login at its time, whatever became of the ones before.
    fn paced(self: &Arc<Self>, rate: f64, logins: &TaskTracker, handle: &Handle) {
        let end = self.measured_from() + self.plan.span;
        for number in 0_u32.. {
            let intended = self.epoch.0 + Duration::from_secs_f64(f64::from(number) / rate);
            if intended >= end {
                return;
            }
            std::thread::sleep(intended.saturating_duration_since(Instant::now()));
            let Some(turn) = self.members.next() else {
                self.figures.nobody_free.add();
                continue;
            };
            let drive = Arc::clone(self);
            logins.spawn_on(async move { drive.login(turn, intended, None).await }, handle);
        }
    }

    /// When the warm-up is over.
    pub fn measured_from(&self) -> Instant {
        self.epoch.0 + self.plan.warm_up
    }

    fn wall(&self, at: Instant) -> OffsetDateTime {
        self.epoch.1 + at.saturating_duration_since(self.epoch.0)
    }

    async fn login(
        &self,
        (member, turn): (Member, u8),
        intended: Instant,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let to_email = rand::rng().random_bool(self.plan.fallback_share);
        self.figures.begun.add();
        match self.one(member, intended, to_email, place).await {
            Ok(()) => self.members.done((member, turn)),
            // Its number is not to be trusted any more: something may still be on its way.
            Err(why) => self.figures.complain(why),
        }
        self.feed.forget(member, Medium::Sms);
        self.feed.forget(member, Medium::Email);
    }

    async fn one(
        &self,
        member: Member,
        intended: Instant,
        to_email: bool,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<(), String> {
        let figures = &*self.figures;
        let measured = intended >= self.measured_from();
        let sms = self.feed.expect(member, Medium::Sms);
        let email = to_email.then(|| self.feed.expect(member, Medium::Email));
        let challenge = self.open(member).await.inspect_err(|_| figures.not_opened.add())?;
        if measured {
            figures.open.add(time::Duration::try_from(intended.elapsed()).unwrap_or_default());
        }
        let texted = arrival(sms, MESSAGE_MAX).await.ok_or_else(|| {
            figures.sms_missing.add();
            format!("no SMS within {} s", MESSAGE_MAX.as_secs())
        })?;
        if measured {
            figures.request_to_sms.add(texted.at - self.wall(intended));
        }
        let Some(email) = email else {
            self.verify(member, challenge, &texted.code, measured).await?;
            if measured {
                figures.measured.add();
            }
            return Ok(());
        };
        // The person who waits for a mail takes nobody's place.
        drop(place);
        figures.left.add();
        let mailed = arrival(email, self.plan.fallback_after + MESSAGE_MAX).await;
        let mailed = mailed.ok_or_else(|| {
            figures.email_missing.add();
            "no email after the fallback time".to_owned()
        })?;
        let id = Uuid::parse_str(&challenge).map_err(|error| error.to_string())?;
        figures
            .fallen_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(FallenBack { challenge: id, arrived_at: mailed.at });
        self.verify(member, challenge, &mailed.code, false).await
    }

    /// Asks for a challenge. Returns its id.
    async fn open(&self, member: Member) -> Result<String, String> {
        let login = Uuid::from_u128(rand::random()).to_string();
        let (account, id) = (self.members.account(member), self.members.id(member));
        let body = json!({ "account": account, "member": id, "login": login });
        let answer = self.door.ask("challenge.issue", body, &[]).await?;
        match (outcome(&answer).as_str(), text(&answer, "challenge")) {
            ("open", Some(challenge)) => Ok(challenge),
            (other, _) => Err(format!("a login was answered `{other}`")),
        }
    }

    async fn verify(
        &self,
        member: Member,
        challenge: String,
        code: &str,
        measured: bool,
    ) -> Result<(), String> {
        let figures = &*self.figures;
        if rand::rng().random_bool(self.plan.wrong_share) {
            let wrong = if code.starts_with('0') { "1" } else { "0" };
            let wrong = format!("{wrong}{}", code.get(1..).unwrap_or_default());
            match self.guess(member, &challenge, &wrong).await?.as_str() {
                "wrong_code" => figures.wrong.add(),
                other => figures.complain(format!("a wrong guess was answered `{other}`")),
            }
        }
        let begun = Instant::now();
        let outcome = self.guess(member, &challenge, code).await;
        match outcome.as_deref() {
            Ok("verified") => {
                figures.verified.add();
                if measured {
                    let took = time::Duration::try_from(begun.elapsed()).unwrap_or_default();
                    figures.verify.add(took);
                }
                Ok(())
            }
            _ => {
                figures.not_verified.add();
                Err(outcome.map_or_else(|why| why, |o| format!("a right guess was answered `{o}`")))
            }
        }
    }

    async fn guess(&self, member: Member, challenge: &str, guess: &str) -> Result<String, String> {
        let account = self.members.account(member);
        let body = json!({ "account": account, "challenge": challenge, "guess": guess });
        Ok(outcome(&self.door.ask("challenge.verify", body, &["guess"]).await?))
    }
}

fn outcome(answer: &Value) -> String {
    text(answer, "outcome").unwrap_or_default()
}

async fn arrival(
    coming: tokio::sync::oneshot::Receiver<Arrival>,
    wait: Duration,
) -> Option<Arrival> {
    tokio::time::timeout(wait, coming).await.ok()?.ok()
}

//! People who log in: in their ways, at their pace, by a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::client::{Client, Door};
use super::history::What;

/// How a login goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The right code, perhaps after one or two wrong ones.
    Right,
    /// The right code, three times at once.
    RightThrice,
    /// Eight wrong codes at once.
    Locked,
    /// Nothing more is heard.
    Abandoned,
    Cancelled,
    /// The SMS is lost; the email comes.
    Email,
    /// One more SMS is asked for.
    Resent,
    /// The carrier refuses the number; no email.
    Undeliverable,
    /// The right code when the time is over.
    Late,
    /// The carrier fails at first.
    Flaky,
    /// The carrier takes the message and says nothing.
    Unknown,
    /// The right code, one more SMS and an end are asked for at once: they come in any order.
    AtOnce,
    /// No login: a sensitive setting is changed, and the approval redeemed three times at once.
    Setting,
}

impl Way {
    /// Even the shortest run sees each.
    const EACH: &[Self] = &[
        Self::Setting,
        Self::Email,
        Self::Right,
        Self::RightThrice,
        Self::Locked,
        Self::Cancelled,
        Self::Resent,
        Self::Undeliverable,
        Self::Late,
        Self::Flaky,
        Self::Unknown,
        Self::AtOnce,
        Self::Abandoned,
    ];

    /// The usual mixture.
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..44 => Self::Right,
            44..52 => Self::RightThrice,
            52..59 => Self::Locked,
            59..64 => Self::Abandoned,
            64..68 => Self::Cancelled,
            68..70 => Self::AtOnce,
            70..78 => Self::Email,
            78..84 => Self::Resent,
            84..88 => Self::Undeliverable,
            88..92 => Self::Late,
            92..95 => Self::Flaky,
            95..98 => Self::Setting,
            _ => Self::Unknown,
        }
    }

    fn has_email(self) -> bool {
        matches!(self, Self::Email | Self::Unknown)
    }

    /// What the carrier does to this person.
    fn carrier(self, rng: &mut StdRng) -> Option<Value> {
        match self {
            Self::Email => Some(json!({ "fault": "lose" })),
            Self::Undeliverable => Some(json!({ "fault": "refuse" })),
            Self::Flaky if rng.random() => {
                Some(json!({ "fault": "status", "status": 503, "times": 1 }))
            }
            Self::Flaky => Some(json!({ "fault": "throttle", "retry_after": 1, "times": 1 })),
            Self::Unknown => Some(json!({ "fault": "hang_up" })),
            _ if rng.random_ratio(1, 6) => Some(json!({ "fault": "slow", "seconds": 0.4 })),
            _ => None,
        }
    }
}

/// Starts logins until told to stop.
pub struct Load {
    client: Client,
    seed: u64,
    next: AtomicUsize,
    pub verified: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    pub fn new(client: Client, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            client,
            seed,
            next: AtomicUsize::new(0),
            verified: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        })
    }

    pub fn started(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Up to `at_once` logins at a time, `most` in all, a new one every `pace`. Returns when all
    /// are over.
    pub async fn run(self: Arc<Self>, at_once: usize, most: usize, pace: Duration) {
        let places = Arc::new(Semaphore::new(at_once));
        let mut logins = JoinSet::new();
        while !self.stop.load(Ordering::Relaxed) && self.started() < most {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            let load = Arc::clone(&self);
            logins.spawn(async move {
                load.login(None).await;
                drop(place);
            });
            tokio::time::sleep(pace).await;
            while logins.try_join_next().is_some() {}
        }
        while logins.join_next().await.is_some() {}
    }

    /// One login from the beginning to its end; whether it was verified.
    pub async fn login(&self, way: Option<Way>) -> bool {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(n as u64));
        let way = way.or(Way::EACH.get(n).copied()).unwrap_or_else(|| Way::draw(&mut rng));
        let door = if rng.random_ratio(1, 3) { Door::Amqp } else { Door::Http };
        let person = Person {
            client: &self.client,
            member: format!("m{n}"),
            phone: format!("+1202{:03}{:04}", 220 + n / 10_000, n % 10_000),
            email: way.has_email().then(|| format!("m{n}@example.org")),
            door,
        };
        let verified = person.log_in(way, rng).await.is_some_and(|verified| verified);
        if verified {
            self.verified.fetch_add(1, Ordering::Relaxed);
        }
        verified
    }
}

struct Person<'a> {
    client: &'a Client,
    member: String,
    phone: String,
    email: Option<String>,
    door: Door,
}

fn wrong(code: &str, n: u32) -> String {
    let code: u32 = code.parse().unwrap_or_default();
    format!("{:06}", (code + 1 + n) % 1_000_000)
}

impl Person<'_> {
    async fn log_in(&self, way: Way, mut rng: StdRng) -> Option<bool> {
        let (client, member) = (self.client, self.member.as_str());
        if let Some(fault) = way.carrier(&mut rng) {
            client.order(&self.phone, fault).await;
        }
        if !client.register(member, 1, &self.phone, self.email.as_deref(), self.door).await {
            return None;
        }
        let login = format!("{member}-login");
        let opened = if way == Way::Setting {
            client.change(member, self.door).await?
        } else {
            client.login(member, &login, self.door, rng.random_ratio(1, 4)).await?
        };
        let challenge = Uuid::parse_str(opened["challenge"].as_str()?).ok()?;
        let expires = OffsetDateTime::parse(opened["expires_at"].as_str()?, &Rfc3339).ok()?;
        if way == Way::Abandoned || way == Way::Undeliverable {
            return Some(false);
        }
        if way == Way::Cancelled && rng.random() {
            client.about(What::Cancel, member, challenge, json!({}), self.door).await;
            return Some(false);
        }
        let place = match &self.email {
            Some(email) => format!("/mailboxes/{email}"),
            None => format!("/phones/{}", self.phone),
        };
        let left = expires - OffsetDateTime::now_utc();
        let code = client.code(&place, 0, left.try_into().unwrap_or_default()).await?;
        match way {
            Way::Cancelled => {
                client.about(What::Cancel, member, challenge, json!({}), self.door).await;
                return Some(false);
            }
            Way::Locked => {
                let guesses = (0..8).map(|n| self.guess(challenge, wrong(&code, n), false));
                futures_util::future::join_all(guesses).await;
                self.guess(challenge, code, true).await;
                return Some(false);
            }
            Way::RightThrice => {
                let guesses = (0..3).map(|_| self.guess(challenge, code.clone(), true));
                let all = futures_util::future::join_all(guesses).await;
                return Some(all.into_iter().any(|verified| verified));
            }
            Way::AtOnce => {
                let about = |what| client.about(what, member, challenge, json!({}), self.door);
                let guess = self.guess(challenge, code, true);
                let (_, _, verified) =
                    futures_util::join!(about(What::Cancel), about(What::Resend), guess);
                return Some(verified);
            }
            Way::Late => {
                let left = expires - OffsetDateTime::now_utc() + time::Duration::milliseconds(300);
                tokio::time::sleep(left.try_into().unwrap_or_default()).await;
            }
            Way::Resent => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                client.about(What::Resend, member, challenge, json!({}), self.door).await;
                client.code(&place, 1, Duration::from_secs(5)).await;
            }
            _ => {
                for n in 0..rng.random_range(0..3) {
                    self.guess(challenge, wrong(&code, n), false).await;
                }
            }
        }
        let verified = self.guess(challenge, code, true).await;
        if way == Way::Setting && verified {
            let before = || json!({ "before": "DE02" });
            let redeem = || client.about(What::Redeem, member, challenge, before(), self.door);
            futures_util::join!(redeem(), redeem(), redeem());
        }
        if rng.random_ratio(1, 4) {
            let phone = self.phone.replace("+1202", "+1212");
            client.register(member, 2, &phone, self.email.as_deref(), self.door).await;
        }
        Some(verified)
    }

    async fn guess(&self, challenge: Uuid, guess: String, right: bool) -> bool {
        let body = json!({ "guess": guess });
        let what = What::Guess { right };
        let answer = self.client.about(what, &self.member, challenge, body, self.door).await;
        answer.is_some_and(|outcome| outcome["outcome"] == "verified")
    }
}

//! The settings of a process. This is the only place that reads the environment, and it reports
//! everything that is wrong at once.

mod app;
mod settings;
mod source;
mod stack;
mod values;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::broker::{self, Broker};
use crate::domain::keys::{Keyring, PublicKey};
use crate::domain::policy::{Policy, Window};
use crate::gateway::{Smtp, WebhookKey};
use crate::ingress;
use crate::message::Senders;
use crate::rules::text::Texts;
use crate::store::Retention;

pub use app::{App, LogFormat};
pub use settings::{SETTINGS, Setting, Shown};
pub use source::ReadFile;
use source::Source;
pub use stack::{THREAD_STACK_BYTES, ensure_deep_stacks};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the chosen roles cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `STEPUP_AMQP_URL`.
    Broker,
    /// `STEPUP_DATABASE_URL`.
    Database,
    /// `STEPUP_KEYS`.
    Keys,
    /// `STEPUP_PUBLIC_KEY` or `STEPUP_KEYS`.
    PublicKey,
    /// `STEPUP_APPS`, with one app or more.
    Apps,
    /// `STEPUP_SMS_URL` and `STEPUP_SMS_SECRET`.
    Sms,
    /// `STEPUP_SMTP_URL` and `STEPUP_MAIL_FROM`.
    Mail,
}

impl Need {
    /// The settings, each of which must be there.
    const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Broker => &["STEPUP_AMQP_URL"],
            Self::Database => &["STEPUP_DATABASE_URL"],
            Self::Keys => &["STEPUP_KEYS"],
            Self::PublicKey => &["STEPUP_PUBLIC_KEY"],
            Self::Apps => &["STEPUP_APPS"],
            Self::Sms => &["STEPUP_SMS_URL", "STEPUP_SMS_SECRET"],
            Self::Mail => &["STEPUP_SMTP_URL", "STEPUP_MAIL_FROM"],
        }
    }
}

/// All settings. Texts that no role asked for ([`Need`]) may be empty, meaning not set.
pub struct Config {
    /// The broker. Holds a password.
    pub amqp_url: String,
    /// The database. Holds a password.
    pub database_url: String,
    /// In front of every exchange and queue, without a dot.
    pub prefix: String,
    /// Where the ingress listens.
    pub http_addr: SocketAddr,
    /// Where metrics and health are served.
    pub metrics_addr: SocketAddr,
    /// The keys.
    pub keys: Option<Arc<Keyring>>,
    /// The public half; that of `keys` when not given by itself.
    pub public_key: Option<PublicKey>,
    /// Who may ask.
    pub apps: Vec<App>,
    /// The SMS provider's webhook. May hold a password.
    pub sms_url: String,
    /// The secret that signs what is sent there.
    pub sms_secret: Zeroizing<String>,
    /// The mail server. May hold a password.
    pub smtp_url: Zeroizing<String>,
    /// The sender of mail.
    pub mail_from: String,
    /// What we call ourselves in EHLO; `None` is the domain of `mail_from`.
    pub mail_ehlo_name: Option<String>,
    /// Authorities to trust for TLS besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Where checkpoints of the Activity report go besides the database.
    pub checkpoint_file: Option<PathBuf>,
    /// How often.
    pub checkpoint_every: Duration,
    /// What is logged, as `tracing` directives.
    pub log: String,
    /// How it is written.
    pub log_format: LogFormat,
    /// The texts people get.
    pub texts: Arc<Texts>,
    /// The limits that rules decide by.
    pub policy: Arc<Policy>,
    /// How long the ingress waits for an outcome.
    pub reply_wait: Duration,
    /// How long a stopping worker may finish what it has.
    pub drain: Duration,
    /// Messages in one transaction.
    pub batch_max: usize,
    /// Calls to a provider at a time.
    pub send_concurrency: usize,
    /// Database connections; `None` is what the roles need.
    pub pool_size: Option<usize>,
    /// How long what is over is kept.
    pub retention: Retention,
    description: String,
}

impl Config {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// Every error, each a sentence that names the variable and says what to do. None repeats a
    /// secret.
    pub fn from_env(needs: &[Need]) -> Result<Self, Vec<String>> {
        let (vars, errors) = environment();
        #[cfg(feature = "faults")]
        let errors = [errors, failpoints_armed(&vars)].concat();
        let read = Self::read(&vars, &contents, needs, std::io::stdout().is_terminal());
        match read {
            Ok(config) if errors.is_empty() => Ok(config),
            Ok(_) => Err(errors),
            Err(more) => Err([errors, more].concat()),
        }
    }

    /// Reads settings from a map; `terminal` is whether people watch the log.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn read(
        vars: &BTreeMap<String, String>,
        read_file: ReadFile<'_>,
        needs: &[Need],
        terminal: bool,
    ) -> Result<Self, Vec<String>> {
        let mut source = Source::new(vars, read_file);
        let s = &mut source;
        let keys = s.read("STEPUP_KEYS", |text| {
            Keyring::parse(text).map(Arc::new).map_err(|why| format!("cannot be used: {why}"))
        });
        let public_key = s.read("STEPUP_PUBLIC_KEY", |text| {
            PublicKey::parse(text).ok_or("must be what `stepup keys public` prints".into())
        });
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let usual_format = if terminal { LogFormat::Text } else { LogFormat::Json };
        // Whatever stands in for a missing value here is never used: `finish` reports the error.
        let mut config = Self {
            amqp_url: s.read("STEPUP_AMQP_URL", amqp_url).unwrap_or_default(),
            database_url: s.read("STEPUP_DATABASE_URL", values::database_url).unwrap_or_default(),
            prefix: s.read("STEPUP_PREFIX", values::prefix).unwrap_or_default(),
            http_addr: s.read("STEPUP_HTTP_ADDR", values::address).unwrap_or(loopback(8080)),
            metrics_addr: s.read("STEPUP_METRICS_ADDR", values::address).unwrap_or(loopback(9100)),
            public_key: public_key.or_else(|| keys.as_ref().map(|keys| keys.public())),
            keys,
            apps: s.read("STEPUP_APPS", values::apps).unwrap_or_default(),
            sms_url: s.read("STEPUP_SMS_URL", values::sms_url).unwrap_or_default(),
            sms_secret: s.read("STEPUP_SMS_SECRET", sms_secret).unwrap_or_default(),
            smtp_url: s.read("STEPUP_SMTP_URL", values::smtp_url).unwrap_or_default(),
            mail_from: s.read("STEPUP_MAIL_FROM", values::mail_from).unwrap_or_default(),
            mail_ehlo_name: s.read("STEPUP_MAIL_EHLO_NAME", values::mail_ehlo_name),
            ca_file: s.read("STEPUP_CA_FILE", |path| ca_file(path, read_file)),
            checkpoint_file: s.read("STEPUP_CHECKPOINT_FILE", |path| Ok(PathBuf::from(path))),
            checkpoint_every: s
                .read("STEPUP_CHECKPOINT_SECONDS", values::some_seconds)
                .unwrap_or_default(),
            log: s.read("STEPUP_LOG", values::log).unwrap_or_default(),
            log_format: s.read("STEPUP_LOG_FORMAT", values::log_format).unwrap_or(usual_format),
            texts: Arc::new(texts(s)),
            policy: Arc::new(policy(s)),
            reply_wait: s
                .read("STEPUP_REPLY_WAIT_SECONDS", values::some_seconds)
                .unwrap_or_default(),
            drain: s.read("STEPUP_DRAIN_SECONDS", values::seconds).unwrap_or_default(),
            batch_max: s.read("STEPUP_BATCH_MAX", values::number(1..=1000)).unwrap_or(1),
            send_concurrency: s
                .read("STEPUP_SEND_CONCURRENCY", values::number(1..=1000))
                .unwrap_or(1),
            pool_size: s.read("STEPUP_POOL_SIZE", values::number(1..=1000)),
            retention: retention(s),
            description: String::new(),
        };
        config.check(s, needs);
        config.description = source.finish()?;
        Ok(config)
    }

    /// What no single setting shows: what the roles miss, and settings at odds with each other.
    fn check(&self, source: &mut Source, needs: &[Need]) {
        let own_user = self.senders().own_user;
        for app in self.apps.iter().filter(|app| app.broker_user == own_user) {
            source.complain(format!(
                "STEPUP_APPS: app {} has the broker user of STEPUP_AMQP_URL, which may speak for \
                 every app: give it a user of its own",
                app.name
            ));
        }
        let usual_name = Smtp::check_sender(&self.mail_from).ok();
        let no_full_name = |name: &String| Smtp::check_ehlo_name(name).is_err();
        if self.mail_ehlo_name.is_none()
            && source.is_faultless("STEPUP_MAIL_EHLO_NAME")
            && usual_name.as_ref().is_some_and(no_full_name)
        {
            source.complain(
                "STEPUP_MAIL_FROM has a domain that is no full host name, which mail servers want to \
                 hear: set STEPUP_MAIL_EHLO_NAME, such as mail.example.org"
                    .to_owned(),
            );
        }
        let windows = self.policy.sends_per_number.iter().map(|window| window.within);
        if windows.max().is_some_and(|longest| longest > self.retention.challenge) {
            source.complain(
                "STEPUP_RETENTION_CHALLENGE_HOURS is shorter than the longest time of \
                 STEPUP_SENDS_PER_NUMBER: sends would be forgotten before they stop counting"
                    .to_owned(),
            );
        }
        let mut asked: Vec<&str> = Vec::new();
        for need in needs {
            let from_keys = *need == Need::PublicKey && source.mentions("STEPUP_KEYS");
            for name in need.settings().iter().filter(|name| !from_keys && !asked.contains(name)) {
                if !source.mentions(name) {
                    source.complain(missing(name));
                }
            }
            asked.extend(need.settings());
        }
        for (what, seconds) in [
            (
                "STEPUP_REPLY_WAIT_SECONDS + 6, as long as a request may take",
                ingress::REQUEST_DEADLINE + self.reply_wait,
            ),
            (
                "STEPUP_PROVIDER_TIMEOUT_SECONDS + STEPUP_LEASE_MARGIN_SECONDS, as long as a send may take",
                self.policy.provider_timeout + self.policy.lease_margin,
            ),
        ] {
            if self.drain < seconds && source.is_faultless("STEPUP_DRAIN_SECONDS") {
                source.complain(format!(
                    "STEPUP_DRAIN_SECONDS must be at least {}, which is {what}, or a stop would cut it \
                     off",
                    seconds.as_secs_f64()
                ));
            }
        }
        if needs.contains(&Need::Apps) && self.apps.is_empty() && source.is_sound("STEPUP_APPS") {
            source.complain("STEPUP_APPS lists no app: add what `stepup keys app` prints".into());
        }
    }

    /// What every setting is, a line each; secrets as `(set)`, passwords in URLs masked.
    pub fn describe(&self) -> String {
        self.description.clone()
    }

    /// Who may ask: we for any app, and each app's broker user for itself.
    pub fn senders(&self) -> Senders {
        // Its handle connects to nothing; it knows how to read the login name.
        let own_user = Broker::new(self.broker_settings("")).map(|broker| broker.user().to_owned());
        let apps = self.apps.iter().map(|app| (app.broker_user.clone(), app.name.clone()));
        Senders { own_user: own_user.unwrap_or_default(), apps: apps.collect() }
    }

    /// How to reach the broker, under this name in its list of connections.
    pub fn broker_settings(&self, connection_name: impl Into<String>) -> broker::BrokerSettings {
        broker::BrokerSettings {
            url: self.amqp_url.clone(),
            prefix: self.prefix.clone(),
            connection_name: connection_name.into(),
            ca_file: self.ca_file.clone(),
        }
    }
}

/// Where the process with this environment serves its health. Looks at no other setting, since a
/// health check runs every few seconds.
///
/// # Errors
/// What is wrong with it.
pub fn metrics_addr() -> Result<SocketAddr, String> {
    const NAME: &str = "STEPUP_METRICS_ADDR";
    let (mut vars, _) = environment();
    vars.retain(|name, _| name.starts_with(NAME));
    let mut source = Source::new(&vars, &contents);
    match source.read(NAME, values::address) {
        Some(address) => Ok(address),
        None => Err(source.finish().err().unwrap_or_default().join("; ")),
    }
}

/// Every variable of ours, and what is wrong with those that cannot be read.
fn environment() -> (BTreeMap<String, String>, Vec<String>) {
    let mut vars = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("STEPUP_")) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => drop(vars.insert(name.to_owned(), value)),
            Err(_) => errors.push(format!("{name} is not UTF-8: write it as text")),
        }
    }
    (vars, errors)
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| error.to_string())
}

/// Takes the orders of the fault tests.
#[cfg(feature = "faults")]
fn failpoints_armed(vars: &BTreeMap<String, String>) -> Vec<String> {
    use crate::failpoint::{arm, seed};
    let order = |name: &str, take: fn(&str) -> Result<(), String>| {
        let text = vars.get(name).filter(|text| !text.is_empty())?;
        take(text).err().map(|why| format!("{name} {why}"))
    };
    [order("STEPUP_FAULT", arm), order("STEPUP_BUG", seed)].into_iter().flatten().collect()
}

fn missing(name: &str) -> String {
    let meaning = settings::setting(name).map_or("", |setting| setting.meaning);
    format!("{name} is not set and the chosen roles need it: set it or {name}_FILE ({meaning})")
}

fn amqp_url(text: &str) -> Result<String, String> {
    let settings = broker::BrokerSettings {
        url: text.to_owned(),
        prefix: String::new(),
        connection_name: String::new(),
        ca_file: None,
    };
    Broker::new(settings).map(|_| text.to_owned()).map_err(|_| {
        "must be amqp://user:password@host:port/vhost, or amqps://, with special characters \
         percent-encoded (the vhost / is %2f)"
            .into()
    })
}

fn texts(s: &mut Source) -> Texts {
    Texts::embedded().unwrap_or_else(|problems| {
        problems.into_iter().for_each(|problem| s.complain(problem));
        Texts::none()
    })
}

fn sms_secret(text: &str) -> Result<Zeroizing<String>, String> {
    WebhookKey::parse(text).map(|_| Zeroizing::new(text.to_owned())).map_err(|_| {
        "must be whsec_ followed by base64, or any text; 24 bytes or more either way".into()
    })
}

fn ca_file(path: &str, read_file: ReadFile<'_>) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    let names = |what: String| format!("names {}, which {what}", path.display());
    let pem = read_file(&path).map_err(|why| names(format!("cannot be read: {why}")))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(path),
        Ok(_) | Err(_) => Err(names("holds no certificates in PEM".into())),
    }
}

fn retention(s: &mut Source) -> Retention {
    let challenge = s.read("STEPUP_RETENTION_CHALLENGE_HOURS", values::number(1..=8784));
    let recipient = s.read("STEPUP_RETENTION_RECIPIENT_DAYS", values::number(30..=366));
    let inbox = s.read("STEPUP_RETENTION_INBOX_HOURS", values::number(1..=8784));
    if let (Some(challenge), Some(inbox)) = (challenge, inbox)
        && inbox < challenge + 24
    {
        s.complain(format!(
            "STEPUP_RETENTION_INBOX_HOURS must be at least {}, which is 24 more than \
             STEPUP_RETENTION_CHALLENGE_HOURS, or a late repeat could issue a second challenge",
            challenge + 24
        ));
    }
    Retention {
        challenge: HOUR * challenge.unwrap_or(0),
        recipient: DAY * recipient.unwrap_or(0),
        inbox: HOUR * inbox.unwrap_or(0),
    }
}

fn policy(s: &mut Source) -> Policy {
    let usual = Policy::default();
    let window = |count: Option<i64>, usual: Window| Window {
        count: count.unwrap_or(usual.count),
        within: usual.within,
    };
    let time = |s: &mut Source, name, usual| s.read(name, values::seconds).unwrap_or(usual);
    let policy = Policy {
        code_digits: s
            .read("STEPUP_CODE_DIGITS", values::number(0..=u8::MAX))
            .unwrap_or(usual.code_digits),
        challenge_life: time(s, "STEPUP_CHALLENGE_SECONDS", usual.challenge_life),
        setting_life: time(s, "STEPUP_SETTING_SECONDS", usual.setting_life),
        approval_life: time(s, "STEPUP_APPROVAL_SECONDS", usual.approval_life),
        review_life: time(s, "STEPUP_REVIEW_SECONDS", usual.review_life),
        reset_hold: time(s, "STEPUP_RESET_HOLD_SECONDS", usual.reset_hold),
        cooling_off: time(s, "STEPUP_COOLING_OFF_SECONDS", usual.cooling_off),
        wrong_per_challenge: s
            .read("STEPUP_WRONG_PER_CHALLENGE", values::number(0..=i16::MAX))
            .unwrap_or(usual.wrong_per_challenge),
        wrong_in_a_row: s
            .read("STEPUP_WRONG_IN_A_ROW", values::number(1..=100))
            .unwrap_or(usual.wrong_in_a_row),
        guess_wait: time(s, "STEPUP_GUESS_WAIT_SECONDS", usual.guess_wait),
        guess_wait_max: time(s, "STEPUP_GUESS_WAIT_MAX_SECONDS", usual.guess_wait_max),
        wrong_per_day: window(
            s.read("STEPUP_WRONG_PER_DAY", values::number(1..=1000)),
            usual.wrong_per_day,
        ),
        wrong_per_month: window(
            s.read("STEPUP_WRONG_PER_MONTH", values::number(0..=1000)),
            usual.wrong_per_month,
        ),
        resend_after: s
            .read("STEPUP_RESEND_SECONDS", values::seconds_list)
            .unwrap_or(usual.resend_after),
        sends_per_challenge: s
            .read("STEPUP_SENDS_PER_CHALLENGE", values::number(1..=100))
            .unwrap_or(usual.sends_per_challenge),
        sends_per_number: s
            .read("STEPUP_SENDS_PER_NUMBER", values::windows)
            .unwrap_or(usual.sends_per_number),
        fallback_after: time(s, "STEPUP_FALLBACK_SECONDS", usual.fallback_after),
        life_left_min: time(s, "STEPUP_LIFE_LEFT_SECONDS", usual.life_left_min),
        provider_timeout: s
            .read("STEPUP_PROVIDER_TIMEOUT_SECONDS", values::some_seconds)
            .unwrap_or(usual.provider_timeout),
        lease_margin: time(s, "STEPUP_LEASE_MARGIN_SECONDS", usual.lease_margin),
        transaction_max: time(s, "STEPUP_TRANSACTION_SECONDS", usual.transaction_max),
    };
    for problem in policy.problems() {
        s.complain(problem);
    }
    if policy.guess_wait_max < policy.guess_wait {
        s.complain(
            "STEPUP_GUESS_WAIT_MAX_SECONDS must be at least STEPUP_GUESS_WAIT_SECONDS".into(),
        );
    }
    policy
}

#[cfg(test)]
mod tests;

//! From a role to a running process: configuration, pool, broker, engines, drain.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stepup::broker::topology::{self, WORK_QUEUES};
use stepup::broker::{Broker, Requester};
use stepup::config::{Config, LogFormat, Need};
use stepup::domain::activity::{Filter, Page};
use stepup::domain::id::{AccountId, AppName};
use stepup::fault::Fault;
use stepup::gateway::Answer;
use stepup::gateway::sms_webhook::{SmsWebhook, SmsWebhookSettings};
use stepup::gateway::smtp::{Smtp, SmtpSettings};
use stepup::ingress::{self, ApiKey, Views};
use stepup::observe;
use stepup::rules::RuleInputs;
use stepup::runtime::{
    self, CallLimits, EngineSettings, Health, ProviderWorker, Shared, TransactionWorker, Worker,
};
use stepup::store::{self, Claim, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::audit::Audit;
use crate::chain::Attesting;
use crate::code_generation::CodeGeneration;
use crate::directory::Directory;
use crate::email_fallback::{EmailFallback, MailServer};
use crate::notice_delivery::NoticeDelivery;
use crate::notification::Notification;
use crate::sending::Watched;
use crate::sms_delivery::{SmsDelivery, SmsProvider};
use crate::support::Support;
use crate::team::Team;
use crate::team_batch::TeamBatch;
use crate::timers::LookBack;
use crate::unroutable::Unroutable;
use crate::verification::Verification;
use crate::{chain, janitor, timers};

/// A worker that can be run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Opens challenges.
    CodeGeneration,
    /// Judges guesses.
    Verification,
    /// Takes what members ask to change.
    Settings,
    /// Takes what admins ask for their team.
    Team,
    /// Goes through all members of an account.
    TeamBatch,
    /// Resets factors.
    Support,
    /// Keeps accounts and members.
    Directory,
    /// Hands codes to the SMS provider.
    SmsDelivery,
    /// Hands codes to the mail server.
    EmailFallback,
    /// Writes the trail, and chains the Activity report.
    Audit,
    /// Finds out who is to be told.
    Notification,
    /// Mails notices.
    NoticeDelivery,
    /// Turns what is due into commands.
    Timers,
    /// Deletes what is past its retention.
    Janitor,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Self] = &[
        Self::CodeGeneration,
        Self::Verification,
        Self::Settings,
        Self::Team,
        Self::TeamBatch,
        Self::Support,
        Self::Directory,
        Self::SmsDelivery,
        Self::EmailFallback,
        Self::Audit,
        Self::Notification,
        Self::NoticeDelivery,
        Self::Timers,
        Self::Janitor,
    ];

    /// As it is typed.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::SmsDelivery => &[Need::Sms],
            Self::EmailFallback | Self::NoticeDelivery => &[Need::Mail],
            Self::CodeGeneration
            | Self::Verification
            | Self::Settings
            | Self::Team
            | Self::Support
            | Self::Directory => &[Need::Apps],
            Self::TeamBatch | Self::Audit | Self::Notification | Self::Timers | Self::Janitor => {
                &[]
            }
        }
    }
}

/// Completes on SIGTERM or SIGINT; armed at once.
///
/// # Errors
/// When signals cannot be watched.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Reads the configuration for these needs; all errors at once.
///
/// # Errors
/// All of them, a line each.
pub fn configured(needs: &[Need]) -> Result<Config, String> {
    Config::from_env(needs).map_err(|errors| errors.join("\nstepup: "))
}

/// A pool for this configuration.
///
/// # Errors
/// A sentence, when the settings cannot work.
pub fn store(config: &Config, connections: usize) -> Result<Store, String> {
    pool(config, config.pool_size.unwrap_or(connections))
}

fn pool(config: &Config, connections_max: usize) -> Result<Store, String> {
    Store::new(&store::DatabaseSettings {
        url: config.database_url.clone(),
        connections_max,
        transaction_max: config.policy.transaction_max,
        ca_file: config.ca_file.clone(),
        application_name: "stepup".to_owned(),
    })
}

/// A handle on the broker for this configuration.
///
/// # Errors
/// A sentence, when the URL is none.
pub fn broker(config: &Config, name: &str) -> Result<Broker, String> {
    Broker::new(config.broker_settings(name)).map_err(|fault| fault.to_string())
}

fn log(config: &Config) {
    // The AMQP library logs the bodies of returned messages, which may hold anything; the reader of
    // numbers logs numbers.
    const SILENT: &str = "lapin=off,rlibphonenumber=off";
    let filter = EnvFilter::try_new(format!("{},{SILENT}", config.log))
        .unwrap_or_else(|_| EnvFilter::new(format!("info,{SILENT}")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match config.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.init(),
    }
}

/// Runs the workers of `roles`, and the ingress, until a signal.
///
/// # Errors
/// A sentence for the operator, when the process cannot start.
pub async fn run(roles: &[Role], with_ingress: bool) -> Result<(), String> {
    let config = configured(&needs(roles, with_ingress))?;
    log(&config);
    raise_open_files();
    let metrics = observe::install().map_err(|error| error.to_string())?;
    let store = store(&config, roles.len() + 4)?;
    let broker = broker(&config, "stepup")?;
    let stop = CancellationToken::new();
    runtime::stop_on_signal(stop.clone(), config.drain).map_err(|error| error.to_string())?;
    let health = Health::new(Some(store.clone()), broker.clone(), stop.clone());
    let address = runtime::serve_health(config.metrics_addr, health.clone(), metrics)
        .await
        .map_err(|error| format!("STEPUP_METRICS_ADDR {}: {error}", config.metrics_addr))?;
    tracing::info!(%address, "health and metrics");

    runtime::await_dependencies(&health).await;
    while let Err(fault) = topology::declare(&broker).await {
        tracing::warn!(%fault, "the topology cannot be declared yet");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    let (mut tasks, mut queues) = (JoinSet::new(), Vec::new());
    if with_ingress {
        queues.extend(WORK_QUEUES.iter().filter(|queue| queue.takes_requests()).map(|q| q.name));
        start_ingress(&config, &broker, &stop, &mut tasks).await?;
        observe::role_started("ingress");
    }
    for role in roles {
        start(*role, &config, &store, &broker, &stop, &mut tasks, &mut queues)?;
        observe::role_started(role.name().as_str());
    }
    health.set_started(queues);
    tracing::info!("started");
    while let Some(end) = tasks.join_next().await {
        // The others would go on, and nobody would do its work.
        end.map_err(|error| format!("a worker has panicked: {error}"))?;
    }
    broker.close().await;
    store.close();
    tracing::info!("drained");
    Ok(())
}

/// The settings that a process with these roles cannot do without.
pub fn needs(roles: &[Role], with_ingress: bool) -> Vec<Need> {
    let mut needs = vec![Need::Broker, Need::Database];
    if with_ingress {
        needs.extend([Need::PublicKey, Need::Apps]);
    }
    if !roles.is_empty() {
        needs.push(Need::Keys);
    }
    needs.extend(roles.iter().flat_map(|role| role.needs()));
    needs
}

/// Many systems begin with 1024 open files and allow more: connections to the ingress must not take those
/// that calls of providers need.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Connections for what the ingress reads. They are its own: clients that poll must not take those that
/// the workers of the same process need.
const READ_CONNECTIONS: usize = 4;

/// What the ingress reads, from the store.
struct Reads(Store);

impl Views for Reads {
    async fn challenge(
        &self,
        app: &AppName,
        id: uuid::Uuid,
    ) -> Result<Option<serde_json::Value>, Fault> {
        store::challenge_view(&self.0, app, id).await
    }

    async fn review(
        &self,
        app: &AppName,
        account: &AccountId,
        id: uuid::Uuid,
        after: &str,
    ) -> Result<Option<serde_json::Value>, Fault> {
        store::review_view(&self.0, app, account.as_str(), id, after).await
    }

    async fn activity(
        &self,
        app: &AppName,
        account: &AccountId,
        filter: &Filter,
    ) -> Result<Option<Page>, Fault> {
        store::activity_page(&self.0, app, account, filter).await
    }
}

async fn start_ingress(
    config: &Config,
    broker: &Broker,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    let listener = TcpListener::bind(config.http_addr)
        .await
        .map_err(|error| format!("STEPUP_HTTP_ADDR {}: {error}", config.http_addr))?;
    tracing::info!(address = %config.http_addr, "ingress");
    let keys = config.apps.iter().flat_map(|app| {
        let key = |sha256: &[u8; 32]| ApiKey { app: app.name.clone(), sha256: *sha256 };
        app.api_keys_sha256.iter().map(key)
    });
    let seal_to = config.public_key.clone().ok_or("STEPUP_PUBLIC_KEY is missing")?;
    // The requester outlives the listener: requests that run at the stop still get their answer.
    let requester = Requester::start(broker, &CancellationToken::new());
    let views = Reads(pool(config, READ_CONNECTIONS)?);
    let state = ingress::State::new(requester, views, keys.collect(), seal_to, config.reply_wait);
    let stop = stop.clone();
    tasks.spawn(ingress::serve(listener, state, ingress::Limits::default(), stop));
    Ok(())
}

fn start(
    role: Role,
    config: &Config,
    store: &Store,
    broker: &Broker,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
    queues: &mut Vec<&'static str>,
) -> Result<(), String> {
    let keys = config.keys.clone().ok_or("STEPUP_KEYS is missing")?;
    let shared = Shared {
        store: store.clone(),
        broker: broker.clone(),
        keys: Arc::clone(&keys),
        senders: Arc::new(config.senders()),
    };
    let policy = Arc::clone(&config.policy);
    let texts = Arc::clone(&config.texts);
    let rules = RuleInputs {
        keys: Arc::clone(&keys),
        policy: Arc::clone(&policy),
        texts: Arc::clone(&texts),
    };
    let lease = policy.provider_timeout + policy.lease_margin;
    let claim = Claim { lease, fallback_after: policy.fallback_after };
    let mut run = Runner { shared, config, stop, tasks, queues };
    match role {
        Role::CodeGeneration => {
            let worker = Arc::new(CodeGeneration { rules });
            run.worker(Arc::clone(&worker), "code_generation.login");
            run.worker(worker, "code_generation.bulk");
        }
        Role::Verification => run.worker(Arc::new(Verification { rules }), "verification.login"),
        Role::Settings => {
            run.worker(Arc::new(crate::settings::SettingsWorker { rules }), "settings.settings");
        }
        Role::Team => run.worker(Arc::new(Team { rules }), "team.settings"),
        Role::TeamBatch => run.worker(Arc::new(TeamBatch { keys }), "team_batch.bulk"),
        Role::Support => run.worker(Arc::new(Support { rules }), "support.settings"),
        Role::Directory => {
            run.worker(Arc::new(Directory { keys }), "directory.settings");
            run.worker(Arc::new(Unroutable), "unroutable.bulk");
        }
        Role::SmsDelivery => {
            let gateway = Watched::sms(sms_gateway(config)?);
            observe::provider_awaited("sms", &Answer::LABELS);
            let provider = SmsProvider(gateway);
            run.provider_worker(SmsDelivery { provider, rules, claim }, "sms_delivery.login");
        }
        Role::EmailFallback => {
            let gateway = Watched::mail(mail_gateway(config)?, EmailFallback::<Smtp>::NAME);
            observe::provider_awaited("email", &Answer::LABELS);
            let provider = MailServer(gateway);
            run.provider_worker(EmailFallback { provider, rules, claim }, "email_fallback.login");
        }
        Role::Audit => {
            run.worker(Arc::new(Audit), "audit.bulk");
            let (every, file) = (config.checkpoint_every, config.checkpoint_file.clone());
            let attesting = Attesting { keys, every, file };
            tasks.spawn(chain::run(store.clone(), attesting, stop.clone()));
        }
        Role::Notification => run.worker(Arc::new(Notification), "notification.notices"),
        Role::NoticeDelivery => {
            let gateway = Watched::mail(mail_gateway(config)?, NoticeDelivery::<Smtp>::NAME);
            observe::provider_awaited("notice", &Answer::LABELS);
            let worker = NoticeDelivery { gateway, keys, texts, lease };
            run.provider_worker(worker, "notice_delivery.notices");
        }
        Role::Timers => {
            let horizon = config.retention.challenge + policy.challenge_life;
            let look_back = LookBack { horizon, transaction_max: policy.transaction_max };
            let sweeping = timers::run(store.clone(), broker.clone(), look_back, stop.clone());
            tasks.spawn(sweeping);
        }
        Role::Janitor => {
            tasks.spawn(janitor::run(store.clone(), config.retention, stop.clone()));
        }
    }
    Ok(())
}

struct Runner<'a> {
    shared: Shared,
    config: &'a Config,
    stop: &'a CancellationToken,
    tasks: &'a mut JoinSet<()>,
    /// What the process consumes from.
    queues: &'a mut Vec<&'static str>,
}

impl Runner<'_> {
    fn settings(&mut self, queue: &'static str) -> EngineSettings {
        self.queues.push(queue);
        EngineSettings { queue, batch_max: self.config.batch_max }
    }

    fn worker<W: TransactionWorker>(&mut self, worker: Arc<W>, queue: &'static str) {
        let (settings, shared, stop) =
            (self.settings(queue), self.shared.clone(), self.stop.clone());
        self.tasks.spawn(runtime::run_transactions(worker, shared, settings, stop));
    }

    fn provider_worker<W: ProviderWorker>(&mut self, worker: W, queue: &'static str) {
        let limits = CallLimits {
            calls_max: self.config.send_concurrency,
            claim_fresh: self.config.policy.lease_margin,
        };
        let (settings, shared, stop) =
            (self.settings(queue), self.shared.clone(), self.stop.clone());
        let worker = Arc::new(worker);
        self.tasks.spawn(runtime::run_provider(worker, shared, settings, limits, stop));
    }
}

fn sms_gateway(config: &Config) -> Result<SmsWebhook, String> {
    let timeout = config.policy.provider_timeout;
    SmsWebhook::new(SmsWebhookSettings {
        url: config.sms_url.clone(),
        secret: config.sms_secret.clone(),
        ca_file: config.ca_file.clone(),
        timeout,
        connect_timeout: SmsWebhook::DEFAULT_CONNECT_TIMEOUT.min(timeout),
    })
    .map_err(|error| format!("the settings of the SMS webhook: {error}"))
}

fn mail_gateway(config: &Config) -> Result<Smtp, String> {
    Smtp::new(SmtpSettings {
        url: config.smtp_url.clone(),
        from: config.mail_from.clone(),
        ehlo_name: config.mail_ehlo_name.clone(),
        ca_file: config.ca_file.clone(),
        timeout: config.policy.provider_timeout,
    })
    .map_err(|error| format!("the settings of the mail server: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_runs_every_role_prometheus_asks_each_and_an_alarm_misses_it() {
        let compose = include_str!("../docker-compose.yml");
        let prometheus = include_str!("../deploy/prometheus.yml");
        let alarms = include_str!("../deploy/alerts.yml");
        let worker = compose.split("\nx-worker:").nth(1).unwrap().split("\n\n").next().unwrap();
        assert!(worker.contains("test: [CMD, /usr/local/bin/stepup, healthcheck]"), "{worker}");
        let missed = |name: &str| format!("absent(stepup_role_running{{name=\"{name}\"}})");
        assert!(alarms.contains(&missed("ingress")));
        for role in Role::ALL {
            let name = role.name();
            assert!(alarms.contains(&missed(&name)), "{name}");
            let service = format!("  {name}: {{ <<: *worker, command: [work, {name}] }}");
            assert!(compose.lines().any(|line| line == service), "{name}");
            assert!(prometheus.lines().any(|line| line.trim() == format!("- {name}")), "{name}");
        }
    }
}

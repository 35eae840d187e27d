//! The roles of a process: each worker and loop, what it needs, and how it is started.

use std::sync::Arc;

use clap::ValueEnum;
use stepup::broker::Broker;
use stepup::config::{Config, Need};
use stepup::domain::keys::Keyring;
use stepup::domain::provider::ProviderAnswer;
use stepup::gateway::Watched;
use stepup::gateway::sms_webhook::{SmsWebhook, SmsWebhookSettings};
use stepup::gateway::smtp::{Smtp, SmtpSettings};
use stepup::observe;
use stepup::rules::RuleInputs;
use stepup::runtime::{
    self, CallLimits, EngineSettings, ProviderWorker, Shared, TransactionWorker, Worker,
};
use stepup::store::{Claim, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::chain::Attesting;
use crate::code_generation::CodeGeneration;
use crate::directory::Directory;
use crate::email_fallback::{EmailFallback, MailServer};
use crate::notice_delivery::NoticeDelivery;
use crate::notification::Notification;
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
    /// Finds out who is notified.
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
    pub(crate) fn name(self) -> String {
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

/// What the roles of a process are started with.
pub(crate) struct Starting<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: &'a Store,
    pub(crate) broker: &'a Broker,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) tasks: &'a mut JoinSet<()>,
    /// What the process consumes from.
    pub(crate) queues: &'a mut Vec<&'static str>,
}

impl Starting<'_> {
    /// Starts a role.
    ///
    /// # Errors
    /// A sentence, when a setting cannot work.
    pub(crate) fn start(&mut self, role: Role) -> Result<(), String> {
        let keys = self.config.keys.clone().ok_or("STEPUP_KEYS is missing")?;
        let rules = RuleInputs {
            keys: Arc::clone(&keys),
            policy: Arc::clone(&self.config.policy),
            texts: Arc::clone(&self.config.texts),
        };
        match role {
            Role::CodeGeneration => {
                let worker = Arc::new(CodeGeneration { rules });
                self.worker(Arc::clone(&worker), &keys, "code_generation.login");
                self.worker(worker, &keys, "code_generation.bulk");
            }
            Role::Verification => {
                self.worker(Arc::new(Verification { rules }), &keys, "verification.login");
            }
            Role::Settings => {
                let worker = crate::settings::SettingsWorker { rules };
                self.worker(Arc::new(worker), &keys, "settings.settings");
            }
            Role::Team => self.worker(Arc::new(Team { rules }), &keys, "team.settings"),
            Role::TeamBatch => {
                let worker = TeamBatch { keys: Arc::clone(&keys) };
                self.worker(Arc::new(worker), &keys, "team_batch.bulk");
            }
            Role::Support => self.worker(Arc::new(Support { rules }), &keys, "support.settings"),
            Role::Directory => {
                let worker = Directory { keys: Arc::clone(&keys) };
                self.worker(Arc::new(worker), &keys, "directory.settings");
                self.worker(Arc::new(Unroutable), &keys, "unroutable.bulk");
            }
            Role::Notification => {
                self.worker(Arc::new(Notification), &keys, "notification.notices");
            }
            Role::SmsDelivery | Role::EmailFallback | Role::NoticeDelivery => {
                self.start_provider_worker(role, &keys, rules)?;
            }
            Role::Audit => {
                self.worker(Arc::new(Audit), &keys, "audit.bulk");
                let config = self.config;
                let (every, file) = (config.checkpoint_every, config.checkpoint_file.clone());
                let attesting = Attesting { keys, every, file };
                self.tasks.spawn(chain::run(self.store.clone(), attesting, self.stop.clone()));
            }
            Role::Timers => {
                let policy = &self.config.policy;
                let horizon = self.config.retention.challenge + policy.challenge_life;
                let look_back = LookBack { horizon, transaction_max: policy.transaction_max };
                let (store, broker) = (self.store.clone(), self.broker.clone());
                self.tasks.spawn(timers::run(store, broker, look_back, self.stop.clone()));
            }
            Role::Janitor => {
                let (store, retention) = (self.store.clone(), self.config.retention);
                self.tasks.spawn(janitor::run(store, retention, self.stop.clone()));
            }
        }
        Ok(())
    }

    fn start_provider_worker(
        &mut self,
        role: Role,
        keys: &Arc<Keyring>,
        rules: RuleInputs,
    ) -> Result<(), String> {
        let policy = &self.config.policy;
        let lease = policy.provider_timeout + policy.lease_margin;
        let claim = Claim { lease, fallback_after: policy.fallback_after };
        match role {
            Role::SmsDelivery => {
                let provider = SmsProvider(Watched::sms(sms_gateway(self.config)?));
                observe::provider_awaited("sms", &ProviderAnswer::LABELS);
                let worker = SmsDelivery { provider, rules, claim };
                self.provider_worker(worker, keys, "sms_delivery.login");
            }
            Role::EmailFallback => {
                let gateway =
                    Watched::mail(mail_gateway(self.config)?, EmailFallback::<Smtp>::NAME);
                observe::provider_awaited("email", &ProviderAnswer::LABELS);
                let worker = EmailFallback { provider: MailServer(gateway), rules, claim };
                self.provider_worker(worker, keys, "email_fallback.login");
            }
            _ => {
                let gateway =
                    Watched::mail(mail_gateway(self.config)?, NoticeDelivery::<Smtp>::NAME);
                observe::provider_awaited("notice", &ProviderAnswer::LABELS);
                let RuleInputs { keys: opening, texts, .. } = rules;
                let worker = NoticeDelivery { gateway, keys: opening, texts, lease };
                self.provider_worker(worker, keys, "notice_delivery.notices");
            }
        }
        Ok(())
    }

    fn worker<W: TransactionWorker>(
        &mut self,
        worker: Arc<W>,
        keys: &Arc<Keyring>,
        queue: &'static str,
    ) {
        let (settings, shared) = (self.settings(queue), self.shared(keys));
        let stop = self.stop.clone();
        self.tasks.spawn(runtime::run_transactions(worker, shared, settings, stop));
    }

    fn provider_worker<W: ProviderWorker>(
        &mut self,
        worker: W,
        keys: &Arc<Keyring>,
        queue: &'static str,
    ) {
        let limits = CallLimits {
            calls_max: self.config.send_concurrency,
            claim_fresh: self.config.policy.lease_margin,
        };
        let (settings, shared) = (self.settings(queue), self.shared(keys));
        let (worker, stop) = (Arc::new(worker), self.stop.clone());
        self.tasks.spawn(runtime::run_provider(worker, shared, settings, limits, stop));
    }

    fn settings(&mut self, queue: &'static str) -> EngineSettings {
        self.queues.push(queue);
        EngineSettings { queue, batch_max: self.config.batch_max }
    }

    fn shared(&self, keys: &Arc<Keyring>) -> Shared {
        Shared {
            store: self.store.clone(),
            broker: self.broker.clone(),
            keys: Arc::clone(keys),
            senders: Arc::new(self.config.senders()),
        }
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

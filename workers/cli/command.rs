//! The commands of `stepup`, as they are typed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::connect::keyring;
use crate::cli::keys::Change;
use crate::cli::output::print;
use crate::cli::{
    audit, config, dead_letters, healthcheck, keys, migrate, numbers, run, schemas, topology,
};
use crate::roles;

/// Self-hosted two-factor authentication as queue-driven workers.
#[derive(Parser)]
#[command(name = "stepup", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the ingress and every worker in this process.
    All,
    /// Run the HTTP ingress.
    Ingress,
    /// Run these workers: code-generation, verification, settings, team, team-batch, support,
    /// directory, sms-delivery, email-fallback, audit, notification, notice-delivery, timers,
    /// janitor.
    Work {
        /// Which.
        #[arg(required = true)]
        roles: Vec<roles::Role>,
    },
    /// Bring the database to this version's state.
    Migrate,
    /// Declare every exchange and queue; with --check only say what deviates.
    Topology {
        /// Change nothing.
        #[arg(long)]
        check: bool,
    },
    /// Ask the process with this environment whether it is ready; the exit code is 0 or 1.
    Healthcheck,
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Keys and API keys.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Dead letters.
    DeadLetters {
        #[command(subcommand)]
        command: dead_letters::DeadLetters,
    },
    /// Check the numbers that are stored.
    Numbers {
        #[command(subcommand)]
        command: numbers::Numbers,
    },
    /// Show whether the Activity report is still what was written.
    Audit {
        #[command(subcommand)]
        command: audit::Audit,
    },
    /// Print the JSON Schemas of all messages; with --http the OpenAPI document of the ingress.
    Schemas {
        /// The OpenAPI document, as the ingress serves it at /openapi.json.
        #[arg(long)]
        http: bool,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Report every error, or print the effective settings.
    Check {
        /// Report what `stepup all` would lack, too.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Write a new key file, or with --rotate or --add a new set into an existing one.
    Create {
        /// The file.
        file: PathBuf,
        /// Add a set, make it active and keep the old ones: for when every process stops meanwhile.
        #[arg(long)]
        rotate: bool,
        /// Add a set that only opens, to be activated when every process has it.
        #[arg(long, conflicts_with = "rotate")]
        add: bool,
    },
    /// Make a set of a key file the active one.
    Activate {
        /// The file.
        file: PathBuf,
        /// The id of the set, as `list` shows it.
        kid: String,
    },
    /// Print the public key that apps seal to.
    Public,
    /// Print the keys that approvals of changed settings are verified with, as a JWK set.
    Approval,
    /// List the key ids.
    List,
    /// Make an API key for an app, and print its entry for STEPUP_APPS.
    App {
        /// The app's name.
        name: String,
        /// Its login at the broker, if it is another.
        #[arg(long)]
        broker_user: Option<String>,
    },
}

impl Cli {
    /// Carries the command out.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn run(self) -> Result<ExitCode, String> {
        match self.command {
            Command::Audit { command } => return audit::run(command).await,
            Command::Numbers { command } => return numbers::run(command).await,
            Command::All => run::run(roles::Role::ALL, true).await,
            Command::Ingress => run::run(&[], true).await,
            Command::Work { roles } => run::run(&roles, false).await,
            Command::Migrate => migrate::migrate().await,
            Command::Topology { check } => topology::topology(check).await,
            Command::Healthcheck => said(&healthcheck::run()?),
            Command::Config { command: ConfigCommand::Check { all } } => {
                let needs = if all { roles::needs(roles::Role::ALL, true) } else { Vec::new() };
                config::check(&needs)
            }
            Command::Keys { command } => said(&match command {
                KeysCommand::Create { file, rotate: true, .. } => {
                    keys::change(&file, Change::Rotate)?
                }
                KeysCommand::Create { file, add: true, .. } => keys::change(&file, Change::Add)?,
                KeysCommand::Create { file, .. } => keys::create(&file)?,
                KeysCommand::Activate { file, kid } => keys::change(&file, Change::Activate(&kid))?,
                KeysCommand::Public => keys::public(keyring()?.as_ref()),
                KeysCommand::Approval => keys::approval(keyring()?.as_ref()),
                KeysCommand::List => keys::list(keyring()?.as_ref()),
                KeysCommand::App { name, broker_user } => keys::app(&name, broker_user.as_deref())?,
            }),
            Command::DeadLetters { command } => dead_letters::run(command).await,
            Command::Schemas { http } => said(&schemas::schemas(http)),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

fn said(answer: &str) -> Result<(), String> {
    print(answer);
    Ok(())
}

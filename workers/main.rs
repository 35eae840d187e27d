//! `stepup`: every role and every operator command of the product. Wiring only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stepup::config;
use stepup_workers::keys::Change;
use stepup_workers::output::{complain, print};
use stepup_workers::{audit_command, healthcheck, keys, numbers, operate, roles};

/// Self-hosted two-factor authentication as queue-driven workers.
#[derive(Parser)]
#[command(name = "stepup", version, about)]
struct Cli {
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
        command: operate::DeadLetters,
    },
    /// Check the numbers that are stored.
    Numbers {
        #[command(subcommand)]
        command: numbers::Numbers,
    },
    /// Show whether the Activity report is still what was written.
    Audit {
        #[command(subcommand)]
        command: audit_command::Audit,
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

fn main() -> ExitCode {
    // Before there is any thread: their stacks are sized once.
    if let Err(why) = config::ensure_deep_stacks() {
        return failed(&why);
    }
    // Fails only when a provider was installed before, and nothing has.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(run(Cli::parse().command)) {
        Ok(code) => code,
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    complain(&format!("stepup: {why}"));
    ExitCode::FAILURE
}

async fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Audit { command } => return audit_command::run(command).await,
        Command::Numbers { command } => return numbers::run(command).await,
        Command::All => roles::run(roles::Role::ALL, true).await,
        Command::Ingress => roles::run(&[], true).await,
        Command::Work { roles } => roles::run(&roles, false).await,
        Command::Migrate => operate::migrate().await,
        Command::Topology { check } => operate::topology(check).await,
        Command::Healthcheck => said(&healthcheck::run()?),
        Command::Config { command: ConfigCommand::Check { all } } => {
            let needs = if all { roles::needs(roles::Role::ALL, true) } else { Vec::new() };
            operate::check_config(&needs)
        }
        Command::Keys { command } => said(&match command {
            KeysCommand::Create { file, rotate: true, .. } => keys::change(&file, Change::Rotate)?,
            KeysCommand::Create { file, add: true, .. } => keys::change(&file, Change::Add)?,
            KeysCommand::Create { file, .. } => keys::create(&file)?,
            KeysCommand::Activate { file, kid } => keys::change(&file, Change::Activate(&kid))?,
            KeysCommand::Public => keys::public(operate::keyring()?.as_ref()),
            KeysCommand::Approval => keys::approval(operate::keyring()?.as_ref()),
            KeysCommand::List => keys::list(operate::keyring()?.as_ref()),
            KeysCommand::App { name, broker_user } => keys::app(&name, broker_user.as_deref())?,
        }),
        Command::DeadLetters { command } => operate::dead_letters(command).await,
        Command::Schemas { http } => said(&operate::schemas(http)),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn said(answer: &str) -> Result<(), String> {
    print(answer);
    Ok(())
}

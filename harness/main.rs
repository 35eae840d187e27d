//! `stepup-harness`: the commands that try and measure a stepup.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stepup_harness::{demo, load, sim};
use stepup_workers::cli::output::{complain, print};
use stepup_workers::cli::{healthcheck, run as process};

/// Tries and measures stepup. Not part of a production system.
#[derive(Parser)]
#[command(name = "stepup-harness", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a simulated carrier and mail server, for the demo and for tests.
    Sim,
    /// Ask the simulator with this environment whether it runs; the exit code is 0 or 1.
    Healthcheck,
    /// Show two logins against a running system.
    Demo,
    /// Drive logins against a running system and measure; its SMS must go to `stepup-harness sim`.
    Load(Box<load::LoadOptions>),
}

fn main() -> ExitCode {
    // Fails only when a provider was installed before, and nothing has.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(run(Cli::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    complain(&format!("stepup-harness: {why}"));
    ExitCode::FAILURE
}

async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Sim => {
            let stop = process::stop_signal().map_err(|error| error.to_string())?;
            sim::run(sim::Settings::from_env()?, stop).await
        }
        Command::Healthcheck => {
            print(&healthcheck::ask(sim::Settings::from_env()?.http_addr, "/livez")?);
            Ok(())
        }
        Command::Demo => demo::run().await,
        Command::Load(order) => load::run(*order).await,
    }
}

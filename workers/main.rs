//! `stepup`: every role and every operator command of the product.

use std::process::ExitCode;

use clap::Parser;
use stepup::config;
use stepup_workers::cli::command::Cli;
use stepup_workers::cli::output::complain;

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
    runtime.block_on(Cli::parse().run()).unwrap_or_else(|why| failed(&why))
}

fn failed(why: &str) -> ExitCode {
    complain(&format!("stepup: {why}"));
    ExitCode::FAILURE
}

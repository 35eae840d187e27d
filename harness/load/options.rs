//! The options of a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How logins get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// Published to the broker.
    Amqp,
    /// Through the ingress.
    Http,
}

/// What to drive, and where.
#[derive(Args)]
pub struct LoadOptions {
    /// How logins get in.
    #[arg(long, value_enum, default_value = "amqp")]
    pub(super) over: Over,
    /// Logins a second; without it, flat out.
    #[arg(long)]
    pub(super) rate: Option<f64>,
    /// How long logins are begun.
    #[arg(long, default_value_t = 30.0)]
    pub(super) seconds: f64,
    /// Before that, logins that are not measured.
    #[arg(long, default_value_t = 2.0)]
    pub(super) warm_up_seconds: f64,
    /// Logins under way at a time, flat out.
    #[arg(long, default_value_t = 256)]
    pub(super) in_flight: usize,
    /// Share of logins with a wrong guess first.
    #[arg(long, default_value_t = 0.02)]
    pub(super) wrong_share: f64,
    /// Share of logins left to the email, which the run then waits for.
    #[arg(long, default_value_t = 0.005)]
    pub(super) fallback_share: f64,
    /// Members to log in; without it, as many as the limits ask for.
    #[arg(long)]
    pub(super) members: Option<usize>,
    /// Log in members that an earlier `--fill` has put, in no order: those from this account's number
    /// on. Without it, new ones are registered.
    #[arg(long, requires = "members")]
    pub(super) from_account: Option<usize>,
    /// Log nobody in: put this many members, wait for no outcome, and end.
    #[arg(long)]
    pub(super) fill: Option<usize>,
    /// How long each of the three bare paths is measured; 0 leaves them out.
    #[arg(long, default_value_t = 4.0)]
    pub(super) bare_seconds: f64,
    /// The simulator; without it, the one STEPUP_SMS_URL points to.
    #[arg(long)]
    pub(super) sim: Option<String>,
    /// The ingress; without it, STEPUP_HTTP_ADDR.
    #[arg(long)]
    pub(super) url: Option<String>,
    /// The app to speak for; without it, the first of STEPUP_APPS.
    #[arg(long)]
    pub(super) app: Option<String>,
    /// A file with that app's API key, for `--over http`.
    #[arg(long)]
    pub(super) api_key_file: Option<PathBuf>,
    /// A metrics page of ours, as role=http://host:port/metrics. Give every process.
    #[arg(long)]
    pub(super) metrics: Vec<String>,
    /// A server on this machine, as name=process id; its children count with it.
    #[arg(long)]
    pub(super) process: Vec<String>,
    /// Write all figures into this file, as one JSON object.
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
}

impl LoadOptions {
    pub(super) fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| {
            let fits = (0.0..=1.0).contains(&value);
            if fits { Ok(()) } else { Err(format!("{name} must be a share from 0 to 1")) }
        };
        share("--wrong-share", self.wrong_share)?;
        share("--fallback-share", self.fallback_share)?;
        let seconds = [self.seconds, self.warm_up_seconds, self.bare_seconds];
        if seconds.iter().any(|seconds| !(0.0..=86_400.0).contains(seconds)) || self.seconds < 1.0 {
            return Err("--seconds must be from 1 to 86400, the others from 0".to_owned());
        }
        if self.rate.is_some_and(|rate| !(0.01..=1_000_000.0).contains(&rate)) {
            return Err("--rate must be from 0.01 to 1000000 logins a second".to_owned());
        }
        if !(1..=10_000).contains(&self.in_flight) {
            return Err("--in-flight must be from 1 to 10000".to_owned());
        }
        Ok(())
    }
}

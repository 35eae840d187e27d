//! One run, from the configuration to the report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::door::{Door, Until};
use super::drive::{Drive, now};
use super::feed::{Feed, Stream};
use super::figures::Figures;
use super::members::{ACCOUNT_PREFIX, Members};
use super::options::{LoadOptions, Over};
use super::report::{Run, table};
use super::say::{fault, say};
use super::site::Site;
use crate::bare::database;
use stepup_workers::cli::output::print;

/// Flat out, members for so many logins a second are registered, unless the options say otherwise.
const FLAT_OUT_RATE: f64 = 3000.0;
/// A backend tells the statistics of its commits up to a second late.
const STATISTICS: Duration = Duration::from_millis(1500);

pub(super) async fn run(options: &LoadOptions) -> Result<(), String> {
    let site = Site::open(options)?;
    let mut stream = Stream::open(&site.sim).await?;
    let first_account = fault(database::accounts(&site.store, ACCOUNT_PREFIX).await)?;
    let first_account = usize::try_from(first_account).unwrap_or(0);
    let amqp = Arc::new(site.amqp()?);
    site.probe(&amqp, first_account, &mut stream).await?;
    let bare = site.bare(options.bare_seconds).await?;

    let plan = site.plan(options);
    let members = registered(options, plan.in_flight, first_account, &amqp).await?;

    let feed = Arc::new(Feed::new(Arc::clone(&members)));
    let reading = tokio::spawn({
        let feed = Arc::clone(&feed);
        async move { feed.read(stream).await }
    });
    let door = match options.over {
        Over::Amqp => amqp,
        Over::Http => Arc::new(site.http(options)?),
    };
    tokio::time::sleep(STATISTICS).await;
    let commits = fault(database::commits(&site.store).await)?;
    let since = fault(database::now(&site.store).await)?;
    let before = site.scrape.look().await?;
    let figures = Arc::new(Figures::default());
    let epoch = (Instant::now(), now());
    let drive = Arc::new(Drive {
        plan,
        door,
        members: Arc::clone(&members),
        feed: Arc::clone(&feed),
        figures: Arc::clone(&figures),
        epoch,
    });
    let work = site.drive(&drive, since);
    let seconds = tokio::select! {
        seconds = work => seconds?,
        never = watch(&drive) => match never {},
        ended = reading => return Err(match ended {
            Ok(Err(why)) => why,
            Ok(Ok(())) | Err(_) => "the simulator's stream is gone".to_owned(),
        }),
    };
    tokio::time::sleep(STATISTICS).await;
    let after = site.scrape.look().await?;
    let commits = fault(database::commits(&site.store).await)? - commits;
    let trail = fault(database::verified(&site.store, &members.accounts(), since).await)?;
    let report = Run {
        over: match options.over {
            Over::Amqp => "amqp",
            Over::Http => "http",
        },
        rate: options.rate,
        seconds,
        bare,
        figures: &figures,
        looks: (before, after),
        own_messages: own_messages(options.over, &figures),
        counted: site.scrape.sees_pages(),
        commits,
        trail,
        unexpected: feed.unexpected(),
        fallback_late: site.fallback_late(&figures).await?,
    }
    .json();
    site.broker.close().await;
    written(options, &report)
}

/// The members to log in.
async fn registered(
    options: &LoadOptions,
    in_flight: usize,
    first_account: usize,
    amqp: &Arc<Door>,
) -> Result<Arc<Members>, String> {
    let seconds = options.seconds + options.warm_up_seconds;
    let usual = Members::needed(options.rate.unwrap_or(FLAT_OUT_RATE) * seconds) + 4 * in_flight;
    let count = options.members.unwrap_or(usual);
    if let Some(filled) = options.from_account {
        return Ok(Arc::new(Members::new(filled, count).shuffled()));
    }
    // The probe has used the first account.
    let members = Arc::new(Members::new(first_account + 1, count));
    register(&members, amqp, Until::Stored).await?;
    Ok(members)
}

/// Prints the report; an error where anything was lost or doubled.
fn written(options: &LoadOptions, report: &Value) -> Result<(), String> {
    if let Some(file) = &options.json {
        let written = std::fs::write(file, format!("{report:#}\n"));
        written.map_err(|error| format!("--json {}: {error}", file.display()))?;
    }
    print(&table(report));
    let count = |name: &str| report.get(name).and_then(Value::as_i64).unwrap_or(0);
    match (count("lost"), count("doubled")) {
        (0, 0) => Ok(()),
        (lost, doubled) => Err(format!("{lost} lost, {doubled} doubled")),
    }
}

/// Puts members without waiting for what becomes of it: a backlog for `directory`.
pub(super) async fn fill(options: &LoadOptions, count: usize) -> Result<(), String> {
    let site = Site::open(options)?;
    let first_account = fault(database::accounts(&site.store, ACCOUNT_PREFIX).await)?;
    let members = Members::new(usize::try_from(first_account).unwrap_or(0), count);
    say(&format!("a later run finds them by --from-account {first_account} --members {count}"));
    register(&Arc::new(members), &Arc::new(site.amqp()?), Until::Confirmed).await?;
    site.broker.close().await;
    Ok(())
}

async fn register(members: &Arc<Members>, door: &Arc<Door>, until: Until) -> Result<(), String> {
    let (began, count) = (Instant::now(), members.count());
    let what = match until {
        Until::Confirmed => "handing over",
        Until::Stored => "registering",
    };
    say(&format!("{what} {count} members"));
    members.register(door, until).await?;
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("done in {seconds:.1} s, {:.0} a second", count as f64 / seconds));
    Ok(())
}

/// Requests that we have published ourselves. Over HTTP the ingress counts them.
fn own_messages(over: Over, figures: &Figures) -> f64 {
    match over {
        Over::Http => 0.0,
        Over::Amqp => {
            let guesses = figures.verified.get() + figures.not_verified.get() + figures.wrong.get();
            (figures.begun.get() + guesses) as f64
        }
    }
}

/// Says every second how it goes. Memory is looked at before and after only: to count the pages of
/// the servers takes 50 ms of a core and stops whoever maps new ones meanwhile, which once a second
/// would be most of the 99th percentile.
async fn watch(drive: &Drive) -> std::convert::Infallible {
    let figures = &drive.figures;
    let (mut seen, mut verified, mut looked) = (0, 0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let took = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        let (samples, sms) = figures.request_to_sms.since(seen);
        let done = figures.verified.get();
        say(&format!(
            "{:>4.0} s  {:>7.1} logins/s  {:>8} begun  {:>6} under way  SMS p50 {:.1} p99 {:.1} ms",
            drive.epoch.0.elapsed().as_secs_f64(),
            (done - verified) as f64 / took,
            figures.begun.get(),
            figures.begun.get() - done,
            sms.p50,
            sms.p99,
        ));
        (seen, verified) = (samples, done);
    }
}

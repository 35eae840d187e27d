//! Every metric and the log lines that go with them. Labels come from closed sets; nothing here
//! takes a code, a number, an address, an id or a body.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::fault::{Dependency, Fault};

/// From a local round trip to a provider that hangs.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What alarms count of a worker's outcomes. These series begin at zero, so that the first message is an
/// increase, and none is missing where an alarm compares two of them.
const ALARMED: [(&str, &[&str]); 5] = [
    ("code_generation", &["issued"]),
    ("verification", &["verified", "wrong_code"]),
    ("sms_delivery", &["failed"]),
    ("email_fallback", &["failed"]),
    ("notice_delivery", &["failed"]),
];

/// The outcome of a message that waits for another session of the database. An alarm counts it for every
/// worker.
const HELD: &str = "held";

/// Installs the recorder and names every metric. Once per process.
///
/// # Errors
/// When a recorder was installed before.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    describe_counter!("stepup_messages_total", "Messages handled, by what became of them");
    describe_histogram!("stepup_pass_seconds", Unit::Seconds, "One pass, from batch to ack");
    describe_counter!("stepup_batch_messages_total", "Messages taken into passes");
    describe_counter!("stepup_published_total", "Messages the broker has confirmed; replies: sent");
    describe_histogram!(
        "stepup_message_age_seconds",
        Unit::Seconds,
        "From publishing (to the second) to the end of the pass"
    );
    describe_counter!("stepup_dead_letters_total", "Messages dead-lettered, by reason");
    describe_counter!("stepup_sessions_ended_total", "Broken connections to a dependency");
    describe_gauge!("stepup_role_running", "1 for each role of this process, once it has started");
    describe_gauge!("stepup_paused", "1 while a worker waits for a dependency");
    describe_gauge!("stepup_mail_refused", "1 while the mail server refuses our sessions");
    describe_gauge!("stepup_loop_failing", "1 while the last turn of a loop has failed");
    describe_gauge!("stepup_in_flight", "Provider calls under way");
    describe_histogram!("stepup_provider_seconds", Unit::Seconds, "Provider calls, by answer");
    describe_counter!("stepup_timers_published_total", "Due rows turned into commands");
    describe_histogram!("stepup_timer_late_seconds", Unit::Seconds, "How late a due row was seen");
    describe_counter!("stepup_declared_again_total", "Queues and exchanges that had gone missing");
    counter!("stepup_declared_again_total").absolute(0);
    describe_counter!("stepup_brought_back_total", "Messages published again to an emptied broker");
    describe_counter!("stepup_rows_deleted_total", "Rows past their retention");
    describe_counter!(
        "stepup_activity_chained_total",
        "Rows of the Activity report that the chain has taken up"
    );
    describe_counter!("stepup_checkpoints_total", "Checkpoints of the chain that were signed");
    describe_counter!("stepup_http_requests_total", "Requests to the ingress, by route and status");
    describe_histogram!("stepup_http_seconds", Unit::Seconds, "Requests to the ingress");
    describe_gauge!("stepup_http_connections", "Connections to the ingress");
    describe_counter!(
        "stepup_http_evicted_total",
        "Connections without a request that were closed to make room for new ones"
    );
    describe_gauge!("stepup_build_info", "1, with the version");
    gauge!("stepup_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// The metrics page: what was recorded, and what the system says of this process.
pub fn page(recorded: &PrometheusHandle) -> String {
    recorded.render() + &process(&ProcessFigures::read())
}

/// What Linux says of this process. Nothing where there is no `/proc`.
#[derive(Debug, Default, PartialEq)]
struct ProcessFigures {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    resident_peak_bytes: Option<u64>,
}

impl ProcessFigures {
    fn read() -> Self {
        let file = |name| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self::parse(&file("stat"), &file("status"))
    }

    fn parse(stat: &str, status: &str) -> Self {
        /// The unit of times in `/proc`, USER_HZ, is a hundredth of a second on every platform we
        /// build for, whatever the kernel's own tick is (proc(5)).
        const TICKS_PER_SECOND: f64 = 100.0;
        // The second field is the program's name and may hold anything; what follows its closing
        // bracket begins with the third. 14 and 15 are the time in user and kernel mode.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Vec<u64> = after_name
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect();
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        Self {
            cpu_seconds: (ticks.len() == 2)
                .then(|| ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND),
            resident_bytes: kibibytes("VmRSS:").map(|kib| kib * 1024),
            resident_peak_bytes: kibibytes("VmHWM:").map(|kib| kib * 1024),
        }
    }
}

/// The standard names of Prometheus clients; the peak has none, and gets one like them.
fn process(figures: &ProcessFigures) -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    };
    let seconds = figures.cpu_seconds.map(|seconds| seconds.to_string());
    add("process_cpu_seconds_total", "counter", "CPU time of all threads, in seconds", seconds);
    let bytes = figures.resident_bytes.map(|bytes| bytes.to_string());
    add("process_resident_memory_bytes", "gauge", "Memory in RAM", bytes);
    let peak = figures.resident_peak_bytes.map(|bytes| bytes.to_string());
    add("process_resident_memory_peak_bytes", "gauge", "Most memory ever in RAM", peak);
    text
}

/// Messages that the broker has taken; `kind` is where they went.
pub fn published(kind: &'static str, messages: usize) {
    if messages > 0 {
        counter!("stepup_published_total", "kind" => kind).increment(messages as u64);
    }
}

/// A role of this process has started.
pub fn role_started(role: &str) {
    gauge!("stepup_role_running", "name" => role.to_owned()).set(1.0);
}

/// A worker has started: its series begin at zero, so that a dashboard shows no hole.
pub fn worker_started(worker: &'static str, dead_reasons: &[&'static str]) {
    for reason in dead_reasons {
        counter!("stepup_dead_letters_total", "worker" => worker, "reason" => *reason).absolute(0);
    }
    for dependency in Dependency::ALL {
        set_paused(worker, dependency, false);
    }
    let alarmed = ALARMED.iter().filter(|(name, _)| *name == worker).flat_map(|(_, all)| *all);
    for outcome in alarmed.chain([&HELD]) {
        counter!("stepup_messages_total", "worker" => worker, "outcome" => *outcome).absolute(0);
    }
    let _ = histogram!("stepup_message_age_seconds", "worker" => worker);
}

/// A worker that calls a provider has started: the series of each answer begins at zero.
pub fn provider_awaited(channel: &'static str, answers: &[&'static str]) {
    for answer in answers {
        let _ = histogram!("stepup_provider_seconds", "channel" => channel, "answer" => *answer);
    }
}

/// One message was handled.
pub fn handled(worker: &'static str, outcome: &'static str, age: Option<Duration>) {
    counter!("stepup_messages_total", "worker" => worker, "outcome" => outcome).increment(1);
    if let Some(age) = age {
        histogram!("stepup_message_age_seconds", "worker" => worker).record(age);
    }
}

/// A batch is over.
pub fn batch(worker: &'static str, messages: usize, took: Duration) {
    histogram!("stepup_pass_seconds", "worker" => worker).record(took);
    counter!("stepup_batch_messages_total", "worker" => worker).increment(messages as u64);
}

/// A message was dead-lettered.
pub fn dead_letter(worker: &'static str, reason: &'static str, message: &str, detail: &str) {
    counter!("stepup_dead_letters_total", "worker" => worker, "reason" => reason).increment(1);
    tracing::warn!(worker, reason, message, detail, "dead letter");
}

/// A message failed and is tried again after a retry delay.
pub fn retried(worker: &'static str, attempt: u32, fault: &Fault) {
    counter!("stepup_messages_total", "worker" => worker, "outcome" => "retry").increment(1);
    tracing::warn!(worker, attempt, %fault, "failed, to be tried again");
}

/// A message waits for what another session of the database holds.
pub fn held(worker: &'static str, waited: Duration, fault: &Fault) {
    counter!("stepup_messages_total", "worker" => worker, "outcome" => HELD).increment(1);
    let waited_seconds = waited.as_secs();
    tracing::warn!(worker, waited_seconds, %fault, "comes again later, no attempt is counted");
}

/// Claims grew old before their calls were made: the process stood still, or the machine is too busy.
pub fn claims_given_back(worker: &'static str, claims: usize) {
    tracing::warn!(worker, claims, "claims grew old before their calls, and are made anew");
}

/// A migration waits for a lock, or for another one.
pub fn migration_waits(why: &str) {
    tracing::warn!(why, "the migration waits, and lets others pass meanwhile");
}

/// A batch failed and is walked one by one.
pub fn isolated(worker: &'static str, messages: usize, fault: &Fault) {
    tracing::info!(worker, messages, %fault, "batch failed, its messages are handled one by one");
}

/// A worker waits for a dependency.
pub fn paused(worker: &'static str, dependency: Dependency, why: &str) {
    set_paused(worker, dependency, true);
    tracing::warn!(worker, dependency = dependency.label(), why, "paused");
}

/// A worker goes on.
pub fn resumed(worker: &'static str, dependency: Dependency) {
    set_paused(worker, dependency, false);
    tracing::info!(worker, dependency = dependency.label(), "resumed");
}

fn set_paused(worker: &'static str, dependency: Dependency, paused: bool) {
    let label = dependency.label();
    gauge!("stepup_paused", "worker" => worker, "dependency" => label).set(f64::from(paused));
}

/// A provider was called.
pub fn provider_called(channel: &'static str, answer: &'static str, took: Duration) {
    histogram!("stepup_provider_seconds", "channel" => channel, "answer" => answer).record(took);
}

/// The mail server refuses this worker's sessions, or no longer does.
pub fn mail_refused(worker: &'static str, code: Option<&str>) {
    set_mail_refused(worker, code.is_some());
    match code {
        Some(code) => tracing::error!(
            worker,
            code,
            "the mail server refuses us: mails wait, check STEPUP_SMTP_URL, STEPUP_MAIL_FROM and \
             STEPUP_MAIL_EHLO_NAME"
        ),
        None => tracing::info!(worker, "the mail server takes mail again"),
    }
}

/// Whether the mail server refuses this worker's sessions.
pub fn set_mail_refused(worker: &'static str, refused: bool) {
    gauge!("stepup_mail_refused", "worker" => worker).set(f64::from(refused));
}

/// How many provider calls are under way.
pub fn in_flight(worker: &'static str, calls: usize) {
    gauge!("stepup_in_flight", "worker" => worker).set(calls as f64);
}

/// The timers run: what they count begins at zero, so that the first of it is an increase, and that
/// an alarm sees where no timers run at all.
pub fn timers_started(timers: &[&'static str]) {
    for timer in timers {
        counter!("stepup_timers_published_total", "timer" => *timer).absolute(0);
        let _ = histogram!("stepup_timer_late_seconds", "timer" => *timer);
    }
    counter!("stepup_brought_back_total").absolute(0);
}

/// Due rows were turned into commands.
pub fn timers_published(timer: &'static str, rows: usize, latest: Duration) {
    counter!("stepup_timers_published_total", "timer" => timer).increment(rows as u64);
    histogram!("stepup_timer_late_seconds", "timer" => timer).record(latest);
}

/// A loop could not do its turn; it tries again.
pub fn loop_failed(name: &'static str, fault: &Fault) {
    gauge!("stepup_loop_failing", "name" => name).set(1.0);
    tracing::warn!(name, %fault, "turn failed");
}

/// A loop has done its turn.
pub fn loop_done(name: &'static str) {
    gauge!("stepup_loop_failing", "name" => name).set(0.0);
}

/// The broker was found empty, and what was pending has been published again.
pub fn brought_back(messages: usize) {
    counter!("stepup_brought_back_total").increment(messages as u64);
    if messages > 0 {
        tracing::warn!(
            messages,
            "the broker is new or was emptied: what is pending is published again"
        );
    }
}

/// A queue or an exchange had gone missing while we run, and was declared again.
pub fn declared_again(item: &str) {
    counter!("stepup_declared_again_total").increment(1);
    tracing::warn!(item, "had gone missing, is declared again");
}

/// Rows past their retention were deleted.
pub fn rows_deleted(table: &'static str, rows: u64) {
    counter!("stepup_rows_deleted_total", "table" => table).increment(rows);
}

/// The chain has taken up rows of the Activity report.
pub fn activity_chained(rows: usize) {
    counter!("stepup_activity_chained_total").increment(rows as u64);
}

/// Checkpoints were signed.
pub fn checkpoints_signed(checkpoints: usize) {
    counter!("stepup_checkpoints_total").increment(checkpoints as u64);
}

/// A session with the broker ended.
pub fn session_ended(name: &str, fault: &Fault) {
    counter!("stepup_sessions_ended_total", "session" => name.to_owned()).increment(1);
    tracing::warn!(session = name, %fault, "session ended");
}

/// The ingress has started: its answers that are faults begin at zero.
pub fn http_started(routes: impl Iterator<Item = &'static str>) {
    for route in routes {
        for status in ["500", "503"] {
            counter!("stepup_http_requests_total", "route" => route, "status" => status)
                .absolute(0);
        }
    }
    counter!("stepup_http_evicted_total").absolute(0);
}

/// A request to the ingress was answered.
pub fn http_answered(route: &'static str, status: u16, took: Duration) {
    let status = status.to_string();
    counter!("stepup_http_requests_total", "route" => route, "status" => status).increment(1);
    histogram!("stepup_http_seconds", "route" => route).record(took);
}

/// A request to the ingress met a fault: whether it is stored is unknown.
pub fn http_failed(route: &'static str, fault: &Fault) {
    tracing::warn!(route, %fault, "a request was not answered");
}

/// How many connections to the ingress there are.
pub fn http_connections(open: usize) {
    gauge!("stepup_http_connections").set(open as f64);
}

/// The ingress has as many connections as it may, and closed so many idle ones for new ones.
pub fn http_evicted(connections: u64) {
    counter!("stepup_http_evicted_total").increment(connections);
}

/// The ingress could not take a connection; it tries again.
pub fn http_not_accepted(error: &std::io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_document_explains_every_metric() {
        let (code, document) = (include_str!("observe.rs"), include_str!("../docs/operations.md"));
        let names = code.split('"').filter(|text| {
            text.starts_with("stepup_") && text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
        });
        for name in names.filter(|name| *name != "stepup_") {
            let row = format!("| `{name}` |");
            assert!(document.lines().any(|line| line.starts_with(&row)), "not explained: {name}");
        }
    }

    #[test]
    fn every_alarm_is_explained_and_asks_for_metrics_that_there_are() {
        let (rules, code) = (include_str!("../deploy/alerts.yml"), include_str!("observe.rs"));
        let document = include_str!("../docs/operations.md");
        let alarms: Vec<&str> =
            rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
        let explained: Vec<&str> =
            document.lines().filter_map(|line| line.strip_prefix("| `Stepup")).collect();
        assert_eq!(explained.len(), alarms.len());
        for alarm in alarms {
            let row = format!("| `{alarm}` |");
            assert!(document.lines().any(|line| line.starts_with(&row)), "not explained: {alarm}");
        }
        let words = rules.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        for word in words.filter(|word| word.starts_with("stepup_")) {
            let name = word.trim_end_matches("_count").trim_end_matches("_bucket");
            assert!(code.contains(&format!("\"{name}\"")), "no such metric: {name}");
        }
    }

    #[test]
    fn every_alarm_is_shown_to_come_and_to_stay_away() {
        let (rules, tests) =
            (include_str!("../deploy/alerts.yml"), include_str!("../deploy/alerts_test.yml"));
        let checks: Vec<&str> = tests.split("eval_time: ").skip(1).collect();
        for alarm in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            let name = |check: &&&str| {
                let (_, rest) = check.split_once("alertname: ").unwrap();
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                &rest[..end] == alarm
            };
            let (comes, stays_away): (Vec<&str>, Vec<&str>) =
                checks.iter().filter(name).partition(|check| check.contains("exp_alerts:"));
            assert!(!comes.is_empty(), "deploy/alerts_test.yml does not show that {alarm} comes");
            assert!(
                !stays_away.is_empty(),
                "deploy/alerts_test.yml does not show that {alarm} stays away"
            );
        }
    }

    #[test]
    fn outcomes_that_alarms_count_begin_at_zero() {
        let rules = include_str!("../deploy/alerts.yml").replace("\n          ", "");
        let selectors = rules.split("stepup_messages_total{").skip(1);
        let value = |selector: &str, label: &str| {
            let (_, rest) = selector.split_once(label).unwrap();
            rest.split('"').nth(1).unwrap().to_owned()
        };
        for selector in selectors.map(|rest| rest.split('}').next().unwrap()) {
            let outcome = value(selector, "outcome=");
            if !selector.contains("worker=") {
                assert_eq!(outcome, HELD, "{outcome} does not begin at zero for every worker");
                continue;
            }
            for worker in value(selector, "worker=").split('|') {
                let counted = ALARMED.iter().any(|(name, outcomes)| {
                    *name == worker && outcomes.contains(&outcome.as_str())
                });
                assert!(counted, "{worker} {outcome} is not in ALARMED");
            }
        }
    }

    #[test]
    fn the_figures_of_a_process_are_read_past_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 10 0 0 0 150 25 9 9 20 0 4 0 99 1 1";
        let status = "Name:\ta\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n";
        let figures = ProcessFigures::parse(stat, status);
        assert_eq!(figures.cpu_seconds, Some(1.75));
        assert_eq!(figures.resident_bytes, Some(1 << 20));
        assert_eq!(figures.resident_peak_bytes, Some(2 << 20));
        let page = process(&figures);
        assert!(page.contains("\nprocess_cpu_seconds_total 1.75\n"), "{page}");
        assert!(page.contains("\nprocess_resident_memory_peak_bytes 2097152\n"), "{page}");
        assert_eq!(process(&ProcessFigures::parse("", "")), "");
    }
}

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

/// Installs the recorder and names every metric. Once per process.
///
/// # Errors
/// When a recorder was installed before.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    describe_counter!("stepup_messages_total", "Messages handled, by what became of them");
    describe_histogram!("stepup_pass_seconds", Unit::Seconds, "One pass, from batch to ack");
    describe_counter!("stepup_batch_messages_total", "Messages taken into passes");
    describe_histogram!(
        "stepup_message_age_seconds",
        Unit::Seconds,
        "From publishing (to the second) to the end of the pass"
    );
    describe_counter!("stepup_dead_letters_total", "Messages set aside, by reason");
    describe_counter!("stepup_sessions_ended_total", "Broken connections to a dependency");
    describe_gauge!("stepup_paused", "1 while a worker waits for a dependency");
    describe_gauge!("stepup_in_flight", "Provider calls under way");
    describe_histogram!("stepup_provider_seconds", Unit::Seconds, "Provider calls, by answer");
    describe_counter!("stepup_timers_published_total", "Due rows turned into commands");
    describe_histogram!("stepup_timer_late_seconds", Unit::Seconds, "How late a due row was seen");
    describe_counter!("stepup_brought_back_total", "Messages published again to an emptied broker");
    describe_counter!("stepup_rows_deleted_total", "Rows past their retention");
    describe_counter!(
        "stepup_activity_chained_total",
        "Rows of the Activity report that the chain has taken up"
    );
    describe_counter!("stepup_checkpoints_total", "Checkpoints of the chain that were signed");
    describe_counter!("stepup_http_requests_total", "Requests to the ingress, by outcome");
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

/// A worker has started: its series begin at zero, so that a dashboard shows no hole.
pub fn worker_started(worker: &'static str, dead_reasons: &[&'static str]) {
    for reason in dead_reasons {
        counter!("stepup_dead_letters_total", "worker" => worker, "reason" => *reason).absolute(0);
    }
    for dependency in Dependency::ALL {
        set_paused(worker, dependency, false);
    }
}

/// One message was handled.
pub fn handled(worker: &'static str, outcome: &'static str, age: Option<Duration>) {
    counter!("stepup_messages_total", "worker" => worker, "outcome" => outcome).increment(1);
    if let Some(age) = age {
        histogram!("stepup_message_age_seconds", "worker" => worker).record(age);
    }
}

/// One pass is over.
pub fn pass(worker: &'static str, messages: usize, took: Duration) {
    histogram!("stepup_pass_seconds", "worker" => worker).record(took);
    counter!("stepup_batch_messages_total", "worker" => worker).increment(messages as u64);
}

/// A message was set aside.
pub fn dead_letter(worker: &'static str, reason: &'static str, message: &str, detail: &str) {
    counter!("stepup_dead_letters_total", "worker" => worker, "reason" => reason).increment(1);
    tracing::warn!(worker, reason, message, detail, "dead letter");
}

/// A message failed and goes to a rung.
pub fn retried(worker: &'static str, attempt: u32, fault: &Fault) {
    counter!("stepup_messages_total", "worker" => worker, "outcome" => "rung").increment(1);
    tracing::warn!(worker, attempt, %fault, "failed, to be tried again");
}

/// A batch failed and is walked one by one.
pub fn walked(worker: &'static str, messages: usize, fault: &Fault) {
    tracing::info!(worker, messages, %fault, "batch failed, walked one by one");
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

/// How many provider calls are under way.
pub fn in_flight(worker: &'static str, calls: usize) {
    gauge!("stepup_in_flight", "worker" => worker).set(calls as f64);
}

/// Due rows were turned into commands.
pub fn timers_published(timer: &'static str, rows: usize, latest: Duration) {
    counter!("stepup_timers_published_total", "timer" => timer).increment(rows as u64);
    histogram!("stepup_timer_late_seconds", "timer" => timer).record(latest);
}

/// A loop could not do its turn; it tries again.
pub fn loop_failed(name: &'static str, fault: &Fault) {
    tracing::warn!(name, %fault, "turn failed");
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

/// The ingress has as many connections as it may, and closed an idle one for a new one.
pub fn http_evicted() {
    counter!("stepup_http_evicted_total").increment(1);
}

/// The ingress could not take a connection; it tries again.
pub fn http_not_accepted(error: &std::io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
}

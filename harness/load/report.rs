//! The end of a run: one object, and the same as a table.

use serde_json::{Map, Value, json};

use super::figures::{Figures, Percentiles};
use super::scrape::Look;

/// The paths without the product, measured in the same run.
pub(super) struct Bare {
    /// One confirmed publish.
    pub publish: Percentiles,
    /// Confirmed publish, consumer, one-row commit, reply.
    pub step: Percentiles,
    /// Messages a second, published and consumed at once.
    pub messages_per_second: f64,
}

/// Everything that makes a report.
pub(super) struct Run<'a> {
    /// `amqp` or `http`.
    pub over: &'static str,
    /// Logins a second that were asked for.
    pub rate: Option<f64>,
    /// From the end of the warm-up until the last measured login was in the trail.
    pub seconds: f64,
    /// Without it, nothing is said of shares.
    pub bare: Option<Bare>,
    /// What was seen.
    pub figures: &'a Figures,
    /// Before and after.
    pub looks: (Look, Look),
    /// Durable messages this command has published itself.
    pub own_messages: f64,
    /// Whether the other counters of messages were seen.
    pub counted: bool,
    /// Transactions committed.
    pub commits: i64,
    /// Rows of the trail that say `verified`, and challenges they are about.
    pub trail: (i64, i64),
    /// Messages that came twice.
    pub unexpected: u64,
    /// How late mails were.
    pub fallback_late: Percentiles,
}

/// Durable messages of a login with a right guess, when nobody counts: issue, issued, send, accepted,
/// verify, verified.
const MESSAGES_PER_LOGIN: f64 = 6.0;

/// What a counter has gained. One that stands lower than before began anew with its process.
fn since(before: f64, after: f64) -> f64 {
    if after < before { after } else { after - before }
}

impl Run<'_> {
    fn messages_per_login(&self, logins: f64) -> (f64, f64) {
        if !self.counted || logins == 0.0 {
            return (MESSAGES_PER_LOGIN, 0.0);
        }
        let published = |kind: &str| {
            let of = |look: &Look| look.published.get(kind).copied().unwrap_or(0.0);
            since(of(&self.looks.0), of(&self.looks.1))
        };
        let durable: f64 =
            ["requests", "commands", "events", "retry", "dead"].into_iter().map(published).sum();
        ((durable + self.own_messages) / logins, published("reply") / logins)
    }

    fn roles(&self) -> (Map<String, Value>, Map<String, Value>) {
        let (mut cpu, mut rss) = (Map::new(), Map::new());
        for (role, after) in &self.looks.1.usage {
            let before = self.looks.0.usage.get(role).copied().unwrap_or_default();
            let spent = since(before.cpu_seconds, after.cpu_seconds);
            cpu.insert(role.clone(), rounded(spent, 100.0));
            let most = after.rss_max_bytes.max(before.rss_bytes).max(after.rss_bytes);
            rss.insert(role.clone(), rounded(most / f64::from(1 << 20), 10.0));
        }
        (cpu, rss)
    }

    /// The object that `--json` writes.
    pub fn json(&self) -> Value {
        let f = self.figures;
        let logins = f.begun.get() as f64;
        let logins_per_second = f.measured.get() as f64 / self.seconds;
        let (messages_per_login, replies_per_login) = self.messages_per_login(logins);
        let limit = self.bare.as_ref().map(|bare| bare.messages_per_second / messages_per_login);
        let (trail_rows, trail_challenges) = self.trail;
        let untold = (f.verified.get() as i64 - trail_challenges).max(0);
        let lost = json!({
            "not_opened": f.not_opened.get(), "sms": f.sms_missing.get(),
            "email": f.email_missing.get(), "not_verified": f.not_verified.get(),
            "not_in_trail": untold,
        });
        let sum = |value: &Value| {
            value.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_i64()).sum::<i64>()
        };
        let doubled =
            json!({ "messages": self.unexpected, "trail": trail_rows - trail_challenges });
        let (cpu_seconds, rss_max_mib) = self.roles();
        let bare = |of: fn(&Bare) -> Percentiles| self.bare.as_ref().map(|bare| of(bare).json());
        let complaints = f.complaints.lock().map(|c| c.clone()).unwrap_or_default();
        json!({
            "over": self.over, "rate": self.rate, "seconds": rounded(self.seconds, 100.0),
            "logins": f.begun.get(), "logins_per_second": rounded(logins_per_second, 10.0),
            "broker_messages_per_second":
                self.bare.as_ref().map(|bare| rounded(bare.messages_per_second, 1.0)),
            "messages_per_login": rounded(messages_per_login, 100.0),
            "messages_counted": self.counted,
            "replies_per_login": rounded(replies_per_login, 100.0),
            "broker_limit_logins_per_second": limit.map(|limit| rounded(limit, 1.0)),
            "share_of_broker_limit": limit.map(|limit| rounded(logins_per_second / limit, 1000.0)),
            "commits_per_login": rounded(self.commits as f64 / logins.max(1.0), 100.0),
            "bare_publish_ms": bare(|bare| bare.publish),
            "bare_step_ms": bare(|bare| bare.step),
            "request_to_sms_ms": f.request_to_sms.percentiles().json(),
            "request_to_open_ms": f.open.percentiles().json(),
            "verify_ms": f.verify.percentiles().json(),
            "fallback_late_ms": self.fallback_late.json(),
            "fallbacks": self.fallback_late.count, "wrong_guesses": f.wrong.get(),
            "lost": sum(&lost), "lost_by_kind": lost,
            "doubled": sum(&doubled), "doubled_by_kind": doubled,
            "nobody_free": f.nobody_free.get(),
            "cpu_seconds": cpu_seconds, "rss_max_mib": rss_max_mib,
            "complaints": complaints,
        })
    }
}

fn rounded(value: f64, steps: f64) -> Value {
    json!((value * steps).round() / steps)
}

/// The object as a table for people.
pub(super) fn table(report: &Value) -> String {
    let number = |name: &str| report.get(name).and_then(Value::as_f64);
    let shown = |name: &str| number(name).map_or("-".to_owned(), |n| n.to_string());
    let mut lines = vec![String::new()];
    let mut line = |name: &str, value: String| lines.push(format!("{name:<34}{value}"));
    line("logins a second", shown("logins_per_second"));
    line("logins begun", format!("{} in {} s", shown("logins"), shown("seconds")));
    line("messages a login (durable)", shown("messages_per_login"));
    line("commits a login", shown("commits_per_login"));
    line("broker alone, messages a second", shown("broker_messages_per_second"));
    line("= logins a second at most", shown("broker_limit_logins_per_second"));
    if let Some(share) = number("share_of_broker_limit") {
        line("our share of that", format!("{:.1} %", share * 100.0));
    }
    line("lost", format!("{} {}", shown("lost"), kinds(report.get("lost_by_kind"))));
    line("doubled", format!("{} {}", shown("doubled"), kinds(report.get("doubled_by_kind"))));
    lines.push(format!(
        "\n{:<26}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds", "count", "p50", "p90", "p99", "p99.9", "max"
    ));
    for (name, key) in [
        ("bare publish", "bare_publish_ms"),
        ("bare step", "bare_step_ms"),
        ("request to outcome", "request_to_open_ms"),
        ("request to SMS", "request_to_sms_ms"),
        ("verify", "verify_ms"),
        ("email later than due", "fallback_late_ms"),
    ] {
        let Some(row) = report.get(key).filter(|row| row.is_object()) else { continue };
        let cell = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let mut text = format!("{name:<26}{:>8}", cell("count"));
        for column in ["p50", "p90", "p99", "p999", "max"] {
            text += &format!("{:>9.2}", cell(column));
        }
        lines.push(text);
    }
    lines.push(format!("\n{:<26}{:>12}{:>16}{:>14}", "role", "CPU s", "CPU ms/login", "peak MiB"));
    let logins = number("logins").unwrap_or(0.0).max(1.0);
    for (role, cpu) in report.get("cpu_seconds").and_then(Value::as_object).into_iter().flatten() {
        let cpu = cpu.as_f64().unwrap_or(0.0);
        let rss = report.get("rss_max_mib").and_then(|rss| rss.get(role)).and_then(Value::as_f64);
        let (share, rss) = (cpu * 1000.0 / logins, rss.unwrap_or(0.0));
        lines.push(format!("{role:<26}{cpu:>12.2}{share:>16.3}{rss:>14.1}"));
    }
    for why in report.get("complaints").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("! {}", why.as_str().unwrap_or_default()));
    }
    lines.join("\n")
}

fn kinds(detail: Option<&Value>) -> String {
    let named = detail.and_then(Value::as_object).into_iter().flatten();
    let some: Vec<String> = named
        .filter(|(_, count)| count.as_i64().unwrap_or(0) != 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if some.is_empty() { String::new() } else { format!("({})", some.join(", ")) }
}

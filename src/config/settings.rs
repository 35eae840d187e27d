//! Every setting by name: what the check for unknown names, `config check` and the documents read.

/// One environment variable.
#[derive(Debug)]
pub struct Setting {
    /// The variable. `<name>_FILE` gives the same content from a file.
    pub name: &'static str,
    /// What it means, with its unit and form.
    pub meaning: &'static str,
    /// What holds when it is not set.
    pub default: Option<&'static str>,
    /// How much of its value may be shown.
    pub shown: Shown,
}

/// How much of a value `config check` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of it, but of a URL no password and no parameter that could be a token.
    Masked,
    /// Of a URL the scheme, host and port only: its user or path may be a token, too.
    Place,
    /// That it is set.
    Never,
}

impl Setting {
    const fn new(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, default: None, shown: Shown::Masked }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn secret(self) -> Self {
        Self { shown: Shown::Never, ..self }
    }

    const fn place(self) -> Self {
        Self { shown: Shown::Place, ..self }
    }
}

/// All of them, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting::new("STEPUP_AMQP_URL", "RabbitMQ: amqp://user:password@host:port/vhost, or amqps://"),
    Setting::new(
        "STEPUP_DATABASE_URL",
        "PostgreSQL: postgres://user:password@host:port/database?sslmode=prefer",
    ),
    Setting::new(
        "STEPUP_PREFIX",
        "in front of every exchange and queue: 1 to 32 of a-z 0-9 _",
    )
    .or("stepup"),
    Setting::new("STEPUP_HTTP_ADDR", "where the ingress listens: address:port")
        .or("127.0.0.1:8080"),
    Setting::new("STEPUP_METRICS_ADDR", "where metrics and health are served: address:port")
        .or("127.0.0.1:9100"),
    Setting::new("STEPUP_KEYS", "the key file's content, as `stepup keys create` writes it").secret(),
    Setting::new(
        "STEPUP_PUBLIC_KEY",
        "the public half, as `stepup keys public` prints it; without it, that of STEPUP_KEYS",
    ),
    Setting::new(
        "STEPUP_APPS",
        "who may ask: a JSON list of {\"app\",\"broker_user\",\"api_key_sha256\"}, see `stepup keys app`",
    )
    .secret(),
    Setting::new("STEPUP_SMS_URL", "the SMS provider's webhook: https://host/path").place(),
    Setting::new("STEPUP_SMS_SECRET", "signs what is sent there: whsec_ and base64, or 24 bytes up")
        .secret(),
    Setting::new("STEPUP_SMTP_URL", "the mail server: smtp://user:password@host:port, or smtps://")
        .place(),
    Setting::new("STEPUP_MAIL_FROM", "the sender of mail: Name <name@example.org>"),
    Setting::new(
        "STEPUP_MAIL_EHLO_NAME",
        "what we call ourselves to the mail server: a full host name; without it, the domain of \
         STEPUP_MAIL_FROM",
    ),
    Setting::new(
        "STEPUP_CA_FILE",
        "path of a PEM file with authorities to trust for TLS to broker, database and providers, \
         besides the system's",
    ),
    Setting::new(
        "STEPUP_CHECKPOINT_FILE",
        "path of a file that checkpoints of the Activity report are appended to, best on another \
         machine's disk; without it they are only in the database",
    ),
    Setting::new("STEPUP_CHECKPOINT_SECONDS", "between checkpoints of an account's Activity report")
        .or("60"),
    Setting::new("STEPUP_LOG", "what is logged: a level, or targets with levels (tracing directives)")
        .or("info"),
    Setting::new("STEPUP_LOG_FORMAT", "json or text; without it, text on a terminal and json elsewhere"),
    Setting::new("STEPUP_CODE_DIGITS", "digits of a code: 6 to 10").or("6"),
    Setting::new("STEPUP_CHALLENGE_SECONDS", "life of a challenge and its code").or("600"),
    Setting::new(
        "STEPUP_SETTING_SECONDS",
        "life of a challenge that approves a change of a setting, or of a team's 2FA",
    )
    .or("300"),
    Setting::new("STEPUP_APPROVAL_SECONDS", "how long an approved change may be carried out").or("120"),
    Setting::new("STEPUP_REVIEW_SECONDS", "how long a mandate may name a review of contacts")
        .or("3600"),
    Setting::new("STEPUP_RESET_HOLD_SECONDS", "before an approved reset of a factor is carried out")
        .or("86400"),
    Setting::new(
        "STEPUP_COOLING_OFF_SECONDS",
        "how long sensitive settings are held after a change of number or a reset",
    )
    .or("259200"),
    Setting::new("STEPUP_WRONG_PER_CHALLENGE", "wrong codes that end a challenge").or("5"),
    Setting::new("STEPUP_WRONG_IN_A_ROW", "wrong codes in a row after which a member waits").or("5"),
    Setting::new("STEPUP_GUESS_WAIT_SECONDS", "the first such wait; it doubles each time").or("30"),
    Setting::new("STEPUP_GUESS_WAIT_MAX_SECONDS", "the longest such wait").or("3600"),
    Setting::new("STEPUP_WRONG_PER_DAY", "wrong codes in 24 h after which no challenge is issued")
        .or("15"),
    Setting::new("STEPUP_WRONG_PER_MONTH", "wrong codes in 30 days that suspend the factor").or("100"),
    Setting::new("STEPUP_RESEND_SECONDS", "waits before the second, third … send; the last repeats")
        .or("60,60,120,300"),
    Setting::new("STEPUP_SENDS_PER_CHALLENGE", "sends of one challenge, all channels together").or("5"),
    Setting::new("STEPUP_SENDS_PER_NUMBER", "sends to one number: a list of count/seconds")
        .or("5/600,10/3600,20/86400"),
    Setting::new("STEPUP_FALLBACK_SECONDS", "from the first SMS to the email").or("60"),
    Setting::new("STEPUP_LIFE_LEFT_SECONDS", "with less life left, a message is not sent").or("60"),
    Setting::new("STEPUP_PROVIDER_TIMEOUT_SECONDS", "how long a provider may take").or("5"),
    Setting::new("STEPUP_LEASE_MARGIN_SECONDS", "how much longer a claimed attempt is held").or("5"),
    Setting::new("STEPUP_TRANSACTION_SECONDS", "the longest database transaction").or("5"),
    Setting::new("STEPUP_REPLY_WAIT_SECONDS", "how long the ingress waits for an outcome").or("3"),
    Setting::new(
        "STEPUP_DRAIN_SECONDS",
        "how long a stopping process may finish what it has: as long as a request to the ingress or a \
         provider's call may take, or more",
    )
    .or("10"),
    Setting::new("STEPUP_BATCH_MAX", "messages in one transaction: 1 to 1000").or("100"),
    Setting::new("STEPUP_SEND_CONCURRENCY", "calls to a provider at a time: 1 to 1000").or("64"),
    Setting::new(
        "STEPUP_POOL_SIZE",
        "database connections of a process: 1 to 1000; without it, what its roles need",
    ),
    Setting::new("STEPUP_RETENTION_CHALLENGE_HOURS", "how long a closed challenge is kept, an approval and a review after their time").or("24"),
    Setting::new("STEPUP_RETENTION_RECIPIENT_DAYS", "how long a number's state, wrong codes and notices are kept; 30 or more, the longest window of a limit").or("30"),
    Setting::new(
        "STEPUP_RETENTION_INBOX_HOURS",
        "how long a repeated request is recognised: 24 h longer than a challenge is kept, or more",
    )
    .or("72"),
];

/// Names that are not ours to check: the simulators, the demonstration and scripts.
const FOREIGN: &[&str] = &[
    "STEPUP_SIM_*",
    "STEPUP_DEMO_*",
    // What the examples are told, and what compose reads.
    "STEPUP_APP_AMQP_URL",
    "STEPUP_APPROVAL_KEYS",
    "STEPUP_URL",
    "STEPUP_API_KEY",
    "STEPUP_SECRETS_DIR",
    "STEPUP_SERVICES_DIR",
    "STEPUP_PYTHON",
    "STEPUP_OTHER_AMQP_URL",
    "STEPUP_RABBITMQ_BIN",
    "STEPUP_POSTGRES_BIN",
    // For the fault tests: src/failpoint.
    #[cfg(feature = "faults")]
    "STEPUP_FAULT",
    #[cfg(feature = "faults")]
    "STEPUP_BUG",
];

/// Whether Kubernetes sets this name in every container beside a Service called `stepup` or
/// `stepup-…`: `STEPUP_SERVICE_HOST`, `STEPUP_X_SERVICE_PORT_HTTP`, `STEPUP_PORT_80_TCP_ADDR`. What
/// ends in `_PORT` is also how docker-compose.yml is told the ports it publishes.
fn is_of_kubernetes(name: &str) -> bool {
    let of_a_port = |rest: &str| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.starts_with(protocol))
    };
    name.ends_with("_PORT")
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| of_a_port(rest))
}

/// The setting with this name.
pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// What is wrong with the name of a variable that begins with `STEPUP_`, if anything.
pub(super) fn unknown(name: &str) -> Option<String> {
    let foreign = FOREIGN.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    });
    let base = name.strip_suffix("_FILE").unwrap_or(name);
    if foreign || is_of_kubernetes(name) || setting(name).is_some() || setting(base).is_some() {
        return None;
    }
    let candidates = SETTINGS.iter().flat_map(|s| [s.name.to_owned(), format!("{}_FILE", s.name)]);
    let nearest = candidates.min_by_key(|known| distance(known, name)).unwrap_or_default();
    Some(format!("{name} is no setting: correct or remove it (the nearest name is {nearest})"))
}

/// The edit distance: insertions, deletions and replacements of one byte.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_with_the_nearest_known_one() {
        let told = |name: &str| unknown(name).unwrap();
        assert!(told("STEPUP_AMPQ_URL").ends_with("(the nearest name is STEPUP_AMQP_URL)"));
        assert!(told("STEPUP_KEY_FILE").ends_with("(the nearest name is STEPUP_KEYS_FILE)"));
    }

    #[test]
    fn known_names_and_those_of_scripts_pass() {
        for name in
            ["STEPUP_KEYS", "STEPUP_KEYS_FILE", "STEPUP_CA_FILE", "STEPUP_SIM_X", "STEPUP_PYTHON"]
        {
            assert_eq!(unknown(name), None);
        }
        assert!(unknown("STEPUP_PYTHONS").is_some());
    }

    #[test]
    fn what_kubernetes_sets_passes_and_a_misspelt_name_like_it_does_not() {
        for name in [
            "STEPUP_SERVICE_HOST",
            "STEPUP_SERVICE_PORT",
            "STEPUP_SERVICE_PORT_HTTP",
            "STEPUP_PORT",
            "STEPUP_PORT_5672_TCP",
            "STEPUP_PORT_5672_TCP_ADDR",
            "STEPUP_INGRESS_SERVICE_HOST",
            "STEPUP_INGRESS_PORT_8080_TCP_PROTO",
            "STEPUP_RABBITMQ_PORT_53_UDP_PORT",
        ] {
            assert_eq!(unknown(name), None);
        }
        for name in ["STEPUP_HTTP_ADR", "STEPUP_PORT_RANGE", "STEPUP_SERVICE", "STEPUP_PORTS"] {
            assert!(unknown(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_name_that_compose_and_the_scripts_set_passes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = |path: &str| {
            let entries = std::fs::read_dir(root.join(path)).unwrap();
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        };
        let files = folder("scripts").chain(folder("scripts/services")).chain(folder("examples"));
        for file in files.chain([root.join("docker-compose.yml"), root.join("Makefile")]) {
            let text = std::fs::read_to_string(&file).unwrap();
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            // A shell variable of services.sh, which is never exported.
            let names = words.filter(|w| w.starts_with("STEPUP_") && *w != "STEPUP_PASSWORD");
            for name in names {
                assert_eq!(unknown(name), None, "{}", file.display());
            }
        }
    }

    #[test]
    fn the_operators_document_lists_every_setting() {
        let document = include_str!("../../docs/operations.md");
        let (_, section) = document.split_once("\n## Settings\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let listed = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(listed.collect::<Vec<_>>(), names, "each once, in the order of `config check`");
        for Setting { name, meaning, default, .. } in SETTINGS {
            let default = default.map_or(String::new(), |default| format!("`{default}` "));
            let row = format!("| `{name}` | {default}| {meaning} |");
            assert!(
                document.lines().any(|line| line == row),
                "missing in docs/operations.md: {row}"
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }
}

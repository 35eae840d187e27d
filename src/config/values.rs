//! The forms of single values. An error completes the sentence that begins with the variable's
//! name, and never repeats the value.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::app::{App, LogFormat};
use crate::domain::id::AppName;
use crate::domain::policy::Window;
use crate::gateway::Smtp;

const SECONDS_MAX: f64 = 366.0 * 24.0 * 3600.0;

pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!("must be a whole number from {} to {}", range.start(), range.end())
        })
    }
}

/// Seconds, with a decimal point if need be; up to a year.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.trim().parse().ok();
    seconds
        .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds, such as 5 or 0.5".into())
}

/// Seconds that are more than none.
pub(super) fn some_seconds(text: &str) -> Result<Duration, String> {
    let seconds = seconds(text)?;
    if seconds < Duration::from_millis(1) {
        Err("must be at least 0.001".into())
    } else {
        Ok(seconds)
    }
}

/// `60,60,120,300`.
pub(super) fn seconds_list(text: &str) -> Result<Vec<Duration>, String> {
    text.split(',')
        .map(seconds)
        .collect::<Result<_, _>>()
        .map_err(|_| "must be seconds separated by commas, such as 60,60,120,300".into())
}

/// `5/600,10/3600`.
pub(super) fn windows(text: &str) -> Result<Vec<Window>, String> {
    let window = |part: &str| {
        let (count, within) = part.split_once('/')?;
        let count = number(1..=1_000_000)(count).ok()?;
        Some(Window { count, within: some_seconds(within).ok()? })
    };
    text.split(',')
        .map(window)
        .collect::<Option<_>>()
        .ok_or_else(|| "must be a list of count/seconds, such as 5/600,10/3600".into())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| "must be address:port, such as 127.0.0.1:8080".into())
}

pub(super) fn prefix(text: &str) -> Result<String, String> {
    let clean = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if clean && (1..=32).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 32 of a-z 0-9 _".into())
    }
}

pub(super) fn database_url(text: &str) -> Result<String, String> {
    let scheme = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if scheme && tokio_postgres::Config::from_str(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("must be postgres://user:password@host:port/database, with special characters \
         percent-encoded; sslmode may be disable, prefer or require"
        .into())
}

pub(super) fn sms_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    let fits = |url: &reqwest::Url| matches!(url.scheme(), "https" | "http") && url.has_host();
    url.filter(fits).map(|_| text.to_owned()).ok_or_else(|| {
        "must be a URL that begins with https:// or http://, with special characters of user and \
         password percent-encoded"
            .into()
    })
}

pub(super) fn smtp_url(text: &str) -> Result<Zeroizing<String>, String> {
    Smtp::check_url(text).map(|()| Zeroizing::new(text.to_owned())).map_err(|why| {
        format!(
            "must be smtp://user:password@host:port or smtps://, with special characters of user and \
             password percent-encoded ({why})"
        )
    })
}

pub(super) fn mail_from(text: &str) -> Result<String, String> {
    if text.is_ascii() && Smtp::check_sender(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("must be name@example.org or Name <name@example.org>, in ASCII".into())
    }
}

pub(super) fn mail_ehlo_name(text: &str) -> Result<String, String> {
    Smtp::check_ehlo_name(text)
        .map(|()| text.to_owned())
        .map_err(|_| "must be a full host name such as mail.example.org".into())
}

pub(super) fn log(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|_| "must be a level such as info, or directives such as info,stepup=debug".into())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("must be json or text".into()),
    }
}

/// API keys an app may have at a time: the one in use and, while they change, its successor.
const API_KEYS_MAX: usize = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppEntry {
    app: AppName,
    broker_user: Option<String>,
    api_key_sha256: Digests,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Digests {
    One(String),
    Several(Vec<String>),
}

impl Digests {
    /// One or more, each of its own.
    fn read(self, app: &AppName) -> Result<Vec<[u8; 32]>, String> {
        let texts = match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        };
        if !(1..=API_KEYS_MAX).contains(&texts.len()) {
            return Err(format!(
                "app {app}: api_key_sha256 must be one digest, or a list of 1 to {API_KEYS_MAX}"
            ));
        }
        texts.iter().map(|text| digest(text)).collect::<Option<_>>().ok_or_else(|| {
            format!(
                "app {app}: api_key_sha256 must be the 64 hexadecimal digits of a SHA-256, never \
                 the key itself"
            )
        })
    }
}

/// The list of apps. `broker_user` is the app's name when left out.
pub(super) fn apps(text: &str) -> Result<Vec<App>, String> {
    let entries: Vec<AppEntry> = serde_json::from_str(text).map_err(|error| {
        format!(
            "must be a JSON list of {{\"app\",\"broker_user\",\"api_key_sha256\"}}, as `stepup keys \
             app` prints them (wrong at line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let mut apps = Vec::with_capacity(entries.len());
    let (mut names, mut users, mut digests) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for AppEntry { app: name, broker_user, api_key_sha256 } in entries {
        let api_keys_sha256 = api_key_sha256.read(&name)?;
        let broker_user = broker_user.unwrap_or_else(|| name.to_string());
        if broker_user.is_empty() {
            return Err(format!("app {name}: broker_user must not be empty"));
        }
        if !names.insert(name.clone()) {
            return Err(format!("app {name} is listed twice: keep one"));
        }
        if !users.insert(broker_user.clone()) {
            return Err(format!("app {name} has the broker_user of another app: give it its own"));
        }
        if !api_keys_sha256.iter().all(|digest| digests.insert(*digest)) {
            return Err(format!("app {name} has an API key that is listed twice: give it its own"));
        }
        apps.push(App { name, broker_user, api_keys_sha256 });
    }
    Ok(apps)
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0_u8; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(digest)
}

/// Parameters of URLs that are shown; any other could be a token.
const SHOWN_PARAMETERS: [&str; 7] = [
    "sslmode",
    "tls",
    "heartbeat",
    "connect_timeout",
    "connection_timeout",
    "application_name",
    "channel_max",
];

/// A value as it may be shown: the password of a URL and unknown parameters are masked.
pub(super) fn masked(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    // The last `@`: a password may hold one that somebody forgot to encode.
    let shown = match address.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{place}"),
            None => format!("{scheme}://{login}@{place}"),
        },
        None => format!("{scheme}://{address}"),
    };
    let Some(query) = query else { return shown };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if !SHOWN_PARAMETERS.contains(&name) => format!("{name}=***"),
            Some(_) => parameter.to_owned(),
            None => "***".to_owned(),
        })
        .collect();
    format!("{shown}?{}", parameters.join("&"))
}

/// Of a URL the scheme, host and port, and the parameters that may be shown.
pub(super) fn place(value: &str) -> String {
    let value = masked(value);
    let Some((scheme, rest)) = value.split_once("://") else { return "(set)".to_owned() };
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    // The last `@`, as above; a `/` before it would be part of a password.
    let (login, host) = address.rsplit_once('@').unwrap_or(("", address));
    let (host, path) = host.split_once('/').unwrap_or((host, ""));
    let part = |text: &str, shown: &str| if text.is_empty() { "" } else { shown }.to_owned();
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{scheme}://{}{host}{}{query}", part(login, "***@"), part(path, "/***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_decimal_and_must_be_finite() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "-1", "NaN", "inf", "1e300", "5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(some_seconds("0").is_err());
    }

    #[test]
    fn lists_are_read_whole_or_not_at_all() {
        assert_eq!(seconds_list("60, 120").unwrap().len(), 2);
        let window = Window { count: 5, within: Duration::from_secs(600) };
        assert_eq!(windows("5/600"), Ok(vec![window]));
        for text in ["5", "5/", "0/600", "5/0", "5/600,"] {
            assert!(windows(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_and_tokens_in_urls_are_masked() {
        assert_eq!(
            masked("amqp://me:p@ss@host/%2f?heartbeat=5"),
            "amqp://me:***@host/%2f?heartbeat=5"
        );
        assert_eq!(masked("https://host/sms?token=abc&x"), "https://host/sms?token=***&***");
        assert_eq!(
            masked("postgres://me@host/db?password=p"),
            "postgres://me@host/db?password=***"
        );
        assert_eq!(masked("127.0.0.1:80"), "127.0.0.1:80");
    }

    #[test]
    fn of_a_provider_only_the_place_is_shown() {
        assert_eq!(
            place("https://hooks.example:8443/T0/secret?key=x"),
            "https://hooks.example:8443/***?key=***"
        );
        assert_eq!(place("smtp://token@mail:587?tls=none"), "smtp://***@mail:587?tls=none");
        assert_eq!(place("smtps://me:p/w@mail"), "smtps://***@mail");
        assert_eq!(place("https://sms/"), "https://sms");
    }

    #[test]
    fn an_app_has_a_name_a_user_and_a_key_of_its_own() {
        let entry = |app: &str, user: &str, digit: &str| {
            let digest = digit.repeat(64);
            format!(r#"{{"app":"{app}","broker_user":"{user}","api_key_sha256":"{digest}"}}"#)
        };
        let read = |a: String, b: String| apps(&format!("[{a},{b}]"));
        assert_eq!(read(entry("a", "ua", "1"), entry("b", "ub", "2")).unwrap().len(), 2);
        for second in [entry("a", "ub", "2"), entry("b", "ua", "2"), entry("b", "ub", "1")] {
            assert!(read(entry("a", "ua", "1"), second).is_err());
        }
        let only = apps(&format!(r#"[{{"app":"crm","api_key_sha256":"{}"}}]"#, "ab".repeat(32)));
        let only = only.unwrap().remove(0);
        assert_eq!((only.broker_user.as_str(), only.api_keys_sha256), ("crm", vec![[0xab; 32]]));
    }

    #[test]
    fn an_app_may_have_two_keys_while_they_change_and_no_more() {
        let read = |digits: &[&str]| {
            let digests: Vec<String> = digits.iter().map(|digit| digit.repeat(64)).collect();
            apps(&serde_json::json!([{ "app": "crm", "api_key_sha256": digests }]).to_string())
        };
        assert_eq!(read(&["1", "2"]).unwrap()[0].api_keys_sha256, [[0x11; 32], [0x22; 32]]);
        assert_eq!(read(&["1"]).unwrap()[0].api_keys_sha256, [[0x11; 32]]);
        for wrong in [&[][..], &["1", "2", "3"], &["1", "1"], &["1", "x"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_digest_is_refused_and_not_repeated() {
        for wrong in ["my-plain-api-key".to_owned(), "+a".repeat(32), "é".repeat(32)] {
            let refused =
                apps(&format!(r#"[{{"app":"crm","api_key_sha256":"{wrong}"}}]"#)).unwrap_err();
            assert!(refused.contains("64 hexadecimal") && !refused.contains(&wrong), "{refused}");
        }
    }
}

use super::*;

const KEY_TEXT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn key_file() -> String {
    let set = format!(r#"{{"pepper":"{KEY_TEXT}","seal":"{KEY_TEXT}","opener":"{KEY_TEXT}"}}"#);
    format!(r#"{{"active":"k1","index":"{KEY_TEXT}","sets":{{"k1":{set}}}}}"#)
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn files(path: &Path) -> Result<Vec<u8>, String> {
    match path.to_str() {
        Some("/run/keys") => Ok((key_file() + "\n").into_bytes()),
        Some("/run/amqp") => Ok(b"amqp://step%20up:hunter2@mq/%2f\r\n".to_vec()),
        Some("/run/empty") => Ok(b"\n".to_vec()),
        Some("/run/ca.pem") => Ok(include_bytes!("../gateway/loopback/ca.pem").to_vec()),
        _ => Err("no such file".into()),
    }
}

fn read(pairs: &[(&str, &str)], needs: &[Need]) -> Result<Config, Vec<String>> {
    Config::read(&vars(pairs), &files, needs, false)
}

fn errors(pairs: &[(&str, &str)], needs: &[Need]) -> Vec<String> {
    read(pairs, needs).err().unwrap_or_default()
}

#[test]
fn without_variables_the_defaults_hold_and_are_those_of_the_policy() {
    let config = read(&[], &[]).ok().unwrap();
    assert_eq!(*config.policy, Policy::default());
    assert_eq!(config.prefix, "stepup");
    assert_eq!(config.http_addr, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.metrics_addr, "127.0.0.1:9100".parse().unwrap());
    assert_eq!((config.batch_max, config.send_concurrency, config.pool_size), (100, 64, None));
    assert_eq!((config.reply_wait.as_secs(), config.drain.as_secs()), (3, 10));
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.retention, Retention { challenge: DAY, recipient: DAY * 30, inbox: DAY * 3 });
    let watched = Config::read(&BTreeMap::new(), &files, &[], true).ok().unwrap();
    assert_eq!(watched.log_format, LogFormat::Text);
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let pairs = [
        ("STEPUP_AMPQ_URL", "amqp://x"),
        ("STEPUP_PREFIX", "Step.Up"),
        ("STEPUP_CODE_DIGITS", "4"),
        ("STEPUP_BATCH_MAX", "0"),
        ("STEPUP_RETENTION_INBOX_HOURS", "47"),
        ("STEPUP_SENDS_PER_NUMBER", "5/600,100/604800"),
        ("STEPUP_KEYS_FILE", "/run/nothing"),
        ("STEPUP_APPS_FILE", "/run/empty"),
        ("STEPUP_CA_FILE", "/run/nothing"),
        ("STEPUP_GUESS_WAIT_MAX_SECONDS", "1"),
    ];
    let needs = [Need::Broker, Need::Database, Need::Keys, Need::PublicKey, Need::Apps, Need::Sms];
    let errors = errors(&pairs, &needs);
    for (name, about) in [
        ("STEPUP_AMPQ_URL", "nearest name is STEPUP_AMQP_URL"),
        ("STEPUP_PREFIX", "a-z"),
        ("STEPUP_CODE_DIGITS", "6 to 10"),
        ("STEPUP_BATCH_MAX", "1 to 1000"),
        ("STEPUP_RETENTION_INBOX_HOURS", "48"),
        ("STEPUP_RETENTION_CHALLENGE_HOURS", "STEPUP_SENDS_PER_NUMBER"),
        ("STEPUP_KEYS_FILE", "no such file"),
        ("STEPUP_APPS_FILE", "empty"),
        ("STEPUP_CA_FILE", "no such file"),
        ("STEPUP_GUESS_WAIT_MAX_SECONDS", "at least"),
        ("STEPUP_AMQP_URL", "is not set"),
        ("STEPUP_DATABASE_URL", "is not set"),
        ("STEPUP_SMS_URL", "is not set"),
        ("STEPUP_SMS_SECRET", "is not set"),
    ] {
        let told = errors.iter().filter(|error| error.starts_with(name) && error.contains(about));
        assert_eq!(told.count(), 1, "{name}: {errors:#?}");
    }
    assert_eq!(errors.len(), 14, "{errors:#?}");
}

#[test]
fn what_a_mail_server_s_settings_lack_is_told_before_a_role_needs_them() {
    for (name, value, about) in [
        ("STEPUP_SMTP_URL", "smtp://u:hunter2@mx.example?tls=maybe", "`tls` must be required"),
        ("STEPUP_SMTP_URL", "smtps://hunter2@mx.example", "a user without a password"),
        ("STEPUP_SMTP_URL", "https://mx.example", "begin with smtp://"),
        ("STEPUP_MAIL_FROM", "Sign-in <no reply@acme.example>", "name@example.org"),
        ("STEPUP_MAIL_FROM", "no-reply@localhost", "set STEPUP_MAIL_EHLO_NAME"),
        ("STEPUP_MAIL_EHLO_NAME", "vm", "full host name"),
        ("STEPUP_MAIL_EHLO_NAME", "mail.acme.example\r\nRSET", "full host name"),
    ] {
        let errors = errors(&[(name, value)], &[]);
        assert!(errors[0].starts_with(name) && errors[0].contains(about), "{errors:?}");
        assert!(errors.len() == 1 && !errors[0].contains("hunter2"), "{errors:?}");
    }
    let good = [
        ("STEPUP_SMTP_URL", "smtp://u:p%40@mx.example:2525?tls=opportunistic"),
        ("STEPUP_MAIL_FROM", "Sign-in <no-reply@acme.example>"),
    ];
    assert_eq!(errors(&good, &[]), Vec::<String>::new());
    let named = [
        ("STEPUP_MAIL_FROM", "no-reply@localhost"),
        ("STEPUP_MAIL_EHLO_NAME", "mail.acme.example"),
    ];
    assert_eq!(errors(&named, &[]), Vec::<String>::new());
}

#[test]
fn a_file_of_authorities_holds_certificates() {
    let told = |path| errors(&[("STEPUP_CA_FILE", path)], &[]);
    assert_eq!(told("/run/ca.pem"), Vec::<String>::new());
    for path in ["/run/empty", "/run/keys"] {
        let wanted = format!("STEPUP_CA_FILE names {path}, which holds no certificates in PEM");
        assert_eq!(told(path), [wanted]);
    }
}

#[test]
fn a_value_and_its_file_are_one_too_many() {
    let both = [("STEPUP_KEYS", "x"), ("STEPUP_KEYS_FILE", "/run/keys")];
    assert_eq!(
        errors(&both, &[Need::Keys]),
        ["STEPUP_KEYS and STEPUP_KEYS_FILE are both set: remove one"]
    );
    let empty = [("STEPUP_KEYS", ""), ("STEPUP_KEYS_FILE", "/run/keys")];
    assert!(read(&empty, &[Need::Keys]).is_ok(), "an empty variable is not set");
}

#[test]
fn the_public_key_comes_from_the_keys_unless_given() {
    let config = read(&[("STEPUP_KEYS_FILE", "/run/keys")], &[Need::PublicKey]).ok().unwrap();
    let public = config.public_key.unwrap().to_string();
    assert!(public.starts_with("k1."));
    let config = read(&[("STEPUP_PUBLIC_KEY", &public)], &[Need::PublicKey]).ok().unwrap();
    assert!(config.keys.is_none() && config.public_key.is_some());
    assert!(errors(&[], &[Need::PublicKey])[0].starts_with("STEPUP_PUBLIC_KEY is not set"));
}

#[test]
fn senders_are_our_own_login_and_the_apps() {
    let apps = format!(r#"[{{"app":"crm","api_key_sha256":"{}"}}]"#, "0".repeat(64));
    let pairs = [("STEPUP_AMQP_URL_FILE", "/run/amqp"), ("STEPUP_APPS", apps.as_str())];
    let senders = read(&pairs, &[Need::Broker, Need::Apps]).ok().unwrap().senders();
    assert_eq!(senders.own_user, "step up");
    assert_eq!(senders.apps["crm"].as_str(), "crm");
    let same = [("STEPUP_AMQP_URL", "amqp://crm:p@mq"), ("STEPUP_APPS", apps.as_str())];
    assert!(errors(&same, &[])[0].contains("a user of its own"));
    assert!(errors(&[("STEPUP_APPS", "[]")], &[Need::Apps])[0].contains("lists no app"));
}

#[test]
fn the_policy_is_read_and_checked_as_a_whole() {
    let pairs = [
        ("STEPUP_RESEND_SECONDS", "0.5,1"),
        ("STEPUP_TRANSACTION_SECONDS", "0.2"),
        ("STEPUP_FALLBACK_SECONDS", "0.4"),
        ("STEPUP_SENDS_PER_NUMBER", "3/60"),
        ("STEPUP_WRONG_PER_DAY", "9"),
    ];
    let policy = read(&pairs, &[]).ok().unwrap().policy;
    assert_eq!(policy.resend_wait(1), Duration::from_millis(500));
    assert_eq!(policy.sends_per_number, [Window { count: 3, within: Duration::from_secs(60) }]);
    assert_eq!(policy.wrong_per_day, Window { count: 9, within: DAY });
    assert_eq!(policy.transaction_max, Duration::from_millis(200));
    assert!(errors(&[("STEPUP_FALLBACK_SECONDS", "1")], &[])[0].contains("at least twice"));
}

#[test]
fn the_description_shows_every_setting_and_no_secret() {
    let keys = key_file();
    let pairs = [
        ("STEPUP_KEYS", keys.as_str()),
        ("STEPUP_AMQP_URL_FILE", "/run/amqp"),
        ("STEPUP_DATABASE_URL", "postgres://me:hunter2@db/stepup?sslmode=require"),
        ("STEPUP_SMTP_URL", "smtp://me:hunter2@mail"),
        ("STEPUP_SMS_URL", "https://hunter2@sms/send/hunter2?token=hunter2"),
        ("STEPUP_SMS_SECRET", "hunter2hunter2hunter2hunter2"),
    ];
    let text = read(&pairs, &[Need::Keys]).ok().unwrap().describe();
    assert!(SETTINGS.iter().all(|setting| text.contains(setting.name)));
    assert!(!text.contains("hunter2") && !text.contains(KEY_TEXT), "{text}");
    assert!(text.contains("postgres://me:***@db/stepup?sslmode=require"), "{text}");
    assert!(text.contains("https://***@sms/***?token=***"), "{text}");
    assert!(text.lines().any(|l| l.starts_with("STEPUP_KEYS ") && l.ends_with("(set)")), "{text}");
}

#[test]
fn no_error_repeats_a_secret() {
    let pairs = [
        ("STEPUP_AMQP_URL", "http://me:hunter2@mq"),
        ("STEPUP_DATABASE_URL", "mysql://me:hunter2@db"),
        ("STEPUP_SMTP_URL", "hunter2"),
        ("STEPUP_SMS_URL", "hunter2"),
        ("STEPUP_SMS_SECRET", "hunter2"),
        ("STEPUP_KEYS", "hunter2"),
        ("STEPUP_APPS", "hunter2"),
        ("STEPUP_PUBLIC_KEY", "hunter2"),
    ];
    let errors = errors(&pairs, &[Need::Keys, Need::Sms, Need::Apps]);
    assert_eq!(errors.len(), pairs.len(), "{errors:#?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
}

#[test]
fn a_stop_waits_for_the_longest_request_and_the_longest_send() {
    let told = |name: &'static str, value| errors(&[(name, value)], &[]);
    assert!(
        told("STEPUP_DRAIN_SECONDS", "9.9")[0].contains("must be at least 10, which is STEPUP_PRO")
    );
    assert!(
        told("STEPUP_REPLY_WAIT_SECONDS", "5")[0]
            .contains("must be at least 11, which is STEPUP_REP")
    );
    assert_eq!(told("STEPUP_PROVIDER_TIMEOUT_SECONDS", "6").len(), 1);
    assert_eq!(told("STEPUP_DRAIN_SECONDS", "soon").len(), 1);
    let longer = [("STEPUP_PROVIDER_TIMEOUT_SECONDS", "20"), ("STEPUP_DRAIN_SECONDS", "25")];
    assert_eq!(errors(&longer, &[]), Vec::<String>::new());
}

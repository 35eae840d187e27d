//! The examples, run as a newcomer runs them: each against a running product, with nothing but the
//! environment that its head asks for.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{API_KEY, World, setting};

fn run(program: &str, example: &str, environment: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(program);
    command.arg(root.join("examples").join(example)).env_clear();
    command.env("PATH", setting("PATH")).envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{example}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// The outcomes and event keys that an example printed, in their order, must be these.
fn assert_prints(printed: &str, wanted: &[&str]) {
    let mut rest = printed;
    for line in wanted {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("{line} is not where it should be:\n{printed}"));
        rest = &rest[at + line.len()..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_over_amqp_as_in_the_python_example() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let (url, key) = (setting("STEPUP_DEMO_AMQP_URL"), world.public_key().to_string());
    let environment = [
        ("STEPUP_APP_AMQP_URL", url.as_str()),
        ("STEPUP_PUBLIC_KEY", key.as_str()),
        ("STEPUP_SIM_URL", world.sim.as_str()),
        ("STEPUP_PREFIX", world.topology.prefix.as_str()),
    ];
    let printed = run(&setting("STEPUP_PYTHON"), "login.py", &environment);
    let outcomes = [
        r#"directory.account: {"outcome": "stored""#,
        r#"directory.member: {"outcome": "stored""#,
        r#"challenge.issue: {"outcome": "open""#,
        r#"challenge.verify: {"outcome": "verified""#,
    ];
    assert_prints(&printed, &outcomes);
    for event in ["account.changed", "member.changed", "challenge.issued", "challenge.verified"] {
        assert!(printed.contains(&format!(".{event}: {{")), "{event}:\n{printed}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_over_http_as_in_the_shell_example() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let environment = [
        ("STEPUP_URL", world.url.as_str()),
        ("STEPUP_API_KEY", API_KEY),
        ("STEPUP_SIM_URL", world.sim.as_str()),
    ];
    let printed = run("bash", "login.sh", &environment);
    let outcomes = ["stored", "stored", "open", "verified"];
    let outcomes = outcomes.map(|outcome| format!(r#""outcome":"{outcome}""#));
    assert_prints(&printed, &outcomes.each_ref().map(String::as_str));
    world.end().await;
}

/// The holds of an evening are short, as its head asks for.
const EVENING: [(&str, &str); 1] = [("STEPUP_RESET_HOLD_SECONDS", "10")];

#[tokio::test(flavor = "multi_thread")]
async fn an_evening_over_amqp_as_in_the_python_example() {
    let world = World::start(&[vec!["all"]], &EVENING).await;
    let (url, key) = (setting("STEPUP_DEMO_AMQP_URL"), world.public_key().to_string());
    let approval_keys = world.approval_keys();
    let environment = [
        ("STEPUP_APP_AMQP_URL", url.as_str()),
        ("STEPUP_PUBLIC_KEY", key.as_str()),
        ("STEPUP_APPROVAL_KEYS", approval_keys.as_str()),
        ("STEPUP_SIM_URL", world.sim.as_str()),
        ("STEPUP_URL", world.url.as_str()),
        ("STEPUP_API_KEY", API_KEY),
        ("STEPUP_PREFIX", world.topology.prefix.as_str()),
    ];
    let printed = run(&setting("STEPUP_PYTHON"), "evening.py", &environment);
    let told = [
        "without a phone: ben, cleo",
        r#"settings.change.redeem: {"outcome": "redeemed""#,
        r#"settings.change.redeem: {"outcome": "already_used""#,
        "eve    by tom    factor_reset",
    ];
    assert_prints(&printed, &told);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evening_over_http_as_in_the_shell_example() {
    let world = World::start(&[vec!["all"]], &EVENING).await;
    let environment = [
        ("STEPUP_URL", world.url.as_str()),
        ("STEPUP_API_KEY", API_KEY),
        ("STEPUP_SIM_URL", world.sim.as_str()),
    ];
    let printed = run("bash", "evening.sh", &environment);
    let told = [
        "the review: ben has no_phone",
        "the review: cleo has no_phone",
        "200 redeemed",
        "409 already_used",
        "eve    by tom    factor_reset",
    ];
    assert_prints(&printed, &told);
    world.end().await;
}

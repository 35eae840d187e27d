//! The examples, run as a newcomer runs them: each against a running product, with nothing but the
//! environment that its head asks for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::{API_KEY, World, setting};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn command(program: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", setting("PATH")).envs(environment.iter().copied());
    command
}

fn run(program: &str, example: &str, environment: &[(&str, &str)]) -> String {
    let mut command = command(program, environment);
    printed(example, command.arg(root().join("examples").join(example)).output().unwrap())
}

/// What an example printed; it must have ended well.
fn printed(example: &str, Output { status, stdout, stderr }: Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{example}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// The Python of the README: what every request takes, and the login. The exchange has the name that
/// it has here.
fn readme(prefix: &str) -> (String, String) {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, python) = text.split_once("```python\n").unwrap();
    let (python, _) = python.split_once("```").unwrap();
    let python = python.replace("\"stepup.requests\"", &format!("\"{prefix}.requests\""));
    let (tools, login) = python.split_once("login = ").unwrap();
    (tools.to_owned(), format!("login = {login}"))
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

#[test]
fn make_env_sets_all_that_the_examples_and_the_readme_read() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let script = read("scripts/demo.sh");
    let (_, printed) = script.split_once("printf 'export %s=%q\\n'").unwrap();
    let (printed, _) = printed.split_once("\n}").unwrap();
    let set: Vec<&str> = printed.split_whitespace().collect();
    // These have a default, or are stepup's own.
    let optional = ["STEPUP_PREFIX", "STEPUP_RESET_HOLD_SECONDS"];
    for path in [
        "README.md",
        "docs/http.md",
        "examples/login.py",
        "examples/login.sh",
        "examples/evening.py",
        "examples/evening.sh",
    ] {
        let text = read(path);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_$".contains(c)));
        let of_shell = words.clone().filter_map(|word| word.strip_prefix('$'));
        let short = of_shell.filter(|name| ["STEPUP", "KEY", "SIM"].contains(name));
        let long = words.filter(|word| path.starts_with("examples") && word.starts_with("STEPUP_"));
        let of_readme =
            text.split("os.environ[\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let names = short.chain(long).chain(of_readme).filter(|name| !optional.contains(name));
        let missing: Vec<&str> = names.filter(|name| !set.contains(name)).collect();
        assert!(missing.is_empty(), "{path}: `make env` does not print {missing:?}");
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
async fn a_login_over_amqp_as_in_the_readme() {
    let world = World::start(&[vec!["all"]], &[]).await;
    world.register("acme", "ada", "+12025550123", None).await;
    let (url, key) = (setting("STEPUP_DEMO_AMQP_URL"), world.public_key().to_string());
    let environment = [("STEPUP_APP_AMQP_URL", url.as_str()), ("STEPUP_PUBLIC_KEY", key.as_str())];
    let (tools, login) = readme(&world.topology.prefix);
    let mut command = command(&setting("STEPUP_PYTHON"), &environment);
    command.args(["-c", &format!("{tools}{login}")]).stdin(Stdio::piped());
    let mut python = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let code = world.code("/phones/+12025550123", 0).await;
    writeln!(python.stdin.take().unwrap(), "{code}").unwrap();
    let printed = printed("README.md", python.wait_with_output().unwrap());
    assert_prints(&printed, &["'outcome': 'verified'"]);
    world.end().await;
}

/// Gives up on one request at once, and asks another when the reply to the first is there.
const IMPATIENT: &str = r#"
import time
unknown = {"account": "acme", "member": "nobody", "login": "l1"}
try:
    ask("challenge.issue", unknown, message_id="one", seconds=0)
    raise SystemExit("it did not give up")
except TimeoutError as told:
    print(told)
# The reply comes in meanwhile, and is read only while the next one is waited for.
time.sleep(3)
account = {"account": "acme", "version": 1, "name": "Acme", "country": "US"}
print("second:", ask("directory.account", account)["outcome"])
print("first, again:", ask("challenge.issue", unknown, message_id="one")["outcome"])
"#;

/// The same with the app of `examples/login.py`.
const IMPATIENT_APP: &str = r#"
import os
from login import App
ask = App(os.environ["STEPUP_APP_AMQP_URL"], os.environ["STEPUP_PUBLIC_KEY"]).ask
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_is_no_answer_to_another_request_and_the_same_id_may_be_asked_again() {
    let world = World::start(&[vec!["all"]], &[]).await;
    let (url, key) = (setting("STEPUP_DEMO_AMQP_URL"), world.public_key().to_string());
    let examples = root().join("examples");
    let environment = [
        ("STEPUP_APP_AMQP_URL", url.as_str()),
        ("STEPUP_PUBLIC_KEY", key.as_str()),
        ("STEPUP_PREFIX", world.topology.prefix.as_str()),
        ("PYTHONPATH", examples.to_str().unwrap()),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ];
    let (tools, _) = readme(&world.topology.prefix);
    for (example, tools, stored) in
        [("README.md", tools.as_str(), "stored"), ("login.py", IMPATIENT_APP, "outdated")]
    {
        let mut command = command(&setting("STEPUP_PYTHON"), &environment);
        command.args(["-c", &format!("{tools}{IMPATIENT}")]);
        let printed = printed(example, command.output().unwrap());
        let told = [
            "ask again with message_id one",
            &format!("second: {stored}"),
            "first, again: not_found",
        ];
        assert_prints(&printed, &told);
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

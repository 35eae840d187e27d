//! The product as processes of its own: the real binary, the sim, a database and a prefix per test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepup::broker::Broker;
use stepup::domain::keys::PublicKey;
use stepup::store::Store;

use super::{Database, PATIENCE, Topology, drain, harness, setting};

const BINARY: &str = env!("CARGO_BIN_EXE_stepup");
/// The key of the app `demo`, whose broker user has the same name.
pub const API_KEY: &str = "test-api-key";

/// A running product. Ends with the test, and takes its database and its queues with it.
pub struct World {
    pub http: Client,
    pub url: String,
    pub sim: String,
    /// The URL of the database.
    pub database: String,
    /// Keys and logs; kept when the test fails.
    pub folder: PathBuf,
    environment: Vec<(String, String)>,
    processes: Vec<(String, Vec<&'static str>, Child)>,
    own: Database,
    /// Its prefix is also the name of the database.
    pub topology: Topology,
}

/// A free port below those that the system gives to outgoing connections: one of these could take it before
/// the process listens.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::random_range(10_000..32_000));
    ports.find(is_free).unwrap()
}

impl World {
    /// Starts the sim and one process with these roles each; `extra` goes into the environment.
    pub async fn start(roles: &[Vec<&'static str>], extra: &[(&str, &str)]) -> Self {
        let mut world = Self::prepare(extra).await;
        for arguments in roles {
            world.launch(arguments.clone());
        }
        world.await_ready().await;
        world
    }

    /// Everything but the processes of the product: only the sim runs.
    pub async fn prepare(extra: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tag = super::random_name();
        let own = Database::create(&tag).await;
        let folder = std::env::temp_dir().join(format!("stepup-{tag}"));
        std::fs::create_dir_all(&folder).unwrap();
        let keys = folder.join("keys").display().to_string();
        let digest = Sha256::digest(API_KEY);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let http = free_port();
        let mut world = Self {
            http: Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            url: format!("http://127.0.0.1:{http}"),
            sim: String::new(),
            database: own.url.clone(),
            folder: folder.clone(),
            environment: Vec::new(),
            processes: Vec::new(),
            own,
            topology: Topology::new(&tag),
        };
        let (sim_http, sim_smtp) = world.start_sim();
        world.sim = format!("http://{sim_http}");
        let set = |name: &str, value: String| (name.to_owned(), value);
        world.environment = vec![
            set("STEPUP_AMQP_URL", setting("STEPUP_AMQP_URL")),
            set("STEPUP_DATABASE_URL", world.database.clone()),
            set("STEPUP_PREFIX", tag),
            set("STEPUP_HTTP_ADDR", format!("127.0.0.1:{http}")),
            set("STEPUP_KEYS_FILE", keys.clone()),
            set("STEPUP_APPS", json!([{ "app": "demo", "api_key_sha256": hex }]).to_string()),
            set("STEPUP_SMS_URL", format!("http://{sim_http}/carrier/messages")),
            set("STEPUP_SMS_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into()),
            set("STEPUP_SMTP_URL", format!("smtp://{sim_smtp}?tls=none")),
            set("STEPUP_MAIL_FROM", "security@example.com".into()),
            // A busy machine is no reason for a 202 in the place of an outcome.
            set("STEPUP_REPLY_WAIT_SECONDS", "50".into()),
            set("STEPUP_DRAIN_SECONDS", "70".into()),
        ];
        world.environment.extend(extra.iter().map(|(name, value)| set(name, (*value).into())));
        assert!(world.command(&["keys", "create", &keys]).status().unwrap().success());
        world
    }

    fn start_sim(&mut self) -> (String, String) {
        let mut child = Command::new(harness())
            .arg("sim")
            .env_clear()
            .env("STEPUP_SIM_HTTP_ADDR", "127.0.0.1:0")
            .env("STEPUP_SIM_SMTP_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(self.log("sim"))
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.processes.push(("sim".into(), vec!["sim"], child));
        let address = |name: &str| {
            let found = line.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
            found
                .unwrap_or_else(|| panic!("the sim did not start: {}", self.said("sim")))
                .to_owned()
        };
        (address("http="), address("smtp="))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).env_clear().stdout(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("STEPUP_METRICS_ADDR", "127.0.0.1:0");
        command
    }

    /// What apps seal to, as `stepup keys public` prints it.
    pub fn public_key(&self) -> PublicKey {
        let output = self.command(&["keys", "public"]).stdout(Stdio::piped()).output().unwrap();
        PublicKey::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
    }

    /// What apps verify approvals with, as `stepup keys approval` prints it.
    pub fn approval_keys(&self) -> String {
        let output = self.command(&["keys", "approval"]).stdout(Stdio::piped()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn store(&self) -> Store {
        self.own.store()
    }

    pub fn database(&self) -> &Database {
        &self.own
    }

    /// The broker as the product's own user sees it.
    pub fn broker(&self) -> Broker {
        self.topology.connect(&setting("STEPUP_AMQP_URL"))
    }

    /// The metrics of every process of the product, by its name.
    pub async fn metrics(&self) -> Vec<(String, String)> {
        let mut pages = Vec::new();
        for (name, _, _) in self.processes.iter().filter(|(name, _, _)| name != "sim") {
            let address = self.health(name).unwrap();
            let page = self.http.get(format!("http://{address}/metrics")).send().await.unwrap();
            pages.push((name.clone(), page.text().await.unwrap()));
        }
        pages
    }

    /// Where a process answers for its health, once it does.
    fn health(&self, name: &str) -> Option<String> {
        let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap();
        let said = log.lines().rfind(|line| line.contains("health and metrics"))?;
        let said: Value = serde_json::from_str(said).unwrap();
        said["fields"]["address"].as_str().map(str::to_owned)
    }

    /// What `/readyz` of the process at this place answers, once it does.
    pub async fn readyz(&self, at: usize) -> Option<(u16, String)> {
        let url = format!("http://{}/readyz", self.health(&self.processes[at].0)?);
        let answer = self.http.get(url).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What `stepup healthcheck` says of the process at this place.
    pub fn healthcheck(&self, at: usize) -> Output {
        let address = self.health(&self.processes[at].0).unwrap();
        let mut command = self.command(&["healthcheck"]);
        command.env("STEPUP_METRICS_ADDR", address);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// Waits until the process at this place has written `text` into its log.
    pub async fn says(&self, at: usize, text: &str) {
        let (started, log) = (Instant::now(), format!("{}.log", self.processes[at].0));
        while !std::fs::read_to_string(self.folder.join(&log)).unwrap().contains(text) {
            assert!(started.elapsed() < PATIENCE, "{log} does not say {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn signal(&self, at: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.processes[at].2), signal).unwrap();
    }

    /// How the process at this place has ended, if it has.
    pub fn ended(&mut self, at: usize) -> Option<ExitStatus> {
        self.processes[at].2.try_wait().unwrap()
    }

    /// Where a process writes its log, and what else it has to say.
    fn log(&self, name: &str) -> File {
        let log = self.folder.join(format!("{name}.log"));
        File::options().create(true).append(true).open(log).unwrap()
    }

    /// The end of what a process has said.
    fn said(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn launch(&mut self, arguments: Vec<&'static str>) {
        let name = arguments.join("-");
        let (log, errors) = (self.log(&name), self.log(&name));
        let child = self.command(&arguments).stdout(log).stderr(errors).spawn().unwrap();
        self.processes.push((name, arguments, child));
    }

    /// Kills the process at this place (0 is the sim) with SIGKILL, and starts it again.
    pub fn kill(&mut self, at: usize) {
        let (_, arguments, mut child) = self.processes.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
        self.launch(arguments);
    }

    /// Kills the process at this place (0 is the sim) with SIGKILL, for good.
    pub fn stop(&mut self, at: usize) {
        let (_, _, mut child) = self.processes.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts one more process with these roles.
    pub fn begin(&mut self, roles: Vec<&'static str>) {
        self.launch(roles);
    }

    /// Waits until the ingress answers.
    pub async fn await_ready(&mut self) {
        let started = Instant::now();
        let nobody = format!("{}/v1/challenges/x", self.url);
        while self.http.get(&nobody).send().await.is_err() {
            let mut ended = self.processes.iter_mut().filter_map(|(name, _, child)| {
                child.try_wait().unwrap().map(|status| (name.clone(), status))
            });
            if let Some((name, status)) = ended.next() {
                panic!("{name} ended with {status}: {}", self.said(&name));
            }
            assert!(started.elapsed() < PATIENCE, "the ingress did not start: {:?}", self.folder);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One request as the app `demo`; the status and the body.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.url)).json(&body);
        let answer = request.bearer_auth(API_KEY).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    pub async fn register(&self, account: &str, member: &str, phone: &str, email: Option<&str>) {
        let body =
            json!({ "version": 1, "name": "Acme", "country": "US", "origin": "app.acme.example" });
        self.call(Method::PUT, &format!("/v1/accounts/{account}"), body).await;
        let body = json!({ "version": 1, "phone": phone, "email": email, "two_factor": true,
            "email_verified": email.is_some(), "email_backup": email.is_some() });
        self.put_member(account, member, body).await;
    }

    /// Writes a member: `version` and what else is to be as by default comes in `body`.
    pub async fn put_member(&self, account: &str, member: &str, body: Value) -> Value {
        let path = format!("/v1/accounts/{account}/members/{member}");
        let (status, answer) = self.call(Method::PUT, &path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub async fn login(&self, account: &str, member: &str, login: &str) -> Value {
        let body = json!({ "account": account, "member": member, "login": login });
        self.call(Method::POST, "/v1/logins", body).await.1
    }

    pub async fn verify(&self, account: &str, challenge: &str, guess: &str) -> (u16, Value) {
        let body = json!({ "account": account, "guess": guess });
        self.call(Method::POST, &format!("/v1/challenges/{challenge}/verify"), body).await
    }

    /// Asks for the code once more, by `channel`; the status and the body.
    pub async fn resend(&self, account: &str, challenge: &str, channel: &str) -> (u16, Value) {
        let body = json!({ "account": account, "channel": channel });
        self.call(Method::POST, &format!("/v1/challenges/{challenge}/resend"), body).await
    }

    /// What the app is shown of a challenge.
    pub async fn view(&self, challenge: &str) -> Value {
        let path = format!("/v1/challenges/{challenge}");
        self.call(Method::GET, &path, Value::Null).await.1
    }

    /// Makes the provider misbehave towards a number or address.
    pub async fn fault(&self, recipient: &str, fault: Value) {
        let url = format!("{}/faults/{recipient}", self.sim);
        let answer = self.http.put(url).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// How the provider treats connections that are kept open.
    pub async fn connections(&self, order: Value) {
        let answer = self.http.put(format!("{}/connections", self.sim)).json(&order).send().await;
        assert!(answer.unwrap().status().is_success(), "{order}");
    }

    /// How many messages have arrived at `/phones/+1…` or `/mailboxes/a@b`.
    pub async fn arrived(&self, place: &str) -> usize {
        let found = self.sim_get(place).await;
        found["messages"].as_array().map_or(0, Vec::len)
    }

    /// The code in message `n` of a phone or mailbox, as soon as it is there.
    pub async fn code(&self, place: &str, n: usize) -> String {
        let url = format!("{}{place}/next?after={n}&wait=25", self.sim);
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "nothing arrived at {place}");
        let body: Value = answer.json().await.unwrap();
        body["text"].as_str().unwrap().split_whitespace().next().unwrap().to_owned()
    }

    pub async fn sim_get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.sim)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// One column of one row.
    pub async fn count(&self, query: &str) -> i64 {
        self.own.count(query).await
    }

    /// Changes what the product would take weeks to change.
    pub async fn execute(&self, statement: &str) {
        self.own.client().await.batch_execute(statement).await.unwrap();
    }

    /// Waits until a count is what it should be.
    pub async fn until(&self, query: &str, wanted: i64, patience: Duration) {
        let look = |client: tokio_postgres::Client| async move {
            let found: i64 = client.query_one(query, &[]).await?.get(0);
            Ok((found != wanted).then(|| format!("{query}: {found}, not {wanted}")))
        };
        self.own.wait(patience, look).await;
    }

    /// Waits until nothing is in flight: what was caused is settled, and what is due was swept.
    /// Needs a process for every role whose queue gets something.
    pub async fn drain(&self) {
        self.own.wait(PATIENCE, drain::in_flight).await;
    }

    /// Moves the clock of all decisions once nothing is in flight, and waits until what has become
    /// due by that is done. A pass under way would commit a due time that the timers have passed.
    pub async fn advance(&self, ahead: Duration) {
        self.drain().await;
        self.own.jump(ahead).await;
        self.drain().await;
    }

    /// Moves the clock of all decisions, whatever is in flight.
    pub async fn jump(&self, ahead: Duration) {
        self.own.jump(ahead).await;
    }

    /// Ends everything, and removes the files too.
    pub async fn end(self) {
        let folder = self.folder.clone();
        drop(self);
        let _ = std::fs::remove_dir_all(folder);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, _, child) in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the logs are in {}", self.folder.display());
        }
    }
}

//! The product as processes of its own: the real binary, the sim, a database and a prefix per test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepup::broker::Broker;
use stepup::domain::keys::PublicKey;

const BINARY: &str = env!("CARGO_BIN_EXE_stepup");
/// The key of the app `demo`, whose broker user has the same name.
pub const API_KEY: &str = "test-api-key";
/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running product.
pub struct World {
    pub http: Client,
    pub url: String,
    pub sim: String,
    pub database: String,
    pub folder: PathBuf,
    environment: Vec<(String, String)>,
    processes: Vec<(String, Vec<&'static str>, Child)>,
    admin: String,
    database_name: String,
}

pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is missing: `make up`, then `make test`"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn sql(url: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
}

impl World {
    /// Starts the sim and one process with these roles each; `extra` goes into the environment.
    pub async fn start(roles: &[Vec<&'static str>], extra: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tag = format!("t{:08x}", rand::rng().random::<u32>());
        let admin = setting("STEPUP_DATABASE_URL");
        sql(&admin, &format!("CREATE DATABASE {tag}")).await;
        let (base, _) = admin.rsplit_once('/').unwrap();
        let database = format!("{base}/{tag}");
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
            database: database.clone(),
            folder: folder.clone(),
            environment: Vec::new(),
            processes: Vec::new(),
            admin,
            database_name: tag.clone(),
        };
        let (sim_http, sim_smtp) = world.start_sim();
        world.sim = format!("http://{sim_http}");
        let set = |name: &str, value: String| (name.to_owned(), value);
        world.environment = vec![
            set("STEPUP_AMQP_URL", setting("STEPUP_AMQP_URL")),
            set("STEPUP_DATABASE_URL", database),
            set("STEPUP_PREFIX", tag),
            set("STEPUP_HTTP_ADDR", format!("127.0.0.1:{http}")),
            set("STEPUP_KEYS_FILE", keys.clone()),
            set("STEPUP_APPS", json!([{ "app": "demo", "api_key_sha256": hex }]).to_string()),
            set("STEPUP_SMS_URL", format!("http://{sim_http}/carrier/messages")),
            set("STEPUP_SMS_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into()),
            set("STEPUP_SMTP_URL", format!("smtp://{sim_smtp}?tls=none")),
            set("STEPUP_MAIL_FROM", "security@example.com".into()),
            set("STEPUP_TRANSACTION_SECONDS", "1".into()),
        ];
        world.environment.extend(extra.iter().map(|(name, value)| set(name, (*value).into())));
        assert!(world.command(&["keys", "create", &keys]).status().unwrap().success());
        assert!(world.command(&["migrate"]).status().unwrap().success());
        for arguments in roles {
            world.launch(arguments.clone());
        }
        world.await_ready().await;
        world
    }

    fn start_sim(&mut self) -> (String, String) {
        let mut child = Command::new(BINARY)
            .arg("sim")
            .env_clear()
            .env("STEPUP_SIM_HTTP_ADDR", "127.0.0.1:0")
            .env("STEPUP_SIM_SMTP_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.processes.push(("sim".into(), vec!["sim"], child));
        let address = |name: &str| {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
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

    /// What the names of the exchanges and queues begin with.
    pub fn prefix(&self) -> &str {
        &self.database_name
    }

    /// What apps seal to, as `stepup keys public` prints it.
    pub fn public_key(&self) -> PublicKey {
        let output = self.command(&["keys", "public"]).stdout(Stdio::piped()).output().unwrap();
        PublicKey::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
    }

    /// The broker as the product's own user sees it.
    pub fn broker(&self) -> Broker {
        let settings = stepup::broker::Settings {
            url: setting("STEPUP_AMQP_URL"),
            prefix: self.database_name.clone(),
            connection_name: "test".into(),
            ca_file: None,
        };
        Broker::new(settings).unwrap()
    }

    /// The metrics of every process of the product, by its name.
    pub async fn metrics(&self) -> Vec<(String, String)> {
        let mut pages = Vec::new();
        for (name, _, _) in self.processes.iter().filter(|(name, _, _)| name != "sim") {
            let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap();
            let said = log.lines().rfind(|line| line.contains("health and metrics")).unwrap();
            let said: Value = serde_json::from_str(said).unwrap();
            let address = said["fields"]["address"].as_str().unwrap();
            let page = self.http.get(format!("http://{address}/metrics")).send().await.unwrap();
            pages.push((name.clone(), page.text().await.unwrap()));
        }
        pages
    }

    fn launch(&mut self, arguments: Vec<&'static str>) {
        let name = arguments.join("-");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))
            .unwrap();
        let child = self.command(&arguments).stdout(log).spawn().unwrap();
        self.processes.push((name, arguments, child));
    }

    /// Kills the process at this place (0 is the sim) with SIGKILL, and starts it again.
    pub fn kill(&mut self, at: usize) {
        let (_, arguments, mut child) = self.processes.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
        self.launch(arguments);
    }

    async fn await_ready(&self) {
        let started = Instant::now();
        let nobody = format!("{}/v1/challenges/x", self.url);
        while self.http.get(&nobody).send().await.is_err() {
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
        let path = format!("/v1/accounts/{account}/members/{member}");
        let (status, answer) = self.call(Method::PUT, &path, body).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub async fn login(&self, account: &str, member: &str, login: &str) -> Value {
        let body = json!({ "account": account, "member": member, "login": login });
        self.call(Method::POST, "/v1/logins", body).await.1
    }

    pub async fn verify(&self, account: &str, challenge: &str, guess: &str) -> (u16, Value) {
        let body = json!({ "account": account, "guess": guess });
        self.call(Method::POST, &format!("/v1/challenges/{challenge}/verify"), body).await
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
        let (client, connection) =
            tokio_postgres::connect(&self.database, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Waits until a count is what it should be.
    pub async fn until(&self, query: &str, wanted: i64, patience: Duration) {
        let started = Instant::now();
        loop {
            let found = self.count(query).await;
            if found == wanted {
                return;
            }
            assert!(started.elapsed() < patience, "{query}: {found}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends everything and removes the database, the queues and the files.
    pub async fn end(mut self) {
        for (_, _, child) in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
        let broker = self.broker();
        stepup::broker::topology::delete(&broker).await.unwrap();
        broker.close().await;
        sql(&self.admin, &format!("DROP DATABASE {} WITH (FORCE)", self.database_name)).await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, _, child) in &mut self.processes {
            let _ = child.kill();
        }
    }
}

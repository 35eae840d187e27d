//! What a test of the runtime stands on: a topology, a database, and processes that run a fake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::FieldTable;
use serde_json::json;
use stepup::broker::dead::{self, DeadView};
use stepup::broker::{Answer, Broker, Consumer, Delivery, Publisher, Requester, topology};
use stepup::domain::id::AppName;
use stepup::domain::keys::Keyring;
use stepup::message::{Exchange, Outgoing, RetryDelay, Senders};
use stepup::runtime::{CallLimits, EngineSettings, Shared};
use stepup::store::Store;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fake::Act;
use super::fake::Run;
use crate::support::{Database, PATIENCE, Topology, publish, random_name, setting};

/// The queue of the fakes, and a key that leads to it.
pub const QUEUE: &str = "code_generation.login";
pub const KEY: &str = "challenge.resend";

pub struct RuntimeFixture {
    pub database: Database,
    /// By the direct way.
    pub broker: Broker,
    topology: Topology,
    /// How old a claim may be when its call begins.
    pub claim_fresh: Duration,
}

/// A process with one worker.
pub struct Process {
    stop: CancellationToken,
    broker: Broker,
    task: JoinHandle<()>,
}

/// Short enough to wait for, and in the order of the real ones.
pub fn short(delay: RetryDelay) -> Duration {
    Duration::from_millis(match delay {
        RetryDelay::Second1 => 200,
        RetryDelay::Second5 => 300,
        RetryDelay::Second30 => 400,
        RetryDelay::Second120 => 500,
    })
}

/// A retry delay longer than any test.
pub fn endless(_: RetryDelay) -> Duration {
    PATIENCE * 10
}

impl RuntimeFixture {
    pub async fn open(delay: fn(RetryDelay) -> Duration) -> Self {
        let name = random_name();
        let database = Database::create(&name).await;
        let topology = Topology::new(&name);
        let broker = topology.connect(&setting("STEPUP_AMQP_URL"));
        topology::declare_with_delays(&broker, delay).await.unwrap();
        Self { database, broker, topology, claim_fresh: Duration::from_secs(5) }
    }

    /// Starts a process, and waits until it consumes.
    pub async fn start<W: Run>(&self, worker: &Arc<W>) -> Process {
        self.start_by(&setting("STEPUP_AMQP_URL"), worker).await
    }

    /// The same, with its own way to the broker.
    pub async fn start_by<W: Run>(&self, url: &str, worker: &Arc<W>) -> Process {
        self.launch(url, self.database.store(), worker).await
    }

    /// The same, with its own way to the database.
    pub async fn start_with<W: Run>(&self, store: Store, worker: &Arc<W>) -> Process {
        self.launch(&setting("STEPUP_AMQP_URL"), store, worker).await
    }

    async fn launch<W: Run>(&self, url: &str, store: Store, worker: &Arc<W>) -> Process {
        let before = topology::depth(&self.broker, QUEUE).await.unwrap().consumers;
        let (broker, stop) = (self.topology.connect(url), CancellationToken::new());
        let user = broker.user().to_owned();
        let apps = BTreeMap::from([(user.clone(), AppName::parse("demo").unwrap())]);
        let shared = Shared {
            store,
            broker: broker.clone(),
            keys: Arc::new(Keyring::for_tests()),
            senders: Arc::new(Senders { own_user: user, apps }),
        };
        let settings = EngineSettings { queue: QUEUE, batch_max: 100 };
        let limits = CallLimits { calls_max: 20, claim_fresh: self.claim_fresh };
        let task = tokio::spawn(Arc::clone(worker).run(shared, settings, limits, stop.clone()));
        self.depth(QUEUE, |depth| depth.consumers > before).await;
        Process { stop, broker, task }
    }

    /// Takes the way of all events away, or gives it back. Declaring it again does not help meanwhile,
    /// since the exchange is of another type.
    pub async fn route_events(&self, routed: bool) {
        let exchange = self.broker.names().exchange(Exchange::Events);
        let url = setting("STEPUP_AMQP_URL");
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = ExchangeDeleteOptions::default();
        channel.exchange_delete(exchange.as_str().into(), options).await.unwrap();
        if routed {
            topology::repair(&self.broker).await.unwrap();
        } else {
            let (kind, none) = (lapin::ExchangeKind::Direct, FieldTable::default());
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel.exchange_declare(exchange.into(), kind, options, none).await.unwrap();
        }
    }

    pub async fn publish(&self, messages: &[Outgoing]) {
        let mut publisher = Publisher::open(&self.broker).await.unwrap();
        publish(&mut publisher, messages, &[]).await.unwrap();
    }

    /// Publishes a message and waits for the answer to it.
    pub async fn ask(&self, message: Outgoing) -> serde_json::Value {
        let requester = Requester::start(&self.broker, &CancellationToken::new());
        let correlation = Uuid::from_u128(rand::random());
        let answer = requester.request(message, "demo", correlation, PATIENCE).await.unwrap();
        let Answer::Replied(body) = answer else { panic!("no answer") };
        serde_json::from_slice(&body).unwrap()
    }

    /// Until a queue is as it should be.
    pub async fn depth(&self, queue: &str, wanted: impl Fn(topology::Depth) -> bool) {
        let look = async {
            while !wanted(topology::depth(&self.broker, queue).await.unwrap()) {
                // A queue tells nobody when it changes.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, look).await.is_ok(), "{queue} is not as it should be");
    }

    /// The dead letters, once there are so many.
    pub async fn dead(&self, count: u32) -> Vec<DeadView> {
        self.depth("dead", |depth| depth.messages >= count).await;
        dead::list(&self.broker, 100).await.unwrap()
    }

    /// Nothing was set aside.
    pub async fn no_dead(&self) {
        assert_eq!(dead::list(&self.broker, 100).await.unwrap(), []);
    }

    /// So many events that were not asked for before, as soon as they are there.
    pub async fn events(&self, count: usize) -> Vec<Delivery> {
        self.events_until(|events| events.len() >= count).await
    }

    /// Events, until they are enough. By one consumer: what it had at hand at its end would count
    /// as returned.
    pub async fn events_until(&self, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut consumer = Consumer::open(&self.broker, "audit.bulk", 1000).await.unwrap();
        let mut events = Vec::new();
        while !enough(&events) {
            let next = timeout(PATIENCE, consumer.next_batch(1000)).await;
            let batch = next.unwrap_or_else(|_| panic!("{} events", events.len()));
            let batch = batch.unwrap().unwrap();
            consumer.ack_through(batch.last().unwrap().tag).await.unwrap();
            events.extend(batch);
        }
        consumer.close().await.unwrap();
        events
    }

    /// Until so many rows are written.
    pub async fn written(&self, count: i64) {
        let look = |client: tokio_postgres::Client| async move {
            let found: i64 = client.query_one(ROWS, &[]).await?.get(0);
            Ok((found < count).then(|| format!("{found} of {count} rows")))
        };
        self.database.wait(PATIENCE, look).await;
    }

    pub async fn rows(&self) -> i64 {
        self.database.count(ROWS).await
    }
}

const ROWS: &str = "SELECT count(*) FROM activity";

impl Process {
    /// Ends it as SIGTERM does.
    pub async fn drain(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it does not drain").unwrap();
        self.broker.close().await;
    }

    /// Ends it as `kill -9` does, as far as others can see.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.broker.close().await;
    }
}

/// A request that tells the fake what to do.
pub fn note(name: &str, act: Act) -> Outgoing {
    let body = json!({ "name": name, "act": format!("{act:?}").to_lowercase() });
    raw(&body.to_string())
}

/// A request with this body.
pub fn raw(body: &str) -> Outgoing {
    Outgoing {
        exchange: Exchange::Requests,
        key: KEY.to_owned(),
        id: Uuid::from_u128(rand::random()),
        body: body.to_owned(),
        delay: None,
        traceparent: None,
    }
}

//! A worker that does what its messages say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use stepup::domain::Timestamp;
use stepup::domain::activity::{Action, Origin};
use stepup::domain::id::{AccountId, AppName, MemberId};
use stepup::fault::Fault;
use stepup::message::{
    Decoded, Event, EventKind, Message, Outcome, OutcomeKind, Rejected, Subject,
};
use stepup::rules::activity::Activity;
use stepup::rules::claimed::{Claimed, Decision};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{
    CallLimits, EngineSettings, ProviderWorker, Shared, TransactionWorker, Worker, run_provider,
    run_transactions,
};
use stepup::store::{self, Tx};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// What is to happen to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It is written down.
    Write,
    /// It fails, and would fail again.
    Transient,
    /// It fails for good.
    Permanent,
    /// The worker panics over it.
    Panic,
    /// As `Write`, once the test opens the gate.
    Hold,
    /// As `Write`, but the first call of several holds its thread for [`HELD`].
    Block,
}

/// How long a call holds its thread.
pub const HELD: Duration = Duration::from_millis(2_500);

/// A message.
#[derive(Clone, Debug, Deserialize)]
pub struct Note {
    pub name: String,
    pub act: Act,
}

impl Message for Note {
    fn read(_: &str, _: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        serde_json::from_value(body).map_err(|error| Rejected::malformed(error.to_string()))
    }

    fn subject(&self) -> Subject {
        Subject::of(&self.name)
    }
}

/// The worker. Each message that it handles is a row of `activity`, an event, and a reply.
pub struct Fake<const PROVIDER: bool, const GATHER_MILLIS: u64 = 0> {
    /// When each message was looked at.
    pub looks: watch::Sender<HashMap<String, Vec<Instant>>>,
    /// Whoever holds a message waits for a permit.
    pub gate: Semaphore,
    /// How many messages each batch had.
    pub batches: Mutex<Vec<usize>>,
    /// How many calls were made, and how many claims taken back.
    pub called: AtomicUsize,
    pub released: AtomicUsize,
    /// What is claimed, with how many at once; and how many claims met an earlier one that holds.
    pub claimed: Mutex<HashMap<String, usize>>,
    pub claimed_twice: AtomicUsize,
    /// Whether a call has held its thread.
    pub blocked: AtomicBool,
}

/// The one that decides.
pub type FakeTransaction = Fake<false>;
/// The one that calls.
pub type FakeProvider = Fake<true>;
/// The one that waits for more.
pub type Gathering = Fake<false, 3_000>;

impl<const PROVIDER: bool, const GATHER_MILLIS: u64> Fake<PROVIDER, GATHER_MILLIS> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            looks: watch::Sender::default(),
            gate: Semaphore::new(0),
            batches: Mutex::default(),
            called: AtomicUsize::default(),
            released: AtomicUsize::default(),
            claimed: Mutex::default(),
            claimed_twice: AtomicUsize::default(),
            blocked: AtomicBool::default(),
        })
    }

    /// Until `name` was looked at so often.
    pub async fn looked(&self, name: &str, times: usize) {
        let mut looks = self.looks.subscribe();
        let enough = looks.wait_for(|looks| looks.get(name).map_or(0, Vec::len) >= times);
        let waited = tokio::time::timeout(crate::support::PATIENCE, enough).await;
        assert!(waited.is_ok(), "{name} was not looked at {times} times");
    }

    pub fn looks_at(&self, name: &str) -> Vec<Instant> {
        self.looks.borrow().get(name).cloned().unwrap_or_default()
    }

    fn look(&self, name: &str) {
        self.looks.send_modify(|looks| {
            looks.entry(name.to_owned()).or_default().push(Instant::now());
        });
    }

    /// Holds the thread where calls that were claimed with this one wait for it, once.
    fn block(&self, name: &str) {
        let several = self.claimed.lock().unwrap().get(name).is_some_and(|size| *size > 1);
        if several && !self.blocked.swap(true, Ordering::Relaxed) {
            std::thread::sleep(HELD);
        }
    }

    async fn wait(&self) {
        self.gate.acquire().await.unwrap().forget();
    }
}

impl<const PROVIDER: bool, const GATHER_MILLIS: u64> Worker for Fake<PROVIDER, GATHER_MILLIS> {
    const NAME: &'static str = "fake";
    type Message = Note;
    type Facts = ();

    async fn load(&self, tx: &Tx<'_>, batch: &[&Decoded<Note>]) -> Result<Vec<()>, Fault> {
        self.batches.lock().unwrap().push(batch.len());
        for message in batch {
            self.look(&message.message.name);
        }
        for message in batch {
            match message.message.act {
                Act::Transient => return Err(Fault::Transient("as it was told".into())),
                Act::Hold if !PROVIDER => self.wait().await,
                _ => {}
            }
        }
        // As every real one: it speaks to the database.
        tx.now().await?;
        Ok(vec![(); batch.len()])
    }
}

impl<const GATHER_MILLIS: u64> TransactionWorker for Fake<false, GATHER_MILLIS> {
    const GATHER: Duration = Duration::from_millis(GATHER_MILLIS);
    type Write = Note;

    fn decide(
        &self,
        message: &Decoded<Note>,
        (): (),
        _: &mut DecisionContext<'_>,
    ) -> Decided<Note> {
        assert!(message.message.act != Act::Panic, "as it was told");
        written(message.message.clone())
    }

    async fn store(&self, tx: &Tx<'_>, notes: &[&Note], now: Timestamp) -> Result<(), Fault> {
        write(tx, notes, now).await
    }
}

impl ProviderWorker for Fake<true> {
    type Call = Note;
    type Settlement = Decided<Note>;

    fn decide(
        &self,
        message: &Decoded<Note>,
        (): (),
        _: &mut DecisionContext<'_>,
    ) -> Decision<Note, Decided<Note>> {
        Decision::Call(message.message.clone())
    }

    async fn claim(&self, _: &Tx<'_>, notes: &[&Note]) -> Result<(), Fault> {
        let mut claimed = self.claimed.lock().unwrap();
        for note in notes {
            if claimed.insert(note.name.clone(), notes.len()).is_some() {
                self.claimed_twice.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    async fn release(&self, _: &Tx<'_>, notes: &[&Note]) -> Result<(), Fault> {
        self.released.fetch_add(notes.len(), Ordering::Relaxed);
        let mut claimed = self.claimed.lock().unwrap();
        for note in notes {
            claimed.remove(&note.name);
        }
        Ok(())
    }

    async fn call(&self, note: Claimed<Note>) -> Decided<Note> {
        self.called.fetch_add(1, Ordering::Relaxed);
        match note.act {
            Act::Hold => self.wait().await,
            Act::Block => self.block(&note.name),
            Act::Panic => panic!("as it was told"),
            _ => {}
        }
        written(note.clone())
    }

    async fn settle(
        &self,
        tx: &Tx<'_>,
        written: &[&Decided<Note>],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let notes: Vec<&Note> = written.iter().filter_map(|w| w.write.as_ref()).collect();
        write(tx, &notes, now).await
    }
}

/// A worker that a test can start, of either kind.
pub trait Run: Send + Sync + 'static {
    fn run(
        self: Arc<Self>,
        shared: Shared,
        settings: EngineSettings,
        limits: CallLimits,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

impl<const GATHER_MILLIS: u64> Run for Fake<false, GATHER_MILLIS> {
    async fn run(
        self: Arc<Self>,
        shared: Shared,
        settings: EngineSettings,
        _: CallLimits,
        stop: CancellationToken,
    ) {
        run_transactions(self, shared, settings, stop).await;
    }
}

impl Run for Fake<true> {
    async fn run(
        self: Arc<Self>,
        shared: Shared,
        settings: EngineSettings,
        limits: CallLimits,
        stop: CancellationToken,
    ) {
        run_provider(self, shared, settings, limits, stop).await;
    }
}

fn written(note: Note) -> Decided<Note> {
    let account = AccountId::parse("acme").ok();
    let member = MemberId::parse(&note.name).ok();
    let event = Event { member, ..Event::new(EventKind::MemberChanged, account) };
    Decided {
        label: "written",
        write: Some(note),
        effects: vec![event.into()],
        reply: Some(Outcome::new(OutcomeKind::Stored)),
    }
}

async fn write(tx: &Tx<'_>, notes: &[&Note], now: Timestamp) -> Result<(), Fault> {
    if notes.iter().any(|note| note.act == Act::Permanent) {
        return Err(Fault::Permanent("as it was told".into()));
    }
    let rows: Vec<Activity> = notes.iter().map(|note| row(&note.name, now)).collect();
    store::append_activity(tx, &rows.iter().collect::<Vec<_>>()).await
}

fn row(name: &str, at: Timestamp) -> Activity {
    let member = MemberId::parse(name).unwrap();
    Activity {
        account: AccountId::parse("acme").unwrap(),
        actor: member.clone(),
        member: Some(member),
        action: Action::NumberChanged,
        origin: Origin::Own,
        old_number: None,
        new_number: None,
        challenge: None,
        client: Default::default(),
        at,
    }
}

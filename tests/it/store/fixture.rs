//! Batches of the real workers, one step at a time: a transaction that was judged and written, and
//! is still open.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use stepup::domain::id::{AppName, ChallengeId};
use stepup::domain::keys::{Keyring, Place};
use stepup::domain::policy::Policy;
use stepup::fault::Fault;
use stepup::message::{Command, Decoded, Effect, Message, Outcome};
use stepup::rules::RuleInputs;
use stepup::rules::challenge::decide::Write;
use stepup::rules::challenge::verify;
use stepup::rules::claimed::Decision;
use stepup::rules::delivery::{self, DeliveryCall, DeliverySettlement, SendRequest};
use stepup::rules::text::Texts;
use stepup::rules::{Decided, DecisionContext, Verdict};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Claim, Client, Store, Tx};
use stepup_workers::code_generation::CodeGeneration;
use stepup_workers::directory::Directory;
use stepup_workers::verification::Verification;
use uuid::Uuid;

use crate::support::{Database, random_name};

/// The number of everybody here.
pub const SMS: &str = "+12025550123";
pub const CLAIM: Claim =
    Claim { lease: Duration::from_secs(10), fallback_after: Duration::from_secs(60) };

pub struct StoreFixture {
    pub database: Database,
    store: Store,
    rules: RuleInputs,
}

/// What is decided for a send.
pub type Sending = Decision<DeliveryCall, DeliverySettlement>;

/// The call of a send.
pub fn call(sending: Sending) -> DeliveryCall {
    let Decision::Call(call) = sending else { panic!("no call") };
    call
}

/// A batch before its commit.
pub struct Judged<'a> {
    pub tx: Tx<'a>,
    /// What a guess costs or brings.
    pub guess: Option<verify::Write>,
    reply: Option<Outcome>,
    effects: Vec<Effect>,
}

impl Judged<'_> {
    pub fn outcome(&self) -> &'static str {
        self.reply.as_ref().unwrap().outcome.label()
    }

    pub fn challenge(&self) -> ChallengeId {
        self.reply.as_ref().unwrap().challenge.unwrap()
    }

    pub fn causes(&self, key: &str) -> bool {
        let is = |effect: &Effect| matches!(effect, Effect::Command(c, _) if c.key() == key);
        self.effects.iter().any(is)
    }
}

impl StoreFixture {
    /// With an account `acme`, whose member `ada` has the number [`SMS`].
    pub async fn open() -> Self {
        let database = Database::create(&random_name()).await;
        let keys = Arc::new(Keyring::for_tests());
        let texts = Arc::new(Texts::embedded().unwrap());
        let rules = RuleInputs { keys, policy: Arc::new(Policy::default()), texts };
        let fixture = Self { store: database.store(), database, rules };
        let account = json!({ "account": "acme", "version": 1, "name": "Acme", "country": "US" });
        let mut client = fixture.client().await;
        fixture
            .directory(&mut client, "directory.account", account)
            .await
            .tx
            .commit()
            .await
            .unwrap();
        fixture.member("ada", json!({ "version": 1, "phone": SMS, "two_factor": true })).await;
        fixture
    }

    pub async fn client(&self) -> Client {
        self.store.client().await.unwrap()
    }

    /// Writes a member and commits.
    pub async fn member(&self, member: &str, body: Value) {
        let mut client = self.client().await;
        self.put(&mut client, member, body).await.tx.commit().await.unwrap();
    }

    /// Opens a challenge and commits; its id and its code.
    pub async fn issue(&self, member: &str, login: &str) -> (ChallengeId, String) {
        let mut client = self.client().await;
        let (tx, verdict) = self.issued(&mut client, member, login).await;
        tx.commit().await.unwrap();
        let Some(Write::Issue(issued)) = verdict.write else { panic!("not issued") };
        let challenge = issued.new.challenge;
        let expires = challenge.expires_at.unix_timestamp();
        let place = Place::Code(challenge.id.0.as_bytes(), expires);
        let code = self.rules.keys.open(&place, &challenge.code_sealed.unwrap()).unwrap();
        (challenge.id, String::from_utf8(code.to_vec()).unwrap())
    }

    async fn issued<'a>(
        &self,
        client: &'a mut Client,
        member: &str,
        login: &str,
    ) -> (Tx<'a>, Decided<Write>) {
        let body = json!({ "account": "acme", "member": member, "login": login });
        let worker = CodeGeneration { rules: self.rules.clone() };
        pass(client, &worker, "challenge.issue", body).await
    }

    pub async fn login<'a>(&self, client: &'a mut Client, member: &str, login: &str) -> Judged<'a> {
        let (tx, verdict) = self.issued(client, member, login).await;
        judged(tx, &verdict)
    }

    pub async fn resend<'a>(&self, client: &'a mut Client, id: ChallengeId) -> Judged<'a> {
        let body = json!({ "account": "acme", "challenge": id });
        let worker = CodeGeneration { rules: self.rules.clone() };
        let (tx, verdict) = pass(client, &worker, "challenge.resend", body).await;
        judged(tx, &verdict)
    }

    /// A login of `member` and a resend of `id` in one batch: what became of its writes.
    pub async fn login_and_resend(&self, member: &str, id: ChallengeId) -> Result<(), Fault> {
        let worker = CodeGeneration { rules: self.rules.clone() };
        let login = json!({ "account": "acme", "member": member, "login": "l9" });
        let resend = json!({ "account": "acme", "challenge": id });
        let batch =
            [read(&worker, "challenge.issue", login), read(&worker, "challenge.resend", resend)];
        let mut client = self.client().await;
        let tx = client.begin().await?;
        let facts = worker.load(&tx, &batch.each_ref()).await?;
        let now = tx.now().await?;
        let mut rng = StdRng::seed_from_u64(rand::random());
        let mut ctx = DecisionContext { now, rng: &mut rng };
        let decide = |(message, facts)| worker.decide(message, facts, &mut ctx);
        let verdicts: Vec<_> = batch.iter().zip(facts).map(decide).collect();
        let writes: Vec<_> = verdicts.iter().filter_map(|v| v.write.as_ref()).collect();
        worker.store(&tx, &writes, now).await
    }

    pub async fn guess<'a>(
        &self,
        client: &'a mut Client,
        id: ChallengeId,
        guess: &str,
    ) -> Judged<'a> {
        let body = json!({ "account": "acme", "challenge": id, "guess": guess });
        let worker = Verification { rules: self.rules.clone() };
        let (tx, verdict) = pass(client, &worker, "challenge.verify", body).await;
        Judged { guess: verdict.write.clone(), ..judged(tx, &verdict) }
    }

    pub async fn put<'a>(&self, client: &'a mut Client, member: &str, body: Value) -> Judged<'a> {
        let mut body = body;
        body.as_object_mut()
            .unwrap()
            .extend([("account".to_owned(), json!("acme")), ("member".to_owned(), json!(member))]);
        self.directory(client, "directory.member", body).await
    }

    async fn directory<'a>(&self, client: &'a mut Client, key: &str, body: Value) -> Judged<'a> {
        let worker = Directory { keys: Arc::clone(&self.rules.keys) };
        let (tx, verdict) = pass(client, &worker, key, body).await;
        judged(tx, &verdict)
    }

    /// The first SMS of a challenge, judged but not claimed.
    pub async fn sms<'a>(&self, client: &'a mut Client, id: ChallengeId) -> (Tx<'a>, Sending) {
        let request = SendRequest::of(&Command::sms(id, 1)).unwrap();
        let tx = client.begin().await.unwrap();
        let facts = store::delivery_facts(&tx, &[id.0]).await.unwrap().remove(0);
        let now = tx.now().await.unwrap();
        (tx, delivery::decide(&request, facts, &self.rules, now))
    }
}

fn read<W: Worker>(_: &W, key: &str, body: Value) -> Decoded<W::Message> {
    let app = AppName::parse("demo").ok();
    let message = W::Message::read(key, app, body).unwrap();
    Decoded { id: Uuid::from_u128(rand::random()), digest: None, app: None, message }
}

/// Loads, decides and stores one message, as the runtime does.
async fn pass<'a, W: TransactionWorker>(
    client: &'a mut Client,
    worker: &W,
    key: &str,
    body: Value,
) -> (Tx<'a>, Decided<W::Write>) {
    let message = read(worker, key, body);
    let tx = client.begin().await.unwrap();
    let facts = worker.load(&tx, &[&message]).await.unwrap().remove(0);
    let now = tx.now().await.unwrap();
    let mut rng = StdRng::seed_from_u64(rand::random());
    let verdict = worker.decide(&message, facts, &mut DecisionContext { now, rng: &mut rng });
    let writes: Vec<&W::Write> = verdict.write.iter().collect();
    worker.store(&tx, &writes, now).await.unwrap();
    (tx, verdict)
}

fn judged<'a>(tx: Tx<'a>, verdict: &impl Verdict) -> Judged<'a> {
    Judged { tx, guess: None, reply: verdict.reply(), effects: verdict.effects() }
}

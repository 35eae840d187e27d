//! Dead letters, for the operator: look, publish again, throw away.
//!
//! Those of ours are sealed and say why in headers. Those that the broker dead-lettered, after
//! too many returns, are as their sender published them.

use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
    types::{AMQPValue, FieldTable},
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    Broker, Publication, Publisher, connection,
    fault::{CALL_DEADLINE, away, within},
    properties::{DETAIL, QUEUE, REASON, SEALED, WORKER, incoming, number, short, text},
};
use crate::{fault::Fault, message::Incoming};

/// How far a search goes into the queue. The broker keeps the position of each fetched message in
/// memory until the search is over.
const SEARCH_MAX: usize = 100_000;

/// Enough to tell the dead letters of a house apart, and short enough to type.
const ID_BYTES: usize = 6;

/// Where the broker tells why it set a message aside.
const DEATHS: &str = "x-death";

/// One dead letter, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadView {
    /// Names it: made from what it holds, since `message_id` may be absent and is the sender's
    /// choice, and since the place in the queue changes with every look.
    pub id: String,
    /// The property `message_id`, as its sender chose it.
    pub message_id: Option<String>,
    /// The key it was first published with.
    pub key: String,
    /// Why: ours (`malformed`, `exhausted`, …), or the broker's (`delivery_limit`, `expired`, …).
    pub reason: String,
    /// What exactly; empty when the broker set it aside.
    pub detail: String,
    /// The worker that gave up; empty when the broker set it aside.
    pub worker: String,
    /// The queue it came from, without the prefix; empty when nobody says.
    pub queue: String,
    /// How often it had failed.
    pub attempt: u32,
    /// When it failed first, or when the broker set it aside.
    pub first_seen: Option<OffsetDateTime>,
    /// When it was published.
    pub published_at: Option<OffsetDateTime>,
    /// The broker user that published it.
    pub user: Option<String>,
    /// The app our ingress published it for.
    pub app: Option<String>,
    /// Whether the body is sealed to our public key.
    pub sealed: bool,
    /// The length of the body.
    pub bytes: usize,
}

/// The first `limit` dead letters. They stay where they are.
///
/// # Errors
/// `Down` when the broker cannot be reached or the queue is not there.
pub async fn list(broker: &Broker, limit: usize) -> Result<Vec<DeadView>, Fault> {
    let mut search = Search::open(broker).await?;
    let mut views = Vec::new();
    while views.len() < limit {
        let Some(found) = search.next().await? else { break };
        views.push(found.view);
    }
    search.close().await?;
    Ok(views)
}

/// One dead letter, named by its id or `message_id`, and its body as it lies there, sealed or not.
/// It stays where it is. Of several with the same `message_id` it is any; so too below.
///
/// # Errors
/// As [`list`].
pub async fn show(broker: &Broker, which: &str) -> Result<Option<(DeadView, Vec<u8>)>, Fault> {
    let mut search = Search::open(broker).await?;
    let found = search.find(which).await?;
    search.close().await?;
    Ok(found.map(|found| (found.view, found.message.body)))
}

/// Publishes a dead letter to the queue it came from, as if it had never failed, and removes it when
/// that is confirmed. `open` unseals the body and is called only for a sealed one. `false` when there
/// is no such dead letter.
///
/// # Errors
/// `Permanent` when it cannot be opened or does not say which queue it came from. `Down` when the
/// broker cannot be reached. In both cases it stays where it is.
pub async fn replay<O>(broker: &Broker, which: &str, open: O) -> Result<bool, Fault>
where
    O: FnOnce(&[u8]) -> Result<Vec<u8>, String>,
{
    let mut search = Search::open(broker).await?;
    let Some(Found { tag, view, message }) = search.find(which).await? else {
        return search.close().await.map(|()| false);
    };
    match send_home(broker, &view, message, open).await {
        Ok(()) => search.remove(tag).await.map(|()| true),
        Err(fault) => {
            search.close().await?;
            Err(fault)
        }
    }
}

async fn send_home<O>(
    broker: &Broker,
    view: &DeadView,
    mut message: Incoming,
    open: O,
) -> Result<(), Fault>
where
    O: FnOnce(&[u8]) -> Result<Vec<u8>, String>,
{
    if view.queue.is_empty() {
        return Err(Fault::Permanent("it does not say which queue it came from".into()));
    }
    if view.sealed {
        message.body = open(&message.body).map_err(Fault::Permanent)?;
    }
    let home = Publication::ToOwnQueue { message: &message, queue: &view.queue };
    Publisher::open(broker).await?.publish(&[home]).await
}

/// Throws a dead letter away. `false` when there is no such one.
///
/// # Errors
/// As [`list`].
pub async fn drop(broker: &Broker, which: &str) -> Result<bool, Fault> {
    let mut search = Search::open(broker).await?;
    match search.find(which).await? {
        Some(found) => search.remove(found.tag).await.map(|()| true),
        None => search.close().await.map(|()| false),
    }
}

/// Fetches dead letters one by one without acking them, so that all go back in the end.
struct Search<'a> {
    broker: &'a Broker,
    channel: Channel,
    fetched: usize,
}

struct Found {
    tag: u64,
    view: DeadView,
    message: Incoming,
}

impl<'a> Search<'a> {
    async fn open(broker: &'a Broker) -> Result<Self, Fault> {
        Ok(Self { broker, channel: broker.consuming_channel().await?, fetched: 0 })
    }

    async fn next(&mut self) -> Result<Option<Found>, Fault> {
        let queue = short(&self.broker.names().dead())?;
        let get = self.channel.basic_get(queue, BasicGetOptions { no_ack: false });
        let got = within("fetch a dead letter", CALL_DEADLINE, get).await?;
        let Some(got) = got else { return Ok(None) };
        self.fetched += 1;
        let (tag, properties) = (got.delivery.delivery_tag, got.delivery.properties.clone());
        let message = incoming(self.broker, got.delivery);
        let view = view(self.broker, &properties, &message);
        Ok(Some(Found { tag, view, message }))
    }

    async fn find(&mut self, which: &str) -> Result<Option<Found>, Fault> {
        while let Some(found) = self.next().await? {
            let view = &found.view;
            if view.id == which || view.message_id.as_deref() == Some(which) {
                return Ok(Some(found));
            }
            if self.fetched >= SEARCH_MAX {
                return Err(away(format!("not among the first {SEARCH_MAX} dead letters")));
            }
        }
        Ok(None)
    }

    async fn remove(self, tag: u64) -> Result<(), Fault> {
        let ack = self.channel.basic_ack(tag, BasicAckOptions { multiple: false });
        within("remove a dead letter", CALL_DEADLINE, ack).await?;
        self.close().await
    }

    /// Gives everything back that is not acked. Closing alone would do so too, but some time after
    /// it is answered: whoever looks next would find less, in another order.
    async fn close(self) -> Result<(), Fault> {
        const EVERYTHING: u64 = 0;
        let options = BasicNackOptions { multiple: true, requeue: true };
        let give_back = self.channel.basic_nack(EVERYTHING, options);
        within("give back dead letters", CALL_DEADLINE, give_back).await?;
        connection::close(&self.channel).await
    }
}

fn view(broker: &Broker, properties: &BasicProperties, message: &Incoming) -> DeadView {
    let none = FieldTable::default();
    let headers = properties.headers().as_ref().unwrap_or(&none);
    // Only of our own messages the headers are ours; an app can write what it likes.
    let ours = properties.user_id().as_ref().is_some_and(|user| user.as_str() == broker.user());
    let said = |name| text(headers, name).filter(|_| ours).unwrap_or_default();
    let sealed =
        ours && properties.content_type().as_ref().is_some_and(|kind| kind.as_str() == SEALED);
    let death = if sealed { None } else { last_death(headers) };
    let broker_said = |name| death.and_then(|death| text(death, name)).unwrap_or_default();
    let (reason, queue) = match death {
        Some(_) => (broker_said("reason"), broker_said("queue")),
        None => (said(REASON), said(QUEUE)),
    };
    DeadView {
        id: id(message),
        message_id: message.message_id.clone(),
        key: message.key.clone(),
        reason,
        detail: said(DETAIL),
        worker: said(WORKER),
        queue: broker.names().short(&queue).to_owned(),
        attempt: message.attempt,
        first_seen: message.first_seen.or_else(|| {
            death.and_then(|death| number(death, "time")).and_then(super::properties::instant)
        }),
        published_at: message.published_at,
        user: message.user.clone(),
        app: message.app.clone(),
        sealed,
        bytes: message.body.len(),
    }
}

/// Two that agree in all of this are the same message to everybody.
fn id(message: &Incoming) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut digest = Sha256::new();
    for part in [&text(&message.user), &text(&message.message_id), &message.key] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.chain_update(&message.body).finalize();
    digest[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the broker wrote when it last set the message aside. A message that waited in a retry queue has
/// older entries too, which come later in the list.
fn last_death(headers: &FieldTable) -> Option<&FieldTable> {
    headers.inner().get(DEATHS)?.as_array()?.as_slice().first().and_then(AMQPValue::as_field_table)
}

//! Asking over AMQP and waiting for the outcome: what the HTTP ingress does for its callers.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicConsumeOptions, BasicPublishOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Broker,
    fault::{CALL_DEADLINE, CONFIRM_DEADLINE, Failed, attempt, away, classify, failed, within},
    properties::{APP, Headers, durable, now, short},
    supervise, topology,
};
use crate::{
    failpoint::{Bug, Point, reach, seeded},
    fault::Fault,
    message::Outgoing,
    observe,
};

/// Requests whose confirm or answer is awaited at once in this process. More wait for a place; it
/// bounds memory, and is more than the broker confirms in a tenth of a second.
const IN_FLIGHT_MAX: usize = 1000;

/// Taken from the line and published in one write.
const BURST_MAX: usize = 100;

/// The broker puts the real address of our channel in its place.
const REPLY_TO_ME: &str = "amq.rabbitmq.reply-to";

/// Whose failpoints the ones in here are: of ours, only the ingress asks.
const INGRESS: &str = "ingress";

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The outcome, as JSON.
    Replied(Vec<u8>),
    /// Stored durably; no outcome yet.
    Accepted,
}

/// Sends requests and matches the answers to them. Clones share one channel.
#[derive(Clone)]
pub struct Requester {
    broker: Broker,
    places: Arc<Semaphore>,
    line: mpsc::Sender<Request>,
}

/// One request, on its way to the task that owns the channel.
struct Request {
    message: Outgoing,
    app: String,
    correlation: Uuid,
    confirmed: oneshot::Sender<Result<(), Fault>>,
    replied: oneshot::Sender<Vec<u8>>,
}

impl Requester {
    /// Starts the task that owns the channel. It ends when `stop` is cancelled, or when the last
    /// clone of the handle is gone.
    pub fn start(broker: &Broker, stop: &CancellationToken) -> Self {
        let (line, requests) = mpsc::channel(IN_FLIGHT_MAX);
        let requests = Arc::new(Mutex::new(requests));
        let (owned, stop) = (broker.clone(), stop.child_token());
        tokio::spawn(async move {
            supervise("requester", stop, |stop| {
                let (broker, requests) = (owned.clone(), Arc::clone(&requests));
                async move {
                    let asking =
                        async { session(&broker, &mut *requests.lock().await, &stop).await };
                    // Nobody awaits this task: if a panic ended it, the process would live on and
                    // take no request any more.
                    let asked = AssertUnwindSafe(asking).catch_unwind().await;
                    let asked =
                        asked.unwrap_or_else(|_panic| Err(away("the session panicked").into()));
                    if let Err(Failed { missing: true, .. }) = asked {
                        topology::repair(&broker).await?;
                    }
                    Ok(asked?)
                }
            })
            .await;
        });
        let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Self { broker: broker.clone(), places, line }
    }

    /// Publishes `message` for `app` and waits up to `wait` for the outcome, counted from the
    /// confirm. `correlation` must be new for each call.
    ///
    /// # Errors
    /// `Down` when the broker takes no messages for now or too many requests are in flight: then it
    /// was not sent. `Down` too when no queue is there for it, or no confirm came within 5 s: then
    /// it is unknown whether it is stored, and safe to repeat with the same id.
    pub async fn request(
        &self,
        message: Outgoing,
        app: &str,
        correlation: Uuid,
        wait: Duration,
    ) -> Result<Answer, Fault> {
        self.broker.refuse_when_blocked()?;
        let deadline = Instant::now() + CONFIRM_DEADLINE;
        let busy = || away("too many requests in flight");
        let _place = match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => return Err(busy()),
        };
        let (confirmed, confirm) = oneshot::channel();
        let (replied, reply) = oneshot::channel();
        let request = Request { message, app: app.to_owned(), correlation, confirmed, replied };
        self.line.try_send(request).map_err(|_| busy())?;
        answer(confirm, deadline, reply, wait).await
    }
}

/// Waits for the confirm until `deadline`, and then up to `wait` for the outcome.
async fn answer(
    confirm: oneshot::Receiver<Result<(), Fault>>,
    deadline: Instant,
    mut reply: oneshot::Receiver<Vec<u8>>,
    wait: Duration,
) -> Result<Answer, Fault> {
    tokio::select! {
        // An answer can be faster than the confirm, and proves the same.
        biased;
        Ok(body) = &mut reply => return Ok(Answer::Replied(body)),
        confirm = timeout_at(deadline, confirm) => match confirm {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_)) | Err(_) => return Err(away(
                "unknown whether the request is stored: no confirm; repeat with the same id",
            )),
        },
    }
    // The session may have ended above, between the confirm and the outcome.
    let body = if reply.is_terminated() {
        None
    } else {
        tokio::time::timeout(wait, reply).await.ok().and_then(Result::ok)
    };
    Ok(match body {
        Some(body) => Answer::Replied(body),
        // Too late, or the channel with its address is gone; it is stored all the same.
        None if seeded(Bug::LostReplyRefused) => {
            Answer::Replied(br#"{"outcome":"refused"}"#.to_vec())
        }
        None => Answer::Accepted,
    })
}

/// Publishes what is in line and hands out confirms and answers, until the channel is gone. All that
/// is in flight then fails at once, since its senders are dropped here.
async fn session(
    broker: &Broker,
    requests: &mut mpsc::Receiver<Request>,
    stop: &CancellationToken,
) -> Result<(), Failed> {
    let channel = broker.confirm_channel().await?;
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let table = FieldTable::default();
    let consume = channel.basic_consume(REPLY_TO_ME.into(), "answers".into(), options, table);
    let mut answers = within("listen for answers", CALL_DEADLINE, consume).await?.fuse();
    let mut waiting = Waiting::default();
    let mut in_flight = FuturesUnordered::new();
    let mut burst = Vec::with_capacity(BURST_MAX);
    loop {
        tokio::select! {
            taken = requests.recv_many(&mut burst, BURST_MAX) => {
                if taken == 0 {
                    stop.cancel(); // no handle is left, so no session is needed any more
                    return Ok(());
                }
                // Whoever has given up meanwhile was told that nothing is known; then better not.
                for request in burst.drain(..).filter(|request| !request.confirmed.is_closed()) {
                    waiting.insert(request.correlation, request.replied);
                    let Request { message, app, correlation, confirmed, .. } = request;
                    match properties(broker, &message, &app, correlation) {
                        Ok((exchange, key, properties)) => in_flight.push(publish(
                            &channel, exchange, key, message.body, properties, confirmed,
                        )),
                        Err(fault) => drop(confirmed.send(Err(fault))),
                    }
                }
            }
            Some(outcome) = in_flight.next() => outcome?,
            answer = answers.next() => match answer {
                Some(Ok(answer)) => waiting.answer(answer),
                Some(Err(error)) => return Err(classify("listen for answers", &error).into()),
                None => return Err(away("the channel of the answers is gone").into()),
            },
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn properties(
    broker: &Broker,
    message: &Outgoing,
    app: &str,
    correlation: Uuid,
) -> Result<(ShortString, ShortString, BasicProperties), Fault> {
    let exchange = short(&broker.names().exchange(message.exchange))?;
    let properties = durable(broker.user(), &message.key, now())?
        .with_message_id(message.id.to_string().into())
        .with_correlation_id(correlation.to_string().into())
        .with_reply_to(REPLY_TO_ME.into());
    let headers = Headers::default().text(APP, app).trace(message.traceparent.as_deref());
    Ok((exchange, short(&message.key)?, headers.on(properties)))
}

/// Publishes one request and tells its sender the confirm.
///
/// # Errors
/// Ends the session when the channel is gone; when the broker keeps a confirm back for as long as a
/// sender waits, since the body would stay here for as long as the channel; and when a message was
/// returned: the topology is broken then, and which confirm carries a returned message is not reliable.
async fn publish(
    channel: &Channel,
    exchange: ShortString,
    key: ShortString,
    body: String,
    properties: BasicProperties,
    confirmed: oneshot::Sender<Result<(), Fault>>,
) -> Result<(), Failed> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let sent = channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await;
    reach(INGRESS, Point::Published).await?;
    let confirm = sent.map_err(|error| failed("publish a request", &error))?;
    let confirmation = attempt("publish a request", CONFIRM_DEADLINE, confirm).await;
    reach(INGRESS, Point::Confirmed).await?;
    let outcome = match confirmation? {
        Confirmation::Ack(None) => {
            observe::published("requests", 1);
            Ok(())
        }
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
            let fault = away("no queue for a request: run `stepup topology`");
            // Nobody listening any more is fine.
            let _ = confirmed.send(Err(fault.clone()));
            return Err(Failed { fault, missing: true });
        }
        Confirmation::Nack(None) | Confirmation::NotRequested => {
            Err(away("it refused a request: a queue is full, or lacks a majority of its nodes"))
        }
    };
    let _ = confirmed.send(outcome);
    Ok(())
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting(HashMap<Uuid, oneshot::Sender<Vec<u8>>>);

impl Waiting {
    fn insert(&mut self, correlation: Uuid, replied: oneshot::Sender<Vec<u8>>) {
        // At most `IN_FLIGHT_MAX` of them still wait, so this frees half of the places at least.
        if self.0.len() >= 2 * IN_FLIGHT_MAX {
            self.0.retain(|_, replied| !replied.is_closed());
        }
        self.0.insert(correlation, replied);
    }

    fn answer(&mut self, answer: lapin::message::Delivery) {
        let id = answer.properties.correlation_id().as_ref();
        let id = id.and_then(|id| Uuid::try_parse(id.as_str()).ok());
        if let Some(replied) = id.and_then(|id| self.0.remove(&id)) {
            // Whoever waited may be gone; the outcome can be read elsewhere.
            let _ = replied.send(answer.data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_that_ends_between_confirm_and_outcome_is_told_as_accepted() {
        let (confirmed, confirm) = oneshot::channel();
        let (replied, reply) = oneshot::channel();
        confirmed.send(Ok(())).unwrap();
        drop(replied);
        let answer = answer(confirm, Instant::now() + CONFIRM_DEADLINE, reply, CONFIRM_DEADLINE);
        assert_eq!(answer.await, Ok(Answer::Accepted));
    }

    #[test]
    fn those_who_wait_no_more_are_forgotten() {
        let mut waiting = Waiting::default();
        let mut receivers = Vec::new();
        for number in 0..20_u128 * IN_FLIGHT_MAX as u128 {
            let (replied, reply) = oneshot::channel();
            waiting.insert(Uuid::from_u128(number), replied);
            if number % 20 == 0 {
                receivers.push(reply);
            }
        }
        assert!(waiting.0.len() <= 2 * IN_FLIGHT_MAX, "{}", waiting.0.len());
        let alive = waiting.0.values().filter(|replied| !replied.is_closed()).count();
        assert_eq!(alive, receivers.len());
    }
}

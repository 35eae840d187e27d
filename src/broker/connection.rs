//! The connections of a process, opened when first needed and again when found dead: one publishes,
//! one consumes, one replies.
//!
//! Replies have their own since the address of a reply comes from whoever asked, and RabbitMQ 3.10
//! closes the whole connection (541) of whoever publishes to a malformed one. On a shared connection
//! one such request would fail every confirm in flight, and again each time it is delivered
//! (docs/adr/0010).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use lapin::{
    Channel, Connect, Connection, ConnectionProperties, options::ConfirmSelectOptions,
    tcp::OwnedTLSConfig, uri::AMQPUri,
};

use super::{
    Names,
    fault::{CALL_DEADLINE, CONNECT_DEADLINE, away, within},
    shared::{Refusals, Repairs},
};
use crate::fault::Fault;

/// How often both sides show that they live. A dead network is noticed after two of them; the
/// server's own proposal of 60 s would leave a login hanging for two minutes.
const HEARTBEAT_SECONDS: u16 = 10;

const PUBLISH: &str = "publish";
const REPLY: &str = "reply";

/// The largest frame on connections that only carry what we publish ourselves. The client library
/// keeps 64 frames of room for each connection, resident from the start: 8 MiB with the server's
/// 128 KiB, 2 MiB with these. Bodies are split into frames; our headers fit many times.
///
/// What consumes keeps the server's size: the headers of other people's messages may be as large as
/// that, cannot be split, and would end the connection of whoever they are delivered to.
const OWN_FRAME_BYTES: u32 = 32 * 1024;

/// How to reach the broker.
pub struct BrokerSettings {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. Parts with special characters
    /// are percent-encoded; `heartbeat=` may be given, in seconds.
    pub url: String,
    /// In front of every name we declare, without a dot: `stepup`.
    pub prefix: String,
    /// Shown in the broker's list of connections.
    pub connection_name: String,
    /// For `amqps://`: a PEM file with certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// A handle on the broker. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    uri: AMQPUri,
    connection_name: String,
    ca_file: Option<PathBuf>,
    names: Names,
    publishing: Slot,
    consuming: Slot,
    replying: Slot,
    repairs: Repairs,
    refusals: Refusals,
}

/// One connection, or the place for it.
#[derive(Default)]
struct Slot {
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while opening, so that two tasks do not open two.
    opening: tokio::sync::Mutex<()>,
}

impl Slot {
    fn current(&self) -> Option<Arc<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, connection: Option<Arc<Connection>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Lets go of `connection`, unless another has taken its place.
    fn discard(&self, connection: &Arc<Connection>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|current| Arc::ptr_eq(current, connection));
    }

    fn alive(&self) -> Option<Arc<Connection>> {
        self.current().filter(|connection| connection.status().connected())
    }
}

impl Broker {
    /// A handle; connects to nothing yet.
    ///
    /// # Errors
    /// `Permanent` when the URL is none. The text does not repeat it, since it holds a password.
    pub fn new(settings: BrokerSettings) -> Result<Self, Fault> {
        let BrokerSettings { url, prefix, connection_name, ca_file } = settings;
        let mut uri: AMQPUri = url.parse().map_err(|_| {
            Fault::Permanent(
                "the broker's URL is not of the form amqp://user:password@host/".into(),
            )
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let shared = Shared {
            uri,
            connection_name,
            ca_file,
            names: Names::new(prefix),
            publishing: Slot::default(),
            consuming: Slot::default(),
            replying: Slot::default(),
            repairs: Repairs::default(),
            refusals: Refusals::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The names of what we declare.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// The login name. It is the `user_id` of all that we publish, and the broker lets nobody else
    /// use it: so we know our own messages.
    pub fn user(&self) -> &str {
        &self.shared.uri.authority.userinfo.username
    }

    /// Whether the broker has told us that it takes no messages for now (memory or disk alarm).
    pub fn blocked(&self) -> bool {
        self.shared.publishing.alive().is_some_and(|connection| connection.status().blocked())
    }

    /// Asks the broker for a sign of life.
    ///
    /// # Errors
    /// `Down` when it does not answer within the deadline, or takes no messages for now.
    pub async fn ping(&self) -> Result<(), Fault> {
        self.refuse_when_blocked()?;
        let channel = self.publishing_channel().await?;
        close(&channel).await
    }

    /// Closes the connections in an orderly way. Using the handle again opens them again.
    pub async fn close(&self) {
        let Shared { publishing, consuming, replying, .. } = &*self.shared;
        for slot in [publishing, consuming, replying] {
            if let Some(connection) = slot.alive() {
                let closing = connection.close(200, "bye".into());
                if let Err(fault) = within("close the connection", CALL_DEADLINE, closing).await {
                    tracing::debug!(%fault, "connection not closed in an orderly way");
                }
            }
            slot.set(None);
        }
    }

    pub(super) fn refuse_when_blocked(&self) -> Result<(), Fault> {
        if self.blocked() {
            return Err(away("it takes no messages for now: memory or disk alarm"));
        }
        Ok(())
    }

    pub(super) fn repairs(&self) -> &Repairs {
        &self.shared.repairs
    }

    /// Whether the broker refuses our replies, since our user lacks the right; known with the first of
    /// them.
    pub fn refuses_replies(&self) -> bool {
        self.shared.refusals.are_on()
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.shared.refusals
    }

    /// A new channel on the connection that publishes.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached.
    pub async fn publishing_channel(&self) -> Result<Channel, Fault> {
        self.channel(&self.shared.publishing, PUBLISH).await
    }

    /// A new channel on the connection that publishes, in confirm mode. One task may own it.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached.
    pub async fn confirm_channel(&self) -> Result<Channel, Fault> {
        with_confirms(self.publishing_channel().await?).await
    }

    /// A new channel on the connection that consumes.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached.
    pub async fn consuming_channel(&self) -> Result<Channel, Fault> {
        self.channel(&self.shared.consuming, "consume").await
    }

    /// A new channel on the connection that replies, without confirms.
    ///
    /// # Errors
    /// `Down` when the broker cannot be reached.
    pub async fn replying_channel(&self) -> Result<Channel, Fault> {
        self.channel(&self.shared.replying, REPLY).await
    }

    /// A new channel on the connection that replies, in confirm mode.
    pub(super) async fn confirming_replies_channel(&self) -> Result<Channel, Fault> {
        with_confirms(self.replying_channel().await?).await
    }

    async fn channel(&self, slot: &Slot, purpose: &str) -> Result<Channel, Fault> {
        let connection = self.connection(slot, purpose).await?;
        match within("open a channel", CALL_DEADLINE, connection.create_channel()).await {
            Ok(channel) => return Ok(channel),
            // It is dead and nobody has noticed until now.
            Err(fault) => tracing::debug!(purpose, %fault, "the connection is no good any more"),
        }
        slot.discard(&connection);
        let connection = self.connection(slot, purpose).await?;
        let opened = within("open a channel", CALL_DEADLINE, connection.create_channel()).await;
        opened.inspect_err(|_| slot.discard(&connection))
    }

    async fn connection(&self, slot: &Slot, purpose: &str) -> Result<Arc<Connection>, Fault> {
        if let Some(connection) = slot.alive() {
            return Ok(connection);
        }
        let _only_one = slot.opening.lock().await;
        if let Some(connection) = slot.alive() {
            return Ok(connection);
        }
        let connection = Arc::new(self.connect(purpose).await?);
        slot.set(Some(Arc::clone(&connection)));
        tracing::info!(purpose, host = self.shared.uri.authority.host, "connected to the broker");
        Ok(connection)
    }

    async fn connect(&self, purpose: &str) -> Result<Connection, Fault> {
        let cert_chain = match &self.shared.ca_file {
            None => None,
            Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(|error| {
                away(format!("cannot read the CA file {}: {error}", path.display()))
            })?),
        };
        let tls = OwnedTLSConfig { identity: None, cert_chain };
        let name = format!("{} {purpose}", self.shared.connection_name);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let mut uri = self.shared.uri.clone();
        if matches!(purpose, PUBLISH | REPLY) {
            uri.query.frame_max.get_or_insert(OWN_FRAME_BYTES);
        }
        within("connect", CONNECT_DEADLINE, async {
            let runtime = lapin::runtime::default_runtime()?;
            uri.connect_with_config(properties, tls, runtime).await
        })
        .await
    }
}

async fn with_confirms(channel: Channel) -> Result<Channel, Fault> {
    let select = channel.confirm_select(ConfirmSelectOptions::default());
    within("switch confirms on", CALL_DEADLINE, select).await?;
    Ok(channel)
}

/// Closes a channel; everything sent on it before has then been handled by the broker.
///
/// # Errors
/// `Down` when the broker does not answer.
pub async fn close(channel: &Channel) -> Result<(), Fault> {
    within("close a channel", CALL_DEADLINE, channel.close(200, "bye".into())).await
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::broker) fn broker(url: &str) -> Result<Broker, Fault> {
        Broker::new(BrokerSettings {
            url: url.into(),
            prefix: "stepup".into(),
            connection_name: "test".into(),
            ca_file: None,
        })
    }

    pub(in crate::broker) fn any_broker() -> Broker {
        broker("amqp://us:x@localhost/%2f").unwrap()
    }

    #[test]
    fn the_user_is_the_decoded_login_name() {
        assert_eq!(broker("amqp://step%40up:x@localhost/%2f").unwrap().user(), "step@up");
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_repeating_it() {
        let Err(Fault::Permanent(why)) = broker("amqp:secret") else { panic!("accepted") };
        assert!(!why.contains("secret"), "{why}");
    }

    #[test]
    fn the_heartbeat_is_ten_seconds_unless_the_url_says_otherwise() {
        let seconds = |url| broker(url).unwrap().shared.uri.query.heartbeat;
        assert_eq!(seconds("amqp://a:b@localhost/"), Some(10));
        assert_eq!(seconds("amqp://a:b@localhost/?heartbeat=4"), Some(4));
    }
}

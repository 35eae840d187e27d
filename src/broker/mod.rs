//! Every AMQP call of the product.
//!
//! - [`Broker`]: at most one connection each to publish, to consume and to reply. An alarm of the
//!   broker blocks whole connections, acks included, but only those that publish; and a malformed
//!   reply address can end the connection it is used on.
//! - [`topology`]: every exchange and queue, as a table.
//! - [`Publisher`], [`Consumer`], [`Requester`]: each the only owner of a channel. A confirm channel
//!   shared by tasks hands one task the confirm of another's message.
//! - [`supervise`]: runs a session again when it has ended. The client library's own recovery stays
//!   off: after it, acks with old delivery tags reach new deliveries, and a channel error leaves a
//!   consumer pending for ever.
//! - [`dead`]: what an operator does with dead letters.

pub mod dead;
pub mod topology;

mod connection;
mod consume;
mod fault;
mod frame;
mod names;
mod properties;
mod publish;
mod replying;
mod request;
mod shared;
mod supervise;

pub use connection::{Broker, BrokerSettings, close};
pub use consume::{Consumer, Delivery};
pub use fault::{CALL_DEADLINE, away, classify, within};
pub use frame::{Publication, Reply};
pub use names::Names;
pub use publish::Publisher;
pub use request::{Answer, Requester};
pub use supervise::{pauses, supervise};

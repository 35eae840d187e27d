//! Every exchange and queue, as a table, and the calls that make the broker agree with it.
//!
//! | exchange | type | what goes in |
//! |---|---|---|
//! | `requests` | direct | what apps ask; an unknown key goes on to `unroutable` |
//! | `commands` | direct | what workers ask of each other |
//! | `events` | topic | what happened, `<account>.<noun>.<verb>` |
//! | `home` | direct | what returns to its queue after a retry delay, or by an operator |
//! | `retry.<delay>` | fanout | what waits, one exchange and one queue per delay |
//! | `unroutable` | fanout | requests no queue is bound for |
//! | `dead` | fanout | dead letters |
//!
//! All of it is durable, and declared with arguments that mean the same to RabbitMQ 3.10 and 4.x.

mod declare;
mod plan;
mod repair;

pub(super) use declare::has_way;
pub use declare::{
    Depth, check, declare, declare_with_delays, delete, depth, emptied, mark_filled, missing,
};
pub use repair::repair;

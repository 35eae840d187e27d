//! What the tests share: a database of their own, a topology of their own, the whole product.

mod database;
mod door;
mod drain;
mod harness;
mod line;
mod topology;
pub mod wire;
mod world;

use std::time::Duration;

use stepup::broker::{Publication, Publisher, Reply};
use stepup::fault::Fault;
use stepup::message::Outgoing;

pub use database::Database;
pub use door::Door;
pub use harness::harness;
pub use line::Line;
pub use topology::Topology;
pub use world::{API_KEY, World};

/// How long anything may take that is expected to happen. Longer than all of it takes on a busy
/// machine; no test waits for it unless it is about to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes messages and the replies that go with them.
pub async fn publish(
    publisher: &mut Publisher,
    messages: &[Outgoing],
    replies: &[Reply],
) -> Result<(), Fault> {
    let messages = messages.iter().map(Publication::Message);
    let batch: Vec<_> = messages.chain(replies.iter().map(Publication::Reply)).collect();
    publisher.publish(&batch).await
}

/// A variable of the environment that names the servers.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is missing: `make up`, then `make test`"))
}

/// A name that nobody else has: of a database, and a prefix on the broker.
pub fn random_name() -> String {
    format!("t{:08x}", rand::random::<u32>())
}

/// Runs a future to its end from where none may be awaited.
fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(work)
        });
        thread.join().unwrap()
    })
}

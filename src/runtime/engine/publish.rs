//! Publishing what a batch causes.

use futures_util::try_join;

use super::super::output::Output;
use super::super::worker::Worker;
use super::engine::{Engine, PAUSE};
use crate::broker::{Consumer, Publication, Publisher, pauses};
use crate::failpoint::{Point, reach};
use crate::fault::{Dependency, Fault};
use crate::observe;

impl<W: Worker> Engine<W> {
    /// Publishes what a batch causes.
    ///
    /// A broker that does not take it (an alarm, a full queue, a binding or a right that is missing) is
    /// no fault of the messages. They stay here, unacked, for as long as the consumer lives: at every
    /// end of a session they would return to the queue, and that counts against them.
    pub(super) async fn publish(
        &self,
        publisher: &mut Publisher,
        consumer: &Consumer,
        outputs: &[Output],
    ) -> Result<(), Fault> {
        let mut publications: Vec<_> =
            outputs.iter().flat_map(|output| output.publications(self.settings.queue)).collect();
        if publications.is_empty() {
            return Ok(());
        }
        let (mut pauses, mut paused) = (pauses(), false);
        let end = loop {
            let publishing = async {
                if paused {
                    one_by_one(publisher, consumer, &mut publications).await
                } else {
                    publisher.publish(&publications).await
                }
            };
            // Polled second: by then the frames are on their way.
            match try_join!(publishing, reach(W::NAME, Point::Published)).map(drop) {
                Err(Fault::Down(Dependency::Broker, why)) if consumer.is_alive() => {
                    observe::paused(W::NAME, Dependency::Broker, &why);
                    paused = true;
                    tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
                    while self.shared.broker.blocked() && consumer.is_alive() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                end => break end,
            }
        };
        if paused {
            observe::resumed(W::NAME, Dependency::Broker);
        }
        end
    }
}

/// Publishes each by itself and leaves those that the broker does not take: what it does take must not
/// go out again with them, as often as they are tried.
async fn one_by_one(
    publisher: &mut Publisher,
    consumer: &Consumer,
    publications: &mut Vec<Publication<'_>>,
) -> Result<(), Fault> {
    let (mut end, mut at) = (Ok(()), 0);
    while at < publications.len() && (end.is_ok() || consumer.is_alive()) {
        // Removed once it is stored, and not before: a caller that stops half-way tries the rest again.
        match publisher.publish(&publications[at..=at]).await {
            Ok(()) => drop(publications.remove(at)),
            Err(fault) => {
                end = Err(fault);
                at += 1;
            }
        }
    }
    end
}

//! Sub-batches: parts of a batch in which no two messages are about the same.

use std::collections::HashSet;

use uuid::Uuid;

use super::context::Item;
use crate::message::{Message, Subject};

/// After so many returns a message is handled alone: it may be the one that kills the process.
const RETURNS_ALONE: u32 = 3;

/// What a sub-batch may hold once: a subject, or a message id.
type Mark = (Option<Subject>, Uuid);

/// Splits a batch so that no two messages of one sub-batch are about the same, keeping their order.
pub(in crate::runtime) fn sub_batches<M: Message>(items: Vec<Item<M>>) -> Vec<Vec<Item<M>>> {
    let mut sub_batches: Vec<(HashSet<Mark>, Vec<Item<M>>)> = Vec::new();
    let mut floor = 0;
    for item in items {
        let subject = (Some(item.decoded.message.subject()), Uuid::nil());
        let same_id = (None, item.decoded.id);
        let alone = item.delivery.returns >= RETURNS_ALONE;
        let clashes = |seen: &HashSet<_>| seen.contains(&subject) || seen.contains(&same_id);
        // Behind the last sub-batch that holds something about the same.
        let last =
            sub_batches.iter().rposition(|(seen, _)| clashes(seen)).map_or(floor, |at| at + 1);
        let at = if alone { sub_batches.len() } else { last.max(floor) };
        if at >= sub_batches.len() {
            sub_batches.push((HashSet::new(), Vec::new()));
        }
        let at = at.min(sub_batches.len() - 1);
        sub_batches[at].0.extend([subject, same_id]);
        sub_batches[at].1.push(item);
        if alone {
            floor = sub_batches.len();
        }
    }
    sub_batches.into_iter().map(|(_, items)| items).collect()
}

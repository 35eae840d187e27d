//! What the directory's upserts change: the highest version wins.

use std::sync::Arc;

use crate::domain::keys::Keyring;
use crate::rules::directory::account::put_account;
use crate::rules::directory::facts::{DirectoryMessage, Facts, Write};
use crate::rules::directory::member::put_member;
use crate::rules::directory::owned_numbers::put_owned_numbers;
use crate::rules::verdict::{Decided, DecisionContext};

/// The rule.
pub fn decide(
    ask: &DirectoryMessage,
    facts: Facts,
    keys: &Arc<Keyring>,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    match ask {
        DirectoryMessage::Account(request) => put_account(request, facts),
        DirectoryMessage::OwnedNumbers(request) => {
            put_owned_numbers(ask, request, facts, keys, ctx.now)
        }
        DirectoryMessage::Member(request) => put_member(request, facts, keys, ctx),
    }
}

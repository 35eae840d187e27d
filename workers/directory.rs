//! Keeps what upstream apps say of accounts and members.
//!
//! |          |                                                                             |
//! |----------|-----------------------------------------------------------------------------|
//! | consumes | `directory.account` `directory.owned_numbers` `directory.member`            |
//! | reads    | `account` `member` `login` `challenge` `owned_number`                       |
//! | writes   | `account` `member` `challenge` `activity` `owned_number`                    |
//! | causes   | `account.changed` `account.owned_numbers_changed` `member.changed` `member.phone_changed` `member.number_owned` `member.number_released` `factor.enabled` `factor.disabled` `challenge.cancelled` `directory.refused` |
//! | rule     | [`stepup::rules::directory`]                                                |

use std::sync::Arc;

use stepup::domain::Timestamp;
use stepup::domain::keys::Keyring;
use stepup::fault::Fault;
use stepup::message::{Decoded, Request};
use stepup::rules::directory::decide::decide;
use stepup::rules::directory::facts::{DirectoryMessage, Facts, Write, numbers};
use stepup::rules::{Decided, DecisionContext};
use stepup::runtime::{TransactionWorker, Worker};
use stepup::store::{self, Tx};

/// The worker.
pub struct Directory {
    /// For contacts and their blind indexes.
    pub keys: Arc<Keyring>,
}

impl Worker for Directory {
    const NAME: &'static str = "directory";
    type Message = DirectoryMessage;
    type Facts = Facts;

    async fn load(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<DirectoryMessage>],
    ) -> Result<Vec<Facts>, Fault> {
        if let Some(facts) = self.owned_numbers(tx, batch).await? {
            return Ok(vec![facts]);
        }
        let keys: Vec<(&str, Option<&str>)> = batch
            .iter()
            .map(|decoded| match &decoded.message {
                DirectoryMessage::Account(request) => (request.body.account.as_str(), None),
                DirectoryMessage::OwnedNumbers(request) => (request.body.account.as_str(), None),
                DirectoryMessage::Member(r) => {
                    (r.body.account.as_str(), Some(r.body.member.as_str()))
                }
            })
            .collect();
        // A member that follows its account in the same batch must see it: walk such a batch.
        let follows = |(account, member): &(&str, Option<&str>)| {
            member.is_some() && keys.contains(&(*account, None))
        };
        if keys.iter().any(follows) {
            return Err(Fault::Transient("an account and its member in one batch".into()));
        }
        let mut facts = store::directory_facts(tx, &keys).await?;
        let actor = |(at, decoded): (usize, &&Decoded<DirectoryMessage>)| match &decoded.message {
            DirectoryMessage::Member(Request { body: ask, .. }) => {
                let actor = ask.actor.as_ref().filter(|actor| **actor != ask.member)?;
                Some((at, (keys[at].0, actor.as_str().to_owned())))
            }
            DirectoryMessage::Account(_) | DirectoryMessage::OwnedNumbers(_) => None,
        };
        let (places, asked): (Vec<usize>, Vec<(&str, String)>) =
            batch.iter().enumerate().filter_map(actor).unzip();
        let asked: Vec<(&str, &str)> =
            asked.iter().map(|(account, actor)| (*account, actor.as_str())).collect();
        for (at, actor) in places.into_iter().zip(store::actors(tx, &asked).await?) {
            facts[at].actor = actor;
        }
        let named: Vec<Vec<u8>> = batch
            .iter()
            .zip(&facts)
            .filter_map(|(decoded, facts)| Some((decoded, &facts.account.as_ref()?.0)))
            .flat_map(|(decoded, account)| numbers(&decoded.message, account, &self.keys))
            .collect();
        let named: Vec<&[u8]> = named.iter().map(Vec::as_slice).collect();
        if !named.is_empty() {
            let owned = store::owned_among(tx, &named).await?;
            for facts in &mut facts {
                facts.owned.clone_from(&owned);
            }
        }
        Ok(facts)
    }
}

impl TransactionWorker for Directory {
    type Write = Write;

    fn decide(
        &self,
        ask: &Decoded<DirectoryMessage>,
        facts: Facts,
        ctx: &mut DecisionContext<'_>,
    ) -> Decided<Write> {
        decide(&ask.message, facts, &self.keys, ctx)
    }

    async fn store(&self, tx: &Tx<'_>, writes: &[&Write], now: Timestamp) -> Result<(), Fault> {
        let (mut accounts, mut members) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Account { account, version } => accounts.push((account, *version)),
                Write::Member(change) => members.push(change),
                Write::OwnedNumbers { account, version, numbers, changes, endings } => {
                    let changes: Vec<_> = changes.iter().collect();
                    let endings: Vec<_> = endings.iter().collect();
                    store::end_challenges(tx, &endings).await?;
                    store::put_owned_numbers(tx, account, *version, numbers, &changes, now).await?;
                }
            }
        }
        store::put_accounts(tx, &accounts, now).await?;
        store::put_members(tx, &members, now).await
    }
}

impl Directory {
    /// The facts for a list of numbers, which touches members of any account: it is decided alone.
    async fn owned_numbers(
        &self,
        tx: &Tx<'_>,
        batch: &[&Decoded<DirectoryMessage>],
    ) -> Result<Option<Facts>, Fault> {
        let list = batch.iter().find_map(|decoded| match &decoded.message {
            DirectoryMessage::OwnedNumbers(request) => Some((&decoded.message, request)),
            DirectoryMessage::Account(_) | DirectoryMessage::Member(_) => None,
        });
        let Some((ask, request)) = list else { return Ok(None) };
        if batch.len() > 1 {
            return Err(Fault::Transient("a list of numbers in a batch".into()));
        }
        let numbers = |account: &_| numbers(ask, account, &self.keys);
        let account = request.body.account.as_str();
        store::owned_numbers_facts(tx, account, numbers).await.map(Some)
    }
}

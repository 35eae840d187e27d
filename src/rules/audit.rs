//! Whether an account's report is still what was chained and attested. The walk goes from the first
//! row to the last and stops at the first that disagrees: what comes after it rests on it.

use std::fmt;

use crate::domain::activity::{CHAIN_START, ChainHash, Link, chained};
use crate::domain::checkpoint::Checkpoint;

/// Seconds after which a row that no chain has taken up is an operator's matter.
const CHAIN_LATE_SECONDS: f64 = 60.0;

/// What is wrong with a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose report.
    pub account: String,
    /// The first row that disagrees; for a chain that was cut, the last one that is left.
    pub seq: Option<i64>,
    /// Whether somebody has changed something, or only something is missing to tell.
    pub tampered: bool,
    /// What, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
        let Self { account, what, .. } = self;
        write!(f, "account {account}, seq {seq}: {what}")
    }
}

/// A verified checkpoint, and the hash that it attests.
pub type Attested = (Checkpoint, ChainHash);

/// A walk along the chain of one account.
pub struct ChainCheck<'a> {
    account: &'a str,
    /// In any order; several may attest one position.
    attested: &'a [Attested],
    position: i64,
    seq: Option<i64>,
    hash: ChainHash,
}

impl<'a> ChainCheck<'a> {
    /// Before the first row. `attested` are the checkpoints of this account.
    pub fn new(account: &'a str, attested: &'a [Attested]) -> Self {
        Self { account, attested, position: 0, seq: None, hash: CHAIN_START }
    }

    /// How far it has come: the position and the number of the last row.
    pub fn reached(&self) -> (i64, i64) {
        (self.position, self.seq.unwrap_or(i64::MIN))
    }

    /// The next link of the chain.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn step(&mut self, link: &Link) -> Result<(), Finding> {
        let wanted = self.position + 1;
        if link.position != wanted {
            let what = format!("the chain lacks position {wanted}, or has {} twice", link.position);
            return Err(self.finding(Some(link.seq), what));
        }
        let Some(row) = &link.row else {
            return Err(self.finding(Some(link.seq), "the row was removed".to_owned()));
        };
        if row.account != self.account {
            let what = format!("the row belongs to account {}", row.account);
            return Err(self.finding(Some(link.seq), what));
        }
        let hash = chained(&self.hash, wanted, row);
        if link.hash != hash {
            let what = "the row, or its link in the chain, was edited or exchanged".to_owned();
            return Err(self.finding(Some(link.seq), what));
        }
        for (checkpoint, head) in self.attested.iter().filter(|(c, _)| c.position == wanted) {
            if *head != hash {
                let after = self.attested.iter().filter(|(c, _)| c.position < wanted);
                let good = after.map(|(c, _)| c.position).max().unwrap_or(0);
                let what = format!(
                    "the checkpoint of {} attests another row here or before: what comes after \
                     position {good} was chained anew",
                    checkpoint.at
                );
                return Err(self.finding(Some(link.seq), what));
            }
        }
        (self.position, self.seq, self.hash) = (wanted, Some(link.seq), hash);
        Ok(())
    }

    /// After the last link: how many rows a checkpoint attests.
    ///
    /// # Errors
    /// When the chain was cut.
    pub fn end(self) -> Result<i64, Finding> {
        let attested = self.attested.iter().map(|(c, _)| c.position).max().unwrap_or(0);
        if attested > self.position {
            let what = format!(
                "the chain was cut: it ends at position {}, and a checkpoint attests {attested} rows",
                self.position
            );
            return Err(self.finding(self.seq, what));
        }
        Ok(attested)
    }

    fn finding(&self, seq: Option<i64>, what: String) -> Finding {
        Finding { account: self.account.to_owned(), seq, tampered: true, what }
    }
}

/// A row that the chain does not have; `waited_seconds` if the chain will still take it up.
pub fn not_chained(account: &str, seq: i64, waited_seconds: Option<f64>) -> Option<Finding> {
    let found = |tampered, what: &str| {
        let account = account.to_owned();
        Some(Finding { account, seq: Some(seq), tampered, what: what.to_owned() })
    };
    match waited_seconds {
        None => found(true, "the row was added: the chain does not have it"),
        Some(waited) if waited > CHAIN_LATE_SECONDS => {
            found(false, "the chain has not taken the row up in a minute: does `audit` run?")
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::activity::{Head, Row};
    use crate::domain::keys::Keyring;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn row(seq: i64) -> Row {
        let member = format!("m{seq}");
        Row {
            seq,
            at: datetime!(2026-01-02 03:04:05.678901 UTC) + time::Duration::seconds(seq),
            account: "acme".into(),
            actor: member.clone(),
            member: Some(member),
            action: "number_changed".into(),
            origin: "self".into(),
            old_number: Some("•••23".into()),
            new_number: None,
            challenge: Some(uuid::Uuid::from_u128(7)),
            ip: None,
            user_agent: Some(String::new()),
        }
    }

    /// Five rows, whose numbers are not in order.
    fn chain() -> Vec<Link> {
        let mut hash = CHAIN_START;
        let link = |(position, seq): (i64, i64)| {
            hash = chained(&hash, position, &row(seq));
            Link { position, seq, hash: hash.to_vec(), row: Some(row(seq)) }
        };
        (1..).zip([3, 4, 9, 8, 11]).map(link).collect()
    }

    fn attested(position: i64, links: &[Link]) -> Attested {
        let link = &links[position as usize - 1];
        let hash: ChainHash = link.hash.clone().try_into().unwrap();
        let head = Head { account: "acme".into(), position, hash };
        (Checkpoint::sign(&head, row(1).at, &Keyring::for_tests()), hash)
    }

    fn walked(links: &[Link], attested: &[Attested]) -> Result<i64, Finding> {
        let mut check = ChainCheck::new("acme", attested);
        links.iter().try_for_each(|link| check.step(link))?;
        check.end()
    }

    #[test]
    fn an_untouched_chain_agrees_and_says_how_far_it_is_attested() {
        let links = chain();
        let early = [attested(3, &links), attested(2, &links)];
        assert_eq!((walked(&links, &[]), walked(&links, &early)), (Ok(0), Ok(3)));
        assert_eq!(walked(&[], &[]), Ok(0));
    }

    #[test]
    fn absent_is_not_empty_and_no_field_runs_into_the_next() {
        let same = |edit: fn(&mut Row)| {
            let mut edited = row(1);
            edit(&mut edited);
            chained(&CHAIN_START, 1, &edited) == chained(&CHAIN_START, 1, &row(1))
        };
        assert!(same(|_| {}));
        assert!(!same(|row| row.ip = Some(String::new())));
        assert!(!same(|row| row.user_agent = None));
        assert!(!same(|row| row.member = None));
        assert!(!same(|row| (row.member, row.actor) = (Some("m1m".into()), "1".into())));
        assert!(!same(|row| row.at += time::Duration::MICROSECOND));
    }

    #[test]
    fn a_chain_that_was_made_anew_or_cut_agrees_with_itself_and_not_with_a_checkpoint() {
        let links = chain();
        let mut anew = links.clone();
        anew[2].row.as_mut().unwrap().actor = "mallory".into();
        let mut hash: ChainHash = anew[1].hash.clone().try_into().unwrap();
        for link in &mut anew[2..] {
            hash = chained(&hash, link.position, link.row.as_ref().unwrap());
            link.hash = hash.to_vec();
        }
        assert_eq!(walked(&anew, &[]), Ok(0));
        let found = walked(&anew, &[attested(2, &links), attested(4, &links)]).unwrap_err();
        assert_eq!(found.seq, Some(8));
        assert!(found.what.contains("after position 2"), "{found}");
        assert_eq!(walked(&links[..3], &[]), Ok(0));
        let cut = walked(&links[..3], &[attested(4, &links)]).unwrap_err();
        assert_eq!((cut.seq, cut.tampered), (Some(9), true));
    }

    proptest! {
        /// Whatever byte of whatever text is changed, the walk stops at that row.
        #[test]
        fn no_changed_byte_of_a_row_goes_unnoticed(at in 0_usize..5, field in 0_usize..8, byte: u8) {
            let mut links = chain();
            let row = links[at].row.as_mut().unwrap();
            let text = match field {
                0 => row.member.get_or_insert_default(),
                1 => &mut row.actor,
                2 => &mut row.action,
                3 => &mut row.origin,
                4 => row.old_number.get_or_insert_default(),
                5 => row.new_number.get_or_insert_default(),
                6 => row.ip.get_or_insert_default(),
                _ => row.user_agent.get_or_insert_default(),
            };
            text.push(char::from(byte));
            let seq = links[at].seq;
            prop_assert_eq!(walked(&links, &[]).unwrap_err().seq, Some(seq));
        }
    }

    #[test]
    fn a_row_that_waits_for_the_chain_is_no_finding_at_first() {
        assert_eq!(not_chained("acme", 1, Some(2.0)), None);
        assert!(!not_chained("acme", 1, Some(61.0)).unwrap().tampered);
        assert!(not_chained("acme", 1, None).unwrap().tampered);
    }
}

//! The people who log in: who they are, how they get into the directory, and whose turn it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rand::seq::SliceRandom;
use serde_json::json;
use tokio::task::JoinSet;

use super::door::{Door, Until};

/// In front of the accounts' names. Each run takes new ones, so that no number has a past.
pub(super) const ACCOUNT_PREFIX: &str = "load-";
const MEMBERS_PER_ACCOUNT: usize = 1000;
/// In front of everybody's number: a German mobile one, 0151 and eight digits.
const PHONE_PREFIX: &str = "+49151";
/// How many numbers there are.
const NUMBERS: usize = 100_000_000;

/// Logins of one member in a run: one fewer than the sends to a number that the product allows in
/// ten minutes, so that its limit is on and in nobody's way.
const LOGINS_PER_MEMBER: u8 = 4;

/// Requests under way at once while the directory is filled.
const REGISTERING: usize = 500;

/// One member, by its place among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member(pub usize);

/// Every member of a run, and whose turn it is.
pub(super) struct Members {
    first_account: usize,
    count: usize,
    turns: Mutex<VecDeque<(Member, u8)>>,
}

impl Members {
    /// `count` members, in accounts from number `first_account` on.
    pub fn new(first_account: usize, count: usize) -> Self {
        let turns = (0..count).map(|at| (Member(at), 0)).collect();
        Self { first_account, count, turns: Mutex::new(turns) }
    }

    /// The same members, their turns in no order: logins go to all parts of the tables.
    pub fn shuffled(self) -> Self {
        let mut turns = self.turns.into_inner().unwrap_or_else(PoisonError::into_inner);
        turns.make_contiguous().shuffle(&mut rand::rng());
        Self { turns: Mutex::new(turns), ..self }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The accounts they are in.
    pub fn accounts(&self) -> Vec<String> {
        let accounts = self.count.div_ceil(MEMBERS_PER_ACCOUNT);
        (0..accounts).map(|at| format!("{ACCOUNT_PREFIX}{}", self.first_account + at)).collect()
    }

    /// The account of a member.
    pub fn account(&self, member: Member) -> String {
        format!("{ACCOUNT_PREFIX}{}", self.first_account + member.0 / MEMBERS_PER_ACCOUNT)
    }

    /// The member's id in its account.
    pub fn id(&self, member: Member) -> String {
        format!("m-{}", member.0)
    }

    /// May belong to somebody, which is why nothing is sent before it is known to reach the simulator.
    fn phone(&self, member: Member) -> String {
        format!("{PHONE_PREFIX}{:08}", (self.first_number() + member.0) % NUMBERS)
    }

    fn first_number(&self) -> usize {
        self.first_account * MEMBERS_PER_ACCOUNT % NUMBERS
    }

    fn email(&self, member: Member) -> String {
        format!("m{}@load-{}.example", member.0, self.first_account)
    }

    /// Whose number or address that is.
    pub fn by_contact(&self, contact: &str) -> Option<Member> {
        let place = match contact.strip_prefix(PHONE_PREFIX) {
            Some(rest) => {
                rest.parse::<usize>().ok()?.checked_add(NUMBERS - self.first_number())? % NUMBERS
            }
            None => contact.strip_prefix('m')?.split('@').next()?.parse().ok()?,
        };
        let member = Member(place);
        let known =
            place < self.count && (contact == self.phone(member) || contact == self.email(member));
        known.then_some(member)
    }

    /// The next member that may log in, if there is one.
    pub fn next(&self) -> Option<(Member, u8)> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Gives a member back whose login is over.
    pub fn done(&self, (member, logins): (Member, u8)) {
        if logins + 1 < LOGINS_PER_MEMBER {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.push_back((member, logins + 1));
        }
    }

    /// How many members `logins` logins need, a few under way beside them.
    pub fn needed(logins: f64) -> usize {
        (logins / f64::from(LOGINS_PER_MEMBER)).ceil() as usize
    }

    /// Tells the directory of all of them, many at a time, accounts first.
    pub async fn register(self: &Arc<Self>, door: &Arc<Door>, until: Until) -> Result<(), String> {
        for account in self.accounts() {
            register_account(door, &account, until).await?;
        }
        let mut under_way = JoinSet::new();
        for at in 0..self.count {
            if under_way.len() >= REGISTERING {
                joined(under_way.join_next().await)?;
            }
            let (door, members) = (Arc::clone(door), Arc::clone(self));
            under_way.spawn(async move {
                let member = Member(at);
                let (account, id) = (members.account(member), members.id(member));
                let (phone, email) = (members.phone(member), members.email(member));
                register_member(&door, &account, &id, (&phone, &email), until).await
            });
        }
        while !under_way.is_empty() {
            joined(under_way.join_next().await)?;
        }
        Ok(())
    }
}

fn joined(ended: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> Result<(), String> {
    ended.map_or(Ok(()), |ended| ended.map_err(|error| error.to_string())?)
}

/// Puts an account.
pub(super) async fn register_account(
    door: &Door,
    account: &str,
    until: Until,
) -> Result<(), String> {
    let body = json!({ "account": account, "version": 1, "name": "Load", "country": "DE",
        "countries": ["DE", "US"], "origin": "load.example" });
    door.put("directory.account", body, &[], until).await
}

/// Puts a member, with a number and with an address that may back the SMS up.
pub(super) async fn register_member(
    door: &Door,
    account: &str,
    member: &str,
    (phone, email): (&str, &str),
    until: Until,
) -> Result<(), String> {
    let body = json!({ "account": account, "member": member, "version": 1,
        "phone": phone, "email": email,
        "email_verified": true, "two_factor": true, "email_backup": true });
    door.put("directory.member", body, &["phone", "email"], until).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepup::domain::phone::{Country, PhoneNumber};

    #[test]
    fn every_number_takes_sms_and_is_written_as_the_product_writes_it() {
        let germany = Country::parse("DE").unwrap();
        for first_account in [0, 7, 99_999] {
            let members = Members::new(first_account, 3);
            for at in 0..3 {
                let written = members.phone(Member(at));
                let number = PhoneNumber::parse(&written, germany).unwrap();
                assert_eq!(number.e164(), written);
                assert!(number.textable(), "{written}");
                assert_eq!(members.by_contact(&written), Some(Member(at)));
                let address = members.email(Member(at));
                assert_eq!(members.by_contact(&address), Some(Member(at)));
            }
            let others = Members::new(first_account + 1, 3);
            for strange in ["+4915", "+49151", "+49151x", "m", "m3@load-0.example", "a@b.example"] {
                assert_eq!(members.by_contact(strange), None, "{strange}");
            }
            assert_eq!(members.by_contact(&others.phone(Member(0))), None);
            assert_eq!(members.by_contact(&others.email(Member(0))), None);
        }
    }

    #[test]
    fn a_member_has_no_more_turns_than_the_limits_allow() {
        let members = Members::new(0, 2).shuffled();
        let mut turns = 0;
        while let Some(turn) = members.next() {
            turns += 1;
            members.done(turn);
        }
        assert_eq!(turns, 2 * usize::from(LOGINS_PER_MEMBER));
        assert_eq!(Members::needed(9.0), 3);
    }
}

//! The proof of an email address: a code to the address confirms the address. It is no
//! challenge and never completes a login.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::code::{Binding, Code, CodeDigest};
use super::id::{AccountId, ChallengeId, MemberId, derived};
use super::keys::{Keyring, Place};
use super::member::Member;
use super::{Chance, Timestamp};

/// An open proof. A member has one at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailProof {
    /// Its id.
    pub id: Uuid,
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Blind index of the address that the code goes to.
    pub email_index: Vec<u8>,
    /// The digest of the code.
    pub digest: CodeDigest,
    /// The deliverable copy of the code.
    pub code_sealed: Vec<u8>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// From this moment on no code is right.
    pub expires_at: Timestamp,
    /// Wrong codes so far.
    pub wrong: i16,
}

impl EmailProof {
    /// A new one, with a code of `digits` digits.
    pub fn draw(
        id: Uuid,
        member: &Member,
        email_index: &[u8],
        (digits, created_at, expires_at): (u8, Timestamp, Timestamp),
        keys: &Keyring,
        rng: &mut dyn Chance,
    ) -> Self {
        let code = Code::draw(digits, rng);
        let place = Place::Code(id.as_bytes(), expires_at.unix_timestamp());
        let (account, name) = (&member.account, &member.id);
        Self {
            id,
            account: account.clone(),
            member: name.clone(),
            email_index: email_index.to_vec(),
            digest: code.digest(keys, &binding(id, account, name, email_index)),
            code_sealed: keys.seal(&place, code.digits().as_bytes(), rng),
            created_at,
            expires_at,
            wrong: 0,
        }
    }

    /// What a person typed, if it can be its code at all.
    pub fn typed(&self, guess: &str) -> Option<Code> {
        Code::typed(guess, Keyring::clear_length(&self.code_sealed)?)
    }

    /// Whether `guess` is its code.
    pub fn is(&self, guess: &Code, keys: &Keyring) -> bool {
        let binding = binding(self.id, &self.account, &self.member, &self.email_index);
        guess.matches(&self.digest, keys, &binding)
    }

    /// Whether it is about the address that the member has today.
    pub fn to(&self, member: &Member) -> bool {
        member.email.as_ref().is_some_and(|email| email.index == self.email_index)
    }

    /// The code, for the mail. `None` if it was sealed with a key that is lost.
    pub fn code(&self, keys: &Keyring) -> Option<Code> {
        let place = Place::Code(self.id.as_bytes(), self.expires_at.unix_timestamp());
        let clear: Zeroizing<Vec<u8>> = keys.open(&place, &self.code_sealed).ok()?;
        std::str::from_utf8(&clear).ok().map(Code::of)
    }

    /// The id of the mail that carries the code.
    pub fn notice(&self) -> Uuid {
        derived(self.id, "notice")
    }
}

fn binding<'a>(
    id: Uuid,
    account: &'a AccountId,
    member: &'a MemberId,
    email_index: &'a [u8],
) -> Binding<'a> {
    let challenge = ChallengeId(id);
    Binding { account, member, challenge, purpose: "email_proof", operation: email_index }
}

//! What a challenge is wanted for, and the challenge that is written.

use crate::domain::Timestamp;
use crate::domain::challenge::{Challenge, Purpose};
use crate::domain::id::{AccountId, AppName, LoginId, MemberId, SettingName};
use crate::domain::phone::{Country, PhoneNumber};
use crate::message::{IssueChallenge, Request};
use crate::rules::challenge::events::Ending;

/// Who wants a challenge, for what, and what exactly it approves.
pub struct ChallengeSpec<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The account.
    pub account: &'a AccountId,
    /// The member.
    pub member: &'a MemberId,
    /// What the challenge completes. One is open for each at most.
    pub login: LoginId,
    /// What it proves.
    pub purpose: Purpose,
    /// Which setting is changed.
    pub setting: Option<&'a SettingName>,
    /// Digest of what is approved: an open challenge for another one is superseded.
    pub operation: Vec<u8>,
    /// The summary of what is approved; for a number to bind it is the number.
    pub summary: Option<&'a str>,
    /// Where the code goes, if not to the member's number.
    pub number: Option<&'a PhoneNumber>,
}

/// A challenge to write, with the first send granted.
#[derive(Debug)]
pub struct NewChallenge {
    /// The row.
    pub challenge: Challenge,
    /// When the first SMS may go: later than now if the number's timer still runs.
    pub send_at: Timestamp,
    /// When it was decided.
    pub now: Timestamp,
}

/// A new challenge, and the end of the one whose place it takes, if that one was still open.
#[derive(Debug)]
pub struct Issued {
    /// The new one.
    pub new: Box<NewChallenge>,
    /// The old one's end.
    pub ended: Option<Ending>,
}

impl<'a> ChallengeSpec<'a> {
    /// The demand of a login.
    pub fn login(request: &'a Request<IssueChallenge>) -> Self {
        let IssueChallenge { account, member, login, .. } = &request.body;
        Self {
            app: &request.app,
            account,
            member,
            login: login.clone(),
            purpose: Purpose::Login,
            setting: None,
            operation: Vec::new(),
            summary: None,
            number: None,
        }
    }
}

/// The number a code would go to.
pub(super) struct Target {
    pub(super) index: Vec<u8>,
    pub(super) country: Option<Country>,
    pub(super) textable: bool,
    pub(super) masked: Option<String>,
}

//! What a signed-in member asks for: changes to their own factor, and approval for a change of a
//! sensitive setting. Each leads to a challenge, which from then on is like any other.

use serde_json::Value;

use super::RuleInputs;
use super::change::{Change, number_operation};
use super::issue::{ChallengeSpec, Issued};
use super::limits::NumberFacts;
use super::{Decided, DecisionContext, approval, email_proof, factor, issue};
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::challenge::{Challenge, Purpose};
use crate::domain::email_proof::EmailProof;
use crate::domain::id::{AccountId, AppName, ChallengeId, LoginId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::{PhoneError, PhoneNumber};
use crate::message::{
    ChangeNumber, ConfirmEmail, DisableFactor, Event, Message, Outcome, OutcomeKind, ProveEmail,
    RedeemApproval, Rejected, Request, RequestSettingChange, Secret, SendEnrolment, SetEmailBackup,
    StartEnrolment, Subject,
};

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Where would the code of an enrolment go?
    StartEnrolment(Request<StartEnrolment>),
    /// Send it.
    SendEnrolment(Request<SendEnrolment>),
    /// Another number.
    ChangeNumber(Request<ChangeNumber>),
    /// 2FA off.
    Disable(Request<DisableFactor>),
    /// Email as a backup, on or off.
    SetEmailBackup(Request<SetEmailBackup>),
    /// A code to the address.
    ProveEmail(Request<ProveEmail>),
    /// The code from there.
    ConfirmEmail(Request<ConfirmEmail>),
    /// A sensitive setting is to change.
    RequestChange(Request<RequestSettingChange>),
    /// An approved change is about to be carried out.
    Redeem(Request<RedeemApproval>),
}

/// The same expression for whatever is asked.
macro_rules! each {
    ($ask:expr, $request:ident => $of:expr) => {
        match $ask {
            Ask::StartEnrolment($request) => $of,
            Ask::SendEnrolment($request) => $of,
            Ask::ChangeNumber($request) => $of,
            Ask::Disable($request) => $of,
            Ask::SetEmailBackup($request) => $of,
            Ask::ProveEmail($request) => $of,
            Ask::ConfirmEmail($request) => $of,
            Ask::RequestChange($request) => $of,
            Ask::Redeem($request) => $of,
        }
    };
}

impl Message for Ask {
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        match key {
            "enrolment.start" => Request::read(key, app, body).map(Self::StartEnrolment),
            "enrolment.send" => Request::read(key, app, body).map(Self::SendEnrolment),
            "number.change" => Request::read(key, app, body).map(Self::ChangeNumber),
            "factor.disable" => Request::read(key, app, body).map(Self::Disable),
            "email_backup.set" => Request::read(key, app, body).map(Self::SetEmailBackup),
            "email.prove" => Request::read(key, app, body).map(Self::ProveEmail),
            "email.confirm" => Request::read(key, app, body).map(Self::ConfirmEmail),
            "settings.change.request" => Request::read(key, app, body).map(Self::RequestChange),
            "settings.change.redeem" => Request::read(key, app, body).map(Self::Redeem),
            _ => Err(Rejected::malformed("this queue does not take that request")),
        }
    }

    fn subject(&self) -> Subject {
        each!(self, request => request.subject())
    }

    fn given_up(&self) -> Option<Event> {
        self.blind_demand().map(|demand| issue::refused(&demand, "given_up"))
    }
}

impl Ask {
    /// The app that asks.
    pub fn app(&self) -> &AppName {
        each!(self, request => &request.app)
    }

    /// The account it names.
    pub fn account(&self) -> &AccountId {
        each!(self, request => &request.ask.account)
    }

    /// The member it names; an approval is found by its challenge.
    pub fn member(&self) -> Option<&MemberId> {
        match self {
            Self::StartEnrolment(request) => Some(&request.ask.member),
            Self::SendEnrolment(request) => Some(&request.ask.member),
            Self::ChangeNumber(request) => Some(&request.ask.member),
            Self::Disable(request) => Some(&request.ask.member),
            Self::SetEmailBackup(request) => Some(&request.ask.member),
            Self::ProveEmail(request) => Some(&request.ask.member),
            Self::ConfirmEmail(request) => Some(&request.ask.member),
            Self::RequestChange(request) => Some(&request.ask.member),
            Self::Redeem(_) => None,
        }
    }

    /// The challenge whose approval is redeemed.
    pub fn redeems(&self) -> Option<ChallengeId> {
        match self {
            Self::Redeem(request) => Some(request.ask.challenge),
            _ => None,
        }
    }

    fn phone(&self) -> Option<&Secret> {
        match self {
            Self::StartEnrolment(request) => request.ask.phone.as_ref(),
            Self::SendEnrolment(request) => request.ask.phone.as_ref(),
            Self::ChangeNumber(request) => Some(&request.ask.phone),
            _ => None,
        }
    }

    /// The number it gives, if any.
    ///
    /// # Errors
    /// Why it is no number.
    pub(super) fn number(&self, account: &Account) -> Result<Option<PhoneNumber>, PhoneError> {
        self.phone().map(|text| PhoneNumber::parse(text.expose(), account.country)).transpose()
    }

    /// What a challenge for it would prove; `None` where it takes none. A mandate that has not come to
    /// the member yet holds all the same.
    pub(super) fn purpose(&self, member: &Member, mandatory: bool) -> Option<Purpose> {
        match self {
            Self::StartEnrolment(_) | Self::SendEnrolment(_) => Some(Purpose::Enrolment),
            Self::ChangeNumber(request)
                if (member.two_factor || mandatory) && request.ask.proof.is_none() =>
            {
                Some(Purpose::NumberChangeCurrent)
            }
            Self::ChangeNumber(_) => Some(Purpose::NumberChangeNew),
            Self::Disable(_) => Some(Purpose::Disable),
            Self::RequestChange(_) => Some(Purpose::Setting),
            Self::SetEmailBackup(_)
            | Self::ProveEmail(_)
            | Self::ConfirmEmail(_)
            | Self::Redeem(_) => None,
        }
    }

    /// The challenge that is asked for, as far as can be said without knowing the member.
    fn blind_demand(&self) -> Option<ChallengeSpec<'_>> {
        if matches!(self, Self::StartEnrolment(_)) {
            return None;
        }
        let stranger = Member::new(self.account(), self.member()?);
        demand(self, self.purpose(&stranger, false)?)
    }

    /// What the challenge completes: for a setting, the app's name of the change; of the others a
    /// member has one at a time, which goes by its purpose.
    fn login(&self, purpose: Purpose) -> Option<LoginId> {
        match self {
            Self::RequestChange(request) => Some(request.ask.change.clone()),
            _ => LoginId::parse(purpose.label()).ok(),
        }
    }
}

/// What to look up before the decision, once account and member are known.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The pending thing whose last challenge counts.
    pub pending: Option<(Purpose, LoginId)>,
    /// The number whose limits count, by its blind index.
    pub to: Option<Vec<u8>>,
    /// The number to be bound.
    pub bind: Option<Vec<u8>>,
    /// The challenge that is shown as a proof.
    pub proof: Option<ChallengeId>,
    /// Whether the proof of the member's address counts.
    pub email_proof: bool,
}

/// What the decision on `ask` rests on.
pub fn wanted(ask: &Ask, account: &Account, member: &Member, keys: &Keyring) -> Wanted {
    let email_proof = matches!(ask, Ask::ProveEmail(_) | Ask::ConfirmEmail(_));
    let Some(purpose) = ask.purpose(member, account.mandatory) else {
        return Wanted { email_proof, ..Wanted::default() };
    };
    let given = ask.number(account).ok().flatten();
    let given = given.map(|number| keys.blind("phone", number.e164()).to_vec());
    let current = member.phone.as_ref().map(|phone| phone.index.clone());
    let bind = given.or_else(|| current.clone());
    Wanted {
        pending: ask.login(purpose).map(|login| (purpose, login)),
        to: if purpose.binds_number() { bind.clone() } else { current },
        bind,
        proof: match ask {
            Ask::ChangeNumber(request) => request.ask.proof,
            _ => None,
        },
        email_proof,
    }
}

/// What was found of a [`Wanted`].
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The last challenge for the same.
    pub current: Option<Challenge>,
    /// The member's wrong codes in the longest window.
    pub wrong: Vec<Timestamp>,
    /// What was sent to the number that the code would go to.
    pub number: NumberFacts,
    /// Whether the number to be bound belongs to a company.
    pub owned: bool,
    /// The proof, if it is a challenge of this member.
    pub proof: Option<Challenge>,
    /// The open proof of the member's address.
    pub email_proof: Option<EmailProof>,
}

/// What is known when an [`Ask`] is decided.
#[derive(Clone, Debug)]
pub enum Facts {
    /// The account is not the app's, or nobody knows the member or the approval.
    Unknown {
        /// Whether the account, at least, is the app's.
        own_account: bool,
    },
    /// Of a member.
    Member(Box<MemberFacts>),
    /// Of an approval.
    Approval(Box<approval::Facts>),
}

/// What is known of a member who asks.
#[derive(Clone, Debug)]
pub struct MemberFacts {
    /// What every challenge is issued by.
    pub issue: issue::Facts,
    /// The proof, if it is a challenge of this member.
    pub proof: Option<Challenge>,
    /// The open proof of the member's address.
    pub email_proof: Option<EmailProof>,
}

impl MemberFacts {
    /// The facts of a member, put together.
    pub fn new(id: ChallengeId, account: Account, member: Member, found: Found) -> Self {
        let Found { current, wrong, number, owned, proof, email_proof } = found;
        let issue = issue::Facts { id, account, member, current, wrong, number, owned };
        Self { issue, proof, email_proof }
    }

    fn of_email(&self) -> email_proof::Facts<'_> {
        email_proof::Facts {
            id: self.issue.id.0,
            member: &self.issue.member,
            enrols: self.issue.member.must_enrol(self.issue.account.mandatory),
            proof: self.email_proof.as_ref(),
            wrong: &self.issue.wrong,
        }
    }
}

/// What is written.
#[derive(Debug)]
pub enum Write {
    /// A new challenge.
    Challenge(Issued),
    /// A change that takes no code.
    Change(Change),
    /// The proof of an address.
    EmailProof(email_proof::Write),
    /// An approval that is spent.
    Spend(approval::Spent),
}

/// The rule.
pub fn decide(
    ask: &Ask,
    facts: Facts,
    rules: &RuleInputs,
    ctx: &mut DecisionContext<'_>,
) -> Decided<Write> {
    match (ask, facts) {
        (Ask::Redeem(request), Facts::Approval(facts)) => {
            approval::redeem(request, &facts, &rules.keys, ctx.now).map(Write::Spend)
        }
        (_, Facts::Member(facts)) if !facts.issue.member.active => unknown(ask, true),
        (Ask::SetEmailBackup(request), Facts::Member(facts)) => {
            factor::set_email_backup(request, &facts.issue.member, &rules.keys, ctx.now)
                .map(Write::Change)
        }
        (Ask::ProveEmail(request), Facts::Member(facts)) => {
            email_proof::prove(request, &facts.of_email(), rules, ctx).map(Write::EmailProof)
        }
        (Ask::ConfirmEmail(request), Facts::Member(facts)) => {
            email_proof::confirm(request, &facts.of_email(), rules, ctx.now).map(Write::EmailProof)
        }
        (Ask::RequestChange(request), Facts::Member(facts)) => {
            approval::request(request, &facts.issue, rules, ctx).map(Write::Challenge)
        }
        (_, Facts::Member(facts)) => {
            factor::challenge(ask, &facts, rules, ctx).map(Write::Challenge)
        }
        (_, Facts::Unknown { own_account }) => unknown(ask, own_account),
        (_, Facts::Approval(_)) => Decided::answer(Outcome::new(OutcomeKind::NotFound)),
    }
}

/// The account, the member or the approval is not known to the app. Where a challenge was wanted,
/// its refusal is an event.
fn unknown(ask: &Ask, own_account: bool) -> Decided<Write> {
    let outcome = Outcome::new(OutcomeKind::NotFound);
    match ask.blind_demand() {
        Some(demand) => issue::refuse(&demand, own_account, outcome),
        None => Decided::answer(outcome),
    }
}

/// The bare demand of an [`Ask`] that takes a challenge.
pub(super) fn demand(ask: &Ask, purpose: Purpose) -> Option<ChallengeSpec<'_>> {
    Some(ChallengeSpec {
        app: ask.app(),
        account: ask.account(),
        member: ask.member()?,
        login: ask.login(purpose)?,
        purpose,
        setting: match ask {
            Ask::RequestChange(request) => Some(&request.ask.setting),
            _ => None,
        },
        operation: Vec::new(),
        summary: None,
        number: None,
    })
}

/// What the code for a change of number is bound to.
pub(super) fn operation(member: &Member, number: Option<&PhoneNumber>, keys: &Keyring) -> Vec<u8> {
    let current = member.phone.as_ref().map(|phone| phone.index.as_slice());
    match number {
        Some(number) => number_operation(current, &keys.blind("phone", number.e164())),
        None => number_operation(current, current.unwrap_or_default()),
    }
}

//! What a signed-in member may ask.

use serde_json::Value;

use crate::domain::account::Account;
use crate::domain::challenge::Purpose;
use crate::domain::id::{AccountId, AppName, ChallengeId, LoginId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::{PhoneError, PhoneNumber};
use crate::message::{
    ChangeNumber, ConfirmEmail, DisableFactor, Event, Message, ProveEmail, RedeemApproval,
    Rejected, Request, RequestSettingChange, Secret, SendEnrolment, SetEmailBackup, StartEnrolment,
    Subject,
};
use crate::rules::challenge::issue;
use crate::rules::challenge::spec::ChallengeSpec;
use crate::rules::factor::facts::Wanted;

/// What this worker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsMessage {
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
            SettingsMessage::StartEnrolment($request) => $of,
            SettingsMessage::SendEnrolment($request) => $of,
            SettingsMessage::ChangeNumber($request) => $of,
            SettingsMessage::Disable($request) => $of,
            SettingsMessage::SetEmailBackup($request) => $of,
            SettingsMessage::ProveEmail($request) => $of,
            SettingsMessage::ConfirmEmail($request) => $of,
            SettingsMessage::RequestChange($request) => $of,
            SettingsMessage::Redeem($request) => $of,
        }
    };
}

impl Message for SettingsMessage {
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

impl SettingsMessage {
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
    pub(in crate::rules) fn number(
        &self,
        account: &Account,
    ) -> Result<Option<PhoneNumber>, PhoneError> {
        self.phone().map(|text| PhoneNumber::parse(text.expose(), account.country)).transpose()
    }

    /// What a challenge for it would prove; `None` where it takes none. A mandate that has not come to
    /// the member yet holds all the same.
    pub(in crate::rules) fn purpose(&self, member: &Member, mandatory: bool) -> Option<Purpose> {
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
    pub(in crate::rules) fn blind_demand(&self) -> Option<ChallengeSpec<'_>> {
        if matches!(self, Self::StartEnrolment(_)) {
            return None;
        }
        let stranger = Member::new(self.account(), self.member()?);
        demand(self, self.purpose(&stranger, false)?)
    }

    /// What the challenge completes: for a setting, the app's name of the change; of the others a
    /// member has one at a time, which goes by its purpose.
    pub(super) fn login(&self, purpose: Purpose) -> Option<LoginId> {
        match self {
            Self::RequestChange(request) => Some(request.ask.change.clone()),
            _ => LoginId::parse(purpose.label()).ok(),
        }
    }
}

/// What the decision on `ask` rests on.
pub fn wanted(ask: &SettingsMessage, account: &Account, member: &Member, keys: &Keyring) -> Wanted {
    let email_proof =
        matches!(ask, SettingsMessage::ProveEmail(_) | SettingsMessage::ConfirmEmail(_));
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
            SettingsMessage::ChangeNumber(request) => request.ask.proof,
            _ => None,
        },
        email_proof,
    }
}

/// The bare demand of an [`SettingsMessage`] that takes a challenge.
pub(in crate::rules) fn demand(
    ask: &SettingsMessage,
    purpose: Purpose,
) -> Option<ChallengeSpec<'_>> {
    Some(ChallengeSpec {
        app: ask.app(),
        account: ask.account(),
        member: ask.member()?,
        login: ask.login(purpose)?,
        purpose,
        setting: match ask {
            SettingsMessage::RequestChange(request) => Some(&request.ask.setting),
            _ => None,
        },
        operation: Vec::new(),
        summary: None,
        number: None,
    })
}

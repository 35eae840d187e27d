//! What a signed-in member may ask.

use crate::domain::account::Account;
use crate::domain::challenge::Purpose;
use crate::domain::id::{ChallengeId, LoginId, MemberId};
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::phone::{PhoneError, PhoneNumber};
use crate::message::{
    ChangeNumber, ConfirmEmail, DisableFactor, Event, ProveEmail, RedeemApproval,
    RequestSettingChange, Sealed, SendEnrolment, SetEmailBackup, StartEnrolment,
    requests_of_a_worker,
};
use crate::rules::challenge::issue;
use crate::rules::challenge::spec::ChallengeSpec;
use crate::rules::factor::facts::Wanted;

requests_of_a_worker! {
    /// What the worker `settings` takes.
    SettingsMessage {
        /// Where would the code of an enrolment go?
        StartEnrolment(StartEnrolment),
        /// Send it.
        SendEnrolment(SendEnrolment),
        /// Another number.
        ChangeNumber(ChangeNumber),
        /// 2FA off.
        Disable(DisableFactor),
        /// Email as a backup, on or off.
        SetEmailBackup(SetEmailBackup),
        /// A code to the address.
        ProveEmail(ProveEmail),
        /// The code from there.
        ConfirmEmail(ConfirmEmail),
        /// A sensitive setting is to change.
        RequestChange(RequestSettingChange),
        /// An approved change is about to be carried out.
        Redeem(RedeemApproval),
    }
}

impl SettingsMessage {
    /// The event that says that the request was given up.
    pub fn given_up(&self) -> Option<Event> {
        self.blind_demand().map(|demand| issue::refused(&demand, "given_up"))
    }

    /// The member it names; an approval is found by its challenge.
    pub fn member(&self) -> Option<&MemberId> {
        match self {
            Self::StartEnrolment(request) => Some(&request.body.member),
            Self::SendEnrolment(request) => Some(&request.body.member),
            Self::ChangeNumber(request) => Some(&request.body.member),
            Self::Disable(request) => Some(&request.body.member),
            Self::SetEmailBackup(request) => Some(&request.body.member),
            Self::ProveEmail(request) => Some(&request.body.member),
            Self::ConfirmEmail(request) => Some(&request.body.member),
            Self::RequestChange(request) => Some(&request.body.member),
            Self::Redeem(_) => None,
        }
    }

    /// The challenge whose approval is redeemed.
    pub fn redeems(&self) -> Option<ChallengeId> {
        match self {
            Self::Redeem(request) => Some(request.body.challenge),
            _ => None,
        }
    }

    fn phone(&self) -> Option<&Sealed> {
        match self {
            Self::StartEnrolment(request) => request.body.phone.as_ref(),
            Self::SendEnrolment(request) => request.body.phone.as_ref(),
            Self::ChangeNumber(request) => Some(&request.body.phone),
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
                if (member.two_factor || mandatory) && request.body.proof.is_none() =>
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
            Self::RequestChange(request) => Some(request.body.change.clone()),
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
            SettingsMessage::ChangeNumber(request) => request.body.proof,
            _ => None,
        },
        email_proof,
    }
}

/// The bare demand of a [`SettingsMessage`] that takes a challenge.
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
            SettingsMessage::RequestChange(request) => Some(&request.body.setting),
            _ => None,
        },
        operation: Vec::new(),
        summary: None,
        number: None,
    })
}

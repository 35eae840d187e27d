//! What apps may ask.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::decode::{Message, Rejected, Subject, parse};
use crate::domain::Timestamp;
use crate::domain::account::EmailFallback;
use crate::domain::activity::Client;
use crate::domain::challenge::Channel;
use crate::domain::id::{AccountId, AppName, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::member::Role;
use crate::domain::phone::Country;
use crate::domain::schema::{Moment, schema};

/// Every request key, and the fields of its body that travel sealed.
const REQUESTS: &[(&str, &[&str])] = &[
    ("challenge.issue", &[]),
    ("challenge.resend", &[]),
    ("challenge.verify", &["guess"]),
    ("challenge.cancel", &[]),
    ("enrolment.start", &["phone"]),
    ("enrolment.send", &["phone"]),
    ("number.change", &["phone"]),
    ("factor.disable", &[]),
    ("email_backup.set", &[]),
    ("email.prove", &[]),
    ("email.confirm", &["guess"]),
    ("settings.change.request", &["before", "after", "summary"]),
    ("settings.change.redeem", &["before"]),
    ("team.review", &[]),
    ("team.mandate.enable", &[]),
    ("team.mandate.disable", &[]),
    ("team.member.enable", &[]),
    ("team.member.disable", &[]),
    ("support.reset.request", &[]),
    ("support.reset.approve", &[]),
    ("support.reset.cancel", &[]),
    ("directory.account", &[]),
    ("directory.owned_numbers", &["numbers"]),
    ("directory.member", &["phone", "email"]),
];

/// Whether messages with this key come from apps.
pub(super) fn is_request(key: &str) -> bool {
    REQUESTS.iter().any(|(request, _)| *request == key)
}

/// The fields that travel sealed under this key; of a list, each of its texts.
pub(super) fn sealed_fields(key: &str) -> &'static [&'static str] {
    REQUESTS.iter().find(|(request, _)| *request == key).map_or(&[], |(_, fields)| fields)
}

/// A text that must not be seen. Its `Debug` shows nothing; it is wiped when dropped.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one who must read it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

schema!(Secret, "Sealed", {
    "type": "string",
    "pattern": "^[a-z0-9-]{1,16}\\.[A-Za-z0-9+/]+={0,2}$",
    "description": "a libsodium sealed box to stepup's public key: `<kid>.<base64>`"
});

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A request and the app that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<T> {
    /// Who asks.
    pub app: AppName,
    /// What.
    pub ask: T,
}

/// `challenge.issue`: a member has given the right password; a code is to prove the rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct IssueChallenge {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The app's name for this pending login. The same name again returns its open challenge.
    pub login: LoginId,
    /// What the challenge proves: a login. Every other purpose has a request of its own.
    #[serde(default)]
    pub purpose: LoginPurpose,
}

/// The one purpose of [`IssueChallenge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LoginPurpose {
    /// `login`.
    #[default]
    #[serde(rename = "login")]
    Login,
}

/// `enrolment.start`: a member wants to turn 2FA on. Answers where the code would go; sends
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct StartEnrolment {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Another number than the one on the profile; sealed on its way.
    #[serde(default)]
    pub phone: Option<Secret>,
}

/// `enrolment.send`: now send the code. Once it verifies, 2FA is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SendEnrolment {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Another number than the one on the profile; sealed on its way.
    #[serde(default)]
    pub phone: Option<Secret>,
}

/// `number.change`: a member has another number. With 2FA on the code goes to the current number
/// first; the verified challenge is then the proof with which the code goes to the new one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ChangeNumber {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The new number; sealed on its way.
    pub phone: Secret,
    /// The verified challenge to the current number.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
}

/// `factor.disable`: a member wants to turn 2FA off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableFactor {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
}

/// `email_backup.set`: whether email may back up the SMS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SetEmailBackup {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// On or off.
    pub on: bool,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `email.prove`: mail a code to the member's address, to confirm it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ProveEmail {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
}

/// `email.confirm`: the code from that mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ConfirmEmail {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The guess; sealed on its way.
    pub guess: Secret,
}

/// `settings.change.request`: a member changes a sensitive setting; a code is to approve it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RequestSettingChange {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The app's name for this change. The same name again returns its open challenge.
    pub change: LoginId,
    /// Which setting.
    pub setting: SettingName,
    /// The value before, or a digest of it; sealed on its way, and kept as a digest only.
    pub before: Secret,
    /// The value after, or a digest of it; sealed on its way, and kept as a digest only.
    pub after: Secret,
    /// What is approved, in words the person understands; sealed on its way. It is in the message.
    pub summary: Secret,
}

/// `settings.change.redeem`: the app is about to carry an approved change out. Granted once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RedeemApproval {
    /// The account.
    pub account: AccountId,
    /// The challenge that approved it.
    pub challenge: ChallengeId,
    /// The value as it is now, in the form it was requested with; sealed on its way.
    pub before: Secret,
}

/// `team.review`: look at the contacts of all members, before 2FA becomes mandatory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ReviewContacts {
    /// The account.
    pub account: AccountId,
    /// The admin who asks.
    pub actor: MemberId,
}

/// `team.mandate.enable`: 2FA becomes mandatory for all members. Without a proof, a
/// code goes to the admin; the verified challenge is then the proof.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct EnableMandate {
    /// The account.
    pub account: AccountId,
    /// The admin who asks.
    pub actor: MemberId,
    /// The review that it rests on.
    pub review: Uuid,
    /// Whether the admin has confirmed it in a step of its own.
    pub confirmed: bool,
    /// Members without a usable number who will have to enrol before they can log in (D-5).
    #[serde(default)]
    pub acknowledged: Vec<MemberId>,
    /// Until when it is not enforced.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub grace_until: Option<Timestamp>,
    /// The admin's verified challenge.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `team.mandate.disable`: 2FA is each member's own choice again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableMandate {
    /// The account.
    pub account: AccountId,
    /// The primary admin who asks.
    pub actor: MemberId,
    /// The admin's verified challenge.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `team.member.enable`: an admin turns 2FA on for one member, who verifies at the next login.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct EnableMember {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The admin who asks.
    pub actor: MemberId,
    /// Until when a mandate is not enforced for this member.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<Moment>")]
    pub grace_until: Option<Timestamp>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `team.member.disable`: an admin turns 2FA off for one member, with the admin's own code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DisableMember {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// The admin who asks.
    pub actor: MemberId,
    /// The admin's verified challenge.
    #[serde(default)]
    pub proof: Option<ChallengeId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `support.reset.request`: a member has lost the number; support asks for a new enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RequestReset {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Who asks: the app's name of a person at support.
    pub requested_by: MemberId,
    /// Why, in words for the record.
    pub reason: String,
}

/// `support.reset.approve`: a second person agrees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ApproveReset {
    /// The account.
    pub account: AccountId,
    /// The reset.
    pub reset: Uuid,
    /// Who approves: another than the one who asked.
    pub approved_by: MemberId,
}

/// `support.reset.cancel`: the member or an admin stops it in time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CancelReset {
    /// The account.
    pub account: AccountId,
    /// The reset.
    pub reset: Uuid,
    /// Who cancels: the member, or an admin.
    pub actor: MemberId,
}

/// `challenge.resend`: the same code once more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ResendChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// By which way; `email` only once it is eligible.
    #[serde(default = "by_sms")]
    pub channel: Channel,
}

fn by_sms() -> Channel {
    Channel::Sms
}

/// `challenge.verify`: what the person typed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct VerifyChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// The guess; sealed on its way.
    pub guess: Secret,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

/// `challenge.cancel`: the login was given up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct CancelChallenge {
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
}

/// `directory.account`: the whole of what we need to know of an account. The highest version wins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PutAccount {
    /// The account.
    pub account: AccountId,
    /// Grows with each change at the app; an upsert with an older or equal one changes nothing.
    pub version: i64,
    /// The name a person knows it by.
    pub name: String,
    /// The web origin the code is bound to, without `https://`.
    #[serde(default)]
    pub origin: Option<String>,
    /// How national numbers are read.
    pub country: Country,
    /// Countries codes may go to; by default the account's own.
    #[serde(default)]
    pub countries: Option<Vec<Country>>,
    /// What happens when the SMS brings no verification in time.
    #[serde(default = "automatic")]
    pub email_fallback: EmailFallback,
    /// Settings whose change takes a code; by default those of
    /// [`crate::domain::account::SENSITIVE_SETTINGS`].
    #[serde(default)]
    pub sensitive_settings: Option<Vec<SettingName>>,
    /// Whether a member with 2FA off is refused such a change.
    #[serde(default)]
    pub require_for_sensitive_settings: bool,
}

fn automatic() -> EmailFallback {
    EmailFallback::Automatic
}

/// `directory.owned_numbers`: the whole list of the account's own numbers: its lines, its trackers,
/// its virtual numbers. No code goes to any of them, in any account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PutOwnedNumbers {
    /// The account.
    pub account: AccountId,
    /// Grows with each change at the app; a list with an older or equal one changes nothing.
    pub version: i64,
    /// The numbers as people write them, each sealed on its way.
    pub numbers: Vec<Secret>,
}

/// `directory.member`: the whole of what we need to know of a member. The highest version wins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PutMember {
    /// The account.
    pub account: AccountId,
    /// The member.
    pub member: MemberId,
    /// Grows with each change at the app; an upsert with an older or equal one changes nothing.
    pub version: i64,
    /// Whether the member may log in at all.
    #[serde(default = "yes")]
    pub active: bool,
    /// What the member may do.
    #[serde(default = "plain_member")]
    pub role: Role,
    /// Language of texts (BCP 47).
    #[serde(default = "english")]
    pub locale: String,
    /// The number codes go to; sealed on its way. `Some(None)` removes it; left out, as the next
    /// four, it stays: the member may have changed it here.
    #[serde(default, deserialize_with = "given")]
    pub phone: Option<Option<Secret>>,
    /// The address; sealed on its way.
    #[serde(default, deserialize_with = "given")]
    pub email: Option<Option<Secret>>,
    /// Whether the address is confirmed.
    #[serde(default)]
    pub email_verified: Option<bool>,
    /// 2FA on or off.
    #[serde(default)]
    pub two_factor: Option<bool>,
    /// Whether email may serve as a backup; needs a confirmed address.
    #[serde(default)]
    pub email_backup: Option<bool>,
    /// Whether a primary admin wants a mail when a member's number changes.
    #[serde(default)]
    pub notify_number_changes: bool,
    /// Who made the change, if not the member.
    #[serde(default)]
    pub actor: Option<MemberId>,
    /// From where.
    #[serde(flatten)]
    pub client: Client,
}

fn yes() -> bool {
    true
}

fn plain_member() -> Role {
    Role::Member
}

fn english() -> String {
    "en".to_owned()
}

/// Reads a field so that `null`, which removes, can be told from a field that is left out, which
/// leaves things as they are.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A request whose body is read on its own.
macro_rules! request {
    ($ask:ty, $message:ident => $subject:expr) => {
        impl Message for Request<$ask> {
            fn read(
                key: &str,
                app: Option<AppName>,
                body: serde_json::Value,
            ) -> Result<Self, Rejected> {
                let app =
                    app.ok_or_else(|| Rejected::malformed(format!("`{key}` is no request")))?;
                Ok(Self { app, ask: parse(body)? })
            }

            fn subject(&self) -> Subject {
                let $message = &self.ask;
                Subject::of($subject)
            }
        }
    };
}

request!(IssueChallenge, ask => (&ask.account, &ask.member));
request!(ResendChallenge, ask => ask.challenge.0);
request!(VerifyChallenge, ask => ask.challenge.0);
request!(CancelChallenge, ask => ask.challenge.0);
request!(StartEnrolment, ask => (&ask.account, &ask.member));
request!(SendEnrolment, ask => (&ask.account, &ask.member));
request!(ChangeNumber, ask => (&ask.account, &ask.member));
request!(DisableFactor, ask => (&ask.account, &ask.member));
request!(SetEmailBackup, ask => (&ask.account, &ask.member));
request!(ProveEmail, ask => (&ask.account, &ask.member));
request!(ConfirmEmail, ask => (&ask.account, &ask.member));
request!(RequestSettingChange, ask => (&ask.account, &ask.member));
request!(RedeemApproval, ask => ask.challenge.0);
request!(ReviewContacts, ask => &ask.account);
request!(EnableMandate, ask => &ask.account);
request!(DisableMandate, ask => &ask.account);
request!(EnableMember, ask => &ask.account);
request!(DisableMember, ask => &ask.account);
request!(RequestReset, ask => &ask.account);
request!(ApproveReset, ask => &ask.account);
request!(CancelReset, ask => &ask.account);
request!(PutAccount, ask => &ask.account);
request!(PutOwnedNumbers, ask => &ask.account);
request!(PutMember, ask => (&ask.account, &ask.member));

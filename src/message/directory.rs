//! What an app tells of its accounts and members.

use schemars::JsonSchema;
use serde::Deserialize;

use super::declaration::{RequestBody, RequestDecl};
use super::kind::Subject;
use super::queue_name::Queue;
use super::sealed::Sealed;
use crate::domain::account::EmailFallback;
use crate::domain::activity::Client;
use crate::domain::id::{AccountId, MemberId, SettingName};
use crate::domain::member::Role;
use crate::domain::phone::Country;

/// The whole of what we need to know of an account. The highest version wins.
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

impl RequestBody for PutAccount {
    const KEY: &'static str = "directory.account";
    const QUEUE: Queue = Queue::DirectorySettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

fn automatic() -> EmailFallback {
    EmailFallback::Automatic
}

/// The whole list of the account's own numbers: its lines, its trackers,
/// its virtual numbers. No code goes to any of them, in any account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PutOwnedNumbers {
    /// The account.
    pub account: AccountId,
    /// Grows with each change at the app; a list with an older or equal one changes nothing.
    pub version: i64,
    /// The numbers as people write them, each sealed on its way.
    pub numbers: Vec<Sealed>,
}

impl RequestBody for PutOwnedNumbers {
    const KEY: &'static str = "directory.owned_numbers";
    const QUEUE: Queue = Queue::DirectorySettings;

    fn subject(&self) -> Subject {
        Subject::of(&self.account)
    }
}

/// The whole of what we need to know of a member. The highest version wins.
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
    pub phone: Option<Option<Sealed>>,
    /// The address; sealed on its way.
    #[serde(default, deserialize_with = "given")]
    pub email: Option<Option<Sealed>>,
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

impl RequestBody for PutMember {
    const KEY: &'static str = "directory.member";
    const QUEUE: Queue = Queue::DirectorySettings;

    fn subject(&self) -> Subject {
        Subject::of((&self.account, &self.member))
    }
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

/// The requests of this area.
pub(super) const REQUESTS: &[RequestDecl] = &[
    RequestDecl::of::<PutAccount>(),
    RequestDecl::of::<PutOwnedNumbers>(),
    RequestDecl::of::<PutMember>(),
];

//! What can be asked over HTTP: of each endpoint, the routing key and the members of its body.

use uuid::Uuid;

use super::field::{Field, Guess, ID, Ip, Numbers, Version, is_moment};
use crate::domain::account::EmailFallback;
use crate::domain::challenge::Channel;
use crate::domain::id::{AccountId, ChallengeId, LoginId, MemberId, SettingName};
use crate::domain::member::Role;
use crate::domain::phone::Country;
use crate::message::LoginPurpose;

/// What can be asked over HTTP: a routing key and the members of its body.
pub struct Endpoint {
    /// The routing key.
    pub key: &'static str,
    /// Whether it opens a challenge, whose id then is the request's.
    pub(super) opens: bool,
    /// Members taken from the path.
    pub(super) path: &'static [Field],
    /// Members taken from the body.
    pub(super) body: &'static [Field],
}

const ACCOUNT: Field = Field::required::<AccountId>("account", ID);
const MEMBER: Field = Field::required::<MemberId>("member", ID);
const CHALLENGE: Field = Field::required::<ChallengeId>("challenge", "a UUID");
const GUESS: Field = Field::required::<Guess>("guess", "a text of 1 to 32 characters").sealed();
const VERSION: Field = Field::required::<Version>("version", "a whole number of at most 64 bits");

const IP: Field = Field::optional::<Option<Ip>>("ip", "an IPv4 or IPv6 address, or null");
const USER_AGENT: Field = Field::optional::<Option<String>>("user_agent", "a text or null");

/// `POST /v1/logins`.
pub const ISSUE: Endpoint = Endpoint {
    key: "challenge.issue",
    opens: true,
    path: &[],
    body: &[
        ACCOUNT,
        MEMBER,
        Field::required::<LoginId>("login", ID),
        Field::optional::<LoginPurpose>("purpose", "`login`"),
    ],
};

/// `POST /v1/challenges/{challenge}/verify`.
pub const VERIFY: Endpoint = Endpoint {
    key: "challenge.verify",
    opens: false,
    path: &[CHALLENGE],
    body: &[ACCOUNT, GUESS, IP, USER_AGENT],
};

/// `POST /v1/challenges/{challenge}/resend`.
pub const RESEND: Endpoint = Endpoint {
    key: "challenge.resend",
    opens: false,
    path: &[CHALLENGE],
    body: &[ACCOUNT, Field::optional::<Channel>("channel", "`sms` or `email`")],
};

/// `POST /v1/challenges/{challenge}/cancel`.
pub const CANCEL: Endpoint =
    Endpoint { key: "challenge.cancel", opens: false, path: &[CHALLENGE], body: &[ACCOUNT] };

const PHONE: &str = "a text: the number as the person writes it";

/// `POST /v1/accounts/{account}/members/{member}/enrolment`.
pub const START_ENROLMENT: Endpoint = Endpoint {
    key: "enrolment.start",
    opens: false,
    path: &[ACCOUNT, MEMBER],
    body: &[Field::optional::<Option<String>>("phone", PHONE).sealed()],
};

/// `POST /v1/accounts/{account}/members/{member}/enrolment/send`.
pub const SEND_ENROLMENT: Endpoint =
    Endpoint { key: "enrolment.send", opens: true, ..START_ENROLMENT };

/// `POST /v1/accounts/{account}/members/{member}/number`.
pub const CHANGE_NUMBER: Endpoint = Endpoint {
    key: "number.change",
    opens: true,
    path: &[ACCOUNT, MEMBER],
    body: &[
        Field::required::<String>("phone", PHONE).sealed(),
        Field::optional::<Option<ChallengeId>>("proof", "a UUID or null"),
    ],
};

/// `POST /v1/accounts/{account}/members/{member}/disable`.
pub const DISABLE: Endpoint =
    Endpoint { key: "factor.disable", opens: true, path: &[ACCOUNT, MEMBER], body: &[] };

/// `PUT /v1/accounts/{account}/members/{member}/email-backup`.
pub const SET_EMAIL_BACKUP: Endpoint = Endpoint {
    key: "email_backup.set",
    opens: false,
    path: &[ACCOUNT, MEMBER],
    body: &[Field::required::<bool>("on", "true or false"), IP, USER_AGENT],
};

const ACTOR: Field = Field::required::<MemberId>("actor", ID);
const REVIEW: Field = Field::required::<Uuid>("review", "a UUID");
const RESET: Field = Field::required::<Uuid>("reset", "a UUID");
const PROOF: Field = Field::optional::<Option<ChallengeId>>("proof", "a UUID or null");
const UNTIL: Field = Field {
    fits: is_moment,
    ..Field::optional::<Option<String>>("grace_until", "a time (RFC 3339) or null")
};

/// `POST /v1/accounts/{account}/reviews`.
pub const REVIEW_CONTACTS: Endpoint =
    Endpoint { key: "team.review", opens: false, path: &[ACCOUNT], body: &[ACTOR] };

/// `POST /v1/accounts/{account}/mandate`.
pub const ENABLE_MANDATE: Endpoint = Endpoint {
    key: "team.mandate.enable",
    opens: true,
    path: &[ACCOUNT],
    body: &[
        ACTOR,
        REVIEW,
        Field::required::<bool>("confirmed", "true"),
        Field::optional::<Vec<MemberId>>("acknowledged", "a list of members"),
        UNTIL,
        PROOF,
        IP,
        USER_AGENT,
    ],
};

/// `POST /v1/accounts/{account}/mandate/disable`.
pub const DISABLE_MANDATE: Endpoint = Endpoint {
    key: "team.mandate.disable",
    opens: true,
    path: &[ACCOUNT],
    body: &[ACTOR, PROOF, IP, USER_AGENT],
};

/// `POST /v1/accounts/{account}/members/{member}/admin/enable`.
pub const ENABLE_MEMBER: Endpoint = Endpoint {
    key: "team.member.enable",
    opens: false,
    path: &[ACCOUNT, MEMBER],
    body: &[ACTOR, UNTIL, IP, USER_AGENT],
};

/// `POST /v1/accounts/{account}/members/{member}/admin/disable`.
pub const DISABLE_MEMBER: Endpoint = Endpoint {
    key: "team.member.disable",
    opens: true,
    path: &[ACCOUNT, MEMBER],
    body: &[ACTOR, PROOF, IP, USER_AGENT],
};

/// `POST /v1/accounts/{account}/members/{member}/resets`.
pub const REQUEST_RESET: Endpoint = Endpoint {
    key: "support.reset.request",
    opens: false,
    path: &[ACCOUNT, MEMBER],
    body: &[
        Field::required::<MemberId>("requested_by", ID),
        Field::required::<String>("reason", "a text of 1 to 500 characters"),
    ],
};

/// `POST /v1/accounts/{account}/resets/{reset}/approve`.
pub const APPROVE_RESET: Endpoint = Endpoint {
    key: "support.reset.approve",
    opens: false,
    path: &[ACCOUNT, RESET],
    body: &[Field::required::<MemberId>("approved_by", ID)],
};

/// `POST /v1/accounts/{account}/resets/{reset}/cancel`.
pub const CANCEL_RESET: Endpoint =
    Endpoint { key: "support.reset.cancel", opens: false, path: &[ACCOUNT, RESET], body: &[ACTOR] };

/// `POST /v1/accounts/{account}/members/{member}/email`.
pub const PROVE_EMAIL: Endpoint =
    Endpoint { key: "email.prove", opens: false, path: &[ACCOUNT, MEMBER], body: &[] };

/// `POST /v1/accounts/{account}/members/{member}/email/confirm`.
pub const CONFIRM_EMAIL: Endpoint =
    Endpoint { key: "email.confirm", opens: false, path: &[ACCOUNT, MEMBER], body: &[GUESS] };

const VALUE: &str = "a text: the value, or your digest of it";

/// `POST /v1/accounts/{account}/members/{member}/settings`.
pub const REQUEST_CHANGE: Endpoint = Endpoint {
    key: "settings.change.request",
    opens: true,
    path: &[ACCOUNT, MEMBER],
    body: &[
        Field::required::<LoginId>("change", ID),
        Field::required::<SettingName>("setting", ID),
        Field::required::<String>("before", VALUE).sealed(),
        Field::required::<String>("after", VALUE).sealed(),
        Field::required::<String>("summary", "a text of 1 to 200 characters").sealed(),
    ],
};

/// `POST /v1/challenges/{challenge}/redeem`.
pub const REDEEM: Endpoint = Endpoint {
    key: "settings.change.redeem",
    opens: false,
    path: &[CHALLENGE],
    body: &[ACCOUNT, Field::required::<String>("before", VALUE).sealed()],
};

/// `PUT /v1/accounts/{account}`.
pub const PUT_ACCOUNT: Endpoint = Endpoint {
    key: "directory.account",
    opens: false,
    path: &[ACCOUNT],
    body: &[
        VERSION,
        Field::required::<String>("name", "a text of 1 to 100 characters"),
        Field::optional::<Option<String>>("origin", "a text or null"),
        Field::required::<Country>("country", "a country as ISO 3166-1 alpha-2: `US`"),
        Field::optional::<Option<Vec<Country>>>(
            "countries",
            "a list of countries as ISO 3166-1 alpha-2, or null",
        ),
        Field::optional::<EmailFallback>(
            "email_fallback",
            "`automatic`, `on_request` or `forbidden`",
        ),
        Field::optional::<Option<Vec<SettingName>>>(
            "sensitive_settings",
            "a list of names of settings, or null",
        ),
        Field::optional::<bool>("require_for_sensitive_settings", "true or false"),
    ],
};

/// `PUT /v1/accounts/{account}/members/{member}`.
pub const PUT_MEMBER: Endpoint = Endpoint {
    key: "directory.member",
    opens: false,
    path: &[ACCOUNT, MEMBER],
    body: &[
        VERSION,
        Field::optional::<bool>("active", "true or false"),
        Field::optional::<Role>("role", "`primary_admin`, `admin` or `member`"),
        Field::optional::<String>("locale", "a language tag (BCP 47): `en`"),
        Field::optional::<Option<String>>("phone", "a text or null").sealed(),
        Field::optional::<Option<String>>("email", "a text or null").sealed(),
        Field::optional::<Option<bool>>("email_verified", "true, false or null"),
        Field::optional::<Option<bool>>("two_factor", "true, false or null"),
        Field::optional::<Option<bool>>("email_backup", "true, false or null"),
        Field::optional::<bool>("notify_number_changes", "true or false"),
        Field::optional::<Option<MemberId>>("actor", ID),
        IP,
        USER_AGENT,
    ],
};

/// `PUT /v1/accounts/{account}/owned-numbers`.
pub const PUT_OWNED_NUMBERS: Endpoint = Endpoint {
    key: "directory.owned_numbers",
    opens: false,
    path: &[ACCOUNT],
    body: &[VERSION, Field::required::<Numbers>("numbers", "a list of up to 500 texts").sealed()],
};

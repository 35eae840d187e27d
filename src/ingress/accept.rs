//! From an HTTP request to the message it publishes: strict, pure, and nothing secret in clear.
//!
//! Readers of messages are tolerant; this door is not: whoever writes `locate` for `locale` learns
//! it here. What the values mean is judged by the workers.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::Problem;
use crate::domain::account::EmailFallback;
use crate::domain::challenge::Channel;
use crate::domain::id::{
    AccountId, AppName, ChallengeId, LoginId, MemberId, SettingName, request_id,
};
use crate::domain::keys::PublicKey;
use crate::domain::member::Role;
use crate::domain::phone::Country;
use crate::domain::schema::schema;
use crate::message::{Exchange, LoginPurpose, Outgoing};

/// The longest `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// The longest guess, in characters.
pub const GUESS_MAX: usize = 32;

/// A member of a request: what it is called, what it must be, and how that is checked.
pub struct Field {
    pub(super) name: &'static str,
    pub(super) required: bool,
    sealed: bool,
    must_be: &'static str,
    fits: fn(&Value) -> bool,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

pub(super) const ID: &str =
    "a text of 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit";

impl Field {
    const fn required<T>(name: &'static str, must_be: &'static str) -> Self
    where
        T: DeserializeOwned + JsonSchema,
    {
        let (fits, schema) = (reads_as::<T>, T::json_schema);
        Self { name, required: true, sealed: false, must_be, fits, schema }
    }

    const fn optional<T>(name: &'static str, must_be: &'static str) -> Self
    where
        T: DeserializeOwned + JsonSchema,
    {
        Self { required: false, ..Self::required::<T>(name, must_be) }
    }

    const fn sealed(self) -> Self {
        Self { sealed: true, ..self }
    }

    fn check(&self, value: Option<&Value>) -> Result<(), Problem> {
        let (name, must_be) = (self.name, self.must_be);
        match value {
            None if self.required => {
                Err(Problem::field(name, format!("`{name}` is missing; it must be {must_be}")))
            }
            Some(value) if !(self.fits)(value) => {
                Err(Problem::field(name, format!("`{name}` must be {must_be}")))
            }
            None | Some(_) => Ok(()),
        }
    }
}

fn reads_as<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

/// What a person typed, before it is sealed.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Guess;

impl TryFrom<String> for Guess {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=GUESS_MAX).contains(&text.chars().count());
        fits.then_some(Self).ok_or("is not 1 to 32 characters")
    }
}

schema!(Guess, "Guess", { "type": "string", "minLength": 1, "maxLength": GUESS_MAX });

/// A version of the directory.
#[derive(Deserialize)]
#[serde(transparent)]
struct Version(#[expect(dead_code, reason = "only its form is checked here")] i64);

schema!(Version, "Version", { "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX });

/// An address of a person's machine.
#[derive(Deserialize)]
#[serde(transparent)]
struct Ip(#[expect(dead_code, reason = "only its form is checked here")] IpAddr);

schema!(Ip, "Ip", {
    "anyOf": [{ "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }]
});

/// Numbers in clear, before each is sealed: sealed, this many are still one message.
#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Numbers;

/// The longest list of numbers.
const NUMBERS_MAX: usize = 500;

impl TryFrom<Vec<String>> for Numbers {
    type Error = &'static str;

    fn try_from(list: Vec<String>) -> Result<Self, Self::Error> {
        (list.len() <= NUMBERS_MAX).then_some(Self).ok_or("are more than 500")
    }
}

schema!(Numbers, "Numbers", {
    "type": "array", "items": { "type": "string" }, "maxItems": NUMBERS_MAX
});

/// What can be asked over HTTP: a routing key and the members of its body.
pub struct Endpoint {
    /// The routing key.
    pub key: &'static str,
    /// Whether it opens a challenge, whose id then is the request's.
    opens: bool,
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

fn is_moment(value: &Value) -> bool {
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let moment = |text: &str| time::OffsetDateTime::parse(text, rfc3339).is_ok();
    value.is_null() || value.as_str().is_some_and(moment)
}

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
        Field::required::<String>("name", "a text"),
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

/// A message to publish, and where its outcome can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message.
    pub outgoing: Outgoing,
    /// The request's id, as the worker derives it from the message's. Where a challenge is opened,
    /// it is the new challenge's id, too.
    pub request: Uuid,
    /// Where its outcome can be read, if it can be.
    pub location: Option<String>,
}

/// The message's id: a function of app and `Idempotency-Key`, or `fresh` where none was sent.
///
/// # Errors
/// 400 for a key that is not 1 to 255 visible ASCII characters, or more than one.
pub fn message_id(headers: &HeaderMap, app: &AppName, fresh: Uuid) -> Result<Uuid, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(fresh) };
    let visible = |text: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
    };
    match (key.to_str().ok().filter(visible), keys.next()) {
        (Some(key), None) => Ok(request_id(app, key)),
        (None | Some(_), _) => {
            let detail = "Idempotency-Key must be one header of 1 to 255 visible ASCII characters";
            Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", detail))
        }
    }
}

/// Whether the body claims to be JSON.
///
/// # Errors
/// 415 where it does not.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "send the body as JSON with `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// Reads a request; `path` holds the path's members by name.
///
/// # Errors
/// 400 for what is no JSON; 404 for a challenge that is no UUID; 422 for a field that is missing,
/// unknown or of a wrong type. No problem repeats a value.
pub fn accept(
    endpoint: &'static Endpoint,
    path: Vec<(String, String)>,
    headers: &HeaderMap,
    body: &[u8],
    app: &AppName,
    id: Uuid,
    seal: &PublicKey,
) -> Result<Accepted, Problem> {
    let mut members = object(body)?;
    if let Some(unknown) =
        members.keys().find(|name| !endpoint.body.iter().any(|field| field.name == *name))
    {
        let known: Vec<_> = endpoint.body.iter().map(|field| field.name).collect();
        let detail = format!("this field is not known here; known are: {}", known.join(", "));
        return Err(Problem::field(unknown, detail));
    }
    for field in endpoint.body {
        field.check(members.get(field.name))?;
    }
    for (name, text) in path {
        members.insert(name, text.into());
    }
    for field in endpoint.path {
        let checked = field.check(members.get(field.name));
        // Whatever is no challenge looks like one that is not known.
        let of_ours = matches!(field.name, "challenge" | "reset");
        checked.map_err(|why| if of_ours { Problem::not_found() } else { why })?;
    }
    for field in endpoint.body.iter().filter(|field| field.sealed) {
        let sealed = |clear: &mut Value| {
            if let Some(text) = clear.as_str() {
                *clear = seal.seal(text.as_bytes()).into();
            }
        };
        match members.get_mut(field.name) {
            Some(Value::Array(list)) => list.iter_mut().for_each(sealed),
            Some(value) => sealed(value),
            None => {}
        }
    }
    let request = request_id(app, &id.to_string());
    let named = members.get("challenge").and_then(Value::as_str);
    let challenge =
        if endpoint.opens { Some(request) } else { named.and_then(|id| id.parse().ok()) };
    let account = members.get("account").and_then(Value::as_str).unwrap_or_default();
    // A review has the id of its request.
    let location = match challenge {
        Some(challenge) => Some(format!("/v1/challenges/{challenge}")),
        None if endpoint.key == REVIEW_CONTACTS.key => {
            Some(format!("/v1/accounts/{account}/reviews/{request}"))
        }
        None => None,
    };
    let outgoing = Outgoing {
        exchange: Exchange::Requests,
        key: endpoint.key.to_owned(),
        id,
        body: Value::Object(members).to_string(),
        delay: None,
        traceparent: traceparent(headers),
    };
    Ok(Accepted { outgoing, request, location })
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => {
            let detail = "the body must be a JSON object";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail))
        }
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is not JSON (line {line}, column {column})");
            Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", detail))
        }
    }
}

/// The trace this request belongs to (W3C, version 00), if that is what the header says.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let lowercase_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    (lengths == [2, 32, 16, 2] && text.split('-').all(lowercase_hex)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::Keyring;
    use crate::message::{
        ApproveReset, CancelChallenge, ChangeNumber, DisableMember, EnableMandate, Incoming,
        IssueChallenge, Message, PutAccount, PutMember, PutOwnedNumbers, RedeemApproval, Request,
        RequestSettingChange, ResendChallenge, SendEnrolment, Senders, VerifyChallenge, decode,
    };
    use axum::http::{HeaderName, HeaderValue};
    use serde_json::json;

    const SOME: &str = "6f0b1c2e-0000-4000-8000-000000000001";

    fn app() -> AppName {
        AppName::parse("crm").unwrap()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn take(endpoint: &'static Endpoint, path: &[&str], body: &Value) -> Result<Accepted, Problem> {
        let names = endpoint.path.iter().map(|field| field.name.to_owned());
        let path = names.zip(path.iter().map(|text| (*text).to_owned())).collect();
        let seal = Keyring::for_tests().public();
        let id = Uuid::from_u128(7);
        accept(endpoint, path, &headers(&[]), body.to_string().as_bytes(), &app(), id, &seal)
    }

    /// What the worker reads; it refuses a secret in clear.
    fn read<T>(accepted: &Accepted) -> T
    where
        Request<T>: Message,
    {
        let incoming = Incoming {
            key: accepted.outgoing.key.clone(),
            message_id: Some(accepted.outgoing.id.to_string()),
            user: Some("stepup".into()),
            app: Some("crm".into()),
            body: accepted.outgoing.body.clone().into_bytes(),
            ..Incoming::default()
        };
        let senders = Senders { own_user: "stepup".into(), apps: Default::default() };
        let decoded = decode::<Request<T>>(&incoming, &senders, &Keyring::for_tests()).unwrap();
        assert_eq!(accepted.request, decoded.id, "where Location points");
        decoded.message.ask
    }

    /// The largest body of each endpoint.
    fn full(endpoint: &Endpoint) -> Value {
        let mut body = match endpoint.key {
            "challenge.issue" => {
                json!({ "account": "acme", "member": "ada", "login": "l1", "purpose": "login" })
            }
            "challenge.verify" => json!({ "account": "acme", "guess": "123456" }),
            "challenge.resend" => json!({ "account": "acme", "channel": "email" }),
            "challenge.cancel" => json!({ "account": "acme" }),
            "directory.account" => json!({
                "version": 3, "name": "Acme", "origin": "app.example.com", "country": "US",
                "countries": ["US", "CA"], "email_fallback": "on_request",
                "sensitive_settings": ["bank_account"], "require_for_sensitive_settings": true,
            }),
            "directory.owned_numbers" => json!({ "version": 3, "numbers": ["+12025550123"] }),
            "enrolment.start" | "enrolment.send" => json!({ "phone": "+12025550123" }),
            "number.change" => json!({ "phone": "+12025550123", "proof": SOME }),
            "factor.disable" | "email.prove" => json!({}),
            "email.confirm" => json!({ "guess": "123456" }),
            "email_backup.set" => json!({ "on": true }),
            "settings.change.request" => json!({
                "change": "c1", "setting": "bank_account", "before": "DE-1", "after": "DE-2",
                "summary": "payouts to DE2",
            }),
            "settings.change.redeem" => json!({ "account": "acme", "before": "DE-1" }),
            "team.review" | "support.reset.cancel" => json!({ "actor": "boss" }),
            "team.mandate.enable" => json!({
                "actor": "boss", "review": SOME, "confirmed": true, "acknowledged": ["ada"],
                "grace_until": "2026-02-01T00:00:00Z", "proof": SOME,
            }),
            "team.mandate.disable" | "team.member.disable" => {
                json!({ "actor": "boss", "proof": SOME })
            }
            "team.member.enable" => {
                json!({ "actor": "boss", "grace_until": "2026-02-01T00:00:00Z" })
            }
            "support.reset.request" => json!({ "requested_by": "sue", "reason": "phone stolen" }),
            "support.reset.approve" => json!({ "approved_by": "tom" }),
            _ => json!({
                "version": 3, "active": true, "role": "admin", "locale": "de",
                "phone": "+12025550123", "email": "ada@example.com", "email_verified": true,
                "two_factor": true, "email_backup": true, "notify_number_changes": true,
                "actor": "bob",
            }),
        };
        if endpoint.body.iter().any(|field| field.name == "ip") {
            body["ip"] = json!("2001:db8::1");
            body["user_agent"] = json!("Mozilla/5.0");
        }
        body
    }

    const ALL: [(&Endpoint, &[&str]); 24] = [
        (&ISSUE, &[]),
        (&VERIFY, &[SOME]),
        (&RESEND, &[SOME]),
        (&CANCEL, &[SOME]),
        (&PUT_ACCOUNT, &["acme"]),
        (&PUT_MEMBER, &["acme", "ada"]),
        (&START_ENROLMENT, &["acme", "ada"]),
        (&SEND_ENROLMENT, &["acme", "ada"]),
        (&CHANGE_NUMBER, &["acme", "ada"]),
        (&DISABLE, &["acme", "ada"]),
        (&SET_EMAIL_BACKUP, &["acme", "ada"]),
        (&REQUEST_CHANGE, &["acme", "ada"]),
        (&REDEEM, &[SOME]),
        (&REVIEW_CONTACTS, &["acme"]),
        (&ENABLE_MANDATE, &["acme"]),
        (&DISABLE_MANDATE, &["acme"]),
        (&ENABLE_MEMBER, &["acme", "ada"]),
        (&DISABLE_MEMBER, &["acme", "ada"]),
        (&REQUEST_RESET, &["acme", "ada"]),
        (&APPROVE_RESET, &["acme", SOME]),
        (&CANCEL_RESET, &["acme", SOME]),
        (&PUT_OWNED_NUMBERS, &["acme"]),
        (&PROVE_EMAIL, &["acme", "ada"]),
        (&CONFIRM_EMAIL, &["acme", "ada"]),
    ];

    #[test]
    fn what_is_published_is_what_the_workers_read() {
        let take = |at: usize| take(ALL[at].0, ALL[at].1, &full(ALL[at].0)).unwrap();
        assert_eq!(read::<IssueChallenge>(&take(0)).login.as_str(), "l1");
        assert_eq!(read::<VerifyChallenge>(&take(1)).guess.expose(), "123456");
        assert_eq!(read::<ResendChallenge>(&take(2)).channel, Channel::Email);
        assert_eq!(read::<CancelChallenge>(&take(3)).challenge.0.to_string(), SOME);
        assert_eq!(read::<PutAccount>(&take(4)).account.as_str(), "acme");
        let member: PutMember = read(&take(5));
        assert_eq!(member.phone.unwrap().unwrap().expose(), "+12025550123");
        assert_eq!(member.email.unwrap().unwrap().expose(), "ada@example.com");
        // From where the person acts, in every request that can write a row of the report.
        assert!(read::<VerifyChallenge>(&take(1)).client.ip.is_some_and(|ip| ip.is_ipv6()));
        assert_eq!(member.client.user_agent.as_deref(), Some("Mozilla/5.0"));
        let opened = |at: usize| format!("/v1/challenges/{}", take(at).request);
        assert_eq!(take(1).location, Some(format!("/v1/challenges/{SOME}")));
        assert_eq!(read::<SendEnrolment>(&take(7)).phone.unwrap().expose(), "+12025550123");
        assert_eq!(read::<ChangeNumber>(&take(8)).proof.unwrap().0.to_string(), SOME);
        assert_eq!(read::<RequestSettingChange>(&take(11)).after.expose(), "DE-2");
        assert_eq!(read::<RedeemApproval>(&take(12)).before.expose(), "DE-1");
        let mandate: EnableMandate = read(&take(14));
        assert_eq!((mandate.actor.as_str(), mandate.acknowledged.len()), ("boss", 1));
        assert!(mandate.grace_until.is_some() && mandate.confirmed);
        assert_eq!(read::<DisableMember>(&take(17)).member.as_str(), "ada");
        assert_eq!(read::<ApproveReset>(&take(19)).reset.to_string(), SOME);
        assert_eq!(read::<PutOwnedNumbers>(&take(21)).numbers[0].expose(), "+12025550123");
        let review = ALL.iter().position(|(one, _)| one.key == REVIEW_CONTACTS.key).unwrap();
        let place = format!("/v1/accounts/acme/reviews/{}", take(review).request);
        assert_eq!(take(review).location, Some(place));
        assert_eq!(take(4).location, None);
        for at in [0, 7, 8, 9, 11, 14, 15, 17] {
            assert_eq!(take(at).location, Some(opened(at)));
        }
    }

    #[test]
    fn nothing_secret_is_published_in_clear() {
        for (endpoint, secrets) in [
            (&VERIFY, &["123456"][..]),
            (&PUT_MEMBER, &["2025550123", "example.com"]),
            (&CHANGE_NUMBER, &["2025550123"]),
            (&SEND_ENROLMENT, &["2025550123"]),
            (&REQUEST_CHANGE, &["DE-1", "DE-2"]),
            (&PUT_OWNED_NUMBERS, &["2025550123"]),
            (&CONFIRM_EMAIL, &["123456"]),
        ] {
            let path = ALL.iter().find(|(one, _)| one.key == endpoint.key).unwrap().1;
            let body = take(endpoint, path, &full(endpoint)).unwrap().outgoing.body;
            assert!(!secrets.iter().any(|secret| body.contains(secret)), "{body}");
        }
    }

    #[test]
    fn no_phone_stays_no_phone() {
        let body = json!({ "version": 1, "phone": null });
        let member: PutMember = read(&take(&PUT_MEMBER, &["acme", "ada"], &body).unwrap());
        assert_eq!((member.phone, member.email), (Some(None), None));
    }

    #[test]
    fn a_missing_a_strange_and_a_wrong_field_are_named_and_no_value_is_repeated() {
        for (endpoint, path) in ALL {
            let full = full(endpoint);
            for field in endpoint.body {
                let mut less = full.clone();
                less.as_object_mut().unwrap().remove(field.name);
                let outcome = take(endpoint, path, &less);
                assert_eq!(outcome.is_err(), field.required, "{}", field.name);
                for wrong in [json!([["s3cret"]]), json!({ "a": 4711 }), json!(4711.5)] {
                    let mut body = full.clone();
                    body[field.name] = wrong;
                    let problem = take(endpoint, path, &body).unwrap_err();
                    assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
                    assert_eq!(problem.member("field"), Some(&json!(field.name)));
                    let text = format!("{problem:?}");
                    assert!(!text.contains("s3cret") && !text.contains("4711"), "{text}");
                }
            }
            let mut more = full.clone();
            more["locate"] = json!("s3cret");
            let problem = take(endpoint, path, &more).unwrap_err();
            assert_eq!(problem.member("field"), Some(&json!("locate")));
            assert!(!format!("{problem:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_guess_has_1_to_32_characters() {
        let guess = |text: &str| take(&VERIFY, &[SOME], &json!({ "account": "a", "guess": text }));
        assert!(guess("1").is_ok() && guess(&"ä".repeat(32)).is_ok());
        assert!(guess("").is_err() && guess(&"1".repeat(33)).is_err());
    }

    #[test]
    fn a_challenge_that_is_no_uuid_is_not_found_and_an_account_that_is_no_id_is_named() {
        let problem = take(&CANCEL, &["nope"], &full(&CANCEL)).unwrap_err();
        assert_eq!(problem.status(), StatusCode::NOT_FOUND);
        let problem = take(&PUT_ACCOUNT, &["a.b"], &full(&PUT_ACCOUNT)).unwrap_err();
        assert_eq!(problem.member("field"), Some(&json!("account")));
    }

    #[test]
    fn the_same_idempotency_key_is_the_same_message_for_one_app_only() {
        let fresh = Uuid::from_u128(9);
        let id = |key, app: &str| {
            message_id(&headers(&[("idempotency-key", key)]), &AppName::parse(app).unwrap(), fresh)
        };
        assert_eq!(id("k1", "crm").unwrap(), request_id(&app(), "k1"));
        assert_ne!(id("k1", "crm").unwrap(), id("k1", "shop").unwrap());
        assert_eq!(message_id(&headers(&[]), &app(), fresh).unwrap(), fresh);
        let long: &'static str = "x".repeat(IDEMPOTENCY_KEY_MAX + 1).leak();
        for wrong in ["", "a b", long] {
            assert_eq!(id(wrong, "crm").unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn only_json_is_taken() {
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(require_json(&headers(&[("content-type", good)])).is_ok(), "{good}");
        }
        for wrong in ["text/plain", "application/jsonp", ""] {
            assert!(require_json(&headers(&[("content-type", wrong)])).is_err(), "{wrong}");
        }
        assert!(require_json(&headers(&[])).is_err());
    }

    #[test]
    fn a_trace_is_passed_on_if_it_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers(&[("traceparent", good)])).as_deref(), Some(good));
        for wrong in ["", "00-1-2-01", "00-+12025550123-b7ad6b7169203331-01"] {
            assert_eq!(traceparent(&headers(&[("traceparent", wrong)])), None);
        }
    }
}

//! JSON Schemas of all that travels, made from the types that read and write it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{
    ApproveReset, CancelChallenge, CancelReset, ChangeNumber, Command, ConfirmEmail, DisableFactor,
    DisableMandate, DisableMember, EnableMandate, EnableMember, IssueChallenge, Outcome,
    ProveEmail, PutAccount, PutMember, PutOwnedNumbers, RedeemApproval, RequestReset,
    RequestSettingChange, ResendChallenge, ReviewContacts, SendEnrolment, SetEmailBackup, Stamped,
    StartEnrolment, VerifyChallenge,
};

/// Makes the schema of one message.
pub type MakeSchema = fn() -> Schema;

/// Every request by its key. What is missing here is told by a test.
pub const REQUEST_SCHEMAS: &[(&str, MakeSchema)] = &[
    ("challenge.issue", described::<IssueChallenge>),
    ("challenge.resend", described::<ResendChallenge>),
    ("challenge.verify", described::<VerifyChallenge>),
    ("challenge.cancel", described::<CancelChallenge>),
    ("enrolment.start", described::<StartEnrolment>),
    ("enrolment.send", described::<SendEnrolment>),
    ("number.change", described::<ChangeNumber>),
    ("factor.disable", described::<DisableFactor>),
    ("email_backup.set", described::<SetEmailBackup>),
    ("email.prove", described::<ProveEmail>),
    ("email.confirm", described::<ConfirmEmail>),
    ("settings.change.request", described::<RequestSettingChange>),
    ("settings.change.redeem", described::<RedeemApproval>),
    ("team.review", described::<ReviewContacts>),
    ("team.mandate.enable", described::<EnableMandate>),
    ("team.mandate.disable", described::<DisableMandate>),
    ("team.member.enable", described::<EnableMember>),
    ("team.member.disable", described::<DisableMember>),
    ("support.reset.request", described::<RequestReset>),
    ("support.reset.approve", described::<ApproveReset>),
    ("support.reset.cancel", described::<CancelReset>),
    ("directory.account", described::<PutAccount>),
    ("directory.owned_numbers", described::<PutOwnedNumbers>),
    ("directory.member", described::<PutMember>),
];

/// Makes schemas of what is read. Nothing is referred to: each schema stands by itself.
pub fn reader() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
}

/// Makes schemas of what is written.
pub fn writer() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with(|settings| settings.inline_subschemas = true).into_generator()
}

/// The schema of what is read as `T`.
pub fn described<T: JsonSchema>() -> Schema {
    reader().into_root_schema_for::<T>()
}

/// Requests and commands by their keys, the schema of all events, and that of all outcomes.
pub fn schemas() -> Value {
    let requests: Map<String, Value> =
        REQUEST_SCHEMAS.iter().map(|(key, schema)| ((*key).to_owned(), schema().into())).collect();
    let commands = described::<Command>();
    let variants = commands.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let commands: Map<String, Value> = variants
        .filter_map(|variant| {
            Some((variant.pointer("/properties/type/const")?.as_str()?.to_owned(), variant.clone()))
        })
        .collect();
    json!({
        "requests": requests,
        "commands": commands,
        "event": writer().into_root_schema_for::<Stamped<'static>>(),
        "outcome": writer().into_root_schema_for::<Outcome>(),
    })
}

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
    ("challenge.issue", asked::<IssueChallenge>),
    ("challenge.resend", asked::<ResendChallenge>),
    ("challenge.verify", asked::<VerifyChallenge>),
    ("challenge.cancel", asked::<CancelChallenge>),
    ("enrolment.start", asked::<StartEnrolment>),
    ("enrolment.send", asked::<SendEnrolment>),
    ("number.change", asked::<ChangeNumber>),
    ("factor.disable", asked::<DisableFactor>),
    ("email_backup.set", asked::<SetEmailBackup>),
    ("email.prove", asked::<ProveEmail>),
    ("email.confirm", asked::<ConfirmEmail>),
    ("settings.change.request", asked::<RequestSettingChange>),
    ("settings.change.redeem", asked::<RedeemApproval>),
    ("team.review", asked::<ReviewContacts>),
    ("team.mandate.enable", asked::<EnableMandate>),
    ("team.mandate.disable", asked::<DisableMandate>),
    ("team.member.enable", asked::<EnableMember>),
    ("team.member.disable", asked::<DisableMember>),
    ("support.reset.request", asked::<RequestReset>),
    ("support.reset.approve", asked::<ApproveReset>),
    ("support.reset.cancel", asked::<CancelReset>),
    ("directory.account", asked::<PutAccount>),
    ("directory.owned_numbers", asked::<PutOwnedNumbers>),
    ("directory.member", asked::<PutMember>),
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

/// The schema of the request that is read as `T`: no other fields, but for the contract's version.
fn asked<T: JsonSchema>() -> Schema {
    let mut schema = described::<T>();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("v".into(), json!({ "const": 1, "description": VERSION }));
    }
    schema.insert("additionalProperties".into(), false.into());
    schema
}

const VERSION: &str = "The version of this contract; without it 1 is meant.";

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

//! Every request, once. Decoding, strictness, schemas and the ingress ask here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::Schema;
use serde_json::{Value, json};

use super::declaration::RequestDecl;
use super::sealed::is_sealed;
use super::{challenge, directory, factor, setting, support, team};

/// The requests of every area. A new request is added to the list of its area.
const AREAS: &[&[RequestDecl]] = &[
    challenge::REQUESTS,
    factor::REQUESTS,
    setting::REQUESTS,
    team::REQUESTS,
    support::REQUESTS,
    directory::REQUESTS,
];

/// A request and its fields, as its schema names them.
pub(super) struct Known {
    pub(super) fields: Vec<String>,
    /// The fields that travel sealed; of a list, each of its texts.
    pub(super) sealed: Vec<String>,
}

static KNOWN: LazyLock<BTreeMap<&'static str, Known>> =
    LazyLock::new(|| requests().map(|request| (request.key, known(request))).collect());

fn known(request: &RequestDecl) -> Known {
    let schema = (request.schema)();
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = || properties.into_iter().flatten();
    let sealed = properties().filter(|(_, schema)| is_sealed(schema));
    Known {
        sealed: sealed.map(|(name, _)| name.clone()).collect(),
        fields: properties().map(|(name, _)| name.clone()).collect(),
    }
}

/// Every request.
pub fn requests() -> impl Iterator<Item = &'static RequestDecl> {
    AREAS.iter().copied().flatten()
}

/// The request with this key.
pub(super) fn request(key: &str) -> Option<&'static Known> {
    KNOWN.get(key)
}

/// The schema of a request as it travels: no other fields, but for the version of the contract.
pub fn travelling(request: &RequestDecl) -> Schema {
    const VERSION: &str = "The version of this contract; without it 1 is meant.";
    let mut schema = (request.schema)();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("v".into(), json!({ "const": 1, "description": VERSION }));
    }
    schema.insert("additionalProperties".into(), false.into());
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_declared_request_is_in_the_list_of_its_area_and_each_key_is_there_once() {
        let keys: BTreeSet<&str> = requests().map(|request| request.key).collect();
        assert_eq!(keys.len(), requests().count());
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/message");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let texts =
            files.filter(|file| file.is_file()).map(|file| std::fs::read_to_string(file).unwrap());
        let declared: usize =
            texts.map(|text| text.matches("\nimpl RequestBody for ").count()).sum();
        assert_eq!(declared, keys.len(), "add it to REQUESTS at the end of its file");
    }

    #[test]
    fn what_is_sealed_follows_from_the_types() {
        let sealed = |key: &str| request(key).unwrap().sealed.join(" ");
        assert_eq!(sealed("challenge.verify"), "guess");
        assert_eq!(sealed("settings.change.request"), "after before summary");
        assert_eq!(sealed("directory.member"), "email phone");
        assert_eq!(sealed("directory.owned_numbers"), "numbers");
        assert_eq!(sealed("challenge.issue"), "");
    }
}

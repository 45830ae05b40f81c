//! What the AppView answers. Who blocks whom is told a second time here, without shortcuts; and
//! silence about somebody is no answer.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::blocks::fuzzing::{Record, blocks};
use mls_relay::types::Did;
use serde_json::Value;

const ONE: &str = "did:plc:alice";
const OTHERS: [&str; 2] = ["did:plc:bob", "did:plc:carol"];

/// An answer to the question about one and two others.
pub(crate) fn run(data: &[u8]) {
    let one = Did::parse(ONE).unwrap();
    let others = OTHERS.map(|did| Did::parse(did).unwrap());
    let others = others.each_ref();
    let told = blocks(&one, &others, data);
    // Once more as a program writes it: a name that is said twice is said once then.
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let expected = expected(&value);
    assert_eq!(
        blocks(&one, &others, value.to_string().as_bytes()),
        expected
    );
    assert!(told.is_none() || told == expected);
}

type Both = [Option<Record>; 2];

fn expected(answer: &Value) -> Option<Vec<Both>> {
    if text(answer.as_object()?.get("actor"))?.is_some_and(|actor| actor != ONE) {
        return None;
    }
    let relationships = answer["relationships"].as_array()?;
    let relationships: Option<Vec<_>> = relationships.iter().map(relationship).collect();
    let relationships = relationships?;
    let of = |other: &&str| {
        let found = relationships.iter().find(|(name, _)| *name == Some(other));
        found.map(|(_, both)| both.clone())
    };
    OTHERS.iter().map(of).collect()
}

/// Whose it is, and what it says.
fn relationship(value: &Value) -> Option<(Option<&str>, Both)> {
    let fields = value.as_object()?;
    let field = |name| text(fields.get(name));
    let (did, actor) = (field("did")?, field("actor")?);
    let record = |direct, by_list| {
        let (direct, by_list) = (field(direct)?, field(by_list)?);
        Some(direct.or(by_list).map(|uri| {
            let fits = uri.starts_with("at://") && uri.len() <= 1024;
            fits.then(|| uri.to_owned())
        }))
    };
    let both = [
        record("blocking", "blockingByList")?,
        record("blockedBy", "blockedByList")?,
    ];
    Some((did.or(actor), both))
}

/// `None` for a value of another form; a null is no value.
fn text(value: Option<&Value>) -> Option<Option<&str>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_str().map(Some),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

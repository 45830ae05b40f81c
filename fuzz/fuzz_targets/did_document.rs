//! The documents that accounts' keys come from. What the document says besides, and how its
//! method's id is written, changes no key; without its method it has none.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::auth::DocumentError;
use mls_relay::auth::fuzzing::Key;
use mls_relay::types::Did;
use serde_json::{Value, json};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

/// A document of that account.
pub(crate) fn run(data: &[u8]) {
    let did = Did::parse(DID).unwrap();
    let found = Key::of_document(&did, data);
    // Once more as it is written by a program: a name that is said twice is said once then.
    let Ok(mut document) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let of = |document: &Value| Key::of_document(&did, document.to_string().as_bytes());
    let key = of(&document);
    if found.is_ok() {
        assert!(document.is_object());
        assert_eq!(found, key);
    }
    let is_list = document
        .get("verificationMethod")
        .is_some_and(Value::is_array);
    let Some(methods) = document.get_mut("verificationMethod").filter(|_| is_list) else {
        return;
    };
    let methods = methods.as_array_mut().unwrap();
    methods.insert(
        0,
        json!({"id": "#other", "type": "Multikey", "publicKeyMultibase": "z"}),
    );
    methods.insert(0, Value::Null);
    for method in methods.iter_mut().filter_map(Value::as_object_mut) {
        method.insert("comment".to_owned(), json!([1.5]));
        if method.get("id") == Some(&json!("#atproto")) {
            method.insert("id".to_owned(), json!(format!("{DID}#atproto")));
        }
    }
    assert_eq!(of(&document), key);
    let methods = document["verificationMethod"].as_array_mut().unwrap();
    methods.retain(|method| method["id"] != json!(format!("{DID}#atproto")));
    let none = match key {
        Err(DocumentError::NotADocument) => DocumentError::NotADocument,
        Err(DocumentError::OtherSubject) => DocumentError::OtherSubject,
        _ => DocumentError::NoKey,
    };
    assert_eq!(of(&document), Err(none));
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

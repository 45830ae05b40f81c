//! Bodies and queries of every call. What is read is read again from a text that says the
//! same; a refusal is short, and repeats no value, which may be an identity.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::wire::calls::*;
use mls_relay::wire::{XrpcError, decode_body, decode_query};
use serde::de::DeserializeOwned;
use serde_json::Value;

type Decode = fn(&[u8]) -> Result<(), XrpcError>;

fn body<T: DeserializeOwned>(json: &[u8]) -> Result<(), XrpcError> {
    decode_body::<T>(json).map(drop)
}

fn query<T: DeserializeOwned>(raw: &[u8]) -> Result<(), XrpcError> {
    decode_query::<T>(Some(&String::from_utf8_lossy(raw))).map(drop)
}

const BODIES: &[Decode] = &[
    body::<AddMembers>,
    body::<ChangeRole>,
    body::<ConfirmWelcome>,
    body::<CreateConvo>,
    body::<DeleteDevice>,
    body::<GetSubscriptionTicket>,
    body::<HandleBlockChange>,
    body::<KeyPackageInput>,
    body::<LeaveConvo>,
    body::<OptInInput>,
    body::<NoInput>,
    body::<ProcessExternalCommit>,
    body::<PublishKeyPackages>,
    body::<RegisterDevice>,
    body::<RemoveMember>,
    body::<ReportMember>,
    body::<RequestRejoin>,
    body::<ResolveReport>,
    body::<SendEphemeral>,
    body::<SendMessage>,
    body::<SyncKeyPackages>,
    body::<UpdateCursor>,
    body::<UpdateGroupInfo>,
];

const QUERIES: &[Decode] = &[
    query::<CheckBlocks>,
    query::<GetAdminStats>,
    query::<GetBlockStatus>,
    query::<GetCommits>,
    query::<GetConvos>,
    query::<GetEpoch>,
    query::<GetGroupInfo>,
    query::<GetKeyPackageStats>,
    query::<GetKeyPackages>,
    query::<GetMessages>,
    query::<GetOptInStatus>,
    query::<GetReports>,
    query::<GetWelcome>,
    query::<NoInput>,
    query::<SubscribeConvoEvents>,
];

/// The number of a call, queries from 128 on; then its input.
pub(crate) fn run(data: &[u8]) {
    let Some((call, input)) = data.split_first() else {
        return;
    };
    match usize::from(*call) {
        call @ ..128 => of_body(BODIES[call % BODIES.len()], input),
        call => of_query(QUERIES[call % QUERIES.len()], input),
    }
}

fn of_body(decode: Decode, json: &[u8]) {
    let read = decode(json);
    let value = serde_json::from_slice::<Value>(json);
    match (read, value) {
        // A name that is said twice is said once when it is written by a program.
        (Ok(()), value) => {
            let value = value.unwrap();
            assert!(value.is_object());
            decode(value.to_string().as_bytes()).unwrap();
        }
        (Err(refusal), value) => {
            is_short(&refusal);
            if let Ok(mut value) = value
                && !value.to_string().contains(MARK)
            {
                mark(&mut value);
                is_discreet(decode(value.to_string().as_bytes()));
            }
        }
    }
}

fn of_query(decode: Decode, raw: &[u8]) {
    let read = decode(raw);
    let raw = String::from_utf8_lossy(raw);
    let mut pairs: Vec<_> = form_urlencoded::parse(raw.as_bytes()).collect();
    if let Err(refusal) = &read {
        is_short(refusal);
        if !pairs.iter().any(|(name, _)| name.contains(MARK)) {
            let marked = pairs
                .iter()
                .map(|(name, value)| (name, format!("{value}{MARK}")));
            let mut raw = form_urlencoded::Serializer::new(String::new());
            raw.extend_pairs(marked);
            is_discreet(decode(raw.finish().as_bytes()));
        }
    }
    // As others would escape it, and in another order of names.
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut again = form_urlencoded::Serializer::new(String::new());
    again.extend_pairs(&pairs);
    let again = decode(again.finish().as_bytes());
    let message = |read: Result<(), XrpcError>| read.map_err(|refusal| refusal.message);
    assert_eq!(message(again), message(read));
}

fn is_short(refusal: &XrpcError) {
    assert!(["InvalidRequest", "InvalidCipherSuite"].contains(&refusal.name));
    assert!(refusal.message.len() <= 400, "{}", refusal.message);
}

/// Stands in each value that a refusal must not repeat, and in no word of ours.
const MARK: &str = "~~";

fn is_discreet(read: Result<(), XrpcError>) {
    if let Err(refusal) = read {
        assert!(!refusal.message.contains(MARK), "{}", refusal.message);
    }
}

/// Marks every text of a value, but for names.
fn mark(value: &mut Value) {
    match value {
        Value::String(text) => text.push_str(MARK),
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(members) => members.values_mut().for_each(mark),
        _ => {}
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

//! The lexicons and the code say the same: what a lexicon allows is decoded, what
//! it forbids is refused, and the refusal names the field.

use std::time::Duration;

use mls_relay::limits::{LimitError, Rule};
use mls_relay::refusal::Refusal;
use mls_relay::types::{Kind, Nsid};
use mls_relay::wire::calls::*;
use mls_relay::wire::{CloseReason, XrpcError, decode_body, decode_query};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::lexicon::Lexicons;
use crate::wording;

type Decode = fn(&Value) -> Result<(), XrpcError>;

fn body<T: DeserializeOwned>(value: &Value) -> Result<(), XrpcError> {
    decode_body::<T>(&serde_json::to_vec(value).unwrap()).map(drop)
}

fn query<T: DeserializeOwned>(value: &Value) -> Result<(), XrpcError> {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in value.as_object().unwrap() {
        let values = value
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            pairs.append_pair(name, &text);
        }
    }
    decode_query::<T>(Some(&pairs.finish())).map(drop)
}

/// Every call that takes something, and how the relay decodes it.
const DECODERS: &[(&str, Decode)] = &[
    ("addMembers", body::<AddMembers>),
    ("checkBlocks", query::<CheckBlocks>),
    ("confirmWelcome", body::<ConfirmWelcome>),
    ("createConvo", body::<CreateConvo>),
    ("deleteDevice", body::<DeleteDevice>),
    ("demoteAdmin", body::<ChangeRole>),
    ("getAdminStats", query::<GetAdminStats>),
    ("getBlockStatus", query::<GetBlockStatus>),
    ("getCommits", query::<GetCommits>),
    ("getConvos", query::<GetConvos>),
    ("getEpoch", query::<GetEpoch>),
    ("getGroupInfo", query::<GetGroupInfo>),
    ("getKeyPackageStats", query::<GetKeyPackageStats>),
    ("getKeyPackages", query::<GetKeyPackages>),
    ("getMessages", query::<GetMessages>),
    ("getOptInStatus", query::<GetOptInStatus>),
    ("getReports", query::<GetReports>),
    ("getSubscriptionTicket", body::<GetSubscriptionTicket>),
    ("getWelcome", query::<GetWelcome>),
    ("handleBlockChange", body::<HandleBlockChange>),
    ("leaveConvo", body::<LeaveConvo>),
    ("listDevices", query::<NoInput>),
    ("optIn", body::<OptInInput>),
    ("optOut", body::<NoInput>),
    ("processExternalCommit", body::<ProcessExternalCommit>),
    ("promoteAdmin", body::<ChangeRole>),
    ("publishKeyPackage", body::<KeyPackageInput>),
    ("publishKeyPackages", body::<PublishKeyPackages>),
    ("registerDevice", body::<RegisterDevice>),
    ("removeMember", body::<RemoveMember>),
    ("reportMember", body::<ReportMember>),
    ("requestRejoin", body::<RequestRejoin>),
    ("resolveReport", body::<ResolveReport>),
    ("sendEphemeral", body::<SendEphemeral>),
    ("sendMessage", body::<SendMessage>),
    ("streamConvoEvents", query::<SubscribeConvoEvents>),
    ("syncKeyPackages", body::<SyncKeyPackages>),
    ("updateCursor", body::<UpdateCursor>),
    ("updateGroupInfo", body::<UpdateGroupInfo>),
];

#[test]
fn every_lexicon_has_a_call_of_its_kind_and_every_decoder_a_lexicon() {
    let lexicons = Lexicons::load();
    let mut seen = Vec::new();
    for (name, kind) in lexicons.calls() {
        let call = Nsid::parse(&format!("blue.catbird.mls.{name}")).expect(name);
        let expected = match call.kind() {
            Kind::Query => "query",
            Kind::Procedure => "procedure",
            Kind::Subscription => "subscription",
        };
        assert_eq!(kind, expected, "{name}");
        seen.push(name);
    }
    for (name, _) in DECODERS {
        assert!(seen.contains(name), "{name} has no lexicon");
    }
    assert_eq!(seen.len(), DECODERS.len() + 1, "and the subscription");
}

#[test]
fn what_a_call_takes_tells_errors_that_its_lexicon_names() {
    let lexicons = Lexicons::load();
    let told = [
        ("cipherSuite", "InvalidCipherSuite"),
        ("commit", "EpochMismatch"),
        ("convoId", "ConvoNotFound"),
        ("externalCommit", "InvalidCommit"),
        ("groupInfo", "InvalidGroupInfo"),
        ("idempotencyKey", "Conflict"),
        ("keyPackage", "InvalidKeyPackage"),
        ("keyPackages", "InvalidKeyPackage"),
        ("welcomeMessage", "KeyPackageNotFound"),
    ];
    let mut missing = Vec::new();
    for (call, _) in lexicons.calls() {
        let (properties, _) = lexicons.takes(call);
        let told = told.iter().filter(|(field, name)| {
            properties.contains_key(*field) && !lexicons.knows_error(call, name)
        });
        missing.extend(told.map(|(_, name)| format!("{call}: {name}")));
    }
    // What a session tells in a frame, before it closes or goes on.
    for reason in [
        CloseReason::ConsumerTooSlow,
        CloseReason::FutureCursor,
        CloseReason::RateLimited,
        CloseReason::Unavailable,
    ] {
        let (call, name) = ("subscribeConvoEvents", reason.name());
        let known = lexicons.knows_error(call, name);
        missing.extend((!known).then(|| format!("{call}: {name}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_refusal_has_a_name_in_a_lexicon_and_is_worded_as_all_are() {
    let lexicons = Lexicons::load();
    let retry_after = Duration::from_secs(3600);
    let of_limit = |rule: &Rule| LimitError::Reached {
        rule: *rule,
        retry_after,
    };
    let of_calls = Refusal::ALL.iter().map(|refusal| XrpcError::from(*refusal));
    let of_limits = Rule::ALL.iter().map(|rule| of_limit(rule).into());
    for error in of_calls.chain(of_limits) {
        let is_named = |(call, _)| lexicons.knows_error(call, error.name);
        assert!(lexicons.calls().any(is_named), "{error:?}");
        assert_eq!(wording::fault(&error.message), None, "{error:?}");
    }
    for (message, what) in [
        ("The account is an admin.", "a capital first"),
        ("the account is an admin.", "a full stop"),
        ("an admin: is one", "no field before the colon"),
        ("targetDid: is: an admin", "a second colon"),
        ("targetDid: must not be did:plc:abc", "an identity"),
        ("messageId: is 01ARZ3NDEKTSV4RRFFQ69G5FAV", "an identity"),
    ] {
        assert_eq!(wording::fault(message), Some(what), "{message}");
    }
}

#[test]
fn what_a_lexicon_allows_is_decoded() {
    let lexicons = Lexicons::load();
    for (call, decode) in DECODERS {
        let (properties, required) = lexicons.takes(call);
        let all: Map<_, _> = properties
            .iter()
            .map(|(name, schema)| (name.clone(), sample(&lexicons, name, schema)))
            .collect();
        let fault = decode(&Value::Object(all.clone())).err();
        assert!(fault.is_none(), "{call} with everything: {fault:?}");
        let mut least = all;
        least.retain(|name, _| required.contains(name));
        let fault = decode(&Value::Object(least)).err();
        assert!(fault.is_none(), "{call} with what is required: {fault:?}");
    }
}

#[test]
fn what_a_lexicon_forbids_is_refused_by_the_name_of_the_field() {
    let lexicons = Lexicons::load();
    for (call, decode) in DECODERS {
        let (properties, required) = lexicons.takes(call);
        let good: Map<_, _> = properties
            .iter()
            .map(|(name, schema)| (name.clone(), sample(&lexicons, name, schema)))
            .collect();
        let refused = |request: Map<String, Value>, name: &str, how: &str| {
            let error = decode(&Value::Object(request))
                .expect_err(&format!("{call}: {name} {how} was taken"));
            let own = name == "cipherSuite" && error.name == "InvalidCipherSuite";
            assert!(
                own || error.name == "InvalidRequest",
                "{call}: {}",
                error.name
            );
            let named = error.message.contains(name);
            assert!(named, "{call}: {name} {how}: {}", error.message);
        };
        for name in &required {
            let mut request = good.clone();
            request.remove(name);
            refused(request, name, "missing");
        }
        let mut request = good.clone();
        request.insert("unknownField".to_owned(), json!("x"));
        refused(request, "unknownField", "added");
        let is_query = lexicons.is_query(call);
        for (name, schema) in &properties {
            for bad in forbidden(&lexicons, name, schema, is_query) {
                // An empty parameter is none: ATProto's clients write such.
                if is_query && bad == json!("") && !required.contains(name) {
                    continue;
                }
                let mut request = good.clone();
                let how = format!("out of bounds ({:.40})", bad.to_string());
                request.insert(name.clone(), bad);
                refused(request, name, &how);
            }
        }
    }
}

/// A value within a schema. Names say what lexicons cannot.
fn sample(lexicons: &Lexicons, name: &str, schema: &Value) -> Value {
    match name {
        "convoId" | "groupId" => return json!("abcd"),
        "msgId" | "sinceMessage" => return json!("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "cursor" => return json!("17"),
        "deviceId" | "deviceUUID" => return json!("9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f"),
        "hash" | "localHashe" => return json!("ab".repeat(32)),
        "cipherSuite" => return json!("MLS_128_DHKEMP256_AES128GCM_SHA256_P256"),
        "paddedSize" => return json!(1024),
        _ => {}
    }
    let least = schema["minLength"].as_u64().unwrap_or(0).max(1) as usize;
    match schema["type"].as_str() {
        Some("string") => match schema["format"].as_str() {
            Some("did") => json!("did:plc:abc"),
            None if schema["enum"].is_array() => schema["enum"][0].clone(),
            Some("datetime") => json!("2026-01-31T12:00:00.000Z"),
            _ => json!("AAAA"),
        },
        Some("bytes") => json!({ "$bytes": "A".repeat(least.div_ceil(3) * 4) }),
        Some("integer") => json!(schema["minimum"].as_u64().unwrap_or(0)),
        Some("boolean") => json!(true),
        Some("array") => {
            let item = sample(lexicons, name.trim_end_matches('s'), &schema["items"]);
            Value::Array(vec![item; least])
        }
        Some("ref") => {
            let (properties, _) = lexicons.object(schema["ref"].as_str().unwrap());
            let fields = properties
                .iter()
                .map(|(name, schema)| (name.clone(), sample(lexicons, name, schema)));
            // Any object may say what it is (the data model's `$type`); some clients always do.
            let what = ("$type".to_owned(), schema["ref"].clone());
            Value::Object(fields.chain([what]).collect())
        }
        other => panic!("{name}: no sample of {other:?}"),
    }
}

/// Values that a schema forbids.
fn forbidden(lexicons: &Lexicons, name: &str, schema: &Value, is_query: bool) -> Vec<Value> {
    let mut bad = Vec::new();
    let bound = |name: &str| schema[name].as_u64().map(|bound| bound as usize);
    match schema["type"].as_str() {
        Some("string") => {
            bad.extend((!is_query).then(|| json!(7)));
            bad.extend(bound("maxLength").map(|most| json!("A".repeat(most + 8))));
            bad.extend(bound("minLength").map(|_| json!("")));
            bad.extend((schema["format"] == "did").then(|| json!("plc:abc")));
            bad.extend(schema["enum"].is_array().then(|| json!("nonsense")));
            bad.extend((schema["format"] == "datetime").then(|| json!("yesterday")));
        }
        Some("bytes") => {
            bad.push(json!([1, 2, 3]));
            bad.push(json!({ "$bytes": "?" }));
            let blob = |size: usize| json!({ "$bytes": "A".repeat(size / 3 * 4) });
            bad.extend(bound("maxLength").map(|most| blob(most + 3)));
            bad.extend(
                bound("minLength")
                    .filter(|least| *least > 3)
                    .map(|least| blob(least - 3)),
            );
        }
        Some("integer") => {
            bad.push(json!("x"));
            bad.push(json!(-1));
            bad.extend(
                bound("minimum")
                    .filter(|least| *least > 0)
                    .map(|least| json!(least - 1)),
            );
            bad.extend(bound("maximum").map(|most| json!(most + 1)));
        }
        Some("boolean") => bad.push(json!("maybe")),
        Some("array") => {
            let item = sample(lexicons, name.trim_end_matches('s'), &schema["items"]);
            let list = |size: usize| Value::Array(vec![item.clone(); size]);
            bad.extend(bound("maxLength").map(|most| list(most + 1)));
            // A query cannot say an empty list.
            let least = bound("minLength").filter(|_| !is_query);
            bad.extend(least.map(|least| list(least - 1)));
        }
        Some("ref") => bad.push(json!("x")),
        other => panic!("{name}: nothing is known of {other:?}"),
    }
    bad
}

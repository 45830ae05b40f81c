//! Pure. From a request to a typed value, or to a refusal that names the field.

use std::fmt::Display;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::XrpcError;
use super::fault::Fault;
use super::object::Object;
use super::query::{PAIRS_MAX, Query};

/// Decodes a JSON body.
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, XrpcError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        body_refusal(bytes, &path, &error.into_inner())
    })?;
    json.end()
        .map_err(|error| body_refusal(bytes, WHOLE, &error))?;
    Ok(value)
}

/// Decodes the part of a request target after the `?`.
pub fn decode_query<T: DeserializeOwned>(raw: Option<&str>) -> Result<T, XrpcError> {
    let query = Query::parse(raw.unwrap_or_default())
        .ok_or_else(|| invalid(THE_REQUEST, format_args!("has over {PAIRS_MAX} parameters")))?;
    serde_path_to_error::deserialize(query.into_deserializer()).map_err(|error| {
        let path = error.path().to_string();
        refusal(&Fault::read(&path, &error.into_inner().to_string()))
    })
}

/// `InvalidRequest`.
pub fn invalid(field: &str, what: impl Display) -> XrpcError {
    XrpcError::of_field("InvalidRequest", field, what)
}

/// Serde calls some values of the wrong kind a mistake of syntax, so the text is read once
/// more: only a caller that is refused anyway pays for it.
fn body_refusal(bytes: &[u8], path: &str, error: &serde_json::Error) -> XrpcError {
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => {
            let place = format!(" at line {} column {}", error.line(), error.column());
            let said = error.to_string();
            refusal(&Fault::read(
                path,
                said.strip_suffix(&place).unwrap_or(&said),
            ))
        }
        Err(broken) if broken.is_eof() => invalid(THE_REQUEST, "is JSON that breaks off"),
        Err(broken) => {
            let (line, column) = (broken.line(), broken.column());
            let what = format_args!("is not JSON from line {line}, column {column} on");
            invalid(THE_REQUEST, what)
        }
    }
}

fn refusal(fault: &Fault) -> XrpcError {
    let field = fault.field.as_deref();
    // The one list of values that has an error of its own.
    if let Some(field) = field
        && fault.is_of_list
        && (field == SUITE_FIELD || field.ends_with(".cipherSuite"))
    {
        let what = "must be a cipher suite that the lexicon names";
        return XrpcError::of_field("InvalidCipherSuite", field, what);
    }
    invalid(field.unwrap_or(THE_REQUEST), &fault.what)
}

const SUITE_FIELD: &str = "cipherSuite";

/// What stands where a field would, when it is not of one.
pub const THE_REQUEST: &str = "the request";

/// What serde's paths call a whole request.
const WHOLE: &str = ".";

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::types::{CipherSuite, Did};
    use crate::wire::calls::{AddMembers, CreateConvo, PublishKeyPackages, RegisterDevice};
    use crate::wire::{Int, List};

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        dids: List<Did, 1, 2>,
        cipher_suite: Option<CipherSuite>,
        #[serde(default)]
        limit: Option<Int<1, 100>>,
        #[serde(default)]
        deep: Option<bool>,
        order: Option<Order>,
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Order {
        Oldest,
        Newest,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code, reason = "it is only read")]
        name: String,
    }

    fn body_fault(json: &str) -> String {
        let error = decode_body::<Sample>(json.as_bytes()).unwrap_err();
        assert_eq!(error.name, "InvalidRequest");
        error.message.into_owned()
    }

    fn query_fault(raw: &str) -> String {
        decode_query::<Sample>(Some(raw))
            .unwrap_err()
            .message
            .into_owned()
    }

    #[test]
    fn a_refused_body_names_the_field() {
        assert!(body_fault(r#"{"dids":["did:plc:a","x"]}"#).starts_with("dids[1]: must be a DID"));
        assert!(body_fault(r#"{"dids":["did:plc:a"],"limit":0}"#).starts_with("limit: must be"));
        assert!(body_fault(r#"{"dids":["did:plc:a"],"evil":0}"#).contains("evil"));
        assert!(body_fault("{}").contains("dids"));
        assert!(body_fault(r#"{"dids":["did:plc:a"]} x"#).starts_with("the request: "));
        assert!(body_fault("").starts_with("the request: "));
    }

    #[test]
    fn a_refusal_is_in_the_words_of_the_lexicon() {
        for (json, told) in [
            ("[]", "the request: must be an object"),
            ("7", "the request: must be an object"),
            // Serde takes the members of a struct by their order, too.
            (
                r#"[["did:plc:a"],null,null,null,null,null]"#,
                "the request: must be an object",
            ),
            ("{}", "dids: is missing"),
            (
                r#"{"dids":"did:plc:a"}"#,
                "dids: must be a list of 1 to 2 items",
            ),
            (r#"{"dids":["did:plc:a",7]}"#, "dids[1]: must be text"),
            (
                r#"{"dids":["did:plc:a"],"limit":"7"}"#,
                "limit: must be a whole number from 1 to 100",
            ),
            (
                r#"{"dids":["did:plc:a"],"limit":-1}"#,
                "limit: must be a whole number from 1 to 100",
            ),
            (
                r#"{"dids":["did:plc:a"],"deep":"yes"}"#,
                "deep: must be true or false",
            ),
            (
                r#"{"dids":["did:plc:a"],"order":"up"}"#,
                "order: must be oldest or newest",
            ),
            (
                r#"{"dids":["did:plc:a"],"inner":[{}]}"#,
                "inner[0].name: is missing",
            ),
            (
                r#"{"dids":["did:plc:a"],"inner":[{"name":"x","evil":1}]}"#,
                "inner[0].evil: is not a field of this",
            ),
            (
                r#"{"dids":["did:plc:a"],"evil":1}"#,
                "evil: is not a field of this",
            ),
            (
                r#"{"dids":["did:plc:a"],"deep":true,"deep":true}"#,
                "deep: is given twice",
            ),
            (r#"{"dids":["did:plc:a"],"order":7}"#, "order: must be text"),
            (
                r#"{"dids":["did:plc:a"],"limit":x}"#,
                "the request: is not JSON from line 1, column 31 on",
            ),
            (
                r#"{"dids":["did:plc:a"]} x"#,
                "the request: is not JSON from line 1, column 24 on",
            ),
            (r#"{"dids":["did:p"#, "the request: is JSON that breaks off"),
            ("", "the request: is JSON that breaks off"),
        ] {
            assert_eq!(body_fault(json), told, "{json}");
        }
    }

    #[test]
    fn an_object_within_a_request_is_no_list_either() {
        fn told<T: DeserializeOwned>(json: &str) -> String {
            let refused = decode_body::<T>(json.as_bytes()).map(drop).unwrap_err();
            refused.message.into_owned()
        }
        let metadata = told::<CreateConvo>(r#"{"metadata":[null,"name","described"]}"#);
        assert_eq!(metadata, "metadata: must be an object");
        let hashes = r#"{"keyPackageHashes":[[null,"did:plc:a","00"]]}"#;
        let expected = "keyPackageHashes[0]: must be an object";
        assert_eq!(told::<CreateConvo>(hashes), expected);
        assert_eq!(told::<AddMembers>(hashes), expected);
        let packages = r#"{"keyPackages":[[null,"AAAA"]]}"#;
        let expected = "keyPackages[0]: must be an object";
        assert_eq!(told::<RegisterDevice>(packages), expected);
        assert_eq!(told::<PublishKeyPackages>(packages), expected);

        let within = told::<AddMembers>(r#"{"keyPackageHashes":[{"did":7}]}"#);
        assert_eq!(within, "keyPackageHashes[0].did: must be text");
        let evil = told::<CreateConvo>(r#"{"metadata":{"evil":1}}"#);
        assert_eq!(evil, "metadata.evil: is not a field of this");
        let absent = told::<PublishKeyPackages>(r#"{"keyPackages":[{}]}"#);
        assert_eq!(absent, "keyPackages[0].keyPackage: is missing");
    }

    #[test]
    fn a_field_that_nobody_would_name_so_is_not_repeated() {
        let long = "x".repeat(1_000);
        let fault = body_fault(&format!(r#"{{"dids":["did:plc:a"],"{long}":1}}"#));
        assert_eq!(fault, "the request: has a field that is not one of this");
    }

    #[test]
    fn a_refusal_does_not_repeat_the_value() {
        let fault = body_fault(r#"{"dids":"did:plc:secret"}"#);
        assert!(!fault.contains("secret"), "{fault}");
        let fault = body_fault(r#"{"dids":["did:plc:a"],"limit":"did:plc:secret"}"#);
        assert!(!fault.contains("secret"), "{fault}");
    }

    #[test]
    fn an_unknown_cipher_suite_has_an_error_of_its_own() {
        for suite in [r#""did:plc:secret""#, "7"] {
            let json = format!(r#"{{"dids":["did:plc:a"],"cipherSuite":{suite}}}"#);
            let error = decode_body::<Sample>(json.as_bytes()).unwrap_err();
            assert_eq!(error.name, "InvalidCipherSuite");
            assert!(!error.message.contains("secret"));
        }
        // MLS 1.0 has it.
        let json =
            r#"{"dids":["did:plc:a"],"cipherSuite":"MLS_256_DHKEMP384_AES256GCM_SHA384_P384"}"#;
        let error = decode_body::<Sample>(json.as_bytes()).unwrap_err();
        let message = "cipherSuite: must be a cipher suite that the lexicon names";
        assert_eq!(error.message, message);
    }

    #[test]
    fn a_query_is_read_like_a_body() {
        let raw = "dids=did%3Aplc%3Aa&dids=did:plc:b&limit=7&deep=true\
                   &cipherSuite=MLS_128_DHKEMP256_AES128GCM_SHA256_P256";
        let sample: Sample = decode_query(Some(raw)).unwrap();
        assert_eq!(sample.dids.as_slice().len(), 2);
        assert_eq!(sample.limit.map(Int::get), Some(7));
        assert_eq!(sample.cipher_suite, Some(CipherSuite::P256Aes128));
        assert_eq!(sample.deep, Some(true));
        assert!(sample.order.is_none() && sample.inner.is_none());
    }

    #[test]
    fn an_empty_parameter_is_an_absent_one() {
        let sample: Sample = decode_query(Some("dids=did:plc:a&limit=&cipherSuite")).unwrap();
        assert!(sample.limit.is_none() && sample.cipher_suite.is_none());
        assert!(query_fault("dids=").contains("dids"));
    }

    #[test]
    fn a_refused_query_names_the_parameter() {
        assert!(query_fault("dids=x").starts_with("dids[0]: must be a DID"));
        for limit in ["x", "-1", "0", "101", "18446744073709551616"] {
            assert_eq!(
                query_fault(&format!("dids=did:plc:a&limit={limit}")),
                "limit: must be a whole number from 1 to 100",
                "{limit}"
            );
        }
        assert!(query_fault("dids=did:plc:a&limit=1&limit=2").contains("once"));
        assert!(query_fault("dids=did:plc:a&evil=1").contains("evil"));
        assert!(query_fault("dids=did:plc:a&dids=did:plc:b&dids=did:plc:c").contains("1 to 2"));
        assert!(query_fault("").contains("dids"));
        assert!(query_fault(&"dids=did:plc:a&".repeat(300)).contains("over 256"));
    }
}

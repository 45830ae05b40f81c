//! Pure. From a request to a typed value, or to a refusal that names the field.

use serde::de::DeserializeOwned;

use super::query::Query;
use super::{XrpcError, XrpcStatus};

/// Decodes a JSON body.
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, XrpcError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refusal(&path, &error.into_inner().to_string())
    })?;
    json.end()
        .map_err(|error| refusal(".", &error.to_string()))?;
    Ok(value)
}

/// Decodes the part of a request target after the `?`.
pub fn decode_query<T: DeserializeOwned>(raw: Option<&str>) -> Result<T, XrpcError> {
    let query = Query::parse(raw.unwrap_or_default())
        .ok_or_else(|| refusal(".", "has too many parameters"))?;
    serde_path_to_error::deserialize(query.into_deserializer()).map_err(|error| {
        let path = error.path().to_string();
        refusal(&path, &error.into_inner().to_string())
    })
}

/// `InvalidRequest`, in the words "field: what is wrong".
pub fn invalid(field: &str, what: &str) -> XrpcError {
    XrpcError::new(
        XrpcStatus::BadRequest,
        "InvalidRequest",
        format!("{field}: {what}"),
    )
}

fn refusal(path: &str, what: &str) -> XrpcError {
    // The one list of values that has an error of its own.
    let unknown = what.starts_with("unknown variant");
    if unknown && (path == SUITE_FIELD || path.ends_with(".cipherSuite")) {
        return XrpcError::new(
            XrpcStatus::BadRequest,
            "InvalidCipherSuite",
            format!("{path}: must be a cipher suite of MLS 1.0 by its IANA name"),
        );
    }
    let what = without_value(what);
    if path == "." {
        invalid("the request", &what)
    } else {
        invalid(path, &what)
    }
}

const SUITE_FIELD: &str = "cipherSuite";

/// Serde quotes the value it did not like (`invalid type: string "x", expected …`);
/// a value may be an identity, and the error text must hold none.
fn without_value(what: &str) -> String {
    let quoted = what
        .split_once('"')
        .and_then(|(before, rest)| Some((before, rest.rsplit_once('"')?.1)));
    match quoted {
        Some((before, after)) if what.starts_with("invalid ") => {
            format!("{}{after}", before.trim_end())
        }
        _ => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::types::{CipherSuite, Did};
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
        assert!(body_fault(r#"{"dids":["did:plc:a"]} x"#).starts_with("the request: trailing"));
        assert!(body_fault("").starts_with("the request: "));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_value() {
        let fault = body_fault(r#"{"dids":"did:plc:secret"}"#);
        assert!(
            fault.starts_with("dids: invalid type: string, expected"),
            "{fault}"
        );
        let fault = body_fault(r#"{"dids":["did:plc:a"],"limit":"did:plc:secret"}"#);
        assert!(!fault.contains("secret"), "{fault}");
    }

    #[test]
    fn an_unknown_cipher_suite_has_an_error_of_its_own() {
        let json = br#"{"dids":["did:plc:a"],"cipherSuite":"did:plc:secret"}"#;
        let error = decode_body::<Sample>(json).unwrap_err();
        assert_eq!(error.name, "InvalidCipherSuite");
        assert!(!error.message.contains("secret"));
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
        assert!(query_fault("dids=did:plc:a&limit=x").starts_with("limit: must be a whole"));
        assert!(query_fault("dids=did:plc:a&limit=101").starts_with("limit: must be a whole"));
        assert!(query_fault("dids=did:plc:a&limit=1&limit=2").contains("once"));
        assert!(query_fault("dids=did:plc:a&evil=1").contains("evil"));
        assert!(query_fault("dids=did:plc:a&dids=did:plc:b&dids=did:plc:c").contains("1 to 2"));
        assert!(query_fault("").contains("dids"));
        assert!(query_fault(&"dids=did:plc:a&".repeat(300)).contains("too many"));
    }
}

//! Pure. Finds an account's signing key in its DID document (ATProto DID
//! specification, "DID Documents"), in any of the forms it has been written in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::signature::{Curve, PublicKey};
use crate::types::Did;
use crate::wire::Object;

/// Why a document gives no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentError {
    #[error(
        "the #atproto key in the issuer's DID document is of no supported type or curve, or damaged"
    )]
    KeyUnusable,
    #[error("the issuer's DID document has no #atproto key")]
    NoKey,
    #[error("the issuer's DID document is not JSON of the expected shape")]
    NotADocument,
    #[error("the issuer's DID document is for another DID")]
    OtherSubject,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    id: String,
    /// Kept as they come: a method that we do not use may have any shape.
    #[serde(default)]
    verification_method: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Method {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    controller: Option<String>,
    public_key_multibase: Option<String>,
    public_key_jwk: Option<Jwk>,
}

/// An elliptic-curve key of RFC 7518 section 6.2.1 or RFC 8812 section 3.1.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

/// The signing key of `did`, from the first `#atproto` verification method of
/// its document.
pub(crate) fn signing_key(did: &Did, document: &[u8]) -> Result<PublicKey, DocumentError> {
    let Object(document): Object<Document> =
        serde_json::from_slice(document).map_err(|_| DocumentError::NotADocument)?;
    if document.id != did.expose() {
        return Err(DocumentError::OtherSubject);
    }
    let method = document
        .verification_method
        .into_iter()
        .filter_map(|method| serde_json::from_value(method).ok())
        .map(|Object(method): Object<Method>| method)
        .find(|method| is_signing_method(method, did))
        .ok_or(DocumentError::NoKey)?;
    key_of(&method).ok_or(DocumentError::KeyUnusable)
}

/// Ids are absolute or relative to the document. A method that another DID
/// controls is not the account's own.
fn is_signing_method(method: &Method, did: &Did) -> bool {
    let own = |text: &str| text == did.expose();
    let id_ok = match method.id.strip_suffix("#atproto") {
        Some(subject) => subject.is_empty() || own(subject),
        None => false,
    };
    id_ok && method.controller.as_deref().is_none_or(own)
}

fn key_of(method: &Method) -> Option<PublicKey> {
    let multibase = || decode_multibase(method.public_key_multibase.as_deref()?);
    let jwk = || method.public_key_jwk.as_ref().and_then(key_of_jwk);
    match method.kind.as_str() {
        "Multikey" => key_of_multikey(&multibase()?),
        "JsonWebKey" | "JsonWebKey2020" => jwk(),
        "EcdsaSecp256k1VerificationKey2019" => key_of_legacy(Curve::Secp256k1, multibase(), jwk()),
        "EcdsaSecp256r1VerificationKey2019" => key_of_legacy(Curve::P256, multibase(), jwk()),
        _ => None,
    }
}

/// The types of 2019 name the curve; the value is the bare point, or a JWK.
fn key_of_legacy(
    curve: Curve,
    point: Option<Vec<u8>>,
    jwk: Option<PublicKey>,
) -> Option<PublicKey> {
    match point {
        Some(point) => PublicKey::of_point(curve, &point),
        None => jwk.filter(|key| key.curve() == curve),
    }
}

/// A multicodec prefix as a varint, then the compressed point.
fn key_of_multikey(bytes: &[u8]) -> Option<PublicKey> {
    let (codec, point) = bytes.split_at_checked(2)?;
    let curve = match codec {
        // p256-pub, 0x1200
        [0x80, 0x24] => Curve::P256,
        // secp256k1-pub, 0xe7
        [0xe7, 0x01] => Curve::Secp256k1,
        _ => return None,
    };
    if point.len() != COMPRESSED_LEN {
        return None;
    }
    PublicKey::of_point(curve, point)
}

fn key_of_jwk(jwk: &Jwk) -> Option<PublicKey> {
    let curve = match (jwk.kty.as_str(), jwk.crv.as_str()) {
        ("EC", "P-256") => Curve::P256,
        ("EC", "secp256k1") => Curve::Secp256k1,
        _ => return None,
    };
    let coordinate = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == COORDINATE_LEN).then_some(bytes)
    };
    let point = [vec![4], coordinate(&jwk.x)?, coordinate(&jwk.y)?].concat();
    PublicKey::of_point(curve, &point)
}

/// Base58btc with its prefix `z`, the only base that ATProto keys are written in.
fn decode_multibase(text: &str) -> Option<Vec<u8>> {
    // The decoder is quadratic, and no key needs more.
    if text.len() > MULTIBASE_LEN_MAX {
        return None;
    }
    bs58::decode(text.strip_prefix('z')?).into_vec().ok()
}

const COORDINATE_LEN: usize = 32;
const COMPRESSED_LEN: usize = 1 + COORDINATE_LEN;

/// An uncompressed point is 65 bytes, which are 89 characters of base58.
const MULTIBASE_LEN_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use mls_relay_loadtest::identity::{Account, Curve as KeyCurve};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CURVES: [(KeyCurve, Curve, &str, &str); 2] = [
        (
            KeyCurve::P256,
            Curve::P256,
            "P-256",
            "EcdsaSecp256r1VerificationKey2019",
        ),
        (
            KeyCurve::Secp256k1,
            Curve::Secp256k1,
            "secp256k1",
            "EcdsaSecp256k1VerificationKey2019",
        ),
    ];

    fn key(account: &Account, document: &Value) -> Result<PublicKey, DocumentError> {
        let did = Did::parse(account.did()).unwrap();
        signing_key(&did, document.to_string().as_bytes())
    }

    fn with_method(account: &Account, method: Value) -> Value {
        json!({"id": account.did(), "verificationMethod": [method]})
    }

    fn base58(bytes: &[u8]) -> String {
        format!("z{}", bs58::encode(bytes).into_string())
    }

    fn jwk(account: &Account, crv: &str) -> Value {
        let point = account.key().uncompressed();
        let part = |range| URL_SAFE_NO_PAD.encode::<&[u8]>(&point[range]);
        json!({"kty": "EC", "crv": crv, "x": part(1..33), "y": part(33..65)})
    }

    #[test]
    fn the_key_is_found_in_every_form() {
        for (key_curve, curve, crv, legacy) in CURVES {
            let account = Account::generate(key_curve).unwrap();
            let expected = PublicKey::of_point(curve, &account.key().compressed()).unwrap();
            let absolute = format!("{}#atproto", account.did());
            for method in [
                json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": account.key().multikey()}),
                json!({"id": absolute, "type": "Multikey", "publicKeyMultibase": account.key().multikey()}),
                json!({"id": absolute, "type": legacy, "publicKeyMultibase": base58(account.key().uncompressed())}),
                json!({"id": absolute, "type": legacy, "publicKeyMultibase": base58(&account.key().compressed())}),
                json!({"id": absolute, "type": legacy, "publicKeyJwk": jwk(&account, crv)}),
                json!({"id": absolute, "type": "JsonWebKey2020", "publicKeyJwk": jwk(&account, crv)}),
                json!({"id": absolute, "type": "JsonWebKey", "controller": account.did(), "publicKeyJwk": jwk(&account, crv)}),
            ] {
                let found = key(&account, &with_method(&account, method.clone()));
                assert!(found.as_ref() == Ok(&expected), "{method}");
            }
            assert!(key(&account, &account.document()).as_ref() == Ok(&expected));
        }
    }

    #[test]
    fn other_methods_and_strange_neighbours_are_passed_over() {
        let account = Account::generate(KeyCurve::P256).unwrap();
        let stranger = Account::generate(KeyCurve::P256).unwrap();
        let mut document = account.document();
        let methods = document["verificationMethod"].as_array_mut().unwrap();
        for neighbour in [
            json!("did:plc:x#reference"),
            json!({"id": "#atproto_label", "type": "Multikey", "publicKeyMultibase": stranger.key().multikey()}),
            json!({"id": format!("{}#atproto", stranger.did()), "type": "Multikey", "publicKeyMultibase": stranger.key().multikey()}),
            json!({"id": "#atproto", "type": "Multikey", "controller": stranger.did(), "publicKeyMultibase": stranger.key().multikey()}),
        ] {
            methods.insert(0, neighbour);
        }
        let expected = PublicKey::of_point(Curve::P256, &account.key().compressed()).unwrap();
        assert!(key(&account, &document) == Ok(expected));
    }

    #[test]
    fn a_document_of_another_account_is_refused() {
        let account = Account::generate(KeyCurve::P256).unwrap();
        let other = Account::generate(KeyCurve::P256).unwrap();
        let refused = key(&account, &other.document());
        assert_eq!(refused, Err(DocumentError::OtherSubject));
    }

    #[test]
    fn a_damaged_or_unknown_key_is_unusable() {
        let account = Account::generate(KeyCurve::P256).unwrap();
        let multikey = account.key().multikey();
        let wrong_codec = base58(&[&[0xed, 0x01][..], &account.key().compressed()].concat());
        let uncompressed = base58(&[&[0x80, 0x24][..], account.key().uncompressed()].concat());
        let mut short_x = jwk(&account, "P-256");
        short_x["x"] = json!("AAAA");
        for method in [
            json!({"id": "#atproto", "type": "Multikey"}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": ""}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": &multikey[1..]}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": &multikey[..20]}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": format!("{multikey}0")}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": "z".repeat(50_000)}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": wrong_codec}),
            json!({"id": "#atproto", "type": "Multikey", "publicKeyMultibase": uncompressed}),
            json!({"id": "#atproto", "type": "Ed25519VerificationKey2020", "publicKeyMultibase": multikey}),
            json!({"id": "#atproto", "type": "EcdsaSecp256k1VerificationKey2019", "publicKeyJwk": jwk(&account, "P-256")}),
            json!({"id": "#atproto", "type": "JsonWebKey2020", "publicKeyJwk": jwk(&account, "P-384")}),
            json!({"id": "#atproto", "type": "JsonWebKey2020", "publicKeyJwk": jwk(&account, "secp256k1")}),
            json!({"id": "#atproto", "type": "JsonWebKey2020", "publicKeyJwk": short_x}),
        ] {
            let refused = key(&account, &with_method(&account, method.clone()));
            assert_eq!(refused, Err(DocumentError::KeyUnusable), "{method}");
        }
    }

    #[test]
    fn what_is_no_document_or_has_no_key_is_told_apart() {
        let account = Account::generate(KeyCurve::P256).unwrap();
        for text in [
            json!(null),
            json!("x"),
            json!([]),
            json!({"verificationMethod": []}),
            json!([account.did(), account.document()["verificationMethod"]]),
        ] {
            assert_eq!(key(&account, &text), Err(DocumentError::NotADocument));
        }
        let bare = json!({"id": account.did()});
        assert_eq!(key(&account, &bare), Err(DocumentError::NoKey));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let did = Did::parse("did:plc:abc").unwrap();
            let _ = signing_key(&did, &bytes);
        }

        #[test]
        fn no_key_text_makes_the_parser_panic(text in "z[1-9A-HJ-NP-Za-km-z]{0,100}", kind in "Multikey|EcdsaSecp256[kr]1VerificationKey2019") {
            let did = Did::parse("did:plc:abc").unwrap();
            let document = json!({"id": "did:plc:abc", "verificationMethod": [{"id": "#atproto", "type": kind, "publicKeyMultibase": text}]});
            let _ = signing_key(&did, document.to_string().as_bytes());
        }
    }
}

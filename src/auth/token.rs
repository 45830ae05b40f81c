//! Pure. Takes a service token apart (RFC 7515 section 3.1; ATProto "Inter-Service
//! Authentication"). What it claims is not believed here: see `claims` for the
//! checks and `signature` for the proof.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::claims::RawClaims;
use super::signature::Curve;
use crate::types::unprintable;
use crate::wire::Object;

/// Why a token is refused before its signature is looked at. Holds nothing of
/// the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    #[error("the token's alg must be ES256 or ES256K")]
    AlgorithmRefused,
    #[error(
        "the token has no aud, which must be this service's DID, as /.well-known/did.json has it"
    )]
    AudienceMissing,
    #[error("the token's aud must be this service's DID, which /.well-known/did.json has")]
    AudienceWrong,
    #[error("the token must have no crit, for no extension is understood here")]
    CritRefused,
    #[error("the token has no exp, which must be the second since 1970 at which it ends")]
    ExpiryMissing,
    #[error("the token or ticket has expired; get another")]
    Expired,
    #[error("the token's iat and nbf must not be over {0} s ahead; check the clock")]
    FromTheFuture(i64),
    #[error("the token's iss must be a DID, with or without a fragment")]
    IssuerMalformed,
    #[error("the token has no iss, which must be the account's DID")]
    IssuerMissing,
    #[error("the token's kid must be #atproto")]
    KeyIdUnknown,
    #[error("the token's exp must be at most {0} s after its iat, or from now")]
    LifetimeTooLong(i64),
    #[error("the token is not three base64url parts of JSON, JSON and signature")]
    Malformed,
    #[error("the token has no lxm, which must name the method called")]
    MethodMissing,
    #[error("the token's lxm must name the method called")]
    MethodWrong,
    #[error("the token has no usable jti, which must be 1 to 128 printable characters")]
    NonceMissing,
    #[error("the token's {0} must be whole seconds since 1970")]
    NotSeconds(&'static str),
    #[error("the token's {0} must be text")]
    NotText(&'static str),
    #[error("the token has over {0} bytes")]
    TooLong(usize),
    #[error("the token's typ must be JWT or absent")]
    TypeRefused,
}

/// A well-formed token that nobody has vouched for yet.
pub(crate) struct Token<'a> {
    pub(crate) alg: Curve,
    pub(crate) claims: RawClaims,
    /// The text that was signed: header and claims, still encoded.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

unprintable!(Token<'_>);

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Splits and decodes a token of at most `len_max` bytes.
    pub(crate) fn parse(text: &'a str, len_max: usize) -> Result<Self, TokenError> {
        if text.len() > len_max {
            return Err(TokenError::TooLong(len_max));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        // A dot is no base64url, so a fourth part fails in the decoder.
        let Object(header) = decode_json(header)?;
        let alg = check_header(&header)?;
        Ok(Self {
            alg,
            claims: RawClaims::parse(&decode(claims)?)?,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

fn check_header(header: &Header) -> Result<Curve, TokenError> {
    // Access, refresh and DPoP tokens are signed by the same servers, for others.
    let typ = header.typ.as_deref();
    if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
        return Err(TokenError::TypeRefused);
    }
    if header.kid.as_deref().is_some_and(|kid| kid != "#atproto") {
        return Err(TokenError::KeyIdUnknown);
    }
    // RFC 7515 section 4.1.11: an extension that must be understood, and is not.
    if header.crit.is_some() {
        return Err(TokenError::CritRefused);
    }
    Curve::of_alg(&header.alg).ok_or(TokenError::AlgorithmRefused)
}

fn decode_json<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&decode(part)?).map_err(|_| TokenError::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn token(header: &Value, claims: &Value, signature: &[u8]) -> String {
        let input = mls_relay_loadtest::identity::signing_input(header, claims);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn parse_header(header: &Value) -> Result<Curve, TokenError> {
        let text = token(header, &json!({}), &[1; 64]);
        Token::parse(&text, 4096).map(|token| token.alg)
    }

    #[test]
    fn the_two_algorithms_with_or_without_a_type_are_taken() {
        for (header, curve) in [
            (json!({"alg": "ES256"}), Curve::P256),
            (json!({"alg": "ES256K", "typ": "JWT"}), Curve::Secp256k1),
            (json!({"alg": "ES256K", "typ": "jwt"}), Curve::Secp256k1),
            (json!({"alg": "ES256", "typ": null}), Curve::P256),
            (json!({"alg": "ES256", "kid": "#atproto"}), Curve::P256),
            (json!({"alg": "ES256", "x5t": "ignored"}), Curve::P256),
        ] {
            assert_eq!(parse_header(&header), Ok(curve), "{header}");
        }
    }

    #[test]
    fn every_other_header_is_refused_for_its_own_reason() {
        use TokenError as E;
        for (header, error) in [
            (json!({"alg": "none"}), E::AlgorithmRefused),
            (json!({"alg": "None"}), E::AlgorithmRefused),
            (json!({"alg": ""}), E::AlgorithmRefused),
            (json!({"alg": "HS256", "typ": "JWT"}), E::AlgorithmRefused),
            (json!({"alg": "RS256"}), E::AlgorithmRefused),
            (json!({"alg": "ES384"}), E::AlgorithmRefused),
            (json!({"alg": "es256"}), E::AlgorithmRefused),
            (json!({"alg": "EdDSA"}), E::AlgorithmRefused),
            (json!({"alg": "ES256", "typ": "at+jwt"}), E::TypeRefused),
            (json!({"alg": "HS256", "typ": "at+jwt"}), E::TypeRefused),
            (
                json!({"alg": "ES256", "typ": "refresh+jwt"}),
                E::TypeRefused,
            ),
            (json!({"alg": "ES256", "typ": "dpop+jwt"}), E::TypeRefused),
            (json!({"alg": "ES256", "typ": ""}), E::TypeRefused),
            (
                json!({"alg": "ES256", "kid": "#atproto_labeler"}),
                E::KeyIdUnknown,
            ),
            (json!({"alg": "ES256", "crit": ["b64"]}), E::CritRefused),
            (json!({"alg": ["ES256"]}), E::Malformed),
            (json!({"typ": "JWT"}), E::Malformed),
            (json!([]), E::Malformed),
            (json!(["ES256", "JWT", null, null]), E::Malformed),
            (json!("ES256"), E::Malformed),
        ] {
            assert_eq!(parse_header(&header), Err(error), "{header}");
        }
    }

    #[test]
    fn a_name_said_twice_is_no_token() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"ES256K"}"#);
        let error = Token::parse(&format!("{header}.e30.AQ"), 4096).unwrap_err();
        assert_eq!(error, TokenError::Malformed);
    }

    #[test]
    fn every_cut_of_a_token_is_refused_or_has_a_shorter_signature() {
        let whole = token(&json!({"alg": "ES256"}), &json!({"iss": "x"}), &[7; 64]);
        let dot = whole.rfind('.').unwrap();
        for len in 0..whole.len() {
            match Token::parse(&whole[..len], 4096) {
                Ok(token) => assert!(len > dot && token.signature.len() < 64),
                Err(error) => assert_eq!(error, TokenError::Malformed),
            }
        }
        assert_eq!(
            Token::parse(&whole, whole.len()).unwrap().signature,
            [7; 64]
        );
        let error = Token::parse(&whole, whole.len() - 1).unwrap_err();
        assert_eq!(error, TokenError::TooLong(whole.len() - 1));
    }

    #[test]
    fn padding_and_the_other_alphabet_are_refused() {
        let good = token(&json!({"alg": "ES256"}), &json!({}), &[0xff; 64]);
        assert!(Token::parse(&good, 4096).is_ok());
        for bad in [
            format!("{good}=="),
            format!("{good}."),
            format!(".{good}"),
            good.replace('_', "/"),
            format!("{good} "),
        ] {
            assert_eq!(
                Token::parse(&bad, 4096).unwrap_err(),
                TokenError::Malformed,
                "{bad}"
            );
        }
    }

    #[test]
    fn deep_json_is_refused_before_the_stack_is_gone() {
        let deep = URL_SAFE_NO_PAD.encode("[".repeat(100_000));
        let text = format!("{deep}.{deep}.AQ");
        assert_eq!(
            Token::parse(&text, usize::MAX).unwrap_err(),
            TokenError::Malformed
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            let _ = Token::parse(&text, 4096);
        }

        #[test]
        fn no_json_makes_the_parser_panic(header in ".{0,80}", claims in ".{0,80}", bytes: Vec<u8>) {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let signature = URL_SAFE_NO_PAD.encode(bytes);
            let _ = Token::parse(&format!("{}.{}.{signature}", part(&header), part(&claims)), 4096);
        }
    }
}

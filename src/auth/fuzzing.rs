//! The ways in for `fuzz/`: tokens, and the documents that their keys come from.

use super::claims::Expected;
use super::did_document::signing_key;
use super::signature::{Curve, PublicKey};
use super::token::Token;
use super::{DocumentError, Settings, TokenError};
use crate::types::{Did, Jti};

/// Whose token this claims to be and its nonce, if it says all that it must at `now`, in
/// seconds since 1970.
pub fn claims(
    token: &str,
    audience: &str,
    method: &str,
    now: i64,
) -> Result<(Did, Option<Jti>), TokenError> {
    let settings = Settings::default();
    let expected = Expected {
        audience,
        method: Some(method),
        nonce: true,
        iat_skew: settings.iat_skew,
        exp_leeway: settings.exp_leeway,
        lifetime_max: settings.token_lifetime_max,
    };
    let token = Token::parse(token, settings.token_len_max)?;
    let claims = token.claims.check(&expected, now)?;
    Ok((claims.issuer, claims.nonce))
}

/// What checks a token's signature.
#[derive(Debug, PartialEq)]
pub struct Key(PublicKey);

impl Key {
    /// The one that the account's document names.
    pub fn of_document(did: &Did, document: &[u8]) -> Result<Self, DocumentError> {
        signing_key(did, document).map(Self)
    }

    /// For this `alg`, by its point in either form of SEC 1.
    pub fn of_point(alg: &str, point: &[u8]) -> Option<Self> {
        let key = PublicKey::of_point(Curve::of_alg(alg)?, point);
        key.ok().map(Self)
    }

    /// Whether a token of this `alg` is signed so.
    pub fn verifies(&self, alg: &str, message: &[u8], signature: &[u8]) -> bool {
        Curve::of_alg(alg).is_some_and(|alg| self.0.verifies(alg, message, signature))
    }
}

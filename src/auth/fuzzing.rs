//! The ways in for `fuzz/`: tokens, the documents that their keys come from, and tickets.

use super::did_document::signing_key;
use super::signature::{Curve, PublicKey};
use super::ticket::TicketOffice;
use super::token::Token;
use super::{Caller, DocumentError, Settings, TicketSecret, TokenError};
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
    let token = Token::parse(token, settings.token_len_max)?;
    let claims = token.claims.check(audience, Some(method), &settings, now)?;
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
        PublicKey::of_point(Curve::of_alg(alg)?, point).map(Self)
    }

    /// Whether a token of this `alg` is signed so.
    pub fn verifies(&self, alg: &str, message: &[u8], signature: &[u8]) -> bool {
        Curve::of_alg(alg).is_some_and(|alg| self.0.verifies(alg, message, signature))
    }
}

/// What issues tickets and opens streams with them.
pub struct Tickets(TicketOffice);

impl Default for Tickets {
    fn default() -> Self {
        let service = Did::parse("did:web:relay.test").expect("it is a DID");
        Self(TicketOffice::new(service, &TicketSecret::new([7; 32])))
    }
}

impl Tickets {
    /// A ticket that is good now.
    pub fn issue(&self) -> String {
        let caller = Caller::assumed("did:plc:ewvi7nxzyoun6zhxrhs64oiz");
        let nonce = Jti::parse("nonce").expect("it is one");
        let issued = self.0.issue(&caller, None, nonce, (NOW, NOW + 30));
        issued.expect("it can be signed").token
    }

    pub fn open_with(&self, ticket: &str) -> bool {
        self.0.check(ticket, NOW).is_ok()
    }
}

const NOW: i64 = 1_800_000_000;

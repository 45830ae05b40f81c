//! Pure. Tickets for opening a stream: short-lived tokens of our own, for clients
//! that cannot set a header on a WebSocket. They travel in URLs, which get logged,
//! so each opens one stream and is void within half a minute.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{AuthError, Caller, TicketSecret, TokenError};
use crate::store::CLOCKS_APART_MAX;
use crate::types::{CoarseTime, ConvoId, Did, Jti, unprintable};

/// A ticket, as the caller gets it.
#[derive(Clone, Eq, PartialEq)]
pub struct Ticket {
    pub token: String,
    pub expires_at: CoarseTime,
}

unprintable!(Ticket);

/// A ticket with a good signature, whose nonce has yet to be used.
#[derive(Debug)]
#[must_use = "the ticket can be used again"]
pub struct UnusedTicket {
    pub caller: Caller,
    /// The one conversation that the stream may show; otherwise all of the
    /// caller's.
    pub convo: Option<ConvoId>,
    pub(crate) nonce: Jti,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
}

#[derive(Deserialize, Serialize)]
struct TicketClaims {
    iss: String,
    aud: String,
    sub: Did,
    iat: i64,
    exp: i64,
    jti: Jti,
    purpose: String,
    #[serde(rename = "convoId", skip_serializing_if = "Option::is_none")]
    convo: Option<ConvoId>,
}

/// Signs and checks the tickets of one service.
pub(crate) struct TicketOffice {
    service: Did,
    signer: EncodingKey,
    checker: DecodingKey,
    validation: Validation,
}

impl TicketOffice {
    pub(crate) fn new(service: Did, secret: &TicketSecret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[service.expose()]);
        validation.set_issuer(&[service.expose()]);
        // Against the time we are given, below.
        validation.validate_exp = false;
        Self {
            service,
            signer: EncodingKey::from_secret(secret.bytes()),
            checker: DecodingKey::from_secret(secret.bytes()),
            validation,
        }
    }

    /// The name under which ticket nonces are used up.
    pub(crate) fn service(&self) -> &Did {
        &self.service
    }

    pub(crate) fn issue(
        &self,
        caller: &Caller,
        convo: Option<&ConvoId>,
        nonce: Jti,
        (now, expires_at): (i64, i64),
    ) -> Result<Ticket, AuthError> {
        let claims = TicketClaims {
            iss: self.service.expose().to_owned(),
            aud: self.service.expose().to_owned(),
            sub: caller.did().clone(),
            iat: now,
            exp: expires_at,
            jti: nonce,
            purpose: PURPOSE.to_owned(),
            convo: convo.cloned(),
        };
        let header = Header::new(Algorithm::HS256);
        let token = jsonwebtoken::encode(&header, &claims, &self.signer);
        Ok(Ticket {
            token: token.map_err(|_| AuthError::Signing)?,
            expires_at: CoarseTime::from_unix_seconds(expires_at),
        })
    }

    pub(crate) fn check(&self, token: &str, now: i64) -> Result<UnusedTicket, AuthError> {
        if token.len() > TICKET_LEN_MAX {
            return Err(AuthError::TicketRefused(TokenError::TooLong(
                TICKET_LEN_MAX,
            )));
        }
        let decoded = jsonwebtoken::decode::<TicketClaims>(token, &self.checker, &self.validation);
        let claims = decoded.map_err(|error| refusal(&error))?.claims;
        if claims.purpose != PURPOSE {
            return Err(AuthError::TicketRefused(TokenError::MethodWrong));
        }
        // By a clock that runs ahead it was given out later than now, and would be good for so much
        // longer than a ticket is.
        let apart = CLOCKS_APART_MAX.as_secs().cast_signed();
        if !(claims.iat.saturating_sub(apart)..=claims.exp).contains(&now) {
            return Err(TokenError::Expired.into());
        }
        Ok(UnusedTicket {
            caller: Caller::proved(claims.sub),
            convo: claims.convo,
            nonce: claims.jti,
            issued_at: claims.iat,
            expires_at: claims.exp,
        })
    }
}

fn refusal(error: &jsonwebtoken::errors::Error) -> AuthError {
    use jsonwebtoken::errors::ErrorKind;
    AuthError::TicketRefused(match error.kind() {
        ErrorKind::InvalidSignature => return AuthError::TicketForeign,
        ErrorKind::InvalidAlgorithm => TokenError::AlgorithmRefused,
        ErrorKind::InvalidAudience => TokenError::AudienceWrong,
        ErrorKind::InvalidIssuer => TokenError::IssuerMalformed,
        _ => TokenError::Malformed,
    })
}

/// So that a token of ours for another use can never open a stream.
const PURPOSE: &str = "subscribe";

/// Three DIDs, a conversation id and the frame around them, in base64.
const TICKET_LEN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::XrpcError;

    /// Long ago: the clock of the machine is not asked.
    const NOW: i64 = 1_000_000_000;

    fn office(service: &str, secret: u8) -> TicketOffice {
        let service = Did::parse(service).unwrap();
        TicketOffice::new(service, &TicketSecret::new([secret; 32]))
    }

    fn issue(office: &TicketOffice) -> Ticket {
        let convo = ConvoId::parse("ab01").unwrap();
        let nonce = Jti::parse("n").unwrap();
        let caller = Caller::assumed("did:plc:abc");
        let times = (NOW, NOW + 30);
        office.issue(&caller, Some(&convo), nonce, times).unwrap()
    }

    fn name(result: Result<UnusedTicket, AuthError>) -> &'static str {
        result.map_or_else(|error| error.label(), |_| "accepted")
    }

    #[test]
    fn a_ticket_carries_its_caller_and_conversation() {
        let office = office("did:web:relay.test", 7);
        let ticket = issue(&office);
        assert_eq!(ticket.expires_at.unix_seconds(), NOW + 30);
        let unused = office.check(&ticket.token, NOW + 30).unwrap();
        assert_eq!(unused.caller, Caller::assumed("did:plc:abc"));
        assert_eq!(unused.convo, Some(ConvoId::parse("ab01").unwrap()));
        assert_eq!(unused.expires_at, NOW + 30);
    }

    #[test]
    fn it_is_good_for_its_time_its_service_and_its_secret_only() {
        let here = office("did:web:relay.test", 7);
        let token = issue(&here).token;
        for (at, told) in [
            (NOW - 61, "token_expired"),
            (NOW - 60, "accepted"),
            (NOW + 31, "token_expired"),
        ] {
            assert_eq!(name(here.check(&token, at)), told, "{at}");
        }
        let elsewhere = office("did:web:other.test", 7);
        assert_eq!(name(elsewhere.check(&token, NOW)), "token_refused");
        let stranger = office("did:web:relay.test", 8);
        assert_eq!(name(stranger.check(&token, NOW)), "signature_wrong");
    }

    #[test]
    fn a_changed_or_foreign_token_is_refused() {
        let office = office("did:web:relay.test", 7);
        let token = issue(&office).token;
        for len in 0..token.len() {
            assert_ne!(name(office.check(&token[..len], NOW)), "accepted");
        }
        let account = mls_relay_loadtest::identity::Account::generate(
            mls_relay_loadtest::identity::Curve::P256,
        );
        let service_token = account
            .unwrap()
            .service_token(
                "did:web:relay.test",
                "x",
                std::time::Duration::from_secs(60),
            )
            .unwrap();
        let refused = office.check(&service_token, NOW).unwrap_err();
        assert_eq!(refused.label(), "token_refused");
        // Its algorithm is right where a token belongs.
        let told = XrpcError::from(refused).message;
        assert_eq!(
            told,
            "the ticket is not one that this relay gave out; get another"
        );
        let long = "a".repeat(TICKET_LEN_MAX + 1);
        assert_eq!(name(office.check(&long, NOW)), "token_refused");
    }

    #[test]
    fn a_token_of_the_same_secret_that_says_anything_else_is_refused() {
        let office = office("did:web:relay.test", 7);
        let ticket = serde_json::json!({
            "iss": "did:web:relay.test", "aud": "did:web:relay.test", "sub": "did:plc:abc",
            "iat": NOW, "exp": NOW + 30, "jti": "n", "purpose": PURPOSE,
        });
        let header = Header::new(Algorithm::HS256);
        let check = |claims: &serde_json::Value| {
            let token = jsonwebtoken::encode(&header, claims, &office.signer).unwrap();
            name(office.check(&token, NOW))
        };
        assert_eq!(check(&ticket), "accepted");
        for claim in ["iss", "aud", "sub", "exp", "purpose"] {
            for value in [serde_json::json!("other"), serde_json::Value::Null] {
                let mut claims = ticket.clone();
                claims[claim] = value;
                assert_eq!(check(&claims), "token_refused", "{claim}");
            }
        }
    }
}

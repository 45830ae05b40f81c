//! Pure. What a service token says, and whether that fits this service, this
//! call and this moment. All of it is cheap, so that a token which does not fit
//! costs no lookup and no curve arithmetic.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Settings, TokenError};
use crate::types::{Did, Jti};
use crate::wire::Object;

/// The claims as they stand in the token (RFC 7519 section 4.1), unknown ones
/// ignored.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RawClaims {
    iss: Option<Box<str>>,
    aud: Option<Box<str>>,
    exp: Option<i64>,
    iat: Option<i64>,
    nbf: Option<i64>,
    lxm: Option<Box<str>>,
    jti: Option<Box<str>>,
}

/// Claims that fit, but are not proved yet.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: Did,
    pub(crate) nonce: Option<Jti>,
    pub(crate) method: Option<Box<str>>,
    /// The last second at which the token passes, leeway included.
    pub(crate) good_until: i64,
}

impl RawClaims {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let read = serde_json::from_slice(json);
        read.map(|Object(claims)| claims).map_err(|_| misfit(json))
    }

    /// Checks everything but the signature, at `now` in seconds since 1970. `service` is this
    /// service's DID: `aud` is that, or that with [`SERVICE_FRAGMENT`]. `method` is the NSID
    /// called, where `lxm` must name it.
    pub(crate) fn check(
        self,
        service: &str,
        method: Option<&str>,
        settings: &Settings,
        now: i64,
    ) -> Result<Claims, TokenError> {
        let good_until = self.check_times(settings, now)?;
        match self.aud.as_deref() {
            None => return Err(TokenError::AudienceMissing),
            Some(aud) if !is_for(aud, service) => return Err(TokenError::AudienceWrong),
            Some(_) => {}
        }
        if let Some(method) = method {
            match self.lxm.as_deref() {
                None => return Err(TokenError::MethodMissing),
                Some(lxm) if lxm != method => return Err(TokenError::MethodWrong),
                Some(_) => {}
            }
        }
        let nonce = match self.jti.as_deref() {
            Some(jti) => Some(Jti::parse(jti).map_err(|_| TokenError::NonceMissing)?),
            None if settings.enforce_jti => return Err(TokenError::NonceMissing),
            None => None,
        };
        Ok(Claims {
            issuer: self.issuer()?,
            nonce,
            method: self.lxm,
            good_until,
        })
    }

    fn check_times(&self, settings: &Settings, now: i64) -> Result<i64, TokenError> {
        let exp = self.exp.ok_or(TokenError::ExpiryMissing)?;
        let good_until = exp.saturating_add(seconds(settings.exp_leeway));
        if now > good_until {
            return Err(TokenError::Expired);
        }
        let skew_max = seconds(settings.iat_skew);
        if self.iat.max(self.nbf) > Some(now.saturating_add(skew_max)) {
            return Err(TokenError::FromTheFuture(skew_max));
        }
        let minted = self.iat.unwrap_or(now);
        let lifetime_max = seconds(settings.token_lifetime_max);
        if exp.saturating_sub(minted) > lifetime_max {
            return Err(TokenError::LifetimeTooLong(lifetime_max));
        }
        Ok(good_until)
    }

    /// The account that `iss` names; a fragment says which of its services
    /// speaks, and does not change whose key must have signed.
    fn issuer(&self) -> Result<Did, TokenError> {
        let iss = self.iss.as_deref().ok_or(TokenError::IssuerMissing)?;
        let (did, fragment) = iss.split_once('#').unwrap_or((iss, "none"));
        let fragment_ok = (1..=FRAGMENT_LEN_MAX).contains(&fragment.len())
            && fragment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        match Did::parse(did) {
            Ok(did) if fragment_ok => Ok(did),
            _ => Err(TokenError::IssuerMalformed),
        }
    }
}

fn is_for(aud: &str, service: &str) -> bool {
    matches!(aud.strip_prefix(service), Some("" | SERVICE_FRAGMENT))
}

/// Which claim is of another form than it must be. Read anew: only a caller that is refused
/// anyway pays for it.
fn misfit(json: &[u8]) -> TokenError {
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(json) else {
        return TokenError::Malformed;
    };
    let is_off = |name: &&str, fits: fn(&Value) -> bool| {
        let claim = claims.get(*name);
        claim.is_some_and(|claim| !claim.is_null() && !fits(claim))
    };
    let mut times = ["exp", "iat", "nbf"].into_iter();
    let mut texts = ["iss", "aud", "lxm", "jti"].into_iter();
    let not_seconds = times.find(|name| is_off(name, Value::is_i64));
    let not_text = texts.find(|name| is_off(name, Value::is_string));
    match (not_seconds, not_text) {
        (Some(name), _) => TokenError::NotSeconds(name),
        (None, Some(name)) => TokenError::NotText(name),
        // Such as a name that is said twice.
        (None, None) => TokenError::Malformed,
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The service that this relay is, in its DID document.
const SERVICE_FRAGMENT: &str = "#atproto_mls";

/// Service ids are short words; ATProto's own have up to 20 characters.
const FRAGMENT_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const SERVICE: &str = "did:web:relay.test";
    const METHOD: Option<&str> = Some("blue.catbird.mls.sendMessage");

    fn good() -> Value {
        json!({
            "iss": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
            "aud": "did:web:relay.test",
            "lxm": "blue.catbird.mls.sendMessage",
            "iat": NOW,
            "exp": NOW + 60,
            "jti": "0123456789abcdef",
        })
    }

    fn check(claims: Value) -> Result<Claims, TokenError> {
        let raw = RawClaims::parse(claims.to_string().as_bytes())?;
        raw.check(SERVICE, METHOD, &Settings::default(), NOW)
    }

    /// The good claims with some changed; null takes one away.
    fn with(changes: Value) -> Value {
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    #[test]
    fn a_fitting_token_passes_with_its_issuer_and_nonce() {
        let claims = check(good()).unwrap();
        assert_eq!(claims.issuer.expose(), "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(claims.nonce.unwrap().expose(), "0123456789abcdef");
        assert_eq!(claims.good_until, NOW + 65);
    }

    #[test]
    fn the_allowed_variations_pass() {
        for changes in [
            json!({"aud": "did:web:relay.test#atproto_mls"}),
            json!({"iss": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#atproto_pds"}),
            json!({"iss": "did:web:someone.example"}),
            json!({"iat": null}),
            json!({"iat": null, "exp": NOW + 300}),
            json!({"iat": NOW + 30, "exp": NOW + 330}),
            json!({"iat": NOW - 200, "exp": NOW - 5}),
            json!({"exp": NOW + 300}),
            json!({"sub": {"any": ["thing"]}, "nonce": 1}),
        ] {
            assert!(check(with(changes.clone())).is_ok(), "{changes}");
        }
    }

    #[test]
    fn every_misfit_is_refused_for_its_own_reason() {
        use TokenError as E;
        for (changes, error) in [
            (json!({"exp": null}), E::ExpiryMissing),
            (json!({"exp": "soon"}), E::NotSeconds("exp")),
            (json!({"exp": 1e300}), E::NotSeconds("exp")),
            (json!({"aud": ["did:web:relay.test"]}), E::NotText("aud")),
            (json!({"exp": NOW - 6, "iat": NOW - 60}), E::Expired),
            (json!({"exp": 0}), E::Expired),
            (json!({"exp": i64::MIN, "iat": i64::MIN}), E::Expired),
            (json!({"exp": NOW + 301}), E::LifetimeTooLong(300)),
            (
                json!({"iat": NOW - 250, "exp": NOW + 60}),
                E::LifetimeTooLong(300),
            ),
            (
                json!({"iat": null, "exp": NOW + 301}),
                E::LifetimeTooLong(300),
            ),
            (json!({"exp": i64::MAX}), E::LifetimeTooLong(300)),
            (json!({"iat": i64::MIN}), E::LifetimeTooLong(300)),
            (
                json!({"iat": NOW + 31, "exp": NOW + 60}),
                E::FromTheFuture(30),
            ),
            (json!({"nbf": NOW + 31}), E::FromTheFuture(30)),
            (json!({"aud": null}), E::AudienceMissing),
            (json!({"aud": ""}), E::AudienceWrong),
            (json!({"aud": "did:web:other.test"}), E::AudienceWrong),
            (json!({"aud": "did:web:relay.test.evil"}), E::AudienceWrong),
            (json!({"aud": "did:web:relay.test#other"}), E::AudienceWrong),
            (json!({"aud": "DID:WEB:RELAY.TEST"}), E::AudienceWrong),
            (json!({"lxm": null}), E::MethodMissing),
            (json!({"lxm": "blue.catbird.mls.getConvos"}), E::MethodWrong),
            (json!({"lxm": "*"}), E::MethodWrong),
            (json!({"jti": null}), E::NonceMissing),
            (json!({"jti": ""}), E::NonceMissing),
            (json!({"jti": "a b"}), E::NonceMissing),
            (json!({"jti": "x".repeat(129)}), E::NonceMissing),
            (json!({"iss": null}), E::IssuerMissing),
            (json!({"iss": "alice"}), E::IssuerMalformed),
            (json!({"iss": "did:plc:a#"}), E::IssuerMalformed),
            (json!({"iss": "did:plc:a#b#c"}), E::IssuerMalformed),
            (json!({"iss": "did:plc:a/../b"}), E::IssuerMalformed),
        ] {
            let refused = check(with(changes.clone())).map(|_| ());
            assert_eq!(refused, Err(error), "{changes}");
        }
    }

    #[test]
    fn method_and_nonce_are_needed_only_where_they_are_enforced() {
        let lenient = Settings {
            enforce_jti: false,
            ..Settings::default()
        };
        for changes in [json!({"lxm": null}), json!({"jti": null})] {
            let raw = RawClaims::parse(with(changes).to_string().as_bytes()).unwrap();
            assert!(raw.check(SERVICE, None, &lenient, NOW).is_ok());
        }
    }

    #[test]
    fn claims_are_an_object_and_no_list_of_its_members() {
        let claims = good();
        let names = ["iss", "aud", "exp", "iat", "nbf", "lxm", "jti"];
        let list: Vec<_> = names.iter().map(|name| claims[*name].clone()).collect();
        let refused = check(json!(list)).map(|_| ());
        assert_eq!(refused, Err(TokenError::Malformed));
    }

    proptest! {
        #[test]
        fn no_times_make_the_check_panic(exp: i64, iat: Option<i64>, nbf: Option<i64>, now: i64) {
            let raw = RawClaims { exp: Some(exp), iat, nbf, ..RawClaims::default() };
            let _ = raw.check(SERVICE, METHOD, &Settings::default(), now);
        }

        #[test]
        fn what_passes_ends_within_the_longest_life(exp in NOW - 600..NOW + 900, iat in NOW - 600..NOW + 900) {
            if let Ok(claims) = check(with(json!({"exp": exp, "iat": iat}))) {
                prop_assert!(claims.good_until >= NOW);
                prop_assert!(claims.good_until <= NOW + 300 + 30 + 5);
            }
        }
    }
}

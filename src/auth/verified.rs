//! Tokens that have been proved and may be used again, because `jti` is not
//! enforced. Found by their hash: the memory of the relay holds no credentials.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::Caller;

/// What a proved token was good for.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) caller: Caller,
    pub(crate) method: Option<Box<str>>,
    pub(crate) good_until: i64,
}

pub(crate) struct VerifiedTokens(Cache<TokenHash, Arc<Verified>>);

/// SHA-256 of a whole token, signature included.
pub(crate) type TokenHash = [u8; 32];

impl VerifiedTokens {
    pub(crate) fn new(remembered_max: usize) -> Self {
        Self(Cache::new(remembered_max))
    }

    /// The caller of a token that is still good; for this method, where one is
    /// enforced.
    pub(crate) fn caller(
        &self,
        token: TokenHash,
        method: Option<&str>,
        now: i64,
    ) -> Option<Caller> {
        let verified = self.0.get(&token)?;
        let for_method = method.is_none() || verified.method.as_deref() == method;
        (now <= verified.good_until && for_method).then(|| verified.caller.clone())
    }

    pub(crate) fn remember(&self, token: TokenHash, verified: Verified) {
        self.0.insert(token, Arc::new(verified));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sha256;

    #[test]
    fn a_token_is_known_until_it_expires_and_for_its_method() {
        let (tokens, hash) = (VerifiedTokens::new(10), sha256(b"a.b.c"));
        let verified = Verified {
            caller: Caller::assumed("did:plc:abc"),
            method: Some("a.b.send".into()),
            good_until: 100,
        };
        tokens.remember(hash, verified);
        let caller = Some(Caller::assumed("did:plc:abc"));
        assert_eq!(tokens.caller(hash, Some("a.b.send"), 100), caller);
        assert_eq!(tokens.caller(hash, None, 100), caller);
        assert_eq!(tokens.caller(hash, Some("a.b.send"), 101), None);
        assert_eq!(tokens.caller(hash, Some("a.b.get"), 100), None);
    }
}

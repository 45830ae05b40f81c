//! Pure. What an operator may say about authentication.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::types::unprintable;

/// Settings of this area. Those marked *at start* are read once; the others
/// may change while the relay runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// At start. This service's DID, the audience of every token.
    pub service_did: String,
    /// At start. The PLC directory. Plain http is for one on this machine or a trusted network.
    pub plc_url: String,
    /// At start. The key that signs tickets, the same on all nodes; without it,
    /// the nodes share one through the database.
    pub ticket_secret: Option<TicketSecret>,

    /// Whether a token must name the method called in `lxm`.
    pub enforce_lxm: bool,
    /// Whether a token's `jti` may be used once only.
    pub enforce_jti: bool,
    /// The least time for which a used `jti` is remembered; it is remembered
    /// until a minute after the token expires in any case.
    pub jti_ttl: Duration,
    /// How far ahead of ours a minter's clock may be.
    pub iat_skew: Duration,
    /// How long after its `exp` a token still passes.
    pub exp_leeway: Duration,
    /// The longest life that a token may be given.
    pub token_lifetime_max: Duration,
    /// The longest token that is looked at, in bytes.
    pub token_len_max: usize,
    /// How long a subscription ticket is good for.
    pub ticket_ttl: Duration,

    /// How long one lookup of a DID document may take, and how long it
    /// may wait for its turn.
    pub resolve_timeout: Duration,
    /// At start. The longest DID document that is read, in bytes.
    pub document_len_max: usize,
    /// At start. Lookups in the PLC directory at once.
    pub plc_lookups_max: usize,
    /// At start. Lookups of `did:web` documents at once, shared out by network and domain.
    pub web_lookups_max: usize,
    /// Lookups running or waiting; past it, callers are told to wait.
    pub lookups_max: usize,

    /// At start. Accounts whose keys are remembered, at about 1 KiB each; and an eighth as
    /// many DIDs of which no key was found.
    pub keys_max: usize,
    /// How long a key is used without a thought.
    pub key_fresh_for: Duration,
    /// How long a key is used while it is looked up anew.
    pub key_stale_for: Duration,
    /// How long "no such account" is remembered.
    pub key_absent_for: Duration,
    /// How long after a failed lookup no other is tried for the DID.
    pub lookup_pause: Duration,
    /// At start. After a wrong signature the key is looked up anew, at most this
    /// often for one account.
    pub refresh_every: Duration,
    /// At start. And at most so many times a minute for one client network.
    pub refreshes_per_network: u32,

    /// At start. Used nonces remembered by this node, 110 bytes each (half of it is the
    /// cache's own), so that most replays cost no question to the database.
    pub nonces_max: usize,
    /// At start. Verified tokens remembered by this node, about 300 bytes each;
    /// they serve only where `enforce_jti` is off.
    pub verified_max: usize,
}

impl Settings {
    /// Lookups of documents under way at once.
    pub fn lookups_at_once(&self) -> usize {
        self.plc_lookups_max + self.web_lookups_max
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_did: "did:web:localhost".to_owned(),
            plc_url: "https://plc.directory".to_owned(),
            ticket_secret: None,
            enforce_lxm: true,
            enforce_jti: true,
            jti_ttl: Duration::from_secs(120),
            iat_skew: Duration::from_secs(30),
            exp_leeway: Duration::from_secs(5),
            token_lifetime_max: Duration::from_secs(300),
            token_len_max: 4096,
            ticket_ttl: Duration::from_secs(30),
            resolve_timeout: Duration::from_secs(3),
            document_len_max: 64 * 1024,
            plc_lookups_max: 64,
            web_lookups_max: 16,
            lookups_max: 1024,
            keys_max: 50_000,
            key_fresh_for: Duration::from_secs(3600),
            key_stale_for: Duration::from_secs(24 * 3600),
            key_absent_for: Duration::from_secs(60),
            lookup_pause: Duration::from_secs(2),
            refresh_every: Duration::from_secs(10),
            refreshes_per_network: 20,
            nonces_max: 100_000,
            verified_max: 20_000,
        }
    }
}

/// 32 bytes that sign tickets. Cannot be printed.
#[derive(Clone, Eq, PartialEq)]
pub struct TicketSecret([u8; 32]);

unprintable!(TicketSecret);

impl TicketSecret {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 32 bytes in base64url or base64, padded or not.
    pub fn parse(text: &str) -> Result<Self, TicketSecretError> {
        let url_safe = text
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_");
        let bytes = URL_SAFE_NO_PAD.decode(url_safe).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(TicketSecretError)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text is no secret of 32 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be 32 random bytes in base64, such as `openssl rand -base64 32` prints")]
pub struct TicketSecretError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_32_bytes_in_either_base64_and_cannot_be_printed() {
        let secret = TicketSecret::new([0xfb; 32]);
        for text in [
            "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=",
            "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s",
        ] {
            assert_eq!(TicketSecret::parse(text), Ok(secret.clone()));
        }
        for text in ["", "short", "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7"] {
            assert_eq!(TicketSecret::parse(text), Err(TicketSecretError));
        }
        assert_eq!(format!("{secret:?}"), "TicketSecret(~)");
    }
}

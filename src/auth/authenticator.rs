//! The way of a credential: find it, read it, refuse it cheaply if that is
//! possible, then prove it, then use up its nonce.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::Utc;
use http::HeaderMap;
use metrics::{Counter, counter};

use super::claims::Claims;
use super::key_cache::KeyCache;
use super::keyed_hash::KeyedHash;
use super::nonces::{Ledger, NonceKey, Nonces};
use super::refresh_budget::RefreshBudget;
use super::resolver::Resolver;
use super::ticket::TicketOffice;
use super::token::{Token, TokenError};
use super::verified::{Verified, VerifiedTokens};
use super::{AuthError, Caller, Claimed, Proof, SecondLook, Settings, TicketSecret, bearer};
use crate::outbound::{Endpoint, EndpointError, Fetcher};
use crate::runtime::{Live, Shutdown};
use crate::store::{CLOCKS_APART_MAX, Nonce, Store, StoreError};
use crate::types::{ClientIp, Did, IdentifierError, Nsid, sha256};

/// Proves who calls. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) settings: Live<Settings>,
    keys: KeyCache,
    pub(super) nonces: Nonces,
    verified: VerifiedTokens,
    pub(super) tickets: TicketOffice,
    pairs: KeyedHash,
    /// At hand, because finding it by name would cost a repeated token as much as
    /// its proof does.
    proved: Counter,
}

/// Why authentication cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("PLC_URL {0}")]
    PlcUrl(#[from] EndpointError),
    #[error("SERVICE_DID {0}")]
    ServiceDid(#[from] IdentifierError),
    #[error("the secret for tickets could not be read")]
    Store(#[from] StoreError),
    #[error("TLS for outgoing requests could not be set up")]
    Tls(#[from] rustls::Error),
}

impl Authenticator {
    /// Reads the settings marked *at start*, and the shared ticket secret unless
    /// the operator set one.
    pub async fn start(
        settings: Live<Settings>,
        store: Store,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let configured = settings.load().ticket_secret.clone();
        let secret = match configured {
            Some(secret) => secret,
            None => TicketSecret::new(store.shared_secret(TICKET_SECRET_NAME).await?),
        };
        Self::with_ledger(settings, Box::new(store), &secret, shutdown)
    }

    pub(super) fn with_ledger(
        settings: Live<Settings>,
        ledger: Box<dyn Ledger>,
        secret: &TicketSecret,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let now = settings.snapshot();
        let service = Did::parse(&now.service_did)?;
        let inner = Inner {
            keys: key_cache(&settings, shutdown)?,
            nonces: Nonces::new(ledger, now.nonces_max),
            verified: VerifiedTokens::new(now.verified_max),
            tickets: TicketOffice::new(service, secret),
            pairs: KeyedHash::new(secret, "mls-relay.pairs"),
            proved: outcome_counter("token", "proved"),
            settings,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// By what an account and another are counted together, the same on all nodes.
    pub fn pair(&self, one: &Did, other: &Did) -> [u8; 32] {
        self.0.pairs.of(&[one.expose(), other.expose()])
    }

    /// The caller of `call`, by the service token in `Authorization`, which is still to be used up.
    pub async fn prove(
        &self,
        headers: &HeaderMap,
        call: Nsid,
        client: ClientIp,
        look: SecondLook,
    ) -> Result<Proof, AuthError> {
        let proof = match bearer::find(headers) {
            Ok(token) => self.proof(token, call, client, look).await,
            Err(error) => Err(error),
        };
        match &proof {
            Ok(proof) if proof.nonce.is_none() => self.count(Ok(())),
            // It counts when the nonce has been used up.
            Ok(_) => {}
            Err(error) => self.count(Err(error)),
        }
        proof
    }

    /// Uses a token's nonce up, on all nodes.
    pub async fn use_up(&self, nonce: Nonce) -> Result<(), AuthError> {
        let outcome = match self.0.nonces.claim(nonce).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AuthError::TokenUsed),
            Err(error) => Err(error.into()),
        };
        self.count(outcome.as_ref().copied());
        outcome
    }

    /// A write has used a token's nonce up, or found that it was used (`new` is false).
    pub fn used_up(&self, nonce: Nonce, new: bool) {
        self.0.nonces.note(nonce, new);
        self.count(if new {
            Ok(())
        } else {
            Err(&AuthError::TokenUsed)
        });
    }

    fn count(&self, outcome: Result<(), &AuthError>) {
        match outcome {
            Ok(()) => self.0.proved.increment(1),
            Err(error) => outcome_counter("token", error.label()).increment(1),
        }
    }

    /// The account that a ticket of ours or a well-formed token names. A token proves
    /// nothing yet: this is for the limits, which decide whether the proof is worth its cost.
    pub fn claimed(&self, headers: &HeaderMap, query: Option<&str>) -> Option<Claimed> {
        let now = Utc::now().timestamp();
        // One that does not hold hides no token, which a call would go by.
        let ticket = query.and_then(ticket_in);
        let ticket = ticket.and_then(|text| self.0.tickets.check(&text, now).ok());
        if let Some(ticket) = ticket {
            return Some(Claimed {
                did: ticket.caller.did().clone(),
                by_ticket: true,
            });
        }
        let settings = self.0.settings.load();
        let text = bearer::find(headers).ok()?;
        let (_, claims) = self.read(text, &settings, None, now).ok()?;
        Some(Claimed {
            did: claims.issuer,
            by_ticket: false,
        })
    }

    /// Whether nobody else can show what names the account: a ticket, or a token that was
    /// proved before and may serve again. Where each token is used once, one that was proved
    /// is of no use to anyone.
    pub fn is_sure(&self, claimed: &Claimed, headers: &HeaderMap) -> bool {
        let is_proved = |text: &str| {
            let now = Utc::now().timestamp();
            let known = self.0.verified.caller(sha256(text.as_bytes()), None, now);
            known.is_some()
        };
        claimed.by_ticket
            || (!self.0.settings.load().enforce_jti && bearer::find(headers).is_ok_and(is_proved))
    }

    async fn proof(
        &self,
        text: &str,
        call: Nsid,
        client: ClientIp,
        look: SecondLook,
    ) -> Result<Proof, AuthError> {
        let settings = self.0.settings.snapshot();
        let now = Utc::now().timestamp();
        let method = settings.enforce_lxm.then(|| call.as_str());
        if settings.enforce_jti {
            let (token, claims) = self.read(text, &settings, method, now)?;
            let nonce = claims.nonce.as_ref();
            let nonce = nonce.map(|nonce| NonceKey::of(&claims.issuer, nonce));
            let nonce = nonce.ok_or(TokenError::NonceMissing)?;
            if self.0.nonces.is_used(nonce, now) {
                return Err(AuthError::TokenUsed);
            }
            self.check_signature(&token, &claims.issuer, client, look)
                .await?;
            return Ok(Proof {
                nonce: Some(self.remembered(nonce, claims.good_until, now)?),
                caller: Caller::proved(claims.issuer),
            });
        }
        let hash = sha256(text.as_bytes());
        if let Some(caller) = self.0.verified.caller(hash, method, now) {
            return Ok(Proof {
                caller,
                nonce: None,
            });
        }
        let (token, claims) = self.read(text, &settings, method, now)?;
        self.check_signature(&token, &claims.issuer, client, look)
            .await?;
        let caller = Caller::proved(claims.issuer);
        let verified = Verified {
            caller: caller.clone(),
            method: claims.method,
            good_until: claims.good_until,
        };
        self.0.verified.remember(hash, verified);
        Ok(Proof {
            caller,
            nonce: None,
        })
    }

    /// All that can be known of a token without asking anyone.
    fn read<'a>(
        &self,
        text: &'a str,
        settings: &Settings,
        method: Option<&str>,
        now: i64,
    ) -> Result<(Token<'a>, Claims), AuthError> {
        let mut token = Token::parse(text, settings.token_len_max)?;
        let service = self.0.tickets.service().expose();
        let claims = std::mem::take(&mut token.claims);
        Ok((token, claims.check(service, method, settings, now)?))
    }

    /// Against the account's key as we know it; if it does not fit, once more
    /// against a key looked up anew, because accounts rotate their keys.
    async fn check_signature(
        &self,
        token: &Token<'_>,
        issuer: &Did,
        client: ClientIp,
        look: SecondLook,
    ) -> Result<(), AuthError> {
        let keys = &self.0.keys;
        let unknown = |source| AuthError::Issuer {
            source,
            pause: self.0.settings.load().lookup_pause,
        };
        let known = keys.key(issuer, client.network()).await;
        let known = known.map_err(unknown)?;
        if known
            .key
            .verifies(token.alg, token.signed, &token.signature)
        {
            return Ok(());
        }
        // One that was looked up for this very token is the current one.
        if known.is_new || look == SecondLook::Denied {
            return Err(AuthError::SignatureWrong);
        }
        let other = keys.other_key(issuer, &known.key, client.network()).await;
        match other.map_err(unknown)? {
            Some(key) if key.verifies(token.alg, token.signed, &token.signature) => Ok(()),
            _ => Err(AuthError::SignatureWrong),
        }
    }

    /// Remembered for as long as the token could pass by anybody's clock, or longer if so set.
    pub(super) fn remembered(
        &self,
        nonce: NonceKey,
        expires_at: i64,
        now: i64,
    ) -> Result<Nonce, AuthError> {
        let ttl = self.0.settings.load().jti_ttl;
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let until = expires_at.saturating_add(CLOCKS_APART_MAX.as_secs().cast_signed());
        let until = until.max(now.saturating_add(ttl));
        Ok(nonce.until(until).ok_or(StoreError::Shape)?)
    }
}

/// What a query says under the name by which subscriptions take tickets.
fn ticket_in(query: &str) -> Option<Cow<'_, str>> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(name, _)| name == "ticket")
        .map(|(_, value)| value)
}

fn key_cache(settings: &Live<Settings>, shutdown: Shutdown) -> Result<KeyCache, StartError> {
    let now = settings.snapshot();
    let plc = Endpoint::parse(&now.plc_url)?;
    let fetcher = Fetcher::new(now.document_len_max)?;
    let budget = RefreshBudget::new(
        now.refresh_every,
        now.refreshes_per_network,
        now.keys_max / REFRESHED_PART,
    );
    let resolver = Resolver::new(fetcher, plc, settings.clone());
    Ok(KeyCache::new(resolver, settings.clone(), budget, shutdown))
}

pub(super) fn outcome_counter(credential: &'static str, outcome: &'static str) -> Counter {
    counter!("relay_auth_checks_total", "credential" => credential, "outcome" => outcome)
}

/// The name of the shared secret in the store.
const TICKET_SECRET_NAME: &str = "ticket";

/// Of so many accounts and networks, as a part of those whose keys are remembered, forced
/// refreshes are counted: more than can be spent within a minute.
const REFRESHED_PART: usize = 5;

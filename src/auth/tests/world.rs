//! A directory with one account, and a node that asks it.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use serde_json::{Value, json};

use super::MemoryLedger;
use crate::auth::{AuthError, Authenticator, Caller, SecondLook, Settings, TicketSecret};
use crate::runtime::{Live, Shutdown};
use crate::types::{ClientIp, Nsid};
use crate::wire::XrpcError;

pub(super) const SERVICE: &str = "did:web:relay.test";
pub(super) const CALL: Nsid = Nsid::SendMessage;

/// A directory with one account, and a node that asks it.
pub(super) struct World {
    pub(super) directory: Directory,
    pub(super) account: Account,
    pub(super) ledger: MemoryLedger,
    pub(super) settings: Settings,
    pub(super) node: Authenticator,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = Directory::start().await.unwrap();
        let account = Account::generate(Curve::Secp256k1).unwrap();
        directory.publish(&account);
        let mut settings = Settings {
            service_did: SERVICE.to_owned(),
            plc_url: directory.url(),
            resolve_timeout: Duration::from_millis(500),
            ..Settings::default()
        };
        change(&mut settings);
        let ledger = MemoryLedger::default();
        Self {
            node: node(&settings, &ledger),
            directory,
            account,
            ledger,
            settings,
        }
    }

    pub(super) fn token(&self) -> String {
        let minute = Duration::from_secs(60);
        let token = self.account.service_token(SERVICE, CALL.as_str(), minute);
        token.unwrap()
    }

    /// A signed token with some claims changed; null takes one away.
    pub(super) fn token_with(&self, changes: &Value) -> String {
        let minute = Duration::from_secs(60);
        let claims = self.account.claims(SERVICE, CALL.as_str(), minute);
        let mut claims = claims.unwrap();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.sign(
            &json!({"typ": "JWT", "alg": self.account.key().alg()}),
            &claims,
        )
    }

    pub(super) fn token_headed(&self, header: &Value) -> String {
        let minute = Duration::from_secs(60);
        let claims = self.account.claims(SERVICE, CALL.as_str(), minute);
        self.sign(header, &claims.unwrap())
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.account.sign_token(header, claims).unwrap()
    }

    pub(super) async fn caller(&self, token: &str) -> Result<Caller, AuthError> {
        caller(&self.node, token).await
    }

    /// What the peer would hear.
    pub(super) async fn refusal(&self, token: &str) -> XrpcError {
        self.caller(token).await.unwrap_err().into()
    }
}

pub(super) fn node(settings: &Settings, ledger: &MemoryLedger) -> Authenticator {
    Authenticator::with_ledger(
        Live::new(settings.clone()),
        Box::new(ledger.clone()),
        &TicketSecret::new([7; 32]),
        Shutdown::default(),
    )
    .unwrap()
}

pub(super) async fn caller(node: &Authenticator, token: &str) -> Result<Caller, AuthError> {
    of_call(node, &bearing(token), CALL).await
}

/// The caller of a call, whose token is used up.
pub(super) async fn of_call(
    node: &Authenticator,
    headers: &HeaderMap,
    call: Nsid,
) -> Result<Caller, AuthError> {
    let look = SecondLook::Allowed;
    let proof = node.prove(headers, call, client(), look).await?;
    if let Some(nonce) = proof.nonce {
        node.use_up(nonce).await?;
    }
    Ok(proof.caller)
}

pub(super) fn bearing(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    headers.insert(AUTHORIZATION, value);
    headers
}

pub(super) fn client() -> ClientIp {
    ClientIp::new([192, 0, 2, 1].into())
}

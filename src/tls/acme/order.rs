//! One order: account, authorizations, proof, certificate (RFC 8555 section 7.4).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::client::DirectoryClient;
use super::error::AcmeError;
use super::{Domain, Settings};
use crate::store::Store;
use crate::tls::CertError;

/// Everything that one order needs.
pub(super) struct Ordering<'a> {
    pub(super) settings: &'a Settings,
    pub(super) store: &'a Store,
    pub(super) client: &'a DirectoryClient,
    /// How long the answers to challenges are kept.
    pub(super) challenge_ttl: Duration,
}

impl Ordering<'_> {
    /// A certificate for all domains, with a key of its own: chain and key, PEM.
    pub(super) async fn obtain(&self, account: Option<&str>) -> Result<String, AcmeError> {
        let account = match account {
            Some(credentials) => self.known_account(credentials).await?,
            None => self.new_account().await?,
        };
        let domains = &self.settings.domains;
        let identifiers: Vec<_> = domains
            .iter()
            .map(|domain| Identifier::Dns(domain.to_string()))
            .collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        self.prove(&mut order).await?;
        let key = KeyPair::generate().map_err(CertError::from)?;
        order.finalize_csr(&request(domains, &key)?).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        Ok(format!("{chain}\n{}", key.serialize_pem()))
    }

    async fn known_account(&self, credentials: &str) -> Result<Account, AcmeError> {
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let credentials = serde_json::from_str(credentials)?;
        Ok(builder.from_credentials(credentials).await?)
    }

    async fn new_account(&self) -> Result<Account, AcmeError> {
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let contact = self.settings.contact.iter();
        let contact: Vec<_> = contact.map(|mail| format!("mailto:{mail}")).collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = &self.settings.directory;
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        let credentials = serde_json::to_string(&credentials)?;
        let keep = self.store.keep_acme_account(directory, Some(&credentials));
        keep.await?;
        Ok(account)
    }

    /// Shows the directory that every domain leads here.
    async fn prove(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            // Proved not long ago, for another order.
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let Identifier::Dns(domain) = authorization.identifier().identifier.clone() else {
                return Err(AcmeError::NoChallenge);
            };
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or(AcmeError::NoChallenge)?;
            let digest = challenge.key_authorization().digest();
            // Before the directory may ask, on whatever node.
            let put = self
                .store
                .put_acme_challenge(&domain, digest.as_ref(), self.challenge_ttl);
            put.await?;
            challenge.set_ready().await?;
        }
        let outcome = order.poll_ready(&PATIENCE).await;
        if let Ok(OrderStatus::Ready) = outcome {
            return Ok(());
        }
        // The order says that it failed, its challenges say why.
        match complaint(order).await? {
            Some(problem) => Err(AcmeError::NotProved(Box::new(problem))),
            None => Err(AcmeError::Refused(outcome?)),
        }
    }
}

/// What the directory met when it asked.
async fn complaint(order: &mut Order) -> Result<Option<Problem>, AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let challenges = &authorization.refresh().await?.challenges;
        let problem = challenges
            .iter()
            .find_map(|challenge| challenge.error.clone());
        if problem.is_some() {
            return Ok(problem);
        }
    }
    Ok(None)
}

/// The certificate signing request (RFC 8555 section 7.4): the names and nothing else.
fn request(domains: &[Domain], key: &KeyPair) -> Result<Vec<u8>, CertError> {
    let names: Vec<_> = domains.iter().map(Domain::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Validation takes seconds; directories under load take longer.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(50));

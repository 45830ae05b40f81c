//! Answers a directory that asks whether a domain is ours, on whichever node it reaches.

use std::error::Error;
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::Domain;
use crate::store::Store;
use crate::telemetry::with_causes;

/// The protocol of the challenge (RFC 8737 section 6.2).
pub(crate) const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// What this relay can be asked. Clones share it.
#[derive(Clone, Debug)]
pub struct Challenges {
    domains: Arc<[Domain]>,
    store: Store,
}

impl Challenges {
    pub(super) fn new(domains: &[Domain], store: Store) -> Self {
        Self {
            domains: domains.into(),
            store,
        }
    }

    /// How to shake hands with whoever asks about a name; None if it is not being proved.
    pub(in crate::tls) async fn answer(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let answer = self.find(name).await;
        let outcome = if answer.is_some() {
            "answered"
        } else {
            "unknown"
        };
        metrics::counter!("relay_acme_challenges_total", "outcome" => outcome).increment(1);
        answer
    }

    async fn find(&self, name: &str) -> Option<Arc<ServerConfig>> {
        // Strangers can ask too: only our own names are worth a question to Postgres.
        let domain = self.domains.iter().find(|domain| domain.as_str() == name)?;
        let config = match self.store.acme_challenge(domain.as_str()).await {
            Ok(digest) => config(domain, &digest?),
            Err(error) => Err(error.into()),
        };
        let config = config.inspect_err(|error| {
            let error = with_causes(&**error);
            tracing::warn!(error, "a challenge cannot be answered");
        });
        config.ok().map(Arc::new)
    }
}

/// A certificate that carries the digest of the key authorization (RFC 8737 section 3).
fn config(domain: &Domain, digest: &[u8]) -> Result<ServerConfig, Box<dyn Error>> {
    let mut params = CertificateParams::new(vec![domain.to_string()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider.key_provider.load_private_key(key.into())?;
    // Not checked against its key: webpki refuses the extension, which must be critical.
    let certified = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
    Ok(config)
}

//! Pure. Mutual TLS: the authorities whose certificates a connection must show.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificate::chain_of;
use super::error::CertError;
use super::files::FromFiles;

/// The bundle of authorities.
#[derive(Clone, Debug)]
pub(super) struct ClientRoots(Arc<RootCertStore>);

impl ClientRoots {
    /// Refuses a client that shows no certificate of these authorities.
    pub(super) fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, CertError> {
        let roots = Arc::clone(&self.0);
        Ok(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
    }
}

impl FromFiles for ClientRoots {
    fn from_files(contents: &[Vec<u8>]) -> Result<Self, CertError> {
        let mut roots = RootCertStore::empty();
        for certificate in chain_of(&contents.concat())? {
            roots.add(certificate).map_err(CertError::Authority)?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Each connection's chain is checked against the clock anyway.
    fn check_time(&self, _now: SystemTime) -> Result<(), CertError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_an_authority_is_called_so() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let refused = ClientRoots::from_files(&[pem.to_vec()]).unwrap_err();
        assert!(matches!(refused, CertError::Authority(_)), "{refused:?}");
    }
}

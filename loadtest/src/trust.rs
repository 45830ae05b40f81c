//! Whom a client trusts: exactly the certificates in a file, whether they are of authorities
//! or of relays.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::relay::ConnectError;

/// A client that trusts the certificates in this file.
pub(crate) fn client(file: &Path) -> Result<ClientConfig, ConnectError> {
    let trusted = Trusted::read(file)?;
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Certificate)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trusted))
        .with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Trusted {
    webpki: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn read(file: &Path) -> Result<Self, ConnectError> {
        let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        let certificates: Vec<_> = certificates.map_err(|source| ConnectError::Roots {
            path: file.to_owned(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(CertificateDer::clone(certificate));
            added.map_err(ConnectError::Certificate)?;
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        // It refuses to be without certificates.
        let webpki = webpki
            .build()
            .map_err(|_| ConnectError::NoRoots(file.to_owned()))?;
        Ok(Self {
            webpki,
            certificates,
        })
    }
}

impl ServerCertVerifier for Trusted {
    /// `openssl req -x509` makes certificates that may vouch for others, too, which webpki
    /// takes from no server. One that is in the file itself is meant.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let webpki = &self.webpki;
        match webpki.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.certificates.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let webpki = &self.webpki;
        webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let webpki = &self.webpki;
        webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn certificate(is_ca: IsCa) -> Certificate {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    /// Whether a client that has this file takes this certificate from that host.
    fn takes(file: &Certificate, shown: &Certificate, host: &'static str) -> bool {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file.pem()).unwrap();
        let trusted = Trusted::read(path.path()).unwrap();
        let host = ServerName::try_from(host).unwrap();
        let verdict = trusted.verify_server_cert(shown.der(), &[], &host, &[], UnixTime::now());
        verdict.is_ok()
    }

    #[test]
    fn a_certificate_that_vouches_for_itself_is_taken_where_the_file_has_it() {
        let authority = IsCa::Ca(BasicConstraints::Unconstrained);
        for is_ca in [authority, IsCa::ExplicitNoCa] {
            let (ours, other) = (certificate(is_ca), certificate(is_ca));
            assert!(takes(&ours, &ours, "localhost"));
            assert!(!takes(&ours, &ours, "relay.example.com"));
            assert!(!takes(&ours, &other, "localhost"));
        }
    }
}

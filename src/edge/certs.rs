//! The certificate in force: loaded, checked, and replaceable while serving.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::CertError;

/// Hands every handshake the newest certificate. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Current>);

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl Certificates {
    /// Loads a chain and its key. Refuses a key that does not match.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, CertError> {
        let current = ArcSwap::from_pointee(certified(cert, key)?);
        Ok(Self(Arc::new(Current(current))))
    }

    /// Replaces it for the handshakes to come. On any error the old one stays.
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<(), CertError> {
        self.0.0.store(Arc::new(certified(cert, key)?));
        Ok(())
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(cert: &Path, key: &Path) -> Result<CertifiedKey, CertError> {
    let chain = chain(cert)?;
    if chain.is_empty() {
        return Err(CertError::NoCertificate(cert.to_owned()));
    }
    let private = private_key(key)?.ok_or_else(|| CertError::NoKey(key.to_owned()))?;
    let provider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(|source| CertError::Mismatch {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let pem = read(path)?;
    rustls_pemfile::certs(&mut pem.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|source| unreadable(path, source))
}

fn private_key(path: &Path) -> Result<Option<PrivateKeyDer<'static>>, CertError> {
    let pem = read(path)?;
    rustls_pemfile::private_key(&mut pem.as_slice()).map_err(|source| unreadable(path, source))
}

fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    fs::read(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: std::io::Error) -> CertError {
    CertError::Read {
        path: path.to_owned(),
        source,
    }
}

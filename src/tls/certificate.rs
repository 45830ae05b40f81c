//! Pure. One certificate with its key: that they fit, and what the leaf says of itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use super::error::CertError;

/// A chain whose leaf has the key that came with it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names it is for (RFC 5280 section 4.2.1.6), in lower case; a first
    /// label may be `*`.
    pub(super) names: Vec<String>,
    pub(super) begins: SystemTime,
    pub(super) ends: SystemTime,
}

impl Certificate {
    /// Refuses a key that does not match.
    pub(super) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertError> {
        let chain = chain_of(chain)?;
        let leaf = chain.first().ok_or(CertError::NoCertificate)?;
        let leaf = x509_cert::Certificate::from_der(leaf).map_err(CertError::Malformed)?;
        let key = rustls_pemfile::private_key(&mut &key[..]).map_err(CertError::Pem)?;
        let key = key.ok_or(CertError::NoKey)?;
        let validity = &leaf.tbs_certificate.validity;
        let names = names_of(&leaf)?;
        Ok(Self {
            names,
            begins: time(validity.not_before),
            ends: time(validity.not_after),
            key: CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
                .map_err(CertError::Mismatch)?
                .into(),
        })
    }

    /// Whether clients whose clock says `now` would accept it.
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), CertError> {
        if now < self.begins {
            Err(CertError::NotYetValid)
        } else if now >= self.ends {
            Err(CertError::Expired)
        } else {
            Ok(())
        }
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.ends.duration_since(self.begins).unwrap_or_default()
    }

    /// How long it is still good.
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        self.ends.duration_since(now).unwrap_or_default()
    }

    /// Whether its end is near: within `alarm`, or in the last quarter of a short life.
    pub(super) fn ends_soon(&self, now: SystemTime, alarm: Duration) -> bool {
        self.left(now) < alarm.min(self.lifetime() / 4)
    }

    /// Whether it is for the name, in lower case: itself or by a wildcard for its first
    /// label (RFC 9525 section 6.3).
    pub(super) fn is_for(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let mut names = self.names.iter();
        names.any(|of| of == name || Some(of) == wildcard.as_ref())
    }
}

/// Every certificate of a PEM text, in order.
pub(super) fn chain_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let mut pem = pem;
    let certificates: Vec<_> = rustls_pemfile::certs(&mut pem)
        .collect::<Result<_, _>>()
        .map_err(CertError::Pem)?;
    match certificates.is_empty() {
        true => Err(CertError::NoCertificate),
        false => Ok(certificates),
    }
}

fn names_of(leaf: &x509_cert::Certificate) -> Result<Vec<String>, CertError> {
    let names = leaf.tbs_certificate.get::<SubjectAltName>();
    let Some((_, SubjectAltName(names))) = names.map_err(CertError::Malformed)? else {
        return Ok(Vec::new());
    };
    let dns = names.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    Ok(dns.collect())
}

fn time(time: Time) -> SystemTime {
    UNIX_EPOCH + time.to_unix_duration()
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A chain and its key for these names, good for these years.
    pub(crate) fn pem(names: &[&str], years: (i32, i32)) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn certificate(names: &[&str]) -> Certificate {
        let (chain, key) = pem(names, (2020, 2090));
        Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn it_knows_its_names_and_its_time() {
        let (chain, key) = pem(&["Relay.example.com", "*.a.example"], (2020, 2030));
        let it = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert!(it.is_for("relay.example.com") && it.is_for("b.a.example"));
        for name in ["a.example", "c.b.a.example", "other.example.com"] {
            assert!(!it.is_for(name), "{name}");
        }
        let year = |year: u64| UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952);
        assert!(matches!(
            it.check_time(year(2019)),
            Err(CertError::NotYetValid)
        ));
        assert!(it.check_time(year(2025)).is_ok());
        assert!(matches!(it.check_time(year(2031)), Err(CertError::Expired)));
        let fortnight = Duration::from_secs(14 * 86_400);
        assert!(!it.ends_soon(it.ends - Duration::from_secs(15 * 86_400), fortnight));
        assert!(it.ends_soon(it.ends - Duration::from_secs(13 * 86_400), fortnight));
        // An alarm that is longer than its life would never end.
        assert!(!it.ends_soon(it.begins, Duration::from_secs(20 * 31_556_952)));
    }

    #[test]
    fn another_key_no_key_and_no_certificate_are_refused() {
        let (chain, key) = pem(&["a.example"], (2020, 2030));
        let (_, other) = pem(&["a.example"], (2020, 2030));
        let refusal = |chain: &str, key: &str| {
            let refused = Certificate::from_pem(chain.as_bytes(), key.as_bytes());
            refused.unwrap_err().to_string()
        };
        assert_eq!(
            refusal(&chain, &other),
            "the key does not match the certificate"
        );
        let no_key = "the file of the key holds none that is not encrypted";
        assert_eq!(refusal(&chain, &chain), no_key);
        assert_eq!(refusal(&key, &key), "the file of certificates holds none");
        let cut = &chain[..chain.len() / 2];
        assert_eq!(refusal(cut, &key), "it is not PEM");
    }
}

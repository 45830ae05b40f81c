//! Pure. Which certificate a client gets: by the name it asks for (RFC 6066 section 3),
//! else the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The certificates in force, by name.
#[derive(Debug, Default)]
pub(super) struct Selection {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Option<Arc<CertifiedKey>>,
}

impl Selection {
    /// Earlier ones win.
    pub(super) fn of<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> Self {
        let mut selection = Self::default();
        for certificate in certificates {
            for name in &certificate.names {
                let of_name = selection.by_name.entry(name.clone()).or_default();
                of_name.push(Arc::clone(&certificate.key));
            }
            selection
                .first
                .get_or_insert_with(|| Arc::clone(&certificate.key));
        }
        selection
    }

    /// None only while there is none at all. Of several for one name, such as an ECDSA
    /// and an RSA one, it is the first that the client can verify.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let of_name = name.as_deref().and_then(|name| {
            let wildcard = || format!("*.{}", name.split_once('.').map_or("", |(_, rest)| rest));
            self.by_name
                .get(name)
                .or_else(|| self.by_name.get(&wildcard()))
        });
        let Some(of_name) = of_name else {
            return self.first.clone();
        };
        let can_verify = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let fitting = of_name.iter().find(can_verify);
        fitting.or(of_name.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::tests::certificate;

    const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

    #[test]
    fn a_name_gets_its_own_certificate_and_everyone_else_the_first() {
        let (first, second) = (certificate(&["a.example"]), certificate(&["*.b.example"]));
        let selection = Selection::of([&first, &second]);
        for (name, expected) in [
            (Some("a.example"), &first),
            (Some("A.Example"), &first),
            (Some("x.b.example"), &second),
            (Some("b.example"), &first),
            (Some("y.x.b.example"), &first),
            (None, &first),
        ] {
            let chosen = selection.choose(name, SCHEMES).unwrap();
            assert!(Arc::ptr_eq(&chosen, &expected.key), "{name:?}");
        }
        assert!(Selection::default().choose(None, SCHEMES).is_none());
    }

    #[test]
    fn of_two_for_one_name_the_first_that_the_client_can_verify_is_chosen() {
        let ecdsa = certificate(&["a.example"]);
        let mut edwards = certificate(&["a.example"]);
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let chain = params.self_signed(&pair).unwrap().pem();
        edwards.key = Certificate::from_pem(chain.as_bytes(), pair.serialize_pem().as_bytes())
            .unwrap()
            .key;
        let selection = Selection::of([&edwards, &ecdsa]);
        let chosen = selection.choose(Some("a.example"), SCHEMES).unwrap();
        assert!(Arc::ptr_eq(&chosen, &ecdsa.key));
        let chosen = selection.choose(Some("a.example"), &[SignatureScheme::ED25519]);
        assert!(Arc::ptr_eq(&chosen.unwrap(), &edwards.key));
    }
}

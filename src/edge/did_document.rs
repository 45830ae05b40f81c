//! Pure. The relay's own DID document, for a `did:web` service (`/.well-known/did.json`).

use bytes::Bytes;
use serde_json::json;

/// The document, ready to send.
#[derive(Clone, Debug)]
pub struct DidDocument(Bytes);

impl DidDocument {
    /// The document of `service_did`, or None when it is no `did:web` of a whole host:
    /// any other DID's document is published elsewhere. `public_url` is the endpoint;
    /// without it, it is the host that the DID names. `receipt_key` is the Multikey
    /// under which receipts for commits verify.
    pub fn new(service_did: &str, public_url: Option<&str>, receipt_key: &str) -> Option<Self> {
        let host = service_did.strip_prefix("did:web:")?;
        // A further colon would be a path, whose document is not at the well-known place.
        if host.contains(':') {
            return None;
        }
        let endpoint = match public_url {
            Some(url) => url.to_owned(),
            // A port's colon is escaped in a did:web (its specification, section 3.1).
            None => format!("https://{}", host.replace("%3A", ":").replace("%3a", ":")),
        };
        let document = json!({
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": service_did,
            "verificationMethod": [{
                "id": format!("{service_did}#mls_receipts"),
                "type": "Multikey",
                "controller": service_did,
                "publicKeyMultibase": receipt_key,
            }],
            "service": [{
                "id": "#atproto_mls",
                "type": "AtprotoMlsService",
                "serviceEndpoint": endpoint,
            }],
        });
        Some(Self(Bytes::from(document.to_string())))
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(did: &str, url: Option<&str>) -> String {
        let document = DidDocument::new(did, url, "z6Mk").unwrap();
        let value: serde_json::Value = serde_json::from_slice(&document.0).unwrap();
        assert_eq!(value["id"], did);
        assert_eq!(value["verificationMethod"][0]["publicKeyMultibase"], "z6Mk");
        assert_eq!(value["service"][0]["id"], "#atproto_mls");
        assert_eq!(value["service"][0]["type"], "AtprotoMlsService");
        value["service"][0]["serviceEndpoint"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_endpoint_is_the_public_url_or_the_host_of_the_did() {
        assert_eq!(
            endpoint("did:web:relay.example.com", None),
            "https://relay.example.com"
        );
        assert_eq!(
            endpoint("did:web:localhost%3A8443", None),
            "https://localhost:8443"
        );
        assert_eq!(
            endpoint("did:web:localhost%3a8443", None),
            "https://localhost:8443"
        );
        assert_eq!(
            endpoint(
                "did:web:relay.example.com",
                Some("https://edge.example.com")
            ),
            "https://edge.example.com"
        );
    }

    #[test]
    fn only_a_did_web_of_a_whole_host_has_its_document_here() {
        assert!(DidDocument::new("did:plc:abc", None, "z6Mk").is_none());
        assert!(DidDocument::new("did:web:example.com:user", None, "z6Mk").is_none());
    }
}

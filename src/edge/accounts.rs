//! The end of an account, for operators, on their own listener. People delete devices
//! by themselves; an account ends with its identity, which the relay does not watch.
//!
//! `DELETE /accounts?did=did:plc:…`

use chrono::Utc;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::route::{self, json as json_response};
use crate::refusal::wrong_method;
use crate::store::Store;
use crate::types::Did;
use crate::wire::{Body, XrpcError, invalid};

/// Answers a request for `/accounts` with how much was deleted.
pub(super) async fn answer<B>(request: &Request<B>, store: &Store) -> Response<Body> {
    if *request.method() != Method::DELETE {
        return wrong_method("DELETE").into_response();
    }
    let Some(did) = named(request.uri().query()) else {
        return invalid("did", "must be a DID, such as did:plc:…").into_response();
    };
    let gone = match store.delete_account(&did, Utc::now()).await {
        Ok(gone) => gone,
        Err(error) => return XrpcError::from(error).into_response(),
    };
    tracing::info!(
        devices = gone.devices,
        key_packages = gone.key_packages,
        welcomes = gone.welcomes,
        conversations = gone.conversations,
        opt_ins = gone.opt_ins,
        "an account was deleted"
    );
    let body = json!({
        "devices": gone.devices,
        "keyPackages": gone.key_packages,
        "welcomes": gone.welcomes,
        "conversations": gone.conversations,
        "optIns": gone.opt_ins,
    });
    json_response(StatusCode::OK, body.to_string())
}

fn named(query: Option<&str>) -> Option<Did> {
    route::named(query?, "did", Did::parse)?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_in_full_or_not_at_all() {
        for query in ["did=did:plc:abc", "did=did%3Aplc%3Aabc"] {
            assert_eq!(named(Some(query)), Did::parse("did:plc:abc").ok());
        }
        // With a port, as it stands and escaped.
        for query in [
            "did=did:web:b.example%3A1",
            "did=did%3Aweb%3Ab.example%253A1",
        ] {
            assert_eq!(named(Some(query)), Did::parse("did:web:b.example%3A1").ok());
        }
        for query in [None, Some(""), Some("did="), Some("did=abc"), Some("did")] {
            assert!(named(query).is_none(), "{query:?}");
        }
    }
}

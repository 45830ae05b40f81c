//! Two nodes on one Postgres prove callers as one: a token passes once, a ticket of
//! the one opens a stream at the other.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use mls_relay::auth::{AuthError, Authenticator, Caller, SecondLook, Settings};
use mls_relay::runtime::Live;
use mls_relay::types::{ClientIp, Nsid};
use mls_relay::wire::XrpcError;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;

use crate::database::Database;
use crate::relay::{SERVICE_DID, token};

const CALL: Nsid = Nsid::GetConvos;

async fn node(database: &Database, directory: &Directory) -> Authenticator {
    let (store, shutdown) = database.store().await;
    let settings = Settings {
        service_did: SERVICE_DID.to_owned(),
        plc_url: directory.url(),
        ..Settings::default()
    };
    Authenticator::start(Live::new(settings), store, shutdown)
        .await
        .unwrap()
}

async fn caller(node: &Authenticator, token: &str) -> Result<Caller, AuthError> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    headers.insert(AUTHORIZATION, value);
    let client = ClientIp::new([192, 0, 2, 1].into());
    let look = SecondLook::Allowed;
    let proof = node.prove(&headers, CALL, client, look).await?;
    if let Some(nonce) = proof.nonce {
        node.use_up(nonce).await?;
    }
    Ok(proof.caller)
}

async fn redeem(node: &Authenticator, token: &str) -> Result<Caller, AuthError> {
    node.redeem(node.check_ticket(token)?).await
}

#[tokio::test]
async fn a_token_passes_once_and_a_ticket_opens_once_on_two_nodes() {
    let database = Database::start().await;
    let directory = Directory::start().await.unwrap();
    let account = directory.account(Curve::Secp256k1).unwrap();
    let here = node(&database, &directory).await;
    let there = node(&database, &directory).await;

    let token = token(&account, "getConvos");
    let (first, second) = tokio::join!(caller(&here, &token), caller(&there, &token));
    let passed = [&first, &second].iter().filter(|c| c.is_ok()).count();
    assert_eq!(passed, 1, "{first:?} {second:?}");
    for node in [&here, &there] {
        let refusal = XrpcError::from(caller(node, &token).await.unwrap_err());
        assert_eq!(refusal.name, "JwtReplayed");
    }

    let proved = first.or(second).unwrap();
    let ticket = here.issue_ticket(&proved, None).unwrap();
    let redeemed = redeem(&there, &ticket.token).await.unwrap();
    assert_eq!(redeemed, proved);
    for node in [&here, &there] {
        let refusal = XrpcError::from(redeem(node, &ticket.token).await.unwrap_err());
        assert_eq!(refusal.name, "JwtReplayed");
    }
}

//! What it costs to know who calls: a token seen before, a fresh token on either
//! curve, and a fresh token whose nonce goes through Postgres.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/node.rs"]
mod node;

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_FIXED, ParsedPublicKey};
use figure::Figure;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use mls_relay::auth::{Authenticator, SecondLook, Settings};
use mls_relay::runtime::Live;
use mls_relay::types::{ClientIp, Nsid};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve, SigningKey};
use node::Node;
use p256::ecdsa::signature::{Signer, Verifier};

const SERVICE: &str = "did:web:relay.test";
const CALL: Nsid = Nsid::SendMessage;
const FRESH: usize = 2_000;
const REPEATED: usize = 200_000;
const AT_ONCE: usize = 64;

#[tokio::main]
async fn main() {
    let postgres = Node::start(&[]).await;
    let directory = Directory::start().await.unwrap();
    let (store, shutdown) = (postgres.store.clone(), postgres.shutdown.clone());
    let [single, many] = [true, false].map(|enforce_jti| Settings {
        service_did: SERVICE.to_owned(),
        plc_url: directory.url(),
        enforce_jti,
        ..Settings::default()
    });
    let single = Authenticator::start(Live::new(single), store.clone(), shutdown.clone());
    let single = single.await.unwrap();
    let many = Authenticator::start(Live::new(many), store, shutdown);
    let many = many.await.unwrap();

    for curve in [Curve::P256, Curve::Secp256k1] {
        let account = directory.account(curve).unwrap();
        fresh(&many, &account, curve).await;
        if curve == Curve::Secp256k1 {
            repeated(&many, &account).await;
            single_use(&single, &account).await;
        }
    }
    library_of_es256k();
}

fn headers(account: &Account) -> HeaderMap {
    let minutes = Duration::from_secs(240);
    let token = account.service_token(SERVICE, CALL.as_str(), minutes);
    let value = HeaderValue::from_str(&format!("Bearer {}", token.unwrap())).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

async fn prove(node: &Authenticator, headers: &HeaderMap) {
    let client = ClientIp::new([192, 0, 2, 1].into());
    let proof = node.prove(headers, CALL, client, SecondLook::Allowed).await;
    if let Some(nonce) = proof.unwrap().nonce {
        node.use_up(nonce).await.unwrap();
    }
}

/// Reading, claims and signature, with the key at hand; beside the bare signature
/// check of another implementation.
async fn fresh(node: &Authenticator, account: &Account, curve: Curve) {
    prove(node, &headers(account)).await;
    let tokens: Vec<HeaderMap> = (0..FRESH).map(|_| headers(account)).collect();
    let start = Instant::now();
    for headers in &tokens {
        prove(node, headers).await;
    }
    let ours = micros_each(start, FRESH);
    let (name, baseline) = match curve {
        Curve::P256 => ("auth_fresh_token_es256_vs_p256_crate", bare_p256()),
        Curve::Secp256k1 => ("auth_fresh_token_es256k_vs_k256_crate", bare_k256()),
    };
    Figure::new(name, ours, "us")
        .under(baseline)
        .goal("60 us for ES256, 200 us for ES256K")
        .record();
}

async fn repeated(node: &Authenticator, account: &Account) {
    let headers = headers(account);
    prove(node, &headers).await;
    let start = Instant::now();
    for _ in 0..REPEATED {
        prove(node, &headers).await;
    }
    Figure::new(
        "repeated_token_ns",
        micros_each(start, REPEATED) * 1e3,
        "ns",
    )
    .goal("below 1000")
    .record();
}

/// The default: every token once, decided by Postgres.
async fn single_use(node: &Authenticator, account: &Account) {
    let tokens: Vec<HeaderMap> = (0..FRESH).map(|_| headers(account)).collect();
    let start = Instant::now();
    for batch in tokens.chunks(AT_ONCE) {
        futures_util::future::join_all(batch.iter().map(|headers| prove(node, headers))).await;
    }
    Figure::new(
        "auth_single_use_tokens_64_at_once",
        FRESH as f64 / start.elapsed().as_secs_f64(),
        "tokens/s",
    )
    .goal("as the signatures allow")
    .record();
}

/// Why ES256K has a library of its own.
fn library_of_es256k() {
    let signer = SigningKey::generate(Curve::Secp256k1).unwrap();
    let signature = signer.sign(MESSAGE).unwrap();
    let key = ParsedPublicKey::new(&ECDSA_P256K1_SHA256_FIXED, signer.compressed()).unwrap();
    let start = Instant::now();
    for _ in 0..FRESH {
        key.verify_sig(MESSAGE, &signature).unwrap();
    }
    let (ours, baseline) = (bare_k256(), micros_each(start, FRESH));
    Figure::new("es256k_signature_k256_vs_aws_lc", ours, "us")
        .under(baseline)
        .goal("ratio at least 1.5")
        .record();
}

fn bare_p256() -> f64 {
    let key = p256::ecdsa::SigningKey::from_bytes(&[9; 32].into()).unwrap();
    let signature: p256::ecdsa::Signature = key.sign(MESSAGE);
    let start = Instant::now();
    for _ in 0..FRESH {
        key.verifying_key().verify(MESSAGE, &signature).unwrap();
    }
    micros_each(start, FRESH)
}

fn bare_k256() -> f64 {
    let key = k256::ecdsa::SigningKey::from_bytes(&[9; 32].into()).unwrap();
    let signature: k256::ecdsa::Signature = key.sign(MESSAGE);
    let start = Instant::now();
    for _ in 0..FRESH {
        key.verifying_key().verify(MESSAGE, &signature).unwrap();
    }
    micros_each(start, FRESH)
}

/// As long as what is signed of a token.
const MESSAGE: &[u8] = &[b'x'; 400];

fn micros_each(start: Instant, count: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}

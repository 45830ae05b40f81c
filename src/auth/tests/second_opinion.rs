//! Implementations that share no code with ours agree on what passes.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mls_relay_loadtest::identity::{Curve, SigningKey, signing_input};
use p256::ecdsa::signature::Signer;
use serde_json::{Value, json};

use super::world::{CALL, SERVICE, World};

/// Publishes a key for the account, and checks a token that is signed with it.
async fn check(alg: &str, codec: [u8; 2], point: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) {
    let world = World::new().await;
    world.directory.put(
        world.account.did(),
        document(world.account.did(), codec, point),
    );
    let minute = Duration::from_secs(60);
    let claims = world.account.claims(SERVICE, CALL.as_str(), minute);
    let input = signing_input(&json!({"alg": alg, "typ": "JWT"}), &claims.unwrap());
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    world.caller(&format!("{input}.{signature}")).await.unwrap();
}

fn document(did: &str, codec: [u8; 2], point: &[u8]) -> Value {
    let multikey = bs58::encode([&codec, point].concat()).into_string();
    json!({"id": did, "verificationMethod": [{
        "id": format!("{did}#atproto"),
        "type": "Multikey",
        "controller": did,
        "publicKeyMultibase": format!("z{multikey}"),
    }]})
}

#[tokio::test]
async fn a_p256_token_of_another_implementation_passes() {
    for seed in 1..10 {
        let key = p256::ecdsa::SigningKey::from_bytes(&[seed; 32].into()).unwrap();
        let point = key.verifying_key().to_encoded_point(true);
        check("ES256", [0x80, 0x24], point.as_bytes(), |message| {
            let signature: p256::ecdsa::Signature = key.sign(message);
            // That implementation leaves S where it falls.
            let low = signature.normalize_s().unwrap_or(signature);
            low.to_bytes().to_vec()
        })
        .await;
    }
}

#[tokio::test]
async fn a_secp256k1_token_of_another_implementation_passes() {
    for _ in 1..10 {
        let key = SigningKey::generate(Curve::Secp256k1).unwrap();
        check("ES256K", [0xe7, 0x01], &key.compressed(), |message| {
            key.sign(message).unwrap().to_vec()
        })
        .await;
    }
}

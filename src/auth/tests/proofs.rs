//! The whole way of a service token, from the header to the caller.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use mls_relay_loadtest::directory::Fault;
use mls_relay_loadtest::identity::{Account, Curve, signing_input, unix_seconds};
use serde_json::json;

use super::world::{CALL, SERVICE, World, bearing, caller, node, of_call};
use crate::types::Nsid;
use crate::wire::{XrpcError, XrpcStatus};

#[tokio::test]
async fn a_good_token_of_either_curve_proves_its_caller() {
    for curve in [Curve::P256, Curve::Secp256k1] {
        let mut world = World::new().await;
        world.account = Account::generate(curve).unwrap();
        world.directory.publish(&world.account);
        for _ in 0..3 {
            let caller = world.caller(&world.token()).await.unwrap();
            assert_eq!(caller.did().expose(), world.account.did());
        }
        assert_eq!(world.directory.requests(), 1);
    }
}

#[tokio::test]
async fn a_token_passes_once_on_all_nodes_together() {
    let world = World::new().await;
    let token = world.token();
    world.caller(&token).await.unwrap();
    let other_node = node(&world.settings, &world.ledger);
    for refused in [
        world.caller(&token).await,
        caller(&other_node, &token).await,
        world.caller(&token).await,
    ] {
        let refusal = XrpcError::from(refused.unwrap_err());
        assert_eq!(refusal.status, XrpcStatus::Unauthorized);
        assert_eq!(refusal.name, "JwtReplayed");
    }
}

#[tokio::test]
async fn of_many_at_once_with_one_token_one_passes() {
    let world = World::new().await;
    let token = world.token();
    let crowd = (0..20).map(|_| world.caller(&token));
    let passed = futures_util::future::join_all(crowd).await;
    assert_eq!(passed.iter().filter(|caller| caller.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_nonce_is_remembered_for_the_longer_of_its_two_times() {
    // Those who forget may be a minute ahead of those who judge a token.
    for (jti_ttl, remembered) in [(10, 125), (600, 600)] {
        let world = World::with(|s| s.jti_ttl = Duration::from_secs(jti_ttl)).await;
        let start = i64::try_from(unix_seconds()).unwrap();
        world.caller(&world.token()).await.unwrap();
        let until = world.ledger.remembered_until()[0];
        // The test may take a moment.
        assert!((start + remembered..start + remembered + 5).contains(&until));
    }
}

#[tokio::test]
async fn where_single_use_is_off_a_token_serves_again_for_its_method() {
    let world = World::with(|s| s.enforce_jti = false).await;
    let token = world.token_with(&json!({"jti": null}));
    for _ in 0..3 {
        world.caller(&token).await.unwrap();
    }
    assert_eq!(world.directory.requests(), 1);
    assert_eq!(world.ledger.questions(), 0);
    let headers = bearing(&token);
    let refused = of_call(&world.node, &headers, Nsid::GetConvos).await;
    let refusal = XrpcError::from(refused.unwrap_err());
    assert_eq!(refusal.name, "BadJwtLexiconMethod");
}

#[tokio::test]
async fn every_cheap_refusal_has_its_name_and_costs_no_lookup_and_no_nonce() {
    let world = World::new().await;
    let now = unix_seconds();
    let whole = world.token();
    let alg = world.account.key().alg();
    for (token, name) in [
        ("x".to_owned(), "BadJwt"),
        (whole[..whole.len() / 2].to_owned(), "BadJwt"),
        (format!("{whole}.{whole}"), "BadJwt"),
        ("a".repeat(5000), "BadJwt"),
        (world.token_headed(&json!({"alg": "none"})), "BadJwt"),
        (world.token_headed(&json!({"alg": "HS256"})), "BadJwt"),
        (
            world.token_headed(&json!({"alg": alg, "typ": "at+jwt"})),
            "BadJwtType",
        ),
        (
            world.token_headed(&json!({"alg": alg, "typ": "refresh+jwt"})),
            "BadJwtType",
        ),
        (
            world.token_headed(&json!({"alg": alg, "typ": "dpop+jwt"})),
            "BadJwtType",
        ),
        (world.token_with(&json!({"exp": now - 60})), "JwtExpired"),
        (world.token_with(&json!({"exp": now + 3600})), "BadJwt"),
        (world.token_with(&json!({"iat": now + 120})), "BadJwt"),
        (
            world.token_with(&json!({"aud": "did:web:other.test"})),
            "BadJwtAudience",
        ),
        (
            world.token_with(&json!({"aud": "did:web:relay.test#other"})),
            "BadJwtAudience",
        ),
        (
            world.token_with(&json!({"lxm": null})),
            "BadJwtLexiconMethod",
        ),
        (
            world.token_with(&json!({"lxm": "blue.catbird.mls.getConvos"})),
            "BadJwtLexiconMethod",
        ),
        (world.token_with(&json!({"jti": null})), "BadJwt"),
        (world.token_with(&json!({"iss": "alice"})), "BadJwtIss"),
        (
            world.token_with(&json!({"iss": "did:web:127.0.0.1"})),
            "BadJwtIss",
        ),
        (
            world.token_with(&json!({"iss": "did:key:z6Mk"})),
            "BadJwtIss",
        ),
    ] {
        let refusal = world.refusal(&token).await;
        assert_eq!(refusal.status, XrpcStatus::Unauthorized);
        assert_eq!(refusal.name, name, "{token}");
    }
    let without = of_call(&world.node, &HeaderMap::new(), CALL).await;
    let refusal = XrpcError::from(without.unwrap_err());
    assert_eq!(refusal.name, "AuthenticationRequired");
    assert_eq!(world.directory.requests(), 0);
    assert_eq!(world.ledger.questions(), 0);
}

#[tokio::test]
async fn a_signature_must_be_the_accounts_own_over_this_text_in_its_low_form() {
    let world = World::new().await;
    let stranger = Account::with_did(world.account.did(), Curve::Secp256k1).unwrap();
    let other_curve = Account::with_did(world.account.did(), Curve::P256).unwrap();
    let minute = Duration::from_secs(60);
    let claims = world
        .account
        .claims(SERVICE, CALL.as_str(), minute)
        .unwrap();
    let input = signing_input(&json!({"alg": "ES256K"}), &claims);
    let high = world.account.key().sign_high_s(input.as_bytes()).unwrap();
    let whole = world.token();
    let (_, signature) = whole.rsplit_once('.').unwrap();
    for token in [
        stranger
            .service_token(SERVICE, CALL.as_str(), minute)
            .unwrap(),
        other_curve
            .service_token(SERVICE, CALL.as_str(), minute)
            .unwrap(),
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(high)),
        format!("{input}.{signature}"),
        format!("{input}."),
        format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
        // The right signature under the name of the other algorithm.
        world.token_headed(&json!({"alg": "ES256"})),
    ] {
        let refusal = world.refusal(&token).await;
        assert_eq!(refusal.name, "BadJwtSignature", "{token}");
    }
    assert_eq!(world.ledger.questions(), 0, "a stranger used up a nonce");
    assert!(
        world.directory.requests() <= 2,
        "wrong signatures were passed on"
    );
    // And none of it stands in the way of the account itself.
    world.caller(&whole).await.unwrap();
}

#[tokio::test]
async fn a_key_that_was_looked_up_for_a_token_is_not_looked_up_again_for_it() {
    let world = World::new().await;
    let stranger = Account::with_did(world.account.did(), Curve::Secp256k1).unwrap();
    for lookups in 1..=2 {
        let minute = Duration::from_secs(60);
        let forged = stranger.service_token(SERVICE, CALL.as_str(), minute);
        let refusal = world.refusal(&forged.unwrap()).await;
        assert_eq!(refusal.name, "BadJwtSignature");
        // The second time it may have been rotated.
        assert_eq!(world.directory.requests(), lookups);
    }
}

#[tokio::test]
async fn a_rotated_key_is_taken_up_with_the_first_token_it_signs() {
    let mut world = World::new().await;
    let old_token = world.token();
    world.caller(&world.token()).await.unwrap();
    world.account.rotate(Curve::P256).unwrap();
    world.directory.publish(&world.account);
    world.caller(&world.token()).await.unwrap();
    assert_eq!(world.refusal(&old_token).await.name, "BadJwtSignature");
}

#[tokio::test]
async fn when_the_directory_or_the_database_fails_nobody_is_called_unauthorized() {
    for (fault, status) in [
        (Fault::Status(500), XrpcStatus::BadGateway),
        (Fault::Silent, XrpcStatus::GatewayTimeout),
    ] {
        let world = World::new().await;
        world.directory.set_fault(fault);
        let refusal = world.refusal(&world.token()).await;
        assert_eq!(refusal.status, status);
        assert!(refusal.retry_after.is_some());
    }
    let world = World::new().await;
    world.ledger.fail(true);
    let token = world.token();
    let refusal = world.refusal(&token).await;
    assert_eq!(refusal.status, XrpcStatus::Unavailable);
    assert!(refusal.retry_after.is_some());
    world.ledger.fail(false);
    world.caller(&token).await.unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_anew_makes_nobodys_signature_wrong() {
    let mut world = World::new().await;
    world.caller(&world.token()).await.unwrap();
    world.account.rotate(Curve::P256).unwrap();
    world.directory.publish(&world.account);
    for (fault, status) in [
        (Fault::Status(500), XrpcStatus::BadGateway),
        (Fault::Silent, XrpcStatus::GatewayTimeout),
        (Fault::Limited(1), XrpcStatus::Unavailable),
    ] {
        world.directory.set_fault(fault);
        for _ in 0..2 {
            let refusal = world.refusal(&world.token()).await;
            assert_eq!(refusal.status, status);
        }
    }
    world.directory.set_fault(Fault::None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.caller(&world.token()).await.unwrap();
}

#[tokio::test]
async fn what_a_network_sent_before_makes_nobodys_signature_wrong() {
    let mut world = World::with(|settings| settings.refreshes_per_network = 60).await;
    world.caller(&world.token()).await.unwrap();
    for _ in 0..60 {
        let neighbour = Account::generate(Curve::P256).unwrap();
        let minute = Duration::from_secs(60);
        let token = neighbour.service_token(SERVICE, CALL.as_str(), minute);
        world.directory.publish(&neighbour);
        world.caller(&token.unwrap()).await.unwrap();
        let stranger = Account::with_did(neighbour.did(), Curve::P256).unwrap();
        let forged = stranger.service_token(SERVICE, CALL.as_str(), minute);
        let refusal = world.refusal(&forged.unwrap()).await;
        assert_eq!(refusal.name, "BadJwtSignature");
    }
    world.account.rotate(Curve::P256).unwrap();
    world.directory.publish(&world.account);
    let refusal = world.refusal(&world.token()).await;
    assert_eq!(refusal.status, XrpcStatus::TooManyRequests, "{refusal:?}");
    tokio::time::sleep(refusal.retry_after.unwrap()).await;
    world.caller(&world.token()).await.unwrap();
}

#[tokio::test]
async fn nobody_is_told_to_come_back_while_nothing_would_be_tried_again() {
    for (pause, told) in [(0, 5), (30, 30)] {
        let (pause, told) = (Duration::from_secs(pause), Duration::from_secs(told));
        let world = World::with(|settings| settings.lookup_pause = pause).await;
        world.directory.set_fault(Fault::Status(500));
        // Whoever had it looked up, and whoever hears how that ended.
        for _ in 0..2 {
            let refusal = world.refusal(&world.token()).await;
            assert_eq!(refusal.retry_after, Some(told));
        }
    }
}

#[tokio::test]
async fn an_unknown_account_is_refused_as_an_issuer() {
    let world = World::new().await;
    world.directory.remove(world.account.did());
    let refusal = world.refusal(&world.token()).await;
    assert_eq!(refusal.status, XrpcStatus::Unauthorized);
    assert_eq!(refusal.name, "BadJwtIss");
}

#[tokio::test]
async fn no_refusal_shows_the_account_or_the_token() {
    let world = World::new().await;
    let stranger = Account::with_did(world.account.did(), Curve::Secp256k1).unwrap();
    let minute = Duration::from_secs(60);
    let wrong = stranger
        .service_token(SERVICE, CALL.as_str(), minute)
        .unwrap();
    for token in [
        wrong,
        world.token_with(&json!({"aud": "did:web:secret.test"})),
    ] {
        let error = world.caller(&token).await.unwrap_err();
        let told = format!("{error} {error:?} {:?}", XrpcError::from(error.clone()));
        for secret in [world.account.did(), "secret", token.as_str()] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[tokio::test]
async fn a_token_that_lacks_a_claim_or_has_it_in_another_form_hears_which() {
    let world = World::new().await;
    for (changes, name, words) in [
        (json!({"exp": null}), "BadJwt", "has no exp"),
        (json!({"exp": "soon"}), "BadJwt", "exp must be"),
        (json!({"exp": 1e300}), "BadJwt", "exp must be"),
        (json!({"iat": "now"}), "BadJwt", "iat must be"),
        (json!({"aud": null}), "BadJwtAudience", "has no aud"),
        (json!({"aud": [SERVICE]}), "BadJwt", "aud must be text"),
        (json!({"iss": null}), "BadJwtIss", "has no iss"),
        (json!({"iss": 7}), "BadJwt", "iss must be text"),
        (json!({"lxm": null}), "BadJwtLexiconMethod", "has no lxm"),
        (json!({"lxm": true}), "BadJwt", "lxm must be text"),
        (json!({"jti": null}), "BadJwt", "no usable jti"),
        (json!({"jti": 7}), "BadJwt", "jti must be text"),
    ] {
        let refusal = world.refusal(&world.token_with(&changes)).await;
        assert_eq!(refusal.name, name, "{changes}");
        assert!(
            refusal.message.contains(words),
            "{changes}: {}",
            refusal.message
        );
    }
}

//! What a device may register as its own, and that a refusal leaves it what it had.

use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::{Value, json};

use crate::phone::Phone;
use crate::world::{World, bytes, text, with};

async fn available(phone: &Phone) -> Value {
    let stats = phone.get("getKeyPackageStats", &[]).await;
    stats["available"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_its_own_signature_key_and_nobody_elses() {
    let world = World::start().await;
    let bob = Phone::unregistered(&world.account());
    let mallory = Phone::unregistered(&world.account());
    // Bob's key is in every leaf of his, for all to read.
    let key = bytes(bob.device.signature_key());
    let hers = mallory.registration();
    let theft = with(&hers, json!({"signaturePublicKey": key}));
    let refused = mallory.post_refused("registerDevice", &theft).await;
    assert_eq!(refused.told(), (400, "InvalidKeyPackage"));
    for field in ["keyPackages[0].keyPackage:", "signaturePublicKey"] {
        assert!(refused.message.contains(field), "{}", refused.message);
    }
    // One package of hers among his does not help either.
    let mixed = json!([
        hers["keyPackages"][0],
        hers["keyPackages"][0],
        bob.key_package()
    ]);
    let mixed = with(&hers, json!({"keyPackages": mixed}));
    let refused = mallory.post_refused("registerDevice", &mixed).await;
    assert_eq!(refused.name, "InvalidKeyPackage");
    bob.post("registerDevice", &bob.registration()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_key_belongs_to_one_device() {
    let world = World::start().await;
    let phone = Phone::of_account(&world.account());
    let named = |device: &str| {
        let packages = json!([phone.key_package()]);
        with(
            &phone.registration(),
            json!({"deviceUUID": device, "keyPackages": packages}),
        )
    };
    let first = named("9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f");
    phone.post("registerDevice", &first).await;
    let second = named("0a1b2c3d-5f0c-4a86-8d4e-9f8d2a344e5f");
    let refused = phone.post_refused("registerDevice", &second).await;
    assert_eq!(refused.told(), (409, "DuplicatePublicKey"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_refused_leaves_the_stock_that_was_there() {
    let world = World::with(|settings| settings.xrpc.key_packages_max = 2).await;
    let phone = Phone::new(&world).await;
    assert_eq!(available(&phone).await, 1);
    let many: Vec<_> = (0..3).map(|_| phone.key_package()).collect();
    let again = with(&phone.registration(), json!({"keyPackages": many}));
    let refused = phone.post_refused("registerDevice", &again).await;
    assert_eq!(refused.name, "TooManyKeyPackages");
    assert_eq!(available(&phone).await, 1);
    // As many as it may have take the place of those before.
    let again = with(&again, json!({"keyPackages": many[..2]}));
    phone.post("registerDevice", &again).await;
    assert_eq!(available(&phone).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_come_back_that_is_refused_leaves_the_stock_that_was_there() {
    let world = World::start().await;
    let (alice, bob) = (
        Phone::new(&world).await,
        Phone::of_account(&world.account()),
    );
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let group = alice.found(&[bob.did()]).await;
    bob.post("publishKeyPackage", &bob.key_package()).await;
    // A package that was published for a device of that name is not the account's.
    let package = text(&bob.device.key_package().unwrap());
    let of_a_device = json!({
        "keyPackage": package,
        "cipherSuite": CIPHER_SUITE_NAME,
        "deviceId": "9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f",
    });
    bob.post("publishKeyPackage", &of_a_device).await;
    assert_eq!(available(&bob).await, 2);
    let request = json!({"convoId": group.id(), "keyPackage": package});
    let refused = bob.post_refused("requestRejoin", &request).await;
    assert_eq!(refused.name, "InvalidKeyPackage");
    assert_eq!(available(&bob).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_told_of_no_shortage_needs_no_packages() {
    let world = World::with(|settings| settings.xrpc.key_packages_low = 0).await;
    let stats = world.account().get("getKeyPackageStats", &[]).await;
    assert_eq!(stats["threshold"], 0);
    assert_eq!(stats["needsReplenish"], false);
}

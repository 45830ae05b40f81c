//! Devices and key packages: what is taken in, and to whom it is given.

use std::time::Duration;

use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use mls_relay_loadtest::mls::Device;
use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::phone::{Phone, people, phones};
use crate::world::{World, assert_says, decoded, text, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_registered_listed_and_registered_anew() {
    let world = World::start().await;
    let phone = Phone::unregistered(&world.account());
    let client = &phone;
    let registered = client.post("registerDevice", &phone.registration()).await;
    let device = phone.device.device_id();
    assert_eq!(registered["deviceId"], device);
    assert_eq!(registered["mlsDid"], format!("{}#{device}", phone.did()));

    let again = with(&phone.registration(), json!({"deviceName": "renamed"}));
    client.post("registerDevice", &again).await;
    let listed = client.get("listDevices", &[]).await;
    let devices = listed["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["deviceName"], "renamed");

    // Somebody else's list does not show it.
    let other = world.account();
    let listed = other.get("listDevices", &[]).await;
    assert_eq!(listed["devices"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_name_is_registered_once_however_often_it_asks() {
    let world = World::start().await;
    let phone = Phone::of_account(&world.account());
    let input = with(&phone.registration(), json!({"deviceUUID": null}));
    let first = phone.post("registerDevice", &input).await;
    // The answer was lost on its way: the same bytes again bring it.
    let again = phone.post("registerDevice", &input).await;
    assert_eq!(again, first);
    let listed = phone.get("listDevices", &[]).await;
    let devices = listed["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["deviceId"], first["deviceId"]);
    assert_eq!(devices[0]["keyPackageCount"], 1);
    // Another phone of the account is another device.
    let other = Phone::of_account(&phone);
    let input = with(&other.registration(), json!({"deviceUUID": null}));
    let other = other.post("registerDevice", &input).await;
    assert_ne!(other["deviceId"], first["deviceId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_have_bounded_numbers_of_devices_and_packages() {
    let world = World::with(|settings| {
        settings.xrpc.seats.devices_max = 1;
        settings.xrpc.key_packages_max = 2;
    })
    .await;
    let phone = Phone::new(&world).await;
    let second = Phone::unregistered(&phone);
    let refused = phone
        .post_refused("registerDevice", &second.registration())
        .await;
    assert_eq!(refused.name, "TooManyDevices");
    let message = &refused.message;
    assert!(
        message.starts_with("you have 1 devices or more"),
        "{message}"
    );

    phone.post("publishKeyPackage", &phone.key_package()).await;
    let refused = phone
        .post_refused("publishKeyPackage", &phone.key_package())
        .await;
    assert_eq!(refused.name, "TooManyKeyPackages");
    let message = &refused.message;
    assert!(
        message.starts_with("the device would have over 2 "),
        "{message}"
    );
    let batch = json!({"keyPackages": [phone.key_package()]});
    let refused = phone.post_refused("publishKeyPackages", &batch).await;
    assert_eq!(refused.name, "TooManyKeyPackages");
}

/// Key packages that nobody should keep, and what is wrong with each.
fn bad_packages(phone: &Phone) -> Vec<(&'static str, Value)> {
    let good = phone.key_package();
    let stranger = Device::new("did:plc:stranger", phone.device.device_id()).unwrap();
    let stranger = text(&stranger.key_package().unwrap());
    let sibling = Device::new(phone.did(), "9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f").unwrap();
    let sibling = text(&sibling.key_package().unwrap());
    let mut forged = phone.device.key_package().unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let p256 = "MLS_128_DHKEMP256_AES128GCM_SHA256_P256";
    let device = phone.device.device_id();
    vec![
        (
            "keyPackage: ends in the middle",
            with(&good, json!({"keyPackage": "AAEAAQ"})),
        ),
        (
            "credential of your account",
            with(&good, json!({"keyPackage": stranger})),
        ),
        (
            "another cipher suite than cipherSuite says",
            with(&good, json!({"cipherSuite": p256})),
        ),
        (
            "does not verify",
            with(&good, json!({"keyPackage": text(&forged)})),
        ),
        (
            "did: must be your account",
            with(&good, json!({"did": "did:plc:stranger"})),
        ),
        (
            "must be of one device",
            with(&good, json!({"keyPackage": sibling, "deviceId": device})),
        ),
        (
            "expires: must be in the future",
            with(&good, json!({"expires": "2020-01-01T00:00:00Z"})),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_package_of_no_use_is_refused_everywhere_it_could_enter() {
    let (_world, [phone]) = people().await;
    for (what, bad) in bad_packages(&phone) {
        let refused = phone.post_refused("publishKeyPackage", &bad).await;
        assert_eq!(refused.name, "InvalidKeyPackage", "{what}");
        let message = &refused.message;
        assert!(message.contains(what), "{what}: {message}");

        let batch = json!({"keyPackages": [phone.key_package(), bad]});
        let answer = phone.post("publishKeyPackages", &batch).await;
        assert_eq!(answer["succeeded"], 0, "{what}");
        assert_eq!(answer["errors"][0]["index"], 1, "{what}");

        let device = Phone::unregistered(&phone);
        let registration = with(&device.registration(), json!({"keyPackages": [bad]}));
        let refused = phone.post_refused("registerDevice", &registration).await;
        assert_eq!(refused.name, "InvalidKeyPackage", "{what}");
    }
    // Nothing of all that was kept.
    let stats = phone.get("getKeyPackageStats", &[]).await;
    assert_eq!(stats["available"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_a_package_kept_too_long_hears_how_long_it_may_be() {
    let ten_days = Duration::from_secs(10 * 24 * 60 * 60);
    let world = World::with(|settings| settings.xrpc.key_package_life_max = ten_days).await;
    let phone = Phone::new(&world).await;
    let far = json!({"expires": "2099-01-01T00:00:00Z"});
    let package = with(&phone.key_package(), far.clone());
    let refused = phone.post_refused("publishKeyPackage", &package).await;
    assert_eq!(refused.name, "ExpirationTooFar");
    assert_eq!(refused.message, "expires: must be at most 10 days ahead");

    let device = Phone::unregistered(&phone);
    let package = with(&device.key_package(), far);
    let registration = with(&device.registration(), json!({"keyPackages": [package]}));
    let refused = device.post_refused("registerDevice", &registration).await;
    assert_eq!(refused.name, "ExpirationTooFar");
    let message = "keyPackages[0].expires: must be at most 10 days ahead";
    assert_eq!(refused.message, message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_published_twice_is_published_once() {
    let world = World::with(|settings| settings.xrpc.key_packages_max = 2).await;
    let phone = Phone::new(&world).await;
    let bare = phone.key_package();
    // RFC 9420 section 6: version mls10, wire format mls_key_package.
    let wrapped = [&[0, 1, 0, 5], decoded(&bare["keyPackage"]).as_slice()].concat();
    let wrapped = with(&bare, json!({"keyPackage": text(&wrapped)}));
    let batch = json!({"keyPackages": [bare, bare, wrapped]});
    for _ in 0..2 {
        let answer = phone.post("publishKeyPackages", &batch).await;
        assert_eq!(answer["succeeded"], 3);
    }
    phone.post("publishKeyPackage", &wrapped).await;
    let anew = with(&phone.registration(), batch);
    phone.post("registerDevice", &anew).await;
    let stats = phone.get("getKeyPackageStats", &[]).await;
    assert_eq!(stats["available"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_goes_to_one_claimer_and_the_last_resort_stays() {
    let (_world, [alice, bob]) = people().await;
    let last = text(&bob.device.last_resort_key_package().unwrap());
    let last = json!({"keyPackage": last, "cipherSuite": CIPHER_SUITE_NAME});
    bob.post("publishKeyPackage", &last).await;
    let batch = json!({"keyPackages": [bob.key_package(), bob.key_package()]});
    let answer = bob.post("publishKeyPackages", &batch).await;
    assert_says(&answer, json!({"succeeded": 2, "failed": 0}));

    let stats = bob.get("getKeyPackageStats", &[]).await;
    assert_eq!(stats["available"], 3);
    assert_eq!(stats["needsReplenish"], true);
    assert_eq!(stats["byCipherSuite"][0]["cipherSuite"], CIPHER_SUITE_NAME);

    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut claimed = alice.claim(&[bob.did()]).await;
        assert_eq!(claimed.len(), 1);
        assert!(!seen.contains(&claimed[0]), "handed out twice");
        seen.append(&mut claimed);
    }
    let resort = alice.claim(&[bob.did()]).await;
    assert_eq!(
        resort,
        alice.claim(&[bob.did()]).await,
        "the last resort stays"
    );
    assert!(!seen.contains(&resort[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_package_of_each_device_is_given_and_who_has_none_is_missing() {
    let (world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let nobody = world.account();
    let parameters = [("dids", bob.did()), ("dids", nobody.did())];
    let answer = alice.get("getKeyPackages", &parameters).await;
    assert_eq!(answer["keyPackages"].as_array().unwrap().len(), 2);
    assert_eq!(answer["missing"], json!([nobody.did()]));
    drop(tablet);

    let refused = alice
        .get_refused("getKeyPackageStats", &[("did", bob.did())])
        .await;
    assert_eq!(refused.name, "InvalidDid");
    let refused = alice.get_refused("getKeyPackages", &[]).await;
    assert_eq!(refused.name, "InvalidRequest");
    assert!(refused.message.contains("dids"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_hears_that_its_stock_runs_low_before_it_has_run_out() {
    let world = World::with(|settings| settings.xrpc.key_packages_low = 2).await;
    let [alice, bob] = phones(&world).await;
    let last = text(&bob.device.last_resort_key_package().unwrap());
    let last = json!({"keyPackage": last, "cipherSuite": CIPHER_SUITE_NAME});
    let batch = json!({"keyPackages": [bob.key_package(), bob.key_package(), last]});
    bob.post("publishKeyPackages", &batch).await;
    let mut bobs = world.live(&bob).await;
    let mut alices = world.live(&alice).await;

    // Three ordinary packages: the first claim leaves two, which is enough.
    for _ in 0..5 {
        alice.claim(&[bob.did()]).await;
    }
    for (remaining, last_resort_used) in [(1, false), (0, false), (0, true)] {
        let told = bobs.next_named("#keyPackages").await;
        assert_eq!(told.body()["deviceId"], bob.device.device_id());
        assert_says(
            told.body(),
            json!({"remaining": remaining, "lastResortUsed": last_resort_used}),
        );
    }
    // Who was away is told when it comes back.
    let mut again = EventStream::open(&bob, &[("cursor", "0")]).await;
    for remaining in [1, 0, 0] {
        let told = again.next_named("#keyPackages").await;
        assert_eq!(told.body()["remaining"], remaining);
    }
    // The last resort was used twice and told once; and Alice hears none of it.
    alice.found(&[bob.did()]).await;
    assert_eq!(bobs.next().await.unwrap().name(), "#membershipChangeEvent");
    assert_eq!(
        alices.next().await.unwrap().name(),
        "#membershipChangeEvent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_device_learns_whether_its_own_stock_is_low() {
    let world = World::with(|settings| settings.xrpc.key_packages_low = 2).await;
    let phone = Phone::new(&world).await;
    phone.post("publishKeyPackage", &phone.key_package()).await;
    let tablet = Phone::of(&phone).await;
    for (device, available) in [
        (Some(&phone), 2),
        (Some(&tablet), 1),
        (Some(&Phone::unregistered(&phone)), 0),
        (None, 3),
    ] {
        let of = device.map(|phone| ("deviceId", phone.device.device_id()));
        let stats = phone.get("getKeyPackageStats", of.as_slice()).await;
        let is_low = available < 2;
        assert_says(
            &stats,
            json!({"available": available, "threshold": 2, "needsReplenish": is_low}),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_empties_somebody_elses_stock() {
    let world = World::with(|settings| settings.xrpc.claims_per_target = 2).await;
    let [alice, bob, carol] = phones(&world).await;
    for _ in 0..4 {
        bob.post("publishKeyPackage", &bob.key_package()).await;
    }
    for _ in 0..2 {
        assert_eq!(alice.claim(&[bob.did()]).await.len(), 1);
    }
    // Neither alone nor beside somebody else; and then nobody's package is given.
    let (bobs, carols) = (("dids", bob.did()), ("dids", carol.did()));
    for (dids, place) in [
        (&[bobs][..], "dids[0]: "),
        (&[bobs, carols], "dids[0]: "),
        (&[carols, bobs], "dids[1]: "),
    ] {
        let refused = alice.get_refused("getKeyPackages", dids).await;
        assert_eq!(refused.told(), (429, "RateLimitExceeded"));
        let wait = refused.headers["retry-after"].to_str().unwrap();
        assert!((1..=3600).contains(&wait.parse::<u64>().unwrap()), "{wait}");
        let message = refused.message;
        assert!(message.starts_with(place), "{message}");
        // The quota of the call has another window, and places left.
        let quota = refused.headers.get("ratelimit-remaining");
        assert!(quota.is_none(), "{quota:?}");
    }
    let stats = bob.get("getKeyPackageStats", &[]).await;
    assert_eq!(stats["available"], 3);
    // Who wants to write to whom is not kept so that anybody could find it out by trying.
    let database = world.database.client().await;
    let plain = "SELECT count(*), count(*) FILTER (WHERE key = sha256(convert_to($1, 'UTF8') \
                 || '\\x00'::bytea || convert_to($2, 'UTF8'))) FROM key_package_claims";
    let pair: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&alice.did(), &bob.did()];
    let found = database.query_one(plain, &pair).await.unwrap();
    assert_eq!((found.get::<_, i64>(0), found.get::<_, i64>(1)), (2, 0));
    // It is a matter between these two.
    assert_eq!(alice.claim(&[carol.did()]).await.len(), 1);
    assert_eq!(carol.claim(&[bob.did()]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_tells_which_device_each_package_is_for() {
    let (_world, [alice, bob]) = people().await;
    let second = Phone::unregistered(&bob);
    let registration = second.registration();
    bob.post("registerDevice", &registration).await;
    let dids = [("dids", bob.did())];
    let claimed = alice.get("getKeyPackages", &dids).await;
    let claimed = claimed["keyPackages"].as_array().unwrap();
    let mut devices: Vec<_> = claimed.iter().map(|c| c["deviceId"].as_str()).collect();
    devices.sort_unstable();
    let mut own = [&bob, &second].map(|phone| Some(phone.device.device_id()));
    own.sort_unstable();
    assert_eq!(devices, own);
    let of_second = claimed
        .iter()
        .find(|c| c["deviceId"] == second.device.device_id());
    let published = &registration["keyPackages"][0]["keyPackage"];
    assert_eq!(
        decoded(&of_second.unwrap()["keyPackage"]),
        decoded(published)
    );
}

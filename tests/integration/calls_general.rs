//! What holds for every call: names, verbs, callers, strangers, quotas.

use http::StatusCode;
use http_body_util::Full;
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::json;

use crate::phone::people;
use crate::world::{Refused, World, bytes, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_call_is_not_implemented() {
    let world = World::start().await;
    let client = world.account();
    for path in [
        "/xrpc/blue.catbird.mls.noSuchCall",
        "/xrpc/app.bsky.feed.getTimeline",
        "/xrpc/",
    ] {
        let request = http::Request::get(path).header("host", "relay.test");
        let request = request.body(Full::default()).unwrap();
        let refused = client.refused("getConvos", request).await;
        assert_eq!(refused.name, "MethodNotImplemented", "{path}");
        assert_eq!(refused.status, StatusCode::NOT_IMPLEMENTED);
        assert_eq!(refused.headers["content-type"], "application/json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_follows_the_kind_of_call() {
    let world = World::start().await;
    let client = world.account();
    for (call, verb, allowed) in [
        ("getConvos", "POST", "GET, HEAD"),
        ("sendMessage", "GET", "POST"),
    ] {
        let request = client
            .request(call)
            .method(verb)
            .body(Full::default())
            .unwrap();
        let refused = client.refused(call, request).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers["allow"], allowed);
    }
}

/// A ticket for all conversations is not what was asked for here.
#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_takes_nothing_from_its_address() {
    let world = World::start().await;
    let client = world.account();
    for (query, told) in [("convoId=ab", Some("convoId: ")), ("convoId=", None)] {
        let call = "getSubscriptionTicket";
        let mut request = client.post_request(call, &json!({}));
        *request.uri_mut() = format!("{}?{query}", request.uri()).parse().unwrap();
        match told {
            Some(field) => {
                let refused = client.refused(call, request).await;
                assert_eq!(refused.told(), (400, "InvalidRequest"));
                assert!(refused.message.starts_with(field), "{}", refused.message);
            }
            None => assert_eq!(client.exchange(request).await.0, StatusCode::OK),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_as_get_is_but_for_the_body() {
    let world = World::start().await;
    let client = world.account();
    let mut heads = Vec::new();
    for verb in [http::Method::GET, http::Method::HEAD] {
        let mut request = client.get_request("getConvos", &[]);
        *request.method_mut() = verb;
        let response = client.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        heads.push(["content-type", "content-length"].map(|name| headers[name].clone()));
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_there_is_no_answer() {
    let world = World::start().await;
    let client = world.account();
    let mut bare = client.get_request("getConvos", &[]);
    bare.headers_mut().remove("authorization");
    let refused = client.refused("getConvos", bare).await;
    assert_eq!(refused.told(), (401, "AuthenticationRequired"));
    assert_eq!(refused.headers["www-authenticate"], "Bearer");

    let mut other = client.get_request("getConvos", &[]);
    let wrong = client.get_request("getEpoch", &[]);
    other
        .headers_mut()
        .insert("authorization", wrong.headers()["authorization"].clone());
    let refused = client.refused("getConvos", other).await;
    assert_eq!(refused.name, "BadJwtLexiconMethod");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_tell_a_conversation_from_none() {
    let (_world, [alice, mallory]) = people().await;
    let mut group = alice.found(&[]).await;
    let message = alice.message(&mut group, b"hi");
    let both = [group.id(), "abcdef".to_owned()];
    let cannot_tell = |call: &str, told: [Refused; 2]| {
        assert_eq!(told[0].told(), (404, "ConvoNotFound"), "{call}");
        assert_eq!(told[0].told(), told[1].told(), "{call}");
        assert_eq!(told[0].body, told[1].body, "{call}");
    };
    for (call, more) in [
        ("getAdminStats", None),
        ("getCommits", Some(("fromEpoch", "0"))),
        ("getEpoch", None),
        ("getGroupInfo", None),
        ("getMessages", None),
        ("getReports", None),
        ("getWelcome", None),
    ] {
        let ask = async |id: &str| {
            let parameters: Vec<_> = [("convoId", id)].into_iter().chain(more).collect();
            mallory.get_refused(call, &parameters).await
        };
        cannot_tell(call, [ask(&both[0]).await, ask(&both[1]).await]);
    }
    let target = json!({"targetDid": alice.did()});
    let report = json!({
        "reportedDid": alice.did(),
        "category": "spam",
        "encryptedContent": bytes(b"for nobody"),
    });
    for (call, input) in [
        ("addMembers", json!({"didList": [mallory.did()]})),
        ("confirmWelcome", json!({"success": true})),
        ("demoteAdmin", target.clone()),
        ("getSubscriptionTicket", json!({})),
        ("leaveConvo", json!({})),
        ("promoteAdmin", target.clone()),
        ("removeMember", target),
        ("reportMember", report),
        ("updateCursor", json!({"cursor": "1"})),
    ] {
        let ask = async |id: &str| {
            let input = with(&input, json!({"convoId": id}));
            mallory.post_refused(call, &input).await
        };
        cannot_tell(call, [ask(&both[0]).await, ask(&both[1]).await]);
    }
    let refused = mallory.post_refused("sendMessage", &message).await;
    assert_eq!(refused.name, "ConvoNotFound");
    // But for its creation: the id is taken, whoever asks, and who knows it hears that.
    let input = json!({"groupId": group.id(), "cipherSuite": CIPHER_SUITE_NAME});
    let refused = mallory.post_refused("createConvo", &input).await;
    assert_eq!(refused.name, "Conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_cipher_suite_is_refused_by_its_own_name() {
    let (_world, [phone]) = people().await;
    let package = with(&phone.key_package(), json!({"cipherSuite": "x"}));
    for (call, input) in [
        (
            "createConvo",
            json!({"groupId": "abcd", "cipherSuite": "x"}),
        ),
        ("publishKeyPackage", package.clone()),
        ("publishKeyPackages", json!({"keyPackages": [package]})),
    ] {
        let refused = phone.post_refused(call, &input).await;
        assert_eq!(refused.name, "InvalidCipherSuite", "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_lives_for_half_a_minute_and_who_asks_for_one_need_not_say_anything() {
    let world = World::start().await;
    let alice = world.account();
    let life = chrono::TimeDelta::seconds(30);
    let before = chrono::Utc::now();
    let ticket = alice.post("getSubscriptionTicket", &json!({})).await;
    let ends = ticket["expiresAt"].as_str().unwrap();
    let ends = chrono::DateTime::parse_from_rfc3339(ends).unwrap();
    // Times are told to 2 seconds only.
    let begins = ends.to_utc() - life;
    assert!(begins > before - chrono::TimeDelta::seconds(2) && begins <= chrono::Utc::now());
    // No body at all is no input, whether or not its length is given.
    for length in [Some("0"), None] {
        let mut request = alice.request("getSubscriptionTicket").method("POST");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(Full::default()).unwrap();
        let (status, ..) = alice.exchange(request).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_any_origin_may_call_and_reads_its_limits() {
    let world = World::start().await;
    let client = world.account();
    let path = "/xrpc/blue.catbird.mls.getSubscriptionTicket";
    let preflight = http::Request::options(path)
        .header("host", "relay.test")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let response = client.send(preflight.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], "*");
    let listed = |name: &str| {
        let text = headers[name].to_str().unwrap();
        text.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(listed("access-control-allow-methods").contains(&"POST".to_owned()));
    for name in ["authorization", "content-type", "atproto-proxy"] {
        let taken = listed("access-control-allow-headers");
        assert!(taken.contains(&name.to_owned()), "{name}");
    }
    assert!(headers.contains_key("access-control-max-age"));
    // Nobody proved anything by it.
    assert_eq!(headers["ratelimit-policy"], "60;w=60");
    assert!(!headers.contains_key("access-control-allow-credentials"));

    let stranger = http::Request::get("/xrpc/blue.catbird.mls.getConvos");
    let stranger = stranger.header("host", "relay.test");
    let unknown = http::Request::get("/nothing").header("host", "relay.test");
    for request in [
        client.post_request("getSubscriptionTicket", &json!({})),
        client.get_request("streamConvoEvents", &[("hydrate", "perhaps")]),
        stranger.body(Full::default()).unwrap(),
        unknown.body(Full::default()).unwrap(),
    ] {
        let (_, headers, _) = client.exchange(request).await;
        assert_eq!(headers["access-control-allow-origin"], "*");
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        for name in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
            assert!(
                exposed.contains(name) && headers.contains_key(name),
                "{name}"
            );
        }
        assert!(exposed.contains("retry-after"));
    }
    // Refused before anybody looks at it, and still to be read.
    loop {
        let request = http::Request::get("/nothing").header("host", "relay.test");
        let response = client.send(request.body(Full::default()).unwrap()).await;
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], "*");
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(headers.contains_key("retry-after"));
            break;
        }
    }
}

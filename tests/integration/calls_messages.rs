//! Messages: what is taken, in which order it is given, and to whom.

use http::StatusCode;
use mls_relay_loadtest::mls::{Group, Received};
use serde_json::{Value, json};

use crate::phone::{Phone, people, together};
use crate::world::{assert_says, bytes, decoded, with};

async fn page(phone: &Phone, group: &Group, more: &[(&str, &str)]) -> Value {
    let id = group.id();
    let mut parameters = vec![("convoId", id.as_str())];
    parameters.extend(more);
    phone.get("getMessages", &parameters).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_sent_and_without_a_sender() {
    let (_world, [alice, bob], mut group) = together().await;
    let mut bobs = bob.join(&group).await;
    let message = alice.message(&mut group, b"tea?");
    let sent = alice.post("sendMessage", &message).await;
    assert_eq!(sent["messageId"], message["msgId"]);
    assert_says(&sent, json!({"seq": 1, "epoch": 1}));

    let page = page(&bob, &bobs, &[]).await;
    let view = &page["messages"][0];
    assert_eq!(view["ciphertext"], message["ciphertext"]);
    assert_eq!(view["messageType"], "app");
    assert_eq!(page["lastSeq"], 1);
    let received = bobs.receive(&decoded(&view["ciphertext"])).unwrap();
    assert!(matches!(received, Received::Application { plaintext, .. } if plaintext == b"tea?"));
    assert!(!page.to_string().contains(alice.did()), "the sender shows");
    // Times are told to 2 seconds only.
    let at = view["createdAt"].as_str().unwrap();
    let at = chrono::DateTime::parse_from_rfc3339(at).unwrap();
    assert_eq!(at.timestamp_millis() % 2000, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_while_it_reads_is_told_nothing_of_what_came_after() {
    let (world, [alice, bob], mut group) = together().await;
    let message = alice.message(&mut group, b"before");
    alice.post("sendMessage", &message).await;
    let holder = world.database.client().await;
    let hold = "BEGIN; LOCK TABLE messages";
    holder.batch_execute(hold).await.unwrap();
    let id = group.id();
    let messages = [("convoId", id.as_str())];
    let commits = [messages[0], ("fromEpoch", "0"), ("toEpoch", "9")];
    let then = async {
        // Both have found that Bob is in.
        world.database.waiting(2).await;
        let removed = format!(
            "UPDATE members SET left_seq = 99 WHERE user_did = '{}';
             INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                                   padded_size, received_at)
                 VALUES ('{id}', 2, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'commit', 2, 'x', 1, 1,
                         coarse_now());
             COMMIT",
            bob.did()
        );
        holder.batch_execute(&removed).await.unwrap();
    };
    let (page, commits, ()) = tokio::join!(
        bob.get_refused("getMessages", &messages),
        bob.get("getCommits", &commits),
        then
    );
    assert_eq!(page.told(), (404, "ConvoNotFound"));
    assert_eq!(commits["commits"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_uses_its_token_up_also_when_it_is_refused() {
    let (_world, [alice], mut group) = together().await;
    let good = alice.message(&mut group, b"once");
    let late = with(&good, json!({"epoch": 9}));
    for (input, first) in [(good, StatusCode::OK), (late, StatusCode::BAD_REQUEST)] {
        let request = alice.post_request("sendMessage", &input);
        assert_eq!(alice.exchange(request.clone()).await.0, first);
        // Another message, so that nothing but the token is repeated.
        let next = alice.message(&mut group, b"again").to_string();
        let replay = request.map(|_| next.into());
        let (status, _, answer) = alice.exchange(replay).await;
        assert_eq!(
            (status, &answer["error"]),
            (StatusCode::UNAUTHORIZED, &json!("JwtReplayed"))
        );
    }
    assert_eq!(page(&alice, &group, &[]).await["lastSeq"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_current_epoch_is_taken() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let late = alice.message(&mut group, b"late");
    alice.add(&mut group, &bob).await;
    let refused = alice.post_refused("sendMessage", &late).await;
    assert_eq!(refused.name, "EpochMismatch");
    assert!(refused.message.contains("epoch 1"), "{}", refused.message);
    assert_eq!(refused.body["currentEpoch"], 1, "{}", refused.body);
    // The field beside the ciphertext is no second truth.
    let lie = with(&late, json!({"epoch": 1}));
    let refused = alice.post_refused("sendMessage", &lie).await;
    assert_eq!(refused.name, "InvalidRequest");
    assert!(refused.message.starts_with("epoch:"), "{}", refused.message);
    assert_eq!(refused.body.get("currentEpoch"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_application_message_of_the_group_in_a_bucket_is_refused() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let mut other = alice.found(&[]).await;
    let good = alice.message(&mut group, b"hi");
    let foreign = alice.message(&mut other, b"hi");
    let padded = |mut raw: Vec<u8>, size: usize, fill: u8| {
        raw.resize(size, fill);
        bytes(&raw)
    };
    let commit = group.add(&alice.claim(&[bob.did()]).await).unwrap().commit;
    let ciphertext = decoded(&good["ciphertext"]);
    let unpadded = ciphertext.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let dirty = padded(ciphertext[..unpadded].to_vec(), ciphertext.len(), 1);
    for (what, change, field) in [
        (
            "a commit",
            json!({"ciphertext": padded(commit, 8192, 0), "paddedSize": 8192}),
            "ciphertext",
        ),
        (
            "noise",
            json!({"ciphertext": bytes(&[7; 512]), "paddedSize": 512}),
            "ciphertext",
        ),
        (
            "another group's",
            json!({"ciphertext": foreign["ciphertext"]}),
            "ciphertext",
        ),
        (
            "padding that says something",
            json!({"ciphertext": dirty}),
            "ciphertext",
        ),
        ("another size", json!({"paddedSize": 16384}), "ciphertext"),
        ("no bucket", json!({"paddedSize": 600}), "paddedSize"),
        (
            "a size too large",
            json!({"declaredSize": 10_485_760}),
            "declaredSize",
        ),
        (
            "no ULID",
            json!({"msgId": "01arz3ndektsv4rrffq69g5fav"}),
            "msgId",
        ),
        ("a stray field", json!({"sender": alice.did()}), "sender"),
    ] {
        let refused = alice
            .post_refused("sendMessage", &with(&good, change))
            .await;
        assert_eq!(refused.name, "InvalidRequest", "{what}");
        let message = &refused.message;
        assert!(message.contains(field), "{what}: {message}");
        assert!(
            !refused.message.contains(alice.did()),
            "{what}: the text shows an identity"
        );
    }
    assert_eq!(page(&alice, &group, &[]).await["lastSeq"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_paged_in_order_by_number_by_message_and_by_cursor() {
    let (_world, [alice], mut group) = together().await;
    let mut ids = Vec::new();
    for number in 0..5_u8 {
        let message = alice.send(&mut group, &[number]).await;
        ids.push(message["msgId"].clone());
    }
    let shown = |page: &Value| -> Vec<Value> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages.map(|view| view["id"].clone()).collect()
    };
    let first = page(&alice, &group, &[("limit", "2")]).await;
    assert_eq!(shown(&first), ids[..2]);
    assert_eq!(
        first["gapInfo"],
        json!({"hasGaps": false, "missingSeqs": [], "totalMessages": 2})
    );
    let cursor = first["cursor"].as_str().unwrap();
    let rest = page(&alice, &group, &[("cursor", cursor)]).await;
    assert_eq!(shown(&rest), ids[2..]);
    assert!(rest.get("cursor").is_none());
    let since = page(&alice, &group, &[("sinceSeq", "3")]).await;
    assert_eq!(shown(&since), ids[3..]);
    let since = page(
        &alice,
        &group,
        &[("sinceMessage", ids[0].as_str().unwrap())],
    )
    .await;
    assert_eq!(shown(&since), ids[1..]);

    let id = group.id();
    let unknown = [
        ("convoId", id.as_str()),
        ("sinceMessage", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ];
    let refused = alice.get_refused("getMessages", &unknown).await;
    assert_eq!(refused.name, "InvalidCursor");
    let both = [("convoId", id.as_str()), ("cursor", "1"), ("sinceSeq", "1")];
    let refused = alice.get_refused("getMessages", &both).await;
    assert_eq!(refused.name, "InvalidRequest");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_whole_while_others_write_and_what_expired_is_a_gap() {
    let (world, [alice, bob], mut group) = together().await;
    let (mut sent, mut seen) = (Vec::new(), Vec::new());
    let mut cursor = None::<String>;
    for _ in 0..3 {
        for number in 0..3_u8 {
            let message = alice.send(&mut group, &[number]).await;
            sent.push(message["msgId"].clone());
        }
        let mut ask = vec![("limit", "2")];
        ask.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = page(&bob, &group, &ask).await;
        let views = page["messages"].as_array().unwrap().iter();
        seen.extend(views.map(|view| view["id"].clone()));
        assert_eq!(page["gapInfo"]["hasGaps"], false);
        cursor = page["cursor"].as_str().map(str::to_owned);
    }
    let since = cursor.unwrap();
    let rest = page(&bob, &group, &[("cursor", &since)]).await;
    let views = rest["messages"].as_array().unwrap().iter();
    seen.extend(views.map(|view| view["id"].clone()));
    assert_eq!(seen, sent);

    let expired = "DELETE FROM messages WHERE seq IN (1, 5)";
    world.database.run(expired).await;
    let page = page(&bob, &group, &[]).await;
    assert_eq!(
        page["gapInfo"],
        json!({"hasGaps": true, "missingSeqs": [1, 5], "totalMessages": 7})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_its_own_stay_and_nothing_else() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    alice.send(&mut group, b"before").await;
    alice.add(&mut group, &bob).await;
    let within = alice.send(&mut group, b"within").await;

    let bobs = page(&bob, &group, &[("sinceSeq", "0")]).await;
    let shown = bobs["messages"].as_array().unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["id"], within["msgId"]);
    // What was before is nothing that it misses.
    assert_eq!(bobs["gapInfo"]["hasGaps"], false);
    let alices = page(&alice, &group, &[]).await;
    let kinds: Vec<_> = alices["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["messageType"])
        .collect();
    assert_eq!(kinds, ["app", "commit", "app"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_an_account_has_read_never_goes_back_whatever_it_says() {
    let (world, [alice], mut group) = together().await;
    for text in [b"one", b"two"] {
        alice.send(&mut group, text).await;
    }
    let database = world.database.client().await;
    let events = "SELECT payload ->> 'cursor' FROM event_stream ORDER BY seq";
    let given: Vec<String> = world.database.all(events, &[]).await;
    assert_eq!(given.len(), 3);
    let says = |cursor: &str| json!({"convoId": group.id(), "cursor": cursor});
    let stored = async || {
        let row = "SELECT cursor FROM read_cursors";
        let row = database.query_opt(row, &[]).await.unwrap();
        row.map(|row| {
            mls_relay::types::Cursor::parse(row.get(0))
                .unwrap()
                .seq()
                .get()
        })
    };
    // Ahead of everything: a stranger's, and the next one.
    for unheard_of in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "4"] {
        let refused = alice.post_refused("updateCursor", &says(unheard_of)).await;
        assert_eq!(refused.name, "InvalidCursor");
    }
    assert_eq!(stored().await, None);
    // In digits it has no time, and is a cursor all the same.
    for (cursor, read) in [
        (given[0].as_str(), 1),
        ("2", 2),
        (given[0].as_str(), 2),
        ("1", 2),
        (given[2].as_str(), 3),
        ("2", 3),
        ("3", 3),
    ] {
        let answer = alice.post("updateCursor", &says(cursor)).await;
        assert_eq!(answer, json!({"success": true}));
        assert_eq!(stored().await, Some(read), "{cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_largest_size_passes() {
    let (_world, [alice], mut group) = together().await;
    let message = alice.message(&mut group, &vec![7; 10_484_000]);
    assert_eq!(message["paddedSize"], 10_485_760);
    alice.post("sendMessage", &message).await;
    let page = page(&alice, &group, &[]).await;
    assert_eq!(page["messages"][0]["ciphertext"], message["ciphertext"]);
}

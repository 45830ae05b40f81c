//! Conversations in pages: none is left out, none comes twice, and no page is larger than a
//! relay can bear, however many devices are in them and whoever comes and goes meanwhile.

use std::collections::BTreeSet;

use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::{Value, json};

use crate::world::{Client, World};

/// All pages of the caller's conversations, with `between` after each.
async fn pages(client: &Client, limit: &str, mut between: impl AsyncFnMut()) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut parameters = vec![("limit", limit)];
        parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = client.get("getConvos", &parameters).await;
        pages.push(page["conversations"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return pages,
        }
        between().await;
    }
}

fn seats(page: &[Value]) -> usize {
    let members = page.iter().map(|view| view["members"].as_array().unwrap());
    members.map(Vec::len).sum()
}

fn names(pages: &[Vec<Value>]) -> Vec<&str> {
    let views = pages.iter().flatten();
    views.map(|view| view["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_paged_without_loss_or_repetition() {
    let world = World::start().await;
    let alice = world.account();
    let mut expected = Vec::new();
    for number in 0..5_u8 {
        let id = format!("{number:02x}aa");
        let input = json!({"groupId": id, "cipherSuite": CIPHER_SUITE_NAME});
        alice.post("createConvo", &input).await;
        expected.insert(0, id);
    }
    let pages = pages(&alice, "2", async || {}).await;
    assert_eq!(names(&pages), expected);
    let refused = alice.get_refused("getConvos", &[("cursor", "x")]).await;
    assert_eq!(refused.name, "InvalidCursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_conversations_is_bounded_by_the_devices_in_them() {
    let world = World::start().await;
    let alice = world.account();
    // Thirty of a thousand devices each, one that is larger than a page, and thirty of two.
    let seed = format!(
        "CREATE TEMP TABLE size AS SELECT n, lpad(to_hex(n), 4, '0') AS convo,
             CASE WHEN n <= 30 THEN 1000 WHEN n = 31 THEN 2500 ELSE 2 END AS seats
             FROM generate_series(1, 61) n;
         INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT convo, '{did}', 1, 0 FROM size;
         INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
             SELECT s.convo, CASE WHEN m = 1 THEN '{did}' ELSE 'did:plc:m' || m END, s.n, 0
             FROM size s CROSS JOIN LATERAL generate_series(1, s.seats) m",
        did = alice.did()
    );
    world.database.run(&seed).await;

    let pages = pages(&alice, "100", async || {}).await;
    let found = names(&pages);
    let expected: Vec<_> = (1..=61).rev().map(|n| format!("{n:04x}")).collect();
    assert_eq!(found, expected);
    // The small ones together, then the large one alone, then pairs.
    let sizes: Vec<_> = pages.iter().map(|page| seats(page)).collect();
    assert_eq!(sizes[..3], [60, 2500, 2000]);
    assert_eq!(sizes.len(), 17);
    assert!(sizes[2..].iter().all(|size| *size == 2000), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_keeps_its_place_while_the_accounts_devices_come_and_go() {
    let world = World::start().await;
    let alice = world.account();
    // In five: first with a phone, later with a tablet too. It had left the third before.
    let seed = format!(
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT lpad(to_hex(n), 4, '0'), '{did}', 1, 0 FROM generate_series(1, 5) n;
         INSERT INTO members (convo_id, user_did, device_id, joined_seq, left_seq,
                              joined_message_seq)
             SELECT lpad(to_hex(n), 4, '0'), '{did}', device, base + n, NULL, 0
             FROM generate_series(1, 5) n,
                  (VALUES ('phone', 100), ('tablet', 200)) AS d (device, base)
             UNION ALL VALUES ('0003', '{did}', 'phone', 1, 50, 0)",
        did = alice.did()
    );
    let seed = seed
        .replace("'phone'", "'9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f'")
        .replace("'tablet'", "'0a1b2c3d-5f0c-4a86-8d4e-9f8d2a344e5f'");
    world.database.run(&seed).await;

    let phones_go = "UPDATE members SET left_seq = 300 WHERE joined_seq BETWEEN 100 AND 199";
    let between = async || world.database.run(phones_go).await;
    let pages = pages(&alice, "2", between).await;
    let found = names(&pages);
    assert_eq!(found, ["0005", "0004", "0003", "0002", "0001"]);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
}

//! What one subscriber hears, from joining to leaving.

use std::time::Duration;

use super::memory::{Memory, World, now};
use super::subscriber::{hear, subscribe};
use crate::events::Settings;
use crate::types::{Cursor, Seq};

const ALICE: &str = "did:plc:alice";
const BOB: &str = "did:plc:bob";

#[tokio::test(start_paused = true)]
async fn without_a_cursor_a_stream_begins_with_what_comes_next() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    memory.send("aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 2"]);
    memory.send("aa");
    memory.send("bb");
    memory.send("aa");
    assert_eq!(hear(&mut bob, 2).await, ["+3", "+5"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_brings_back_all_that_was_missed_before_the_end_is_told() {
    // Once from the node's memory, once from the database.
    for recent_at_start in [1000, 0] {
        let memory = Memory::default();
        memory.send("aa");
        memory.join(BOB, "aa");
        for _ in 0..500 {
            memory.send("aa");
        }
        let settings = Settings {
            recent_at_start,
            ..Settings::default()
        };
        let (hub, _shutdown) = memory.hub(settings);
        let mut bob = subscribe(&hub, BOB, None, Some(0));
        let heard = hear(&mut bob, 502).await;
        let mut expected: Vec<_> = (2..=502).map(|seq| format!("+{seq}")).collect();
        expected.push("synced 502".to_owned());
        assert_eq!(heard, expected);
        assert_eq!(memory.rows_read() == 0, recent_at_start > 0);
        memory.send("aa");
        assert_eq!(hear(&mut bob, 1).await, ["+503"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_also_by_a_node_that_starts_after_it() {
    for recent_at_start in [1000, 0] {
        let memory = Memory::default();
        memory.join(BOB, "aa");
        let spoilt = memory.send("aa");
        memory.spoil(spoilt);
        memory.send("aa");
        let settings = Settings {
            recent_at_start,
            ..Settings::default()
        };
        let (hub, _shutdown) = memory.hub(settings);
        let mut bob = subscribe(&hub, BOB, None, Some(0));
        assert_eq!(hear(&mut bob, 4).await, ["+1", "+3", "gap aa", "synced 3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_while_a_node_starts_is_told_of() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    memory.send("aa");
    memory.let_answers_take(Duration::from_secs(1));
    let (hub, _shutdown) = memory.hub(Settings::default());
    tokio::time::sleep(Duration::from_millis(500)).await;
    memory.forget(1);
    let mut bob = subscribe(&hub, BOB, None, Some(0));
    let heard = hear(&mut bob, 4).await;
    assert_eq!(heard, ["outdated", "+2", "gap aa", "synced 2"]);
}

#[tokio::test(start_paused = true)]
async fn who_joins_hears_from_its_joining_on_and_who_goes_hears_that_last() {
    let memory = Memory::default();
    memory.join(ALICE, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
    memory.send("aa");
    memory.join(BOB, "aa");
    memory.send("aa");
    memory.remove(BOB, "aa");
    memory.send("aa");
    memory.join(BOB, "bb");
    assert_eq!(hear(&mut bob, 4).await, ["+3", "+4", "+5", "+7"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_one_conversation_ends_when_its_subscriber_is_removed() {
    let memory = Memory::default();
    for convo in ["aa", "bb"] {
        memory.join(BOB, convo);
    }
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, Some("aa"), None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 2"]);
    memory.send("bb");
    memory.send("aa");
    memory.remove(BOB, "aa");
    memory.send("aa");
    assert_eq!(hear(&mut bob, 3).await, ["+4", "+5", "ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_one_conversation_ends_with_its_going_though_it_returns_at_once() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, Some("aa"), None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
    memory.remove(BOB, "aa");
    memory.join(BOB, "aa");
    memory.send("aa");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hear(&mut bob, 2).await, ["+2", "ended"]);
}

#[tokio::test(start_paused = true)]
async fn who_had_returned_when_it_came_stays_though_its_node_has_yet_to_hear_that_it_was_gone() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut everything = subscribe(&hub, BOB, None, None);
    assert_eq!(hear(&mut everything, 1).await, ["synced 1"]);
    memory.set(World::DeafToEvents);
    memory.remove(BOB, "aa");
    memory.join(BOB, "aa");
    let mut bob = subscribe(&hub, BOB, Some("aa"), None);
    assert_eq!(hear(&mut bob, 3).await, ["synced 1", "+2", "+3"]);
    memory.remove(BOB, "aa");
    assert_eq!(hear(&mut bob, 2).await, ["+4", "ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_one_conversation_goes_on_over_a_return_and_ends_with_the_last_going() {
    for recent_at_start in [1000, 0] {
        let memory = Memory::default();
        memory.join(BOB, "aa");
        memory.remove(BOB, "aa");
        memory.send("aa");
        memory.join(BOB, "aa");
        memory.send("aa");
        let settings = Settings {
            recent_at_start,
            ..Settings::default()
        };
        let (hub, _shutdown) = memory.hub(settings.clone());
        let mut bob = subscribe(&hub, BOB, Some("aa"), Some(0));
        let heard = hear(&mut bob, 5).await;
        assert_eq!(heard, ["+1", "+2", "+4", "+5", "synced 5"]);
        memory.remove(BOB, "aa");
        let (hub, _shutdown) = memory.hub(settings);
        let mut bob = subscribe(&hub, BOB, Some("aa"), Some(0));
        let heard = hear(&mut bob, 6).await;
        assert_eq!(heard, ["+1", "+2", "+4", "+5", "+6", "ended"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_a_node_has_yet_to_hear_of_is_not_over() {
    for (after, expected) in [
        (None, ["synced 1", "+2", "+3", "+4", "ended"]),
        // It was told of two by another node.
        (Some(2), ["synced 2", "+3", "+4", "ended", "ended"]),
    ] {
        let memory = Memory::default();
        memory.join(ALICE, "aa");
        let (hub, _shutdown) = memory.hub(Settings::default());
        let mut alice = subscribe(&hub, ALICE, None, None);
        assert_eq!(hear(&mut alice, 1).await, ["synced 1"]);
        memory.set(World::DeafToEvents);
        memory.join(BOB, "aa");
        memory.send("aa");
        let mut bob = subscribe(&hub, BOB, Some("aa"), after);
        let mut heard = hear(&mut bob, 1).await;
        memory.remove(BOB, "aa");
        heard.extend(hear(&mut bob, 4).await);
        assert_eq!(heard, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_event_is_left_a_cursor_still_has_its_time() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    memory.forget(1);
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
    let expected = Cursor::new(now(), Seq::new(1));
    assert_eq!(bob.cursor(), Some(expected));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_where_the_last_events_are_lost_knows_who_joined_with_them() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    memory.join_unseen(BOB, "bb");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 2"]);
    memory.send("bb");
    assert_eq!(hear(&mut bob, 1).await, ["+3"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_ahead_of_the_stream_is_refused() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, Some(2));
    let refusal = "the cursor is ahead of the stream";
    assert_eq!(hear(&mut bob, 1).await, [refusal]);
    let mut bob = subscribe(&hub, BOB, None, Some(1));
    assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_a_node_that_is_ahead_of_this_one_hears_nothing_twice() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    assert_eq!(
        hear(&mut subscribe(&hub, BOB, None, None), 1).await,
        ["synced 1"]
    );
    // This node has yet to hear of 2 and 3; the client knows 2 from elsewhere.
    memory.set(World::DeafToEvents);
    memory.send("aa");
    memory.send("aa");
    let mut bob = subscribe(&hub, BOB, None, Some(2));
    assert_eq!(hear(&mut bob, 2).await, ["synced 2", "+3"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_older_than_the_oldest_event_is_told_what_may_be_lost() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    memory.join(BOB, "bb");
    memory.remove(BOB, "bb");
    memory.send("aa");
    memory.send("aa");
    memory.forget(4);
    memory.join(BOB, "cc");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, Some(3));
    let heard = hear(&mut bob, 5).await;
    assert_eq!(heard, ["outdated", "+5", "+6", "gap aa", "synced 6"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_beside_what_is_too_old_is_told_as_well() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    memory.send("aa");
    memory.send("aa");
    memory.forget(3);
    memory.join(BOB, "cc");
    let spoilt = memory.send("cc");
    memory.spoil(spoilt);
    memory.send("cc");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, Some(2));
    let heard = hear(&mut bob, 5).await;
    assert_eq!(heard, ["outdated", "+4", "+6", "gap aa cc", "synced 6"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_synced_where_something_is_lost_that_was_not_told() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut bob = subscribe(&hub, BOB, None, Some(0));
    assert_eq!(hear(&mut bob, 1).await, ["+1"]);
    memory.skip(1);
    memory.send("aa");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hear(&mut bob, 3).await, ["+3", "gap aa", "synced 3"]);
}

#[tokio::test(start_paused = true)]
async fn who_types_is_shown_to_the_members_and_to_nobody_else() {
    let memory = Memory::default();
    memory.join(ALICE, "aa");
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut alice = subscribe(&hub, ALICE, None, None);
    let mut bob = subscribe(&hub, BOB, None, None);
    let mut eve = subscribe(&hub, "did:plc:eve", None, None);
    for subscription in [&mut alice, &mut bob, &mut eve] {
        assert_eq!(hear(subscription, 1).await, ["synced 2"]);
    }
    let convo = crate::types::ConvoId::parse("aa").unwrap();
    eve.type_in(convo.clone(), true);
    bob.type_in(convo, true);
    // A typing notice has no place in the stream.
    assert_eq!(hear(&mut alice, 1).await, ["+0"]);
    memory.send("aa");
    assert_eq!(hear(&mut alice, 1).await, ["+3"]);
    memory.join("did:plc:eve", "cc");
    assert_eq!(hear(&mut eve, 1).await, ["+4"]);
}

//! Messages with their events: read once for all, never waited for by those who did not
//! ask, and not for members that were removed.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::memory::{Memory, Messages};
use crate::events::{Hub, News, Settings, Subscriber, Subscription};
use crate::types::{Cursor, Did};

const BOB: &str = "did:plc:bob";

fn hydrated(hub: &Hub, did: &str, after: Option<u64>) -> Subscription {
    let subscriber = Subscriber {
        did: Did::parse(did).unwrap(),
        filter: None,
        hydrate: true,
    };
    let cursor = after.map(|seq| Cursor::parse(&seq.to_string()).unwrap());
    hub.subscribe(subscriber, cursor)
}

/// The next events, each with the bytes of the message that came with it.
async fn hear(subscription: &mut Subscription, count: usize) -> Vec<(u64, usize)> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let next = timeout(Duration::from_secs(600), subscription.next());
        if let News::Events(events) = next.await.expect("something comes").unwrap() {
            let each = events
                .iter()
                .map(|event| (event.seq().get(), event.message_bytes()));
            heard.extend(each);
        }
    }
    heard
}

async fn synced(subscription: &mut Subscription) {
    while !matches!(subscription.next().await.unwrap(), News::Synced(_)) {}
}

/// A hub that remembers no event, so that whoever returns reads the log.
fn forgetful() -> Settings {
    Settings {
        backlog_max: 0,
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_read_once_for_all_sessions_live_and_later() {
    for settings in [Settings::default(), forgetful()] {
        let memory = Memory::default();
        let accounts: Vec<_> = (0..10).map(|n| format!("did:plc:member{n}")).collect();
        for account in &accounts {
            memory.join(account, "aa");
        }
        let (hub, _shutdown) = memory.hub(settings);
        let mut sessions: Vec<_> = accounts
            .iter()
            .flat_map(|account| [account; 3])
            .map(|account| hydrated(&hub, account, None))
            .collect();
        for session in &mut sessions {
            synced(session).await;
        }
        let sent: Vec<_> = (0..5).map(|_| memory.send_message("aa")).collect();
        let wanted: Vec<_> = sent.iter().map(|seq| (*seq, 512)).collect();
        let together = sessions.iter_mut().map(|session| hear(session, 5));
        for heard in futures_util::future::join_all(together).await {
            assert_eq!(heard, wanted);
        }
        assert_eq!(memory.messages_read(), 5, "each once, for 30 sessions");
        let mut late = hydrated(&hub, &accounts[0], Some(sent[0] - 1));
        assert_eq!(hear(&mut late, 5).await, wanted);
        assert_eq!(memory.messages_read(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_comes_without_and_a_failure_is_not_remembered() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut session = hydrated(&hub, BOB, None);
    synced(&mut session).await;
    for messages in [Messages::Expired, Messages::Unreadable, Messages::Stuck] {
        memory.set_messages(messages);
        let begun = Instant::now();
        let sent = memory.send_message("aa");
        assert_eq!(hear(&mut session, 1).await, [(sent, 0)], "{messages:?}");
        assert!(begun.elapsed() <= Duration::from_secs(3), "{messages:?}");
    }
    memory.set_messages(Messages::Held);
    let mut again = hydrated(&hub, BOB, Some(1));
    // The expired one stays so.
    assert_eq!(hear(&mut again, 3).await, [(2, 0), (3, 512), (4, 512)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_its_message_as_long_as_the_operator_says() {
    for seconds in [1, 20] {
        let memory = Memory::default();
        memory.join(BOB, "aa");
        let patience = Duration::from_secs(seconds);
        let (hub, _shutdown) = memory.hub(Settings {
            hydrate_timeout: patience,
            ..Settings::default()
        });
        let mut session = hydrated(&hub, BOB, None);
        synced(&mut session).await;
        memory.set_messages(Messages::Stuck);
        let begun = Instant::now();
        let stuck = memory.send_message("aa");
        assert_eq!(hear(&mut session, 1).await, [(stuck, 0)]);
        let waited = begun.elapsed();
        assert!(waited >= patience && waited < patience * 2, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_message_delays_nobody_and_keeps_the_order() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut plain = super::subscriber::subscribe(&hub, BOB, None, None);
    let mut waiting = hydrated(&hub, BOB, None);
    synced(&mut plain).await;
    synced(&mut waiting).await;
    memory.set_messages(Messages::Stuck);
    let stuck = memory.send_message("aa");
    let begun = Instant::now();
    assert_eq!(hear(&mut plain, 1).await, [(stuck, 0)]);
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert!(
        timeout(Duration::from_millis(100), waiting.next())
            .await
            .is_err()
    );
    // Nothing that comes meanwhile overtakes.
    memory.set_messages(Messages::Held);
    let other = memory.join("did:plc:carol", "aa");
    let next = memory.send_message("aa");
    let wanted = [(stuck, 0), (other, 0), (next, 512)];
    assert_eq!(hear(&mut waiting, 3).await, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_write_keeps_no_message_from_the_others() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let (mut slow, mut other) = (hydrated(&hub, BOB, None), hydrated(&hub, BOB, None));
    synced(&mut slow).await;
    synced(&mut other).await;
    memory.set_messages(Messages::Stuck);
    let sent = memory.send_message("aa");
    // It asks first, and then its client takes nothing: nobody polls it any more.
    let asked = timeout(Duration::from_millis(100), slow.next()).await;
    assert!(asked.is_err());
    let begun = Instant::now();
    assert_eq!(hear(&mut other, 1).await, [(sent, 0)]);
    assert!(begun.elapsed() <= Duration::from_secs(3));
    // What can be read again is.
    memory.set_messages(Messages::Held);
    let next = memory.send_message("aa");
    assert_eq!(hear(&mut other, 1).await, [(next, 512)]);
    assert_eq!(hear(&mut slow, 2).await, [(sent, 0), (next, 512)]);
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_gets_no_message_any_more_and_who_returned_only_later_ones() {
    for settings in [Settings::default(), forgetful()] {
        let memory = Memory::default();
        memory.join(BOB, "aa");
        let (hub, _shutdown) = memory.hub(settings);
        let mut live = hydrated(&hub, BOB, None);
        synced(&mut live).await;
        let sent = memory.send_message("aa");
        let left = memory.remove(BOB, "aa");
        memory.send_message("aa");
        let elsewhere = memory.join(BOB, "bb");
        let wanted = [(sent, 512), (left, 0), (elsewhere, 0)];
        assert_eq!(hear(&mut live, 3).await, wanted);
        // As getMessages, which finds no such conversation for him.
        let mut again = hydrated(&hub, BOB, Some(1));
        let wanted = [(sent, 0), (left, 0), (elsewhere, 0)];
        assert_eq!(hear(&mut again, 3).await, wanted);

        let back = memory.join(BOB, "aa");
        let later = memory.send_message("aa");
        let mut again = hydrated(&hub, BOB, Some(1));
        let heard = hear(&mut again, 5).await;
        assert_eq!(heard[3..], [(back, 0), (later, 512)]);
        assert_eq!(heard[0], (sent, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_a_node_remembers_are_bounded() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings {
        hydrated_bytes_max: 64 << 10,
        ..Settings::default()
    });
    let mut session = hydrated(&hub, BOB, None);
    synced(&mut session).await;
    for _ in 0..1_000 {
        memory.send_message("aa");
        hear(&mut session, 1).await;
    }
    let mut again = hydrated(&hub, BOB, Some(1));
    hear(&mut again, 1_000).await;
    // Of 512 bytes each.
    let remembered = 2_000 - memory.messages_read();
    assert!(remembered <= 128, "{remembered}");
}

#[tokio::test(start_paused = true)]
async fn few_events_come_from_memory_with_their_messages_and_many_page_by_page() {
    for (count, from_memory) in [(64, true), (65, false)] {
        let memory = Memory::default();
        memory.join(BOB, "aa");
        for _ in 0..count {
            memory.send_message("aa");
        }
        let (hub, _shutdown) = memory.hub(Settings::default());
        let mut session = hydrated(&hub, BOB, Some(1));
        let heard = hear(&mut session, count).await;
        assert!(heard.iter().all(|(_, bytes)| *bytes == 512));
        assert_eq!(memory.rows_read() == 0, from_memory);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_for_one_session_are_bounded() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings {
        outbox_bytes_max: 4096,
        ..forgetful()
    });
    for _ in 0..20 {
        memory.send_message("aa");
    }
    let mut session = hydrated(&hub, BOB, Some(1));
    let heard = hear(&mut session, 20).await;
    assert!(heard.iter().map(|(seq, _)| *seq).eq(2..=21));
    let with = heard.iter().filter(|(_, bytes)| *bytes > 0).count();
    assert_eq!(with, 8, "4096 bytes of 512 each");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_overflows_while_it_waits_for_messages_loses_and_repeats_nothing() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings {
        outbox_bytes_max: 4096,
        ..Settings::default()
    });
    let mut session = hydrated(&hub, BOB, None);
    synced(&mut session).await;
    memory.set_messages(Messages::Stuck);
    let first = memory.send_message("aa");
    // It has taken the first and waits for its message.
    assert!(
        timeout(Duration::from_millis(100), session.next())
            .await
            .is_err()
    );
    memory.set_messages(Messages::Held);
    for _ in 0..300 {
        memory.send_message("aa");
    }
    let heard = hear(&mut session, 301).await;
    assert!(heard.iter().map(|(seq, _)| *seq).eq(first..=first + 300));
    assert_eq!(heard[0].1, 0);
    let next = memory.send_message("aa");
    assert_eq!(hear(&mut session, 1).await, [(next, 512)]);
}

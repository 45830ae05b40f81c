//! What subscribers hear when notifications are lost or the database is away: the same.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::memory::{LEAP, Memory, World};
use super::subscriber::{hear, subscribe};
use crate::events::{Hearing, Hub, Settings, Subscription};
use crate::runtime::Shutdown;
use crate::telemetry::Log;
use crate::types::{ConvoId, Did};
use crate::wire::{Passing, Typing};

const BOB: &str = "did:plc:bob";

/// A hub, and Bob, who is in one conversation and hears what comes next.
pub(super) async fn live(memory: &Memory, settings: Settings) -> (Hub, Subscription, Shutdown) {
    memory.join(BOB, "aa");
    let (hub, shutdown) = memory.hub(settings);
    let mut bob = subscribe(&hub, BOB, None, None);
    assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
    (hub, bob, shutdown)
}

async fn until(hub: &Hub, hearing: Hearing) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while hub.health().hearing() != hearing {
        assert!(Instant::now() < deadline, "never {hearing:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_notification_is_made_up_for_by_the_next() {
    let memory = Memory::default();
    let (hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    until(&hub, Hearing::Ringing).await;
    memory.set(World::DeafToEvents);
    memory.send("aa");
    memory.set(World::Well);
    memory.send("aa");
    let begun = Instant::now();
    assert_eq!(hear(&mut bob, 2).await, ["+2", "+3"]);
    assert!(begun.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_lost_last_notification_is_found_by_looking() {
    let memory = Memory::default();
    let settings = Settings::default();
    let patience = settings.reconcile_every;
    let (hub, mut bob, _shutdown) = live(&memory, settings).await;
    until(&hub, Hearing::Ringing).await;
    memory.set(World::DeafToEvents);
    memory.send("aa");
    let begun = Instant::now();
    assert_eq!(hear(&mut bob, 1).await, ["+2"]);
    assert!(begun.elapsed() <= patience);
}

#[tokio::test(start_paused = true)]
async fn a_bell_that_never_rings_is_noticed_and_the_table_is_polled() {
    let memory = Memory::default();
    memory.set(World::Deaf);
    let settings = Settings::default();
    let poll_every = settings.poll_every;
    let (hub, mut bob, _shutdown) = live(&memory, settings).await;
    until(&hub, Hearing::Polling).await;
    for seq in 2..5 {
        memory.send("aa");
        let begun = Instant::now();
        assert_eq!(hear(&mut bob, 1).await, [format!("+{seq}")]);
        assert!(begun.elapsed() <= poll_every);
    }
    memory.set(World::Well);
    until(&hub, Hearing::Ringing).await;
}

#[tokio::test(start_paused = true)]
async fn a_bell_that_falls_silent_is_noticed_within_seconds() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    until(&hub, Hearing::Ringing).await;
    memory.set(World::Deaf);
    let begun = Instant::now();
    until(&hub, Hearing::Polling).await;
    assert!(begun.elapsed() < Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn sessions_do_not_notice_that_the_database_was_away() {
    let memory = Memory::default();
    let (hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    memory.set(World::Away);
    until(&hub, Hearing::Blind).await;
    // Others commit while this node cannot hear.
    memory.send("aa");
    memory.send("aa");
    memory.set(World::Well);
    assert_eq!(hear(&mut bob, 2).await, ["+2", "+3"]);
    until(&hub, Hearing::Ringing).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_passed_on_while_the_table_cannot_be_read() {
    let memory = Memory::default();
    let (hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    until(&hub, Hearing::Ringing).await;
    memory.set(World::Unreadable);
    until(&hub, Hearing::Blind).await;
    memory.send("aa");
    let begun = Instant::now();
    assert_eq!(hear(&mut bob, 1).await, ["+2"]);
    assert!(begun.elapsed() < Duration::from_millis(50));
    // What lies beyond a gap waits.
    memory.skip(1);
    memory.send("aa");
    memory.set(World::Well);
    let mut heard = hear(&mut bob, 2).await;
    heard.sort();
    assert_eq!(heard, ["+4", "gap aa"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_shown_to_type_while_it_is_not_known_who_was_removed() {
    let memory = Memory::default();
    let (hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    until(&hub, Hearing::Ringing).await;
    memory.set(World::Unreadable);
    until(&hub, Hearing::Blind).await;
    memory.tell(&Passing::Typing(Typing {
        convo_id: ConvoId::parse("aa").unwrap(),
        did: Did::parse("did:plc:alice").unwrap(),
        is_typing: true,
    }));
    memory.send("aa");
    assert_eq!(hear(&mut bob, 1).await, ["+2"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_ring_does_not_take_is_read_at_once() {
    let memory = Memory::default();
    let settings = Settings {
        ring_max: 1,
        ..Settings::default()
    };
    let (hub, mut bob, _shutdown) = live(&memory, settings).await;
    until(&hub, Hearing::Ringing).await;
    (0..9).for_each(|_| _ = memory.send("aa"));
    let begun = Instant::now();
    assert_eq!(hear(&mut bob, 9).await[8], "+10");
    assert!(begun.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn what_commits_while_the_listener_reconnects_is_read_at_once() {
    let memory = Memory::default();
    let (hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    until(&hub, Hearing::Ringing).await;
    for round in 0..20 {
        memory.cut();
        memory.send("aa");
        let begun = Instant::now();
        assert_eq!(hear(&mut bob, 1).await, [format!("+{}", round + 2)]);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_made_while_the_database_is_away_waits_for_it() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    until(&hub, Hearing::Ringing).await;
    memory.set(World::Away);
    let mut bob = subscribe(&hub, BOB, None, Some(0));
    let heard = tokio::spawn(async move { hear(&mut bob, 2).await });
    sleep(Duration::from_secs(3)).await;
    memory.set(World::Well);
    assert_eq!(heard.await.unwrap(), ["+1", "synced 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_falls_silent_without_breaking_is_replaced() {
    let (log, _listening) = Log::listen();
    let memory = Memory::default();
    let (hub, _bob, _shutdown) = live(&memory, Settings::default()).await;
    until(&hub, Hearing::Ringing).await;
    memory.lose_listeners();
    until(&hub, Hearing::Polling).await;
    until(&hub, Hearing::Ringing).await;
    assert!(!log.text().contains("pooler"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn where_a_new_connection_brings_nothing_either_the_next_one_waits_longer() {
    let (log, _listening) = Log::listen();
    let memory = Memory::default();
    memory.set(World::Deaf);
    let (_hub, _shutdown) = memory.hub(Settings::default());
    let tried = || log.text().matches("listening anew").count();
    // A notification every two seconds.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(tried(), 0, "{}", log.text());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(tried(), 7, "{}", log.text());
}

/// The guess sends an operator looking for a pooler.
#[tokio::test(start_paused = true)]
async fn a_pooler_is_suspected_only_while_the_database_answers() {
    let (log, _listening) = Log::listen();
    let memory = Memory::default();
    let (hub, _shutdown) = memory.hub(Settings::default());
    until(&hub, Hearing::Ringing).await;
    memory.set(World::Unreadable);
    until(&hub, Hearing::Blind).await;
    sleep(Duration::from_secs(60)).await;
    assert!(!log.text().contains("pooler"), "{}", log.text());
    memory.set(World::Deaf);
    until(&hub, Hearing::Polling).await;
    sleep(Duration::from_secs(60)).await;
    let text = log.text();
    assert_eq!(text.matches("pooler").count(), 1, "once, and not again");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_for_each_cause_and_not_with_every_attempt() {
    let memory = Memory::default();
    memory.set(World::Away);
    let (log, listening) = Log::listen();
    let (hub, _shutdown) = memory.hub(Settings::default());
    sleep(Duration::from_secs(120)).await;
    let at_the_start = log.text();
    drop(listening);
    memory.set(World::Well);
    until(&hub, Hearing::Ringing).await;
    let (log, _listening) = Log::listen();
    memory.set(World::Away);
    sleep(Duration::from_secs(120)).await;
    memory.set(World::Well);
    until(&hub, Hearing::Ringing).await;
    let text = log.text();
    for text in [&at_the_start, &text] {
        for cause in ["cannot listen for events", "cannot read the event stream"] {
            assert_eq!(text.matches(cause).count(), 1, "{text}");
        }
    }
    let last = text.lines().last().unwrap();
    assert!(
        last.contains("events arrive by notification again"),
        "{text}"
    );
}

#[test]
fn a_process_that_ends_without_a_drain_alarms_nobody() {
    let (log, _listening) = Log::listen();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let held = runtime.block_on(async {
        let memory = Memory::default();
        let held = live(&memory, Settings::default()).await;
        until(&held.0, Hearing::Ringing).await;
        held
    });
    drop(runtime);
    assert_eq!(held.0.health().hearing(), Hearing::Blind);
    let text = log.text();
    assert!(!text.contains("ERROR"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_does_not_wait_for_ever_on_a_database_that_is_silent() {
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let settings = Settings::default();
    let patience = settings.read_patience;
    let (hub, _shutdown) = memory.hub(settings);
    until(&hub, Hearing::Ringing).await;
    memory.set(World::Silent);
    let begun = Instant::now();
    let mut bob = subscribe(&hub, BOB, None, Some(0));
    assert_eq!(
        hear(&mut bob, 1).await,
        ["a subscription needs the database"]
    );
    assert!(begun.elapsed() <= patience + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_change_that_is_lost_while_somebody_joins_is_not_passed_by() {
    let memory = Memory::default();
    memory.send("aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    until(&hub, Hearing::Ringing).await;
    // This node is behind: Bob has heard of these on another.
    memory.set(World::DeafToEvents);
    memory.join_unseen(BOB, "aa");
    memory.send("aa");
    let mut bob = subscribe(&hub, BOB, None, Some(3));
    memory.let_answers_take(Duration::from_secs(1));
    let joining = tokio::spawn(async move { hear(&mut bob, 3).await });
    sleep(Duration::from_millis(500)).await;
    memory.set(World::Well);
    memory.send("aa");
    assert_eq!(joining.await.unwrap(), ["+4", "gap aa", "synced 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_stream_is_told_to_everyone() {
    let memory = Memory::default();
    let (_hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    memory.skip(LEAP);
    memory.send("aa");
    let mut heard = hear(&mut bob, 2).await;
    heard.sort();
    assert_eq!(heard, [&format!("+{}", LEAP + 2), "gap aa"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_failover_undid_is_undone_for_open_sessions_too() {
    let memory = Memory::default();
    let (hub, mut bob, _shutdown) = live(&memory, Settings::default()).await;
    let mut of_one = subscribe(&hub, BOB, Some("aa"), None);
    assert_eq!(hear(&mut of_one, 1).await, ["synced 1"]);
    memory.join(BOB, "bb");
    memory.remove(BOB, "aa");
    assert_eq!(hear(&mut bob, 2).await, ["+2", "+3"]);
    memory.fail_over(1, LEAP);
    memory.send("bb");
    memory.send("aa");
    // Of what was undone the second has taken nothing yet.
    for session in [&mut bob, &mut of_one] {
        let mut heard = hear(session, 2).await;
        heard.sort();
        assert_eq!(heard, [&format!("+{}", LEAP + 2), "gap aa"]);
    }
}

//! What subscribers hear who are slow themselves: the same, as long as they gain on the stream.

use std::time::Duration;

use tokio::time::sleep;

use super::faults::live;
use super::memory::Memory;
use super::subscriber::hear;
use crate::events::Settings;

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_falls_back_to_the_database_and_loses_nothing() {
    let memory = Memory::default();
    let settings = Settings {
        outbox_bytes_max: 4_000,
        ..Settings::default()
    };
    let (_hub, mut bob, _shutdown) = live(&memory, settings).await;
    for round in 0..5 {
        // Far more than its queue takes, while it does not look.
        for _ in 0..1000 {
            memory.send("aa");
        }
        sleep(Duration::from_secs(1)).await;
        let heard = hear(&mut bob, 1000).await;
        let first = round * 1000 + 2;
        let expected: Vec<_> = (first..first + 1000).map(|seq| format!("+{seq}")).collect();
        assert_eq!(heard, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_caught_up_may_fall_behind_again_and_farther() {
    let memory = Memory::default();
    let settings = Settings {
        outbox_bytes_max: 4_000,
        ..Settings::default()
    };
    let (_hub, mut bob, _shutdown) = live(&memory, settings).await;
    for count in [100, 1_000] {
        (0..count).for_each(|_| _ = memory.send("aa"));
        sleep(Duration::from_secs(1)).await;
        let heard = hear(&mut bob, count).await;
        assert!(heard.iter().all(|line| line.starts_with('+')), "{heard:?}");
        let more = tokio::time::timeout(Duration::from_secs(600), bob.next());
        assert!(more.await.is_err(), "it has had all");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_subscriber_that_does_not_gain_on_the_stream_is_given_up() {
    let memory = Memory::default();
    let settings = Settings {
        outbox_bytes_max: 4_000,
        page_max: 10,
        ..Settings::default()
    };
    let (_hub, mut bob, _shutdown) = live(&memory, settings).await;
    let mut last = String::new();
    for _ in 0..1000 {
        for _ in 0..100 {
            memory.send("aa");
        }
        sleep(Duration::from_secs(1)).await;
        last = hear(&mut bob, 1).await.remove(0);
        if !last.starts_with('+') {
            break;
        }
    }
    assert_eq!(last, "the subscriber does not keep up with its stream");
    assert!(bob.cursor().is_some());
}

//! Sessions that go at any moment leave nothing at the hub.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::memory::Memory;
use super::subscriber::{hear, subscribe};
use crate::events::{Hub, Settings};

const ALICE: &str = "did:plc:alice";
const BOB: &str = "did:plc:bob";

/// Drops a future when it has waited so often; nothing, if it has.
async fn given_up<F: Future>(after: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut waits = 0;
    poll_fn(|context| {
        let polled = future.as_mut().poll(context).map(Some);
        waits += usize::from(polled.is_pending());
        match waits > after {
            true => Poll::Ready(None),
            false => polled,
        }
    })
    .await
}

/// Whether nobody listens any more, after the hub's next sweep.
async fn is_empty(memory: &Memory, hub: &Hub, shown: &PrometheusHandle) -> bool {
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut alice = subscribe(hub, ALICE, None, None);
    hear(&mut alice, 1).await;
    // It tells of how many conversations somebody listens to when it has passed something on.
    memory.join(ALICE, "bb");
    memory.join(ALICE, "cc");
    hear(&mut alice, 2).await;
    shown.render().contains("relay_events_topics 2\n")
}

#[tokio::test(start_paused = true)]
async fn whoever_is_cut_short_while_it_joins_leaves_nothing() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut waits = 0;
    loop {
        let mut bob = subscribe(&hub, BOB, None, None);
        if given_up(waits, bob.next()).await.is_some() {
            break;
        }
        waits += 1;
    }
    assert!(waits > 1, "it waits for the hub");
    assert!(is_empty(&memory, &hub, &shown).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_with_a_crowd_leaves_nothing_though_nobody_hears_its_goodbye() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let memory = Memory::default();
    memory.join(BOB, "aa");
    let (hub, _shutdown) = memory.hub(Settings::default());
    let mut crowd = Vec::new();
    for _ in 0..1_100 {
        let mut bob = subscribe(&hub, BOB, None, None);
        assert_eq!(hear(&mut bob, 1).await, ["synced 1"]);
        crowd.push(bob);
    }
    // More than wait for the hub at once, and it does not get to run meanwhile.
    drop(crowd);
    assert!(
        shown
            .render()
            .contains("relay_queue_full_total{queue=\"hub\"}")
    );
    assert!(is_empty(&memory, &hub, &shown).await);
}

//! The phones of one carrier, behind one address, that all come at once.

use std::sync::Arc;
use std::time::Duration;

use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::subscription::{Subscribe, Subscription};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::database::Database;
use crate::relay::Home;

/// More than may come in a second, by more than the strikes that lead into the penalty box.
const PHONES: usize = 350;

/// Comes again until it is let in, as phones do that were closed without a word.
async fn subscribed(relay: Arc<Relay>, account: Account) -> Subscription {
    loop {
        let everything = Subscribe::to_all(Framing::Json);
        if let Ok(mut socket) = Subscription::open(&relay, &account, everything).await
            && let Ok(Some(_)) = socket.next().await
        {
            return socket;
        }
        let random = uuid::Uuid::new_v4().as_u64_pair().0;
        sleep(Duration::from_millis(1000 + random % 1000)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_that_come_at_once_are_let_in_and_none_of_them_is_an_offender() {
    let (database, directory) = (Database::start().await, Directory::start().await.unwrap());
    let node = Home::on(&database.url()).knowing(&directory).start();
    let relay = node.reach();
    let mut phones = JoinSet::new();
    for _ in 0..PHONES {
        let account = directory.account(Curve::P256).unwrap();
        phones.spawn(subscribed(Arc::clone(&relay), account));
    }
    let open = timeout(Duration::from_secs(60), phones.join_all()).await;
    assert_eq!(open.expect("all are let in").len(), PHONES);
    let (_, metrics) = node.ask_admin("/metrics").await;
    let refused = "relay_limits_refused_total{rule=\"connection_rate\",outcome=\"refused\"}";
    assert!(metrics.contains(refused), "they did not come at once");
    assert!(
        !metrics.contains("relay_limits_penalties_total"),
        "{metrics}"
    );
}

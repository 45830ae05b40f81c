//! Everybody comes back at once: from the first connect until the last of 5,000 phones is
//! subscribed and knows where its conversations stand. The accounts are known to the
//! relay, as they are when a network was away and not the relay: no DID is looked up.
//!
//! Phones that begin anew and phones that kept their session's ticket take turns. The
//! phones are this process, on the same cores. Needs the release binaries: `make bench`
//! builds them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::Database;
use figure::{Figure, median};
use mls_relay::runtime::raise_descriptor_limit;
use mls_relay_loadtest::ask;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::load::{Usage, raised_limits};
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::RelayProcess;
use mls_relay_loadtest::subscription::{Subscribe, Subscription, SubscriptionError};
use tokio::task::JoinSet;
use tokio::time::sleep;

const PHONES: usize = 5_000;
const CONVOS: usize = 100;
const TURNS: usize = 3;
/// Fewer than may wait for a lookup.
const UNKNOWN_AT_ONCE: usize = 500;
const RESUMED: &str = "relay_edge_handshake_seconds_count{kind=\"resumed\"}";

#[tokio::main]
async fn main() {
    raise_descriptor_limit();
    let world = World::start().await;
    // The first time, every account is looked up.
    for few in world.phones().chunks(UNKNOWN_AT_ONCE) {
        world.storm(few).await;
    }
    let lookups = world.directory.requests();
    let (mut full, mut resumed) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let phones = world.phones();
        let before = world.metric(RESUMED).await;
        full.push(world.storm(&phones).await);
        assert_eq!(world.metric(RESUMED).await, before);
        resumed.push(world.storm(&phones).await);
        // All but those who had to come twice.
        assert!(world.metric(RESUMED).await - before >= PHONES);
    }
    assert_eq!(world.directory.requests(), lookups);
    report("storm_5000_subscribed", full);
    report("storm_5000_subscribed_resumed", resumed);
}

/// What one storm took.
struct Storm {
    lasted: Duration,
    /// Of the relay, without its Postgres.
    cpu: Duration,
    /// Who was sent away and came again.
    again: usize,
}

fn report(name: &str, storms: Vec<Storm>) {
    let again: usize = storms.iter().map(|storm| storm.again).sum();
    assert!(again < PHONES / 10, "{again} had to come again");
    let lasted = storms.iter().map(|storm| storm.lasted.as_secs_f64() * 1e3);
    Figure::new(&format!("{name}_ms"), median(lasted.collect()), "ms")
        .goal("as the handshakes allow")
        .record();
    let cpu = storms.iter().map(|storm| storm.cpu.as_secs_f64() * 1e6);
    Figure::new(
        &format!("{name}_cpu_us_each"),
        median(cpu.map(|micros| micros / PHONES as f64).collect()),
        "us",
    )
    .goal("as the handshakes allow")
    .record();
}

struct Phone {
    account: Arc<Account>,
    /// Its own, for the tickets in it.
    relay: Arc<Relay>,
}

struct World {
    directory: Directory,
    process: RelayProcess,
    accounts: Vec<Arc<Account>>,
    _database: Database,
}

impl World {
    /// A relay on a Postgres with conversations in it, in which everybody is.
    async fn start() -> Self {
        let database = Database::start().await;
        let directory = Directory::start().await.unwrap();
        let accounts: Vec<_> = (0..PHONES)
            .map(|_| Arc::new(directory.account(Curve::P256).unwrap()))
            .collect();
        let mut environment = raised_limits();
        environment.extend([
            ("DATABASE_URL".to_owned(), database.url()),
            ("HANDSHAKES_MAX".to_owned(), "100000".to_owned()),
        ]);
        let process = RelayProcess::start_built(directory.url(), environment).await;
        populate(&database, &accounts).await;
        Self {
            directory,
            process: process.unwrap(),
            accounts,
            _database: database,
        }
    }

    /// All phones, none of which was here before.
    fn phones(&self) -> Vec<Phone> {
        let phone = |account: &Arc<Account>| Phone {
            account: Arc::clone(account),
            relay: Arc::new(self.process.relay().unwrap()),
        };
        self.accounts.iter().map(phone).collect()
    }

    async fn storm(&self, phones: &[Phone]) -> Storm {
        let before = Usage::of(self.process.pid()).unwrap();
        let begun = Instant::now();
        let mut coming = JoinSet::new();
        for phone in phones {
            let (relay, account) = (Arc::clone(&phone.relay), Arc::clone(&phone.account));
            coming.spawn(async move { come(&relay, &account).await });
        }
        let here = coming.join_all().await;
        let lasted = begun.elapsed();
        let cpu = Usage::of(self.process.pid()).unwrap().cpu_since(&before);
        assert_eq!(self.metric("relay_sessions_open").await, phones.len());
        let mut again = 0;
        for (subscription, attempts) in here {
            again += attempts - 1;
            subscription.drop_connection().unwrap();
        }
        while self
            .metric("relay_limits_open{rule=\"connections_total\"}")
            .await
            > 0
        {
            sleep(Duration::from_millis(100)).await;
        }
        Storm { lasted, cpu, again }
    }

    /// One of the relay's metrics.
    async fn metric(&self, name: &str) -> usize {
        let figure = ask::figure(self.process.admin(), name).await.unwrap();
        usize::try_from(figure.unwrap_or(0)).unwrap()
    }
}

/// Subscribes and waits until it is live, as often as it takes.
async fn come(relay: &Arc<Relay>, account: &Account) -> (Subscription, usize) {
    let (mut attempt, mut wait) = (1, Duration::from_millis(100));
    loop {
        match subscribe(relay, account).await {
            Ok(subscription) => return (subscription, attempt),
            Err(_) => sleep(wait).await,
        }
        (attempt, wait) = (attempt + 1, wait * 2);
    }
}

async fn subscribe(
    relay: &Arc<Relay>,
    account: &Account,
) -> Result<Subscription, SubscriptionError> {
    let subscribe = Subscribe::to_all(Framing::DagCbor);
    let mut subscription = Subscription::open(relay, account, subscribe).await?;
    while subscription
        .next()
        .await?
        .is_some_and(|event| !event.is_synced())
    {}
    Ok(subscription)
}

/// Everybody is in one of the conversations.
async fn populate(database: &Database, accounts: &[Arc<Account>]) {
    let dids: Vec<_> = accounts.iter().map(|account| account.did()).collect();
    let members = format!(
        "SELECT lpad(to_hex(i % {CONVOS}), 32, '0'), did
         FROM unnest('{{{}}}'::text[]) WITH ORDINALITY AS m (did, i)",
        dids.join(",")
    );
    database.seat(&members).await;
}

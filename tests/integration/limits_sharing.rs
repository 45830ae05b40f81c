//! Two nodes on one Postgres have one penalty box: what one decides the other does,
//! what operators lift is lifted everywhere, and what they tell each other names nobody.

use std::time::Duration;

use mls_relay::limits::{Clock, LimitError, Limits, Offender, Settings};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::types::{ClientIp, Did, Nsid};

use crate::database::Database;
use crate::limiter::request;
use crate::relay::eventually;
use crate::secrets::Secrets;

const ADDRESS: &str = "203.0.113.77";
const ACCOUNT: &str = "did:plc:offender0offender0offende";
const STRIKES: u16 = 5;

/// One node's limiter, which tells and hears every few milliseconds.
struct Node {
    limits: Limits,
    _shutdown: Shutdown,
}

impl Node {
    async fn start(database: &Database) -> Self {
        let (store, shutdown) = database.store().await;
        let mut settings = Settings::default();
        settings.penalties.strikes = STRIKES;
        settings.penalties.first = Duration::from_secs(600);
        settings.penalties.shared_every = Duration::from_millis(50);
        settings.penalties.away_after = Duration::from_secs(1);
        let limits = Limits::new(Live::new(settings), Clock::system());
        limits.start_sharing(store, &shutdown);
        let node = Self {
            limits,
            _shutdown: shutdown,
        };
        // Until it has the common keys, it names offenders by keys of its own.
        let probe = Offender::Address(ClientIp::new("198.51.100.1".parse().unwrap()));
        let client = database.client().await;
        eventually("the node shares", async || {
            node.limits.penalize(probe, Duration::from_secs(1));
            let told = client.query("SELECT FROM penalties", &[]).await.unwrap();
            !told.is_empty() && client.query("SELECT FROM penalty_keys", &[]).await.is_ok()
        })
        .await;
        node
    }

    fn is_refused_before_tls(&self) -> bool {
        let refused = self.limits.admit_connection(address()).err();
        matches!(refused, Some(LimitError::Reached { .. }))
    }

    /// Asks for what is refused, until that has consequences.
    fn offend(&self) {
        let spent = 66;
        for _ in 0..spent + STRIKES {
            request(&self.limits, address(), None);
        }
    }
}

fn address() -> ClientIp {
    ClientIp::new(ADDRESS.parse().unwrap())
}

fn account() -> Did {
    Did::parse(ACCOUNT).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_offends_one_node_is_refused_by_the_other_until_an_operator_lifts_it() {
    let database = Database::start().await;
    let (one, other) = (Node::start(&database).await, Node::start(&database).await);
    assert!(!other.is_refused_before_tls());
    one.offend();
    assert!(one.is_refused_before_tls());
    eventually("the other node refuses", async || {
        other.is_refused_before_tls()
    })
    .await;

    // A node that comes later hears of it as well.
    let late = Node::start(&database).await;
    eventually("a new node refuses", async || late.is_refused_before_tls()).await;

    other.limits.lift(Offender::Address(address()));
    assert!(!other.is_refused_before_tls());
    eventually("all nodes let in", async || {
        !one.is_refused_before_tls() && !late.is_refused_before_tls()
    })
    .await;
    // And it stays so: nobody tells the others of what was lifted.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut nodes = [&one, &other, &late].into_iter();
    assert!(!nodes.any(|node| node.is_refused_before_tls()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_an_operator_put_in_is_refused_everywhere_and_named_nowhere() {
    let database = Database::start().await;
    let (one, other) = (Node::start(&database).await, Node::start(&database).await);
    one.limits
        .penalize(Offender::Account(&account()), Duration::from_secs(60));
    one.limits
        .penalize(Offender::Address(address()), Duration::from_secs(60));
    let refused = || {
        other
            .limits
            .check_did(&account(), Nsid::SendMessage)
            .refused
    };
    eventually("the other node refuses the account", async || {
        refused().is_some()
    })
    .await;
    let wait = refused().unwrap().retry_after();
    assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(60));

    let client = database.client().await;
    let stored = client
        .query(
            "SELECT encode(subject, 'hex'), encode(subject, 'escape'), p::text FROM penalties p",
            &[],
        )
        .await
        .unwrap();
    assert!(stored.len() >= 2);
    let mut named = Secrets::default();
    named.add("an account", ACCOUNT);
    named.add("an address", ADDRESS);
    let text: String = stored
        .iter()
        .flat_map(|row| (0..3).map(|column| row.get::<_, String>(column)))
        .collect();
    assert!(named.found_in(&text).is_empty());
    let raw = "cb00714d";
    assert!(!text.contains(raw), "the address in its four bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_takes_nobodys_keys() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let today = chrono::Utc::now().timestamp() / 86_400;
    let keys = store.penalty_keys(today).await.unwrap();
    store.penalty_keys(today + 100).await.unwrap();
    assert_eq!(store.penalty_keys(today).await.unwrap(), keys);
    // One that is behind has a key of its own, which is nobody's.
    let behind = store.penalty_keys(today - 100).await.unwrap();
    assert_eq!(behind.len(), 1);
    assert!(!keys.contains(&behind[0]));
    assert_eq!(store.penalty_keys(today).await.unwrap(), keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_each_node_goes_on_alone_and_tells_afterwards() {
    let mut database = Database::start().await;
    let (one, other) = (Node::start(&database).await, Node::start(&database).await);
    let claims = |node: &Node| {
        let refused = node
            .limits
            .check_did(&account(), Nsid::GetKeyPackages)
            .refused;
        !matches!(refused, Some(LimitError::SharedStateAway { .. }))
    };
    assert!(claims(&one));
    database.down("immediate");
    eventually("what uses something up is closed", async || !claims(&one)).await;
    let send = one.limits.check_did(&account(), Nsid::SendMessage);
    assert!(send.refused.is_none(), "what does not goes on");
    one.offend();
    assert!(
        one.is_refused_before_tls(),
        "and offenders are refused here"
    );
    assert!(!other.is_refused_before_tls());
    database.up().await;
    eventually("both are open again", async || {
        claims(&one) && claims(&other)
    })
    .await;
    eventually("what was decided meanwhile is told", async || {
        other.is_refused_before_tls()
    })
    .await;
}

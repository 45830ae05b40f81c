//! How much of us one peer may have.
//!
//! ```text
//!            1 connection      2 request             3 account       4 socket, frames
//! stranger ──> admit_connection ─ TLS ─> admit_request ─ token ─> proved, check_did ─> admit_socket ─> frame
//!                  │                      │                       │                      │
//!                  └────────────── 5 whoever keeps being refused: penalty box ───────────┘
//! ```
//!
//! Every decision is a window (`window`), a budget (`bucket`) or a count (`counts`)
//! under a blind key (`blind`), in a bounded table (`table`). `docs/rate-limiting.md`
//! tells operators about each rule.

mod blind;
mod bucket;
mod bytes;
mod call;
mod claim;
mod clock;
mod connection;
mod counts;
mod decision;
mod domain;
mod exchange;
mod frames;
mod good_standing;
mod handshake;
mod http2_frames;
mod line;
mod memory;
mod offence;
mod penalty;
mod penalty_box;
mod request;
mod rotating_keys;
mod rule;
mod settings;
mod shards;
mod sharing;
mod socket;
mod table;
mod threshold;
mod tick;
mod upkeep;
mod waiting;
mod window;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use crate::runtime::Live;
use crate::types::{ClientIp, Did};

pub use claim::{Claim, ProvedHere};
pub use clock::Clock;
pub use connection::ConnectionPermit;
pub use decision::{Decision, HEADERS, LimitError};
pub use frames::{BudgetInfo, FrameKind, FrameVerdict};
pub use handshake::HandshakePermit;
pub use http2_frames::Http2Frames;
pub use memory::MemoryPermit;
pub use request::Arrival;
pub use rule::{Rule, RuleSet};
pub use settings::{
    Calls, Connections, GoodStanding, Penalties, Requests, Settings, Sockets, Tables,
};
pub use sharing::Offender;
pub use socket::{PlaceWanted, SocketPermit};

use blind::{Blind, BlindKey};
use counts::Counts;
use domain::{Domain, VERIFYING};
use penalty_box::PenaltyBox;
use rotating_keys::RotatingKeys;
use table::{Names, Place, Table};
use tick::Tick;
use window::{Quota, Verdict};

/// The limiter of this node. Clones share their state.
#[derive(Clone)]
pub struct Limits {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Live<Settings>,
    clock: Clock,
    keys: RotatingKeys,
    /// Names who holds something open, for as long as the process lives: a count is gone
    /// with what it counts.
    holders: BlindKey,
    addresses: Table,
    accounts: Table,
    /// Which accounts proved themselves lately, and where.
    familiar: Table,
    connections: AtomicU32,
    connections_room: AtomicU32,
    handshakes: AtomicU32,
    /// Requests that wait while tokens of their addresses are checked.
    waiting: AtomicU32,
    verifying: Arc<Counts<waiting::Queue>>,
    bodies: memory::Pool,
    answers: memory::Pool,
    /// Shared by the connections of an address, and of an IPv6 network: how they arrive.
    connections_ip: Arc<Counts<handshake::Arrivals>>,
    sockets_ip: Arc<Counts<socket::Shared>>,
    sockets_did: Arc<Counts<socket::Shared>>,
    penalties: PenaltyBox,
    good_standing: good_standing::Record,
    shared_state_away: AtomicBool,
}

impl Limits {
    pub fn new(settings: Live<Settings>, clock: Clock) -> Self {
        let now = clock.tick();
        let (tables, familiar_ms) = {
            let settings = settings.load();
            (settings.tables.clone(), settings.requests.familiar_ms())
        };
        let keys = RotatingKeys::random(&clock);
        Self {
            inner: Arc::new(Inner {
                settings,
                clock,
                keys,
                holders: BlindKey::random(),
                addresses: Table::new(tables.ip_keys, 0, now),
                accounts: Table::new(tables.did_keys, 0, now),
                familiar: Table::new(tables.ip_keys, familiar_ms, now),
                connections: AtomicU32::new(0),
                connections_room: AtomicU32::new(u32::MAX),
                handshakes: AtomicU32::new(0),
                waiting: AtomicU32::new(0),
                verifying: Counts::new(),
                bodies: memory::Pool::new(),
                answers: memory::Pool::new(),
                connections_ip: Counts::new(),
                sockets_ip: Counts::new(),
                sockets_did: Counts::new(),
                penalties: PenaltyBox::new(),
                good_standing: good_standing::Record::new(),
                shared_state_away: AtomicBool::new(false),
            }),
        }
    }

    /// The clock, to write headers and to move it in tests.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }
}

// A decision is a cache line and more: where these are not inlined, it is copied from
// one to the next, which was half the cost of a check (`benches/limit_check.rs`).
impl Inner {
    /// Takes a place in the window that an address has under a rule, in a domain of its own
    /// where one rule keeps several apart. It is not given back.
    #[inline(always)]
    fn take_address(
        &self,
        settings: &Settings,
        (rule, domain): (Rule, Domain),
        client: ClientIp,
        now: Tick,
    ) -> Decision {
        let named = self.name(domain, client);
        let (decision, _) = self.take_named(settings, (rule, domain), named, now);
        self.settle(settings, decision)
    }

    /// What an address is called in a domain.
    #[inline(always)]
    fn name(&self, domain: Domain, client: ClientIp) -> Arrival {
        let keys = self.keys.load();
        Arrival {
            client,
            current: keys.keys.current.address(domain, client),
            previous: keys.keys.previous.as_ref().and_then(|_| {
                let previous = keys.previous_at(self.clock.tick(), &self.settings.load());
                previous.map(|key| key.address(domain, client))
            }),
        }
    }

    /// Takes a place in the window of that name.
    #[inline(always)]
    fn take_named(
        &self,
        settings: &Settings,
        (rule, domain): (Rule, Domain),
        arrival: Arrival,
        now: Tick,
    ) -> (Decision, Place) {
        let names = || self.address_names(domain, arrival);
        let quota = settings.quota(rule);
        let (verdict, place) = self.punctually(now, |now| self.addresses.take(names(), now, quota));
        (Decision::of(rule, quota, verdict), place)
    }

    /// What an address that was named already may be called besides.
    #[inline(always)]
    fn address_names(&self, domain: Domain, arrival: Arrival) -> Names<impl FnOnce() -> Blind> {
        Names {
            current: arrival.current,
            previous: arrival.previous,
            wide: move || {
                let keys = self.keys.load().keys;
                keys.current.wide_network(domain, arrival.client)
            },
        }
    }

    /// What an account is called in a domain, and was under the key before, if that was in use
    /// within such a time.
    fn account_names(
        &self,
        within: Duration,
        domain: Domain,
        did: &Did,
        now: Tick,
    ) -> Names<impl FnOnce() -> Blind> {
        let keys = self.keys.load();
        let name = |key: &BlindKey| key.account(domain, did);
        let current = name(&keys.keys.current);
        Names {
            current,
            previous: keys.previous_within(within, now).map(name),
            // Accounts have no networks: those without room share by chance.
            wide: move || current,
        }
    }

    /// What good standing adds to the account's limits, in percent.
    fn bonus(&self, settings: &Settings, did: &Did) -> u16 {
        if !settings.good_standing.enabled {
            return 0;
        }
        let (keys, now) = (self.keys.load().keys, self.clock.unix_ms() / 1_000);
        self.good_standing.bonus(did, &keys, now, settings)
    }

    /// Takes a place by the cheap clock. Where that clock's lag may be all that stands
    /// in the way, the exact one decides: whoever waited as told gets in, and nobody is
    /// told to wait for the lag.
    #[inline(always)]
    fn punctually(&self, now: Tick, take: impl Fn(Tick) -> (Verdict, Place)) -> (Verdict, Place) {
        let (verdict, place) = take(now);
        match verdict.wait_ms {
            Some(wait) if wait <= clock::LAG_MS_MAX => take(self.clock.exact_tick()),
            _ => (verdict, place),
        }
    }

    /// Where requests of this address that bear tokens wait for each other.
    fn queue(&self, client: ClientIp) -> counts::Held<waiting::Queue> {
        let name = self.holders.address(VERIFYING, client);
        self.verifying.hold(name, waiting::Queue::default)
    }

    /// Counts a refusal, and turns it into an admission where the rule only counts.
    #[inline(always)]
    fn settle(&self, settings: &Settings, mut decision: Decision) -> Decision {
        if decision.refused.is_some() && !settings.enforces(decision.rule) {
            decision.refused = None;
        }
        decision
    }
}

impl Settings {
    /// Whether a refusal by this rule is meant, and not only counted. Counts it.
    fn enforces(&self, rule: Rule) -> bool {
        let dry_run = self.dry_run.contains(rule);
        count_refusal(rule, dry_run);
        !dry_run
    }

    fn exempts(&self, client: ClientIp) -> bool {
        let address: IpAddr = client.expose();
        !self.exempt.is_empty() && self.exempt.iter().any(|network| network.contains(&address))
    }
}

fn count_refusal(rule: Rule, dry_run: bool) {
    let outcome = if dry_run { "dry_run" } else { "refused" };
    metrics::counter!("relay_limits_refused_total", "rule" => rule.name(), "outcome" => outcome)
        .increment(1);
}

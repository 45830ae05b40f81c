//! The limiter by itself, on a clock that the test moves.

use std::time::Duration;

use mls_relay::limits::{Claim, Clock, Decision, FrameVerdict, Limits, Settings};
use mls_relay::runtime::Live;
use mls_relay::types::{ClientIp, Did, Nsid};

pub(crate) fn ip(text: &str) -> ClientIp {
    ClientIp::new(text.parse().unwrap())
}

pub(crate) fn did(number: usize) -> Did {
    Did::parse(&format!("did:plc:user{number}")).unwrap()
}

pub(crate) fn limits(change: impl FnOnce(&mut Settings)) -> Limits {
    let mut settings = Settings::default();
    // No test has more, and what is small is made and swept at once.
    (settings.tables.ip_keys, settings.tables.did_keys) = (10_000, 10_000);
    change(&mut settings);
    Limits::new(Live::new(settings), Clock::manual())
}

/// A request with a token that names this account, if any.
pub(crate) fn request(limits: &Limits, client: ClientIp, account: Option<&Did>) -> Decision {
    limits.check(limits.arrival(client), account.map(Claim::of))
}

pub(crate) fn refuses(limits: &Limits, client: ClientIp, account: Option<&Did>) -> bool {
    request(limits, client, account).refused.is_some()
}

pub(crate) fn refuses_call(limits: &Limits, account: &Did, call: Nsid) -> bool {
    limits.check_did(account, call).refused.is_some()
}

/// A request of this account whose token proves to be good.
pub(crate) fn prove(limits: &Limits, client: ClientIp, account: &Did) {
    let decision = request(limits, client, Some(account));
    assert!(decision.refused.is_none(), "{account:?}");
    limits.proved(&decision, client, account);
}

pub(crate) fn wait(limits: &Limits, time: Duration) {
    limits.clock().advance(time);
}

pub(crate) fn is_taken(verdict: FrameVerdict) -> bool {
    matches!(verdict, FrameVerdict::Pass | FrameVerdict::Warn(_))
}

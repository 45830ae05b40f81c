//! What health looks at, and what it says of it.

use super::clock;
use super::reload::Reloads;
use super::upkeep::{Beat, Pulse};
use crate::edge::{Finding, Probe};
use crate::events::{Hearing, Hub};
use crate::retention::Retention;
use crate::store::PoolUsage;
use crate::tls::Tls;

/// Everything that `/health` shows, and readiness depends on.
pub(super) fn all(
    pulse: Pulse,
    hub: Hub,
    retention: Retention,
    reloads: Reloads,
    tls: Tls,
) -> Vec<Probe> {
    let of_pulse = |look: fn(&Beat) -> Finding| {
        let pulse = pulse.clone();
        move || look(&pulse.last())
    };
    vec![
        Probe::vital("database", of_pulse(database)),
        Probe::vital("events", move || events(&hub)),
        Probe::informative("pool", of_pulse(usage)),
        Probe::informative("sends", of_pulse(storing)),
        Probe::informative("clock", of_pulse(|beat| clock::finding(beat.clock_ahead))),
        Probe::informative("schema", of_pulse(versions)),
        Probe::informative("retention", move || forgetting(&retention)),
        Probe::informative("config", move || reloads.finding()),
        Probe::informative("certificates", move || certificates(&tls)),
    ]
}

/// A full disk keeps no node out of service: it is that of all nodes, and everything else
/// than writing goes on.
fn database(beat: &Beat) -> Finding {
    match (&beat.failure, beat.is_disk_full) {
        (Some(cause), _) => Finding::ill(cause.to_string()),
        (None, true) => Finding::well().noting(
            "Postgres had no room on its disk a minute ago at most; what must be written is \
             refused until there is",
        ),
        (None, false) => Finding::well(),
    }
}

/// Nor does this keep a node out of service: it is the same on all of them.
fn storing(beat: &Beat) -> Finding {
    match beat.sends_fail {
        Some(lasts) => Finding::ill(
            "no message could be stored, though some were sent; where the database is well, \
             somebody holds what every send must lock",
        )
        .with("failingSeconds", lasts.as_secs()),
        None => Finding::well(),
    }
}

fn certificates(tls: &Tls) -> Finding {
    match tls.is_well() {
        true => Finding::well(),
        false => Finding::ill(
            "a certificate ends soon or its files cannot be served; the last good ones are in \
             force, and relay_tls_certificate_* tell which",
        ),
    }
}

/// The lag is that of the last notification sent to oneself.
fn events(hub: &Hub) -> Finding {
    let health = hub.health();
    let lag = u64::try_from(health.doorbell_lag().as_millis()).unwrap_or(u64::MAX);
    let finding = match (health.hearing(), health.is_listening()) {
        (Hearing::Ringing, _) => Finding::well(),
        (Hearing::Polling, true) => Finding::well().noting(
            "a notification sent to oneself did not come back in time; events are read by polling",
        ),
        (Hearing::Polling, false) => {
            Finding::well().noting("the listening connection is down; events are read by polling")
        }
        (Hearing::Blind, _) => Finding::ill("the event stream cannot be read"),
    };
    finding.with("lagMs", lag)
}

fn usage(beat: &Beat) -> Finding {
    let PoolUsage {
        open, idle, most, ..
    } = beat.pool;
    let finding = match beat.is_pool_short {
        true => Finding::ill("calls find no free connection in time"),
        false => Finding::well(),
    };
    finding
        .with("open", open.into())
        .with("idle", idle.into())
        .with("most", most.into())
}

fn versions(beat: &Beat) -> Finding {
    let (found, known) = beat.schema;
    let finding = match found > known {
        true => Finding::well().noting(format!(
            "the database's schema, version {found}, is newer than this release, which knows \
             {known}: finish the upgrade"
        )),
        false => Finding::well(),
    };
    finding.with("version", u64::try_from(found).unwrap_or_default())
}

fn forgetting(retention: &Retention) -> Finding {
    let status = retention.status();
    let (failing, elsewhere) = (status.failing(), status.elsewhere());
    match (failing.is_empty(), elsewhere.is_empty()) {
        (false, _) => Finding::ill(format!("keeps failing: {}", failing.join(", "))),
        (true, false) => Finding::well().noting(format!(
            "another node is at it whenever this one looks: {}",
            elsewhere.join(", ")
        )),
        (true, true) => Finding::well(),
    }
}

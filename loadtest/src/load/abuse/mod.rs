//! Hostile clients beside honest ones: each kind from an address of its own and with
//! an account of its own, so that the relay can tell them from the others.

mod attacks;
pub mod outcome;

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::timeout;

use super::LoadError;
use super::listener::{Phase, Shared, Stage};
use super::scenario::Abuse;
use super::tally::Latencies;
use super::world::{HOSTILE, Member, address};
use crate::directory::Directory;
use crate::identity::{Account, Curve};
use crate::relay::Relay;
use outcome::Attack;

/// The hostile, ready to begin.
pub(super) struct Attackers {
    abuse: Abuse,
    connections: Member,
    bad_tokens: Member,
    bodies: Member,
    sockets: Member,
    frames: Member,
}

/// What they did, and how the honest fared before them.
pub(super) struct Attacked {
    pub attacks: Vec<Attack>,
    pub calm_sends: Histogram<u64>,
    pub calm_deliveries: Histogram<u64>,
}

impl Attackers {
    pub(super) fn new(
        abuse: Abuse,
        relay: &Arc<Relay>,
        directory: &Directory,
    ) -> Result<Self, LoadError> {
        if !relay.is_local() {
            return Err(LoadError::OneAddress);
        }
        let member = |number| Member::new(relay, directory, address(HOSTILE, number));
        let bad_tokens = member(2)?;
        // The directory serves another key under its name.
        directory.publish(&Account::with_did(bad_tokens.account.did(), Curve::P256)?);
        Ok(Self {
            abuse,
            connections: member(1)?,
            bad_tokens,
            bodies: member(3)?,
            sockets: member(4)?,
            frames: member(5)?,
        })
    }

    /// Leaves the honest alone for a while, says that it begins, and goes on until the
    /// run is ending.
    pub(super) async fn attack(
        self,
        phase: watch::Sender<Phase>,
        shared: Arc<Shared>,
        sends: Arc<Latencies>,
    ) -> Result<Attacked, LoadError> {
        let watched = phase.subscribe();
        let calm = Duration::from_secs_f64(self.abuse.calm_seconds);
        // A run that is told to stop meanwhile goes on to its end, not back to an attack.
        let _ = timeout(calm, attacks::until_ending(watched.clone())).await;
        let calm_sends = sends.sum()?;
        let calm_deliveries = shared.deliveries.sum()?;
        phase.send_modify(|phase| phase.stage = phase.stage.max(Stage::UnderAttack));
        drop(phase);
        let rates = self.abuse;
        let (connections, bad_tokens, bodies, sockets, frames) = tokio::join!(
            attacks::connections(self.connections, rates.connections, watched.clone()),
            attacks::bad_tokens(self.bad_tokens, rates.bad_tokens, watched.clone()),
            attacks::bodies(self.bodies, rates.bodies, watched.clone()),
            attacks::sockets(self.sockets, rates.sockets, watched.clone()),
            attacks::frames(self.frames, rates.frames, watched),
        );
        let attacks = [
            ("connections without TLS", connections),
            ("bad tokens", bad_tokens),
            ("oversize bodies", bodies),
            ("sockets of one account", sockets),
            ("frames on one socket", frames),
        ];
        let attacks = attacks
            .into_iter()
            .map(|(name, outcomes)| Attack::new(name, outcomes))
            .filter(|attack| attack.attempts > 0)
            .collect();
        Ok(Attacked {
            attacks,
            calm_sends,
            calm_deliveries,
        })
    }
}

//! The lookups under way. Whoever asks in the same lane for the same account joins the one
//! that is there.

use hashbrown::HashMap;
use metrics::gauge;

use super::did_location::DidLocation;
use super::remembered::Outcome;
use super::turns::Asker;
use crate::runtime::Pending;
use crate::types::Did;

/// With whom a lookup waits for its turn. Whoever asks from elsewhere does not wait behind
/// a network that keeps its own share of the web's busy.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Lane {
    Plc,
    Web(Asker),
}

impl Lane {
    pub(super) fn of(location: &DidLocation<'_>, asker: Asker) -> Self {
        match location {
            DidLocation::Plc => Self::Plc,
            DidLocation::Web { .. } => Self::Web(asker),
        }
    }
}

/// Those under way or waiting. By method, each with room of its own: anyone can set up
/// hosts that keep the web's busy. And those for known accounts apart from them.
#[derive(Default)]
pub(super) struct Lookups {
    plc: HashMap<(Did, Lane), Pending<Outcome>>,
    web: HashMap<(Did, Lane), Pending<Outcome>>,
    web_known: HashMap<(Did, Lane), Pending<Outcome>>,
}

impl Lookups {
    pub(super) fn find(&mut self, did: &Did, lane: Lane) -> Option<Pending<Outcome>> {
        self.like(lane).get(&(did.clone(), lane)).cloned()
    }

    /// Those with which one in this lane shares room.
    pub(super) fn len(&mut self, lane: Lane) -> usize {
        self.like(lane).len()
    }

    pub(super) fn insert(&mut self, did: &Did, lane: Lane, pending: Pending<Outcome>) {
        self.like(lane).insert((did.clone(), lane), pending);
        self.tell();
    }

    pub(super) fn remove(&mut self, did: &Did, lane: Lane) {
        self.like(lane).remove(&(did.clone(), lane));
        self.tell();
    }

    fn like(&mut self, lane: Lane) -> &mut HashMap<(Did, Lane), Pending<Outcome>> {
        match lane {
            Lane::Plc => &mut self.plc,
            Lane::Web(Asker::Network(_)) => &mut self.web,
            Lane::Web(Asker::Known) => &mut self.web_known,
        }
    }

    fn tell(&self) {
        let running = self.plc.len() + self.web.len() + self.web_known.len();
        gauge!("relay_auth_lookups_running").set(running as f64);
    }
}

//! The offenders that this node knows of, by blind key: its own, and what other
//! nodes and operators decided. Bounded; looking is free while nobody is in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::blind::{Blind, BlindKey, BlindKeys};
use super::penalty::{Conduct, Stay};
use super::settings::Settings;
use super::shards::{Shard, Shards, part_of};
use crate::runtime::queue;

pub(super) struct PenaltyBox {
    /// Apart from the tables' keys: these are shared by the nodes.
    keys: ArcSwap<BlindKeys>,
    offenders: Shards<Conduct>,
    /// No stay ends later than this; before it, nobody needs to look.
    latest_until: AtomicI64,
    /// Stays that this node decided and has not told the others of. Locked after a shard.
    untold: Mutex<HashMap<Blind, Stay>>,
}

/// The same subject under the key in use and the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) current: Blind,
    pub(super) previous: Option<Blind>,
}

impl PenaltyBox {
    pub(super) fn new() -> Self {
        Self {
            keys: ArcSwap::from_pointee(BlindKeys::random()),
            offenders: Shards::new(),
            latest_until: AtomicI64::new(0),
            untold: Mutex::default(),
        }
    }

    /// Whether anyone may be in the box at all. `now` is asked only if someone ever was:
    /// reading the time costs as much as all the rest.
    pub(super) fn is_in_use(&self, now: impl FnOnce() -> i64) -> bool {
        let latest = self.latest_until.load(Ordering::Relaxed);
        latest > 0 && latest > now()
    }

    /// Names a subject by a function from key to hash.
    pub(super) fn subject(&self, name: impl Fn(&BlindKey) -> Blind) -> Subject {
        let keys = self.keys.load();
        Subject {
            current: name(&keys.current),
            previous: keys.previous.as_ref().map(name),
        }
    }

    pub(super) fn stays_for(
        &self,
        subject: Subject,
        now: i64,
        settings: &Settings,
    ) -> Option<Duration> {
        let look = |key: Blind| {
            let shard = self.offenders.of(key);
            shard.get(&key)?.stays_for(now, &settings.penalties)
        };
        look(subject.current).max(subject.previous.and_then(look))
    }

    /// Counts a refusal; how long the subject stays if that was one too many.
    pub(super) fn strike(
        &self,
        subject: Subject,
        now: i64,
        settings: &Settings,
    ) -> Option<Duration> {
        let mut shard = self.offenders.of(subject.current);
        let conduct = conduct_of(&mut shard, subject.current, now, settings)?;
        let stay = conduct.strike(now, &settings.penalties)?;
        self.tell(subject.current, stay, settings);
        drop(shard);
        self.latest_until.fetch_max(stay.until, Ordering::Relaxed);
        metrics::counter!("relay_limits_penalties_total").increment(1);
        Some(millis(stay.until - now))
    }

    /// An operator's decision; a stay in the past lifts.
    pub(super) fn decide(&self, key: Blind, stay: Stay, now: i64, settings: &Settings) {
        let mut shard = self.offenders.of(key);
        self.adopt(&mut shard, key, stay, now, settings);
        self.tell(key, stay, settings);
    }

    /// What another node told. Whatever was decided here and is not told yet is newer: it
    /// was decided after the others were asked.
    pub(super) fn hear(&self, key: Blind, stay: Stay, now: i64, settings: &Settings) {
        let mut shard = self.offenders.of(key);
        if !self.untold.lock().contains_key(&key) {
            self.adopt(&mut shard, key, stay, now, settings);
        }
    }

    fn adopt(
        &self,
        shard: &mut Shard<Conduct>,
        key: Blind,
        stay: Stay,
        now: i64,
        settings: &Settings,
    ) {
        if let Some(conduct) = conduct_of(shard, key, now, settings) {
            conduct.adopt(stay);
            self.latest_until.fetch_max(stay.until, Ordering::Relaxed);
        }
    }

    /// Tells the other nodes of a stay at the next exchange. Its shard is locked, so that
    /// nothing older is heard in between.
    fn tell(&self, key: Blind, stay: Stay, settings: &Settings) {
        let mut untold = self.untold.lock();
        if untold.len() < settings.tables.untold() || untold.contains_key(&key) {
            untold.insert(key, stay);
        } else {
            queue::full("penalties_untold", 1);
        }
    }

    /// Stays to tell the other nodes of; each is given once.
    pub(super) fn take_untold(&self) -> HashMap<Blind, Stay> {
        std::mem::take(&mut *self.untold.lock())
    }

    /// Whoever is in the box now.
    pub(super) fn inmates(&self, now: i64, settings: &Settings) -> Vec<(Blind, Stay)> {
        let mut inmates = Vec::new();
        for shard in self.offenders.each() {
            let is_here = |conduct: &Conduct| conduct.stays_for(now, &settings.penalties).is_some();
            let here = shard.iter().filter(|(_, conduct)| is_here(conduct));
            inmates.extend(here.map(|(key, conduct)| (*key, conduct.stay())));
        }
        inmates
    }

    /// Uses these keys from now on: the nodes' common ones.
    pub(super) fn use_keys(&self, keys: BlindKeys) {
        self.keys.store(Arc::new(keys));
    }

    /// Drops what is forgiven.
    pub(super) fn sweep(&self, now: i64, settings: &Settings) -> usize {
        let mut kept = 0;
        for mut shard in self.offenders.each() {
            shard.retain(|_, conduct| !conduct.is_forgotten(now, &settings.penalties));
            kept += shard.len();
        }
        kept
    }
}

/// The subject's record, a fresh one if there is room, or nothing: whoever finds no
/// room is still limited, only not remembered.
fn conduct_of<'a>(
    shard: &'a mut Shard<Conduct>,
    key: Blind,
    now: i64,
    settings: &Settings,
) -> Option<&'a mut Conduct> {
    let most = part_of(settings.tables.penalties);
    if shard.len() >= most && !shard.contains_key(&key) {
        shard.retain(|_, conduct| !conduct.is_forgotten(now, &settings.penalties));
        if shard.len() >= most {
            queue::full("penalties", 1);
            return None;
        }
    }
    Some(shard.entry(key).or_default())
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Did;

    /// Room for ten offenders in each part; one refusal leads into the box.
    fn few() -> Settings {
        let mut settings = Settings::default();
        settings.tables.penalties = 640;
        settings.penalties.strikes = 1;
        settings
    }

    fn name(key: &BlindKey, number: u32) -> Blind {
        let did = Did::parse(&format!("did:plc:{number}")).unwrap();
        key.account(0, &did)
    }

    #[test]
    fn however_many_offend_few_are_remembered_until_they_are_forgiven() {
        let (penalties, key, settings) = (PenaltyBox::new(), BlindKey::random(), few());
        let boxed = |numbers: std::ops::Range<u32>, now| {
            let offend = |number: &u32| {
                let subject = Subject {
                    current: name(&key, *number),
                    previous: None,
                };
                penalties.strike(subject, now, &settings).is_some()
            };
            numbers.filter(offend).collect::<Vec<_>>()
        };
        let begun = 1_000_000_000;
        let first = boxed(0..5_000, begun);
        assert_eq!(first.len(), 640);
        let over = begun + settings.penalties.first.as_millis() as i64;
        assert_eq!(
            boxed(0..5_000, over),
            first,
            "who is known, and nobody else"
        );
        let forgiven = over + 10 * settings.penalties.forgiven_after.as_millis() as i64;
        assert_eq!(boxed(5_000..10_000, forgiven).len(), 640);
    }

    #[test]
    fn what_waits_to_be_told_is_bounded_and_tells_the_last_of_each() {
        let (penalties, key, settings) = (PenaltyBox::new(), BlindKey::random(), few());
        let most = settings.tables.untold() as u32;
        let stay = |until| Stay { level: 1, until };
        for (numbers, until) in [(0..most, 1), (most..2 * most, 2), (0..most, 3)] {
            for number in numbers {
                penalties.decide(name(&key, number), stay(until), 0, &settings);
            }
        }
        let told = penalties.take_untold();
        let expected = (0..most).map(|number| (name(&key, number), stay(3)));
        assert_eq!(told, expected.collect());
        assert!(penalties.take_untold().is_empty());
    }
}

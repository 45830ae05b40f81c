//! Pure. The conversations of one account over the stream: since when, until when.
//!
//! An event is seen by an account iff it lies within one of its memberships,
//! `joined ≤ seq ≤ left`: whoever joins hears of it, and whoever leaves of that.

use crate::store::Membership;
use crate::types::{ConvoId, Did, Seq};
use crate::wire::Change;

/// Whose events: an account, in all its conversations or in one; and whether messages
/// come with them.
#[derive(Clone, Debug)]
pub struct Subscriber {
    pub did: Did,
    pub filter: Option<ConvoId>,
    pub hydrate: bool,
}

impl Membership {
    fn covers(&self, seq: Seq) -> bool {
        self.joined <= seq && self.left.is_none_or(|left| seq <= left)
    }
}

/// An account's memberships, past and present, as they stood at one place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Circle {
    stays: Vec<Membership>,
}

impl Circle {
    /// As they stood at `at`, from a reading of the database made at any later
    /// time: what began since has not begun, what ended since has not ended.
    ///
    /// The reading may hold a membership for each device: an account is in a
    /// conversation while any of its devices is.
    pub(super) fn as_of(at: Seq, reading: Vec<Membership>) -> Self {
        let mut stays = reading;
        stays.retain(|stay| stay.joined <= at);
        stays.sort_unstable_by(|a, b| (&a.convo, a.joined).cmp(&(&b.convo, b.joined)));
        let mut merged: Vec<Membership> = Vec::with_capacity(stays.len());
        for mut stay in stays {
            stay.left = stay.left.filter(|left| *left <= at);
            match merged.last_mut() {
                Some(last) if last.convo == stay.convo && last.covers(stay.joined) => {
                    last.left = last.left.and_then(|left| Some(left.max(stay.left?)));
                }
                _ => merged.push(stay),
            }
        }
        Self { stays: merged }
    }

    /// Takes one more step of the stream. Repeating it changes nothing.
    pub(super) fn step(&mut self, at: Seq, convo: &ConvoId, change: Change) {
        let mut all = self.stays.iter_mut();
        let open = all.find(|stay| stay.left.is_none() && stay.convo == *convo);
        match (change, open) {
            (Change::Joined, None) => self.stays.push(Membership {
                convo: convo.clone(),
                joined: at,
                left: None,
            }),
            (Change::Left, Some(open)) => open.left = Some(at),
            (Change::Joined, Some(_)) | (Change::Left, None) => {}
        }
    }

    /// Keeps one conversation only.
    pub(super) fn narrow(&mut self, filter: Option<&ConvoId>) {
        if let Some(convo) = filter {
            self.stays.retain(|stay| stay.convo == *convo);
        }
    }

    /// The conversations it is in.
    pub(super) fn present(&self) -> impl Iterator<Item = &ConvoId> {
        let open = self.stays.iter().filter(|i| i.left.is_none());
        open.map(|stay| &stay.convo)
    }

    /// All memberships, also those that ended.
    pub(super) fn stays(&self) -> &[Membership] {
        &self.stays
    }

    #[cfg(test)]
    pub(crate) fn sees(&self, convo: &ConvoId, seq: Seq) -> bool {
        let mut all = self.stays.iter();
        all.any(|stay| stay.convo == *convo && stay.covers(seq))
    }

    /// Whether anything of this conversation is left to hear after a place:
    /// a membership that goes on, or one that ended later.
    pub(super) fn hears_after(&self, convo: &ConvoId, after: Option<Seq>) -> bool {
        self.stays.iter().any(|stay| {
            let goes_on = stay.left.is_none();
            let ended_later = || after.is_some_and(|after| stay.left > Some(after));
            stay.convo == *convo && (goes_on || ended_later())
        })
    }

    /// The conversations that could have had events in `(after, through]`, sorted.
    pub(super) fn touched(&self, after: Seq, through: Seq) -> Vec<ConvoId> {
        let mut convos: Vec<_> = self
            .stays
            .iter()
            .filter(|i| i.joined <= through && i.left.is_none_or(|left| left > after))
            .map(|stay| stay.convo.clone())
            .collect();
        convos.sort_unstable();
        convos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convo(name: &str) -> ConvoId {
        ConvoId::parse(name).unwrap()
    }

    fn stay(name: &str, joined: u64, left: Option<u64>) -> Membership {
        Membership {
            convo: convo(name),
            joined: Seq::new(joined),
            left: left.map(Seq::new),
        }
    }

    #[test]
    fn a_later_reading_tells_an_earlier_state() {
        let reading = vec![
            stay("aa", 3, Some(12)),
            stay("bb", 11, None),
            stay("cc", 2, Some(5)),
        ];
        let circle = Circle::as_of(Seq::new(10), reading);
        assert_eq!(circle.present().collect::<Vec<_>>(), [&convo("aa")]);
        assert!(circle.sees(&convo("cc"), Seq::new(5)));
        assert!(!circle.sees(&convo("cc"), Seq::new(6)));
    }

    #[test]
    fn the_stays_of_several_devices_are_one_membership() {
        let reading = vec![
            stay("aa", 8, None),
            stay("bb", 1, Some(2)),
            stay("aa", 3, Some(9)),
            stay("aa", 5, Some(7)),
            stay("bb", 3, Some(5)),
        ];
        let mut circle = Circle::as_of(Seq::new(20), reading);
        assert_eq!(circle.stays().len(), 3);
        assert_eq!(circle.present().count(), 1);
        circle.step(Seq::new(21), &convo("aa"), Change::Left);
        assert_eq!(circle.present().count(), 0);
    }

    #[test]
    fn an_account_has_left_when_the_last_of_its_devices_has() {
        let reading = vec![
            stay("aa", 3, Some(9)),
            stay("aa", 5, Some(7)),
            stay("bb", 3, Some(5)),
            stay("bb", 4, Some(8)),
        ];
        let circle = Circle::as_of(Seq::new(20), reading);
        assert_eq!(circle.present().count(), 0);
        for (name, last) in [("aa", 9), ("bb", 8)] {
            let sees = |seq| circle.sees(&convo(name), Seq::new(seq));
            assert!(sees(last) && !sees(last + 1), "{name}");
        }
    }

    #[test]
    fn who_leaves_and_returns_has_two_memberships() {
        let mut circle = Circle::as_of(Seq::new(3), vec![stay("aa", 3, None)]);
        circle.step(Seq::new(5), &convo("aa"), Change::Left);
        circle.step(Seq::new(7), &convo("aa"), Change::Joined);
        circle.step(Seq::new(8), &convo("aa"), Change::Joined);
        let seen: Vec<_> = (1..10)
            .filter(|seq| circle.sees(&convo("aa"), Seq::new(*seq)))
            .collect();
        assert_eq!(seen, [3, 4, 5, 7, 8, 9]);
    }

    #[test]
    fn who_was_removed_may_still_hear_of_it_and_then_nothing() {
        let circle = Circle::as_of(Seq::new(9), vec![stay("aa", 3, Some(6))]);
        assert!(circle.hears_after(&convo("aa"), Some(Seq::new(5))));
        assert!(!circle.hears_after(&convo("aa"), Some(Seq::new(6))));
        assert!(!circle.hears_after(&convo("aa"), None));
        assert!(!circle.hears_after(&convo("bb"), Some(Seq::ZERO)));
    }

    #[test]
    fn a_hole_touches_the_conversations_of_its_time() {
        let reading = vec![
            stay("aa", 1, Some(4)),
            stay("bb", 6, None),
            stay("cc", 1, Some(20)),
            stay("dd", 10, None),
            stay("ee", 11, None),
        ];
        let circle = Circle::as_of(Seq::new(30), reading);
        let touched = circle.touched(Seq::new(4), Seq::new(10));
        assert_eq!(touched, [convo("bb"), convo("cc"), convo("dd")]);
    }
}

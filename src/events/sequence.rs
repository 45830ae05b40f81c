//! Pure. Makes one gapless stream of what a node is told: each event once, in
//! order, and what is missing is asked for.
//!
//! The sequence is dense and is assigned under a lock that is held to commit, so
//! an event whose number is known has all its predecessors committed: one that is
//! not in the table now will never be there.

use crate::types::Seq;

/// How far a node has followed the stream.
#[derive(Debug)]
pub(super) struct Sequence {
    head: Seq,
}

/// What to do with an event that was announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Announced {
    /// It is the next one: pass it on.
    Next,
    /// It was passed on before.
    Known,
    /// Others before it were missed: read the table up to here first.
    Missed { through: Seq },
}

impl Sequence {
    pub(super) fn starting_at(head: Seq) -> Self {
        Self { head }
    }

    /// The last event passed on.
    pub(super) fn head(&self) -> Seq {
        self.head
    }

    /// An event came by notification.
    pub(super) fn announced(&mut self, seq: Seq) -> Announced {
        if seq <= self.head {
            return Announced::Known;
        }
        if seq == self.head.next() {
            self.head = seq;
            return Announced::Next;
        }
        Announced::Missed {
            through: Seq::new(seq.get() - 1),
        }
    }

    /// An event came from the table, read in order from the head on: returns how many
    /// numbers before it are proven to have no event, or none any more.
    pub(super) fn read(&mut self, seq: Seq) -> u64 {
        let missing = self.exhausted(Seq::new(seq.get() - 1));
        self.head = seq;
        missing
    }

    /// The table was read up to here and had nothing more: returns how many
    /// numbers are proven to have no event.
    pub(super) fn exhausted(&mut self, through: Seq) -> u64 {
        let missing = through.get().saturating_sub(self.head.get());
        self.head = self.head.max(through);
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_event_passes_and_a_repeated_one_does_not() {
        let mut sequence = Sequence::starting_at(Seq::new(7));
        assert_eq!(sequence.announced(Seq::new(8)), Announced::Next);
        assert_eq!(sequence.announced(Seq::new(8)), Announced::Known);
        assert_eq!(sequence.announced(Seq::new(7)), Announced::Known);
        assert_eq!(sequence.head(), Seq::new(8));
    }

    #[test]
    fn a_jump_asks_for_what_was_missed_and_then_passes() {
        let mut sequence = Sequence::starting_at(Seq::new(7));
        let through = Seq::new(9);
        let missed = Announced::Missed { through };
        assert_eq!(sequence.announced(Seq::new(10)), missed);
        assert_eq!(sequence.read(Seq::new(8)), 0);
        assert_eq!(sequence.read(Seq::new(9)), 0);
        assert_eq!(sequence.exhausted(Seq::new(9)), 0);
        assert_eq!(sequence.announced(Seq::new(10)), Announced::Next);
    }

    #[test]
    fn numbers_without_events_are_counted_as_a_hole() {
        let mut sequence = Sequence::starting_at(Seq::new(7));
        assert_eq!(sequence.read(Seq::new(10)), 2);
        assert_eq!(sequence.exhausted(Seq::new(12)), 2);
        assert_eq!(sequence.announced(Seq::new(13)), Announced::Next);
    }
}

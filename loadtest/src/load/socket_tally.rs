//! Pure. What one socket heard, message by message: a count could not tell one that is
//! missing from another that came twice.

use super::tally::Place;

/// A set of small numbers, a bit for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<u64>);

impl Numbers {
    /// Whether it was not there before.
    pub fn insert(&mut self, number: usize) -> bool {
        let (index, bit) = (number / 64, 1 << (number % 64));
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        match self.0.get_mut(index) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    pub fn insert_all(&mut self, others: &Self) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word |= other;
        }
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// What one socket heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketTally {
    pub conversation: usize,
    /// Messages of its conversation, whether they came once or more often.
    pub heard: Numbers,
    pub duplicated: u64,
    /// Came for the first time, but after an event that is later in the stream.
    pub out_of_order: u64,
    /// Messages of conversations that its account is not in.
    pub misdirected: u64,
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub refused: u64,
    last_seq: u64,
}

impl SocketTally {
    pub fn of(conversation: usize) -> Self {
        Self {
            conversation,
            ..Self::default()
        }
    }

    /// A message of the run, by its place in the stream and in the schedule. Whether it
    /// is one that this socket was still to hear.
    pub fn message(&mut self, seq: u64, place: Place) -> bool {
        if place.conversation != self.conversation {
            self.misdirected += 1;
            return false;
        }
        if !self.heard.insert(place.nth) {
            self.duplicated += 1;
            return false;
        }
        if seq <= self.last_seq {
            self.out_of_order += 1;
        }
        self.last_seq = self.last_seq.max(seq);
        true
    }

    /// Another event: it is known by its place in the stream only.
    pub fn event(&mut self, seq: u64) {
        match seq {
            seq if seq == self.last_seq => self.duplicated += 1,
            seq if seq < self.last_seq => self.out_of_order += 1,
            seq => self.last_seq = seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of events, each as its place in the stream and its number.
    fn tally(events: &[(u64, usize)]) -> (u64, u64, u64) {
        let mut tally = SocketTally::of(0);
        for (seq, nth) in events {
            tally.message(*seq, place(0, *nth));
        }
        (tally.heard.count(), tally.duplicated, tally.out_of_order)
    }

    fn place(conversation: usize, nth: usize) -> Place {
        Place { conversation, nth }
    }

    #[test]
    fn what_comes_in_order_and_once_is_heard() {
        assert_eq!(tally(&[(1, 0), (2, 1), (9, 2)]), (3, 0, 0));
    }

    #[test]
    fn two_that_change_places_are_out_of_order_and_not_lost() {
        assert_eq!(tally(&[(1, 0), (3, 2), (2, 1)]), (3, 0, 1));
    }

    #[test]
    fn a_message_that_comes_again_is_repeated_however_late_and_under_whatever_number() {
        assert_eq!(tally(&[(1, 0), (1, 0)]), (1, 1, 0));
        assert_eq!(tally(&[(1, 0), (2, 1), (3, 2), (1, 0)]), (3, 1, 0));
        assert_eq!(tally(&[(1, 0), (2, 1), (3, 0)]), (2, 1, 0));
    }

    #[test]
    fn a_message_that_is_missing_does_not_hide_behind_one_that_came_twice() {
        let (heard, duplicated, _) = tally(&[(1, 0), (2, 0), (3, 2)]);
        assert_eq!((heard, duplicated), (2, 1));
    }

    #[test]
    fn a_message_of_others_is_misdirected_and_moves_nothing() {
        let mut tally = SocketTally::of(1);
        assert!(!tally.message(9, place(0, 0)));
        assert!(tally.message(2, place(1, 0)));
        assert_eq!((tally.misdirected, tally.out_of_order), (1, 0));
    }

    #[test]
    fn an_event_that_is_no_message_has_a_place_in_the_stream_too() {
        let mut tally = SocketTally::of(0);
        for seq in [5, 5, 4] {
            tally.event(seq);
        }
        assert_eq!((tally.duplicated, tally.out_of_order), (1, 1));
        assert_eq!(tally.heard.count(), 0);
    }

    #[test]
    fn sets_join() {
        let of = |numbers: &[usize]| {
            let mut set = Numbers::default();
            for number in numbers {
                set.insert(*number);
            }
            set
        };
        let mut all = of(&[1, 64]);
        all.insert_all(&of(&[1, 2, 200]));
        assert_eq!(all, of(&[1, 2, 64, 200]));
        assert_eq!(all.count(), 4);
    }
}

//! One node: follower and hub, without tasks and sockets.

use std::collections::VecDeque;
use std::sync::Arc;

use super::table::Table;
use super::{BACKLOG, RECENT_BYTES, cursor};
use crate::events::sequence::{Announced, Sequence};
use crate::events::*;
use crate::types::Seq;

pub(super) struct Node {
    pub(super) sequence: Sequence,
    pub(super) board: Board,
    pub(super) notified: VecDeque<Arc<Event>>,
    /// A notification was lost, and the table was not looked at since.
    has_missed: bool,
    due: Due,
}

impl Node {
    /// A fresh node remembers the last events that it reads from the table.
    pub(super) fn start(table: &Table, remembered: u64) -> Self {
        let floor = Seq::new(table.last.saturating_sub(remembered).max(table.floor));
        let spoilt = table.spoilt.iter().copied().max();
        let floor = floor.max(spoilt.unwrap_or_default());
        let mut board = Board::new(cursor(floor), RECENT_BYTES, BACKLOG);
        for event in table.events.iter().filter(|e| e.seq() > floor) {
            board.pass_on(event, &mut Vec::new());
        }
        board.reach(Seq::new(table.last));
        Self {
            sequence: Sequence::starting_at(Seq::new(table.last)),
            board,
            notified: VecDeque::new(),
            has_missed: false,
            due: Due::new(),
        }
    }

    /// The end of a batch.
    pub(super) fn flush(&mut self) {
        let mut batch = Vec::new();
        for outbox in self.due.drain(..) {
            outbox.flush(&mut batch);
        }
    }

    pub(super) fn hear(&mut self, table: &Table) {
        let Some(event) = self.notified.pop_front() else {
            return;
        };
        if !event.is_stored() {
            // It is not known who was removed meanwhile.
            if !self.has_missed {
                self.board.mention(&event, &mut self.due);
            }
            return;
        }
        if let Announced::Missed { through } = self.sequence.announced(event.seq()) {
            self.read(table, through);
            assert_eq!(self.sequence.announced(event.seq()), Announced::Next);
        } else if event.seq() <= self.board.head().seq() {
            return;
        }
        self.board.pass_on(&event, &mut self.due);
    }

    pub(super) fn lose(&mut self) {
        self.has_missed |= self.notified.pop_front().is_some();
    }

    /// The connection breaks on which it listens.
    pub(super) fn cut(&mut self) {
        self.has_missed = true;
    }

    pub(super) fn look(&mut self, table: &Table) {
        self.has_missed = false;
        self.read(table, Seq::new(table.last));
    }

    pub(super) fn read(&mut self, table: &Table, through: Seq) {
        let after = self.sequence.head();
        let range = table
            .events
            .iter()
            .filter(|e| e.seq() > after && e.seq() <= through)
            .filter(|e| e.seq().get() > table.floor);
        for event in range {
            if self.sequence.read(event.seq()) > 0 {
                let before = Seq::new(event.seq().get() - 1);
                self.board.hole(before, &mut self.due);
            }
            match table.spoilt.contains(&event.seq()) {
                true => self.board.hole(event.seq(), &mut self.due),
                false => self.board.pass_on(event, &mut self.due),
            }
        }
        if self.sequence.exhausted(through) > 0 {
            self.board.hole(through, &mut self.due);
        }
    }
}

//! The one task that owns the board. It serves sessions and passes events on, and
//! never waits for either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::board::Board;
use super::follower::Feed;
use super::outbox::{Due, Flushed};
use super::settings::Settings;
use crate::runtime::{Live, Shutdown};
use crate::types::{Cursor, Seq};

/// What a session wants done at the board.
pub(super) type Command = Box<dyn FnOnce(&mut Board) + Send>;

pub(super) struct Dispatcher {
    pub(super) settings: Live<Settings>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) feed: mpsc::Receiver<Feed>,
    pub(super) has_strays: Arc<AtomicBool>,
}

impl Dispatcher {
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        // Sessions wait in the queue of commands until the stream is known.
        let Some(mut board) = self.start().await else {
            return;
        };
        let mut due = Due::new();
        let mut feeds = Vec::with_capacity(FEEDS_MAX);
        let mut commands = Vec::with_capacity(COMMANDS_MAX);
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                count = self.feed.recv_many(&mut feeds, FEEDS_MAX) => {
                    if count == 0 {
                        return;
                    }
                    for feed in feeds.drain(..) {
                        take(&mut board, feed, &mut due);
                    }
                    // Only now: all of it is written at once.
                    flush(&mut due, &shutdown);
                    report(&mut board);
                }
                count = self.commands.recv_many(&mut commands, COMMANDS_MAX) => {
                    if count == 0 {
                        return;
                    }
                    for command in commands.drain(..) {
                        command(&mut board);
                    }
                }
                // A look at every seat holds up deliveries.
                _ = sweep.tick() => if self.has_strays.swap(false, Ordering::Acquire) {
                    board.sweep();
                },
            }
        }
    }

    async fn start(&mut self) -> Option<Board> {
        loop {
            match self.feed.recv().await? {
                Feed::Start {
                    floor,
                    head,
                    at,
                    events,
                } => return Some(self.board(Cursor::new(at, floor), head, &events)),
                // Nothing else comes first.
                Feed::Events(_) | Feed::Hole(_) | Feed::Passing(_) => {}
            }
        }
    }

    /// A board from `floor` on; its time is the head's, so that a cursor is never less than
    /// one given out before, also where no event is left.
    fn board(&self, floor: Cursor, head: Seq, events: &[Arc<super::Event>]) -> Board {
        let settings = self.settings.load();
        let mut board = Board::new(floor, settings.recent_bytes_max, settings.backlog_max);
        for event in events {
            board.pass_on(event, &mut Vec::new());
        }
        // The last numbers may have lost their events.
        board.reach(head);
        board
    }
}

fn take(board: &mut Board, feed: Feed, due: &mut Due) {
    match feed {
        Feed::Events(events) => {
            for event in &events {
                board.pass_on(event, due);
            }
        }
        Feed::Hole(through) => board.hole(through, due),
        Feed::Passing(event) => board.mention(&event, due),
        // The stream starts once.
        Feed::Start { .. } => {}
    }
}

/// Writes to those whose sessions sleep, some at a time, and wakes the others.
fn flush(due: &mut Due, shutdown: &Shutdown) {
    for some in portions(due) {
        shutdown.spawn_errand(async move {
            let all = write_out(&some);
            // As the sessions count what they write themselves.
            let count = |name, more: usize| metrics::counter!(name).increment(more as u64);
            count("relay_sessions_frames_written_total", all.events);
            count("relay_sessions_bytes_written_total", all.bytes);
            count("relay_sessions_writes_total", all.writes);
        });
    }
}

/// All of them in portions, each for a task of its own, which holds no room for more.
fn portions(due: &mut Due) -> impl Iterator<Item = Due> {
    let mut all = due.drain(..);
    std::iter::from_fn(move || {
        let some: Due = all.by_ref().take(FLUSHED_MAX).collect();
        (!some.is_empty()).then_some(some)
    })
}

/// What is wrong with one of them ends that one's session, and nobody else waits for it.
pub(super) fn write_out(due: &Due) -> Flushed {
    let (mut all, mut batch) = (Flushed::default(), Vec::new());
    for outbox in due {
        let written = catch_unwind(AssertUnwindSafe(|| outbox.flush(&mut batch)));
        let Ok(flushed) = written else {
            outbox.lose_sink();
            batch.clear();
            continue;
        };
        all.events += flushed.events;
        all.bytes += flushed.bytes;
        all.writes += flushed.writes;
    }
    all
}

fn report(board: &mut Board) {
    let tally = board.tally();
    metrics::counter!("relay_events_deliveries_total").increment(tally.deliveries);
    metrics::counter!("relay_events_overflows_total").increment(tally.overflows);
    metrics::gauge!("relay_events_topics").set(board.topics_count() as f64);
}

/// Notifications passed on before sessions are woken: at most 8 kB each.
const FEEDS_MAX: usize = 8;
const COMMANDS_MAX: usize = 64;
/// Queues that one task flushes: it should end before others wait for long, and a task may
/// do 128 things with sockets before it has to yield.
const FLUSHED_MAX: usize = 64;
/// For sessions whose goodbye was lost in a full queue.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::outbox::Outbox;

    #[test]
    fn a_crowd_is_flushed_in_order_by_tasks_that_hold_no_room_for_all_of_it() {
        let crowd: Due = (0..1000).map(|_| Arc::new(Outbox::new(0))).collect();
        let mut due = crowd.clone();
        let portions: Vec<Due> = portions(&mut due).collect();
        assert!(due.is_empty());
        let flushed = portions.iter().flatten().map(Arc::as_ptr);
        assert!(flushed.eq(crowd.iter().map(Arc::as_ptr)));
        let room: usize = portions.iter().map(Vec::capacity).sum();
        assert!(room < crowd.len() + FLUSHED_MAX, "{room}");
    }
}

//! Pure. What many sessions want to read of the stream at one time, read once: members of
//! one conversation miss mostly the same events, and each begins at its own cursor.

use std::sync::Arc;

use super::circle::{Circle, Subscriber};
use super::event::{Event, Stored};
use crate::store::{Membership, Run, Topic};
use crate::types::Seq;

/// The runs that hold what a subscriber may see of `(after, through]`, from a reading of
/// its memberships that is younger than `through`.
pub(super) fn visible(
    of: &Subscriber,
    stays: Vec<Membership>,
    (after, through): (Seq, Seq),
) -> Vec<Run> {
    let mut circle = Circle::as_of(Seq::LAST, stays);
    circle.narrow(of.filter.as_ref());
    let stays = circle.stays().iter().map(|stay| Run {
        topic: Topic::Convo(stay.convo.clone()),
        after: after.max(Seq::new(stay.joined.get().saturating_sub(1))),
        through: stay.left.map_or(through, |left| through.min(left)),
    });
    let own = of.filter.is_none().then(|| Run {
        topic: Topic::Account(of.did.clone()),
        after,
        through,
    });
    let all = stays.chain(own);
    all.filter(|run| run.after < run.through).collect()
}

/// The same events without one of them twice: each of `wanted` begins where one of these
/// begins, and is covered by it and those that follow.
fn disjoint<'a>(wanted: impl Iterator<Item = &'a Run>) -> Vec<Run> {
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_unstable_by(|a, b| (&a.topic, a.after).cmp(&(&b.topic, b.after)));
    let mut runs: Vec<Run> = Vec::new();
    // How far any run that has begun goes.
    let mut farthest = Seq::ZERO;
    for run in wanted {
        match runs.last_mut().filter(|last| last.topic == run.topic) {
            Some(last) => {
                farthest = farthest.max(run.through);
                if last.after == run.after {
                    last.through = farthest;
                    continue;
                }
                last.through = last.through.min(run.after);
            }
            None => farthest = run.through,
        }
        runs.push(Run {
            through: farthest,
            ..run.clone()
        });
    }
    runs
}

/// Runs of the stream, as far as they have been read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Without overlap, by topic and place.
    parts: Vec<Part>,
    /// What may have been forgotten before it was read.
    floor: Seq,
}

#[derive(Debug)]
struct Part {
    run: Run,
    rows: Vec<Stored>,
    is_whole: bool,
}

impl Part {
    fn reached(&self) -> Seq {
        match self.rows.last() {
            _ if self.is_whole => self.run.through,
            Some(row) => row.seq,
            None => self.run.after,
        }
    }
}

/// A page of a replay.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Arc<Event>>,
    /// How far it reaches.
    pub(super) through: Seq,
    /// What it should hold may have been forgotten, or cannot be read.
    pub(super) gap: bool,
}

impl Reading {
    /// Of what all these together want, nothing read yet.
    pub(super) fn of<'a>(wanted: impl Iterator<Item = &'a Run>) -> Self {
        let part = |run| Part {
            run,
            rows: Vec::new(),
            is_whole: false,
        };
        Self {
            parts: disjoint(wanted).into_iter().map(part).collect(),
            floor: Seq::ZERO,
        }
    }

    /// What is left to read of the runs that have fewer than `enough` rows.
    pub(super) fn rest(&self, enough: usize) -> Vec<Run> {
        let open = self.parts.iter().filter(|part| is_open(part, enough));
        let rest = open.map(|part| Run {
            after: part.reached(),
            ..part.run.clone()
        });
        rest.collect()
    }

    /// Takes the rows of what [`Self::rest`] has told, of which at most `each` were read.
    pub(super) fn add(&mut self, read: Vec<Vec<Stored>>, enough: usize, each: usize) {
        let open = self.parts.iter_mut().filter(|part| is_open(part, enough));
        for (part, rows) in open.zip(read) {
            part.is_whole = rows.len() < each;
            part.rows.extend(rows);
        }
    }

    /// Tells what is forgotten, as it was known after the last row was read.
    pub(super) fn forgotten_through(&mut self, floor: Seq) {
        self.floor = floor;
    }

    /// The first events of `wanted`, which all lie in `(after, through]`, in order: as far
    /// as all of it has been read, and at most `limit`.
    pub(super) fn page(&self, wanted: &[Run], (after, through): (Seq, Seq), limit: usize) -> Page {
        let reached = |run: &Run| match self.parts_of(run).last() {
            Some(part) if part.reached() < run.through => part.reached(),
            _ => through,
        };
        let mut reached = wanted.iter().map(reached).min().unwrap_or(through);
        let mut rows: Vec<&Stored> = Vec::new();
        for run in wanted {
            let last = run.through.min(reached);
            let of_run = self.parts_of(run).flat_map(|part| &part.rows);
            rows.extend(of_run.take_while(|row| row.seq <= last));
        }
        rows.sort_unstable_by_key(|row| row.seq);
        if rows.len() > limit {
            rows.truncate(limit);
            reached = rows.last().map_or(reached, |row| row.seq);
        }
        Page {
            gap: self.floor > after || rows.iter().any(|row| row.event.is_none()),
            events: rows.iter().filter_map(|row| row.event.clone()).collect(),
            through: reached,
        }
    }

    /// What was read of one run without a break, in order.
    fn parts_of<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a Part> {
        let begin = |part: &Part| (&part.run.topic, part.run.after) < (&run.topic, run.after);
        let first = self.parts.partition_point(begin);
        let mut is_unbroken = true;
        self.parts[first..].iter().take_while(move |part| {
            let goes_on = part.run.topic == run.topic && part.run.after < run.through;
            goes_on && std::mem::replace(&mut is_unbroken, part.is_whole)
        })
    }
}

fn is_open(part: &Part, enough: usize) -> bool {
    !part.is_whole && part.rows.len() < enough
}

//! Who uses the processors: the server, Postgres with all its processes, and the
//! generator itself.

use std::time::{Duration, Instant};

use mls_relay_loadtest::load::Usage;

/// What each has used so far.
#[derive(Clone, Copy)]
pub(crate) struct Processor {
    at: Instant,
    server: Duration,
    postgres: Duration,
    generator: Duration,
}

/// What each used of the machine, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) server: f64,
    pub(crate) postgres: f64,
    pub(crate) generator: f64,
}

impl Processor {
    pub(crate) fn now(server: u32, postmaster: u32) -> Self {
        let used = |pid| Usage::of(pid).unwrap().cpu;
        Self {
            at: Instant::now(),
            server: used(server),
            // A backend may end between being listed and being read.
            postgres: children(postmaster)
                .filter_map(|pid| Some(Usage::of(pid)?.cpu))
                .sum::<Duration>()
                + used(postmaster),
            generator: used(std::process::id()),
        }
    }

    pub(crate) fn shares_since(&self, before: &Self) -> Shares {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let whole = (self.at - before.at).as_secs_f64() * f64::from(u32::try_from(cores).unwrap());
        // A backend that has ended takes its time along.
        let share = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / whole;
        Shares {
            server: share(self.server, before.server),
            postgres: share(self.postgres, before.postgres),
            generator: share(self.generator, before.generator),
        }
    }
}

impl std::fmt::Display for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |share: f64| share * 100.0;
        write!(
            f,
            "of the machine: server {:.0} %, Postgres {:.0} %, generator {:.0} %",
            percent(self.server),
            percent(self.postgres),
            percent(self.generator)
        )
    }
}

/// The processes that this one has started and that still run.
fn children(parent: u32) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(move |pid| parent_of(*pid) == Some(parent))
}

/// The fourth field of its `stat`; the second may hold spaces, but ends with `)`.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

//! Who uses the processors: the server, Postgres with all its processes, and the
//! generator itself.

use std::time::{Duration, Instant};

use mls_relay_loadtest::load::{Usage, family};

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
        // A backend may end between being listed and being read.
        let postgres = family(postmaster).into_iter().filter_map(Usage::of);
        Self {
            at: Instant::now(),
            server: used(server),
            postgres: postgres.map(|usage| usage.cpu).sum(),
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

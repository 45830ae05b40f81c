//! File descriptors: every socket needs one here and one in the relay.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LoadError;
use super::scenario::Scenario;

/// What a process has open beside the sockets of a load: connections of calls under
/// way, the directory's, files.
const BESIDE: u64 = 1000;

/// Raises the soft limit of this process to the hard one. A relay that is started
/// afterwards inherits it.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where even this is forbidden, `check` says what is missing.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Refuses a scenario that cannot go well.
pub fn check(scenario: &Scenario) -> Result<(), LoadError> {
    let needed = scenario.total_sockets() as u64 + scenario.conversations as u64 + BESIDE;
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => Err(LoadError::Files { needed, allowed }),
        _ => Ok(()),
    }
}

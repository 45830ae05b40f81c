//! Pure. `[process]`: the way down.

use crate::config::key::Key;
use crate::config::kinds::seconds;

pub(super) const KEYS: &[Key] = keys![
    /// How long a stop (SIGTERM) says that it is not ready and works on, before it drains. For
    /// balancers that send a refused connection nowhere else: longer than they take to notice.
    process.drain_notice_seconds, RELAY_DRAIN_NOTICE_SECONDS, Live:
        seconds(0..=600) => process.drain_notice;

    /// How long a stop (SIGTERM) waits for calls to finish and sockets to move; half as long for
    /// whoever sends no more of a body, or takes no more of what is written. Keep it under what the
    /// service manager allows.
    process.drain_seconds, RELAY_DRAIN_SECONDS, Live:
        seconds(0..=3600) => process.drain_grace;
];

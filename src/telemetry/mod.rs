//! What may be observed of the process: logs, metrics, and what a panic says.

mod callsite_limit;
mod causes;
#[cfg(test)]
mod heard;
mod logs;
mod metrics;
mod outlet;
mod panics;

pub(crate) use causes::with_causes;
#[cfg(test)]
pub(crate) use heard::{Log, logged};
pub use logs::{Format, LogFilter, LogsError, install as install_logs, parse_filter};
pub use metrics::{Metrics, MetricsError};
pub use outlet::{Flushed, Outlet};

/// How the relay logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// A filter in the syntax of `RUST_LOG`. None: the build's default.
    pub filter: Option<String>,
    pub format: Format,
    /// Lines of one place in the code.
    pub lines_per_second: u32,
    /// What may wait until it is written.
    pub queue_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: None,
            format: Format::default(),
            lines_per_second: 100,
            queue_bytes_max: 1 << 20,
        }
    }
}

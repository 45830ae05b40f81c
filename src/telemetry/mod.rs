//! What may be observed of the process: logs, metrics, and what a panic says.

mod logs;
mod metrics;
mod panics;

pub use logs::{
    Format, LogFilter, LogsError, default_filter, install as install_logs, parse_filter,
};
pub use metrics::{Metrics, MetricsError};
pub use panics::install as install_panic_hook;

/// How the relay logs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// A filter in the syntax of `RUST_LOG`. None: the build's default.
    pub filter: Option<String>,
    pub format: Format,
}

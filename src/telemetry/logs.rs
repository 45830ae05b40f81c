//! The log on standard error: its filter, its format, and what never enters it.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::Settings;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("the log filter is not valid")]
    Filter(#[from] ParseError),
    #[error("another log is already installed")]
    Installed(#[from] TryInitError),
    #[error("the log is gone")]
    Gone(#[from] reload::Error),
}

/// The filter of the installed log, which can be replaced.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Filters by these settings from now on.
    pub fn replace(&self, settings: &Settings) -> Result<(), LogsError> {
        Ok(self.0.reload(filter(settings)?)?)
    }
}

/// Release builds say only what needs a person. A developer sees what the relay
/// does, but not what its dependencies do.
pub fn default_filter() -> &'static str {
    if cfg!(debug_assertions) {
        "info,mls_relay=debug"
    } else {
        "warn"
    }
}

/// Reads a filter, so that configuration can refuse a bad one at start.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(filter)
}

fn filter(settings: &Settings) -> Result<EnvFilter, ParseError> {
    parse_filter(settings.filter.as_deref().unwrap_or(default_filter()))
}

/// Starts the log. Call once.
pub fn install(settings: &Settings) -> Result<LogFilter, LogsError> {
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(filter_fn(is_ours_or_urgent))))
        .try_init()?;
    Ok(LogFilter(handle))
}

/// Dependencies log what they carry: tokio-postgres its parameters, h2 its headers,
/// tungstenite its messages. No filter may let that through, so below `warn` only
/// our own events pass, whatever `RUST_LOG` says.
fn is_ours_or_urgent(event: &Metadata<'_>) -> bool {
    *event.level() <= Level::WARN || event.target().starts_with("mls_relay")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_filters_are_valid_and_a_bad_one_is_refused() {
        assert!(parse_filter(default_filter()).is_ok());
        assert!(parse_filter("warn,mls_relay=debug").is_ok());
        assert!(parse_filter("mls_relay=loud").is_err());
    }
}

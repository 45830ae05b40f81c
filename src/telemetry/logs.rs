//! The log on standard error: its filter, its format, and what never enters it.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::Settings;
use super::callsite_limit::{CallsiteLimit, LinesMax};
use super::outlet::Outlet;
use super::panics;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What is wrong with a filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("it is no filter")]
    Syntax(#[from] ParseError),
    #[error("it names no level and no part of mls_relay, so nothing at all would be logged")]
    Silent,
}

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("the log filter is not valid")]
    Filter(#[from] FilterError),
    #[error("another log is already installed")]
    Installed(#[from] TryInitError),
    #[error("the log is gone")]
    Gone(#[from] reload::Error),
    #[error("nobody can be put to writing the log")]
    Writer(#[source] io::Error),
}

/// The filter of the installed log, which can be replaced.
#[derive(Clone, Debug)]
pub struct LogFilter {
    filter: reload::Handle<EnvFilter, Registry>,
    most: LinesMax,
}

impl LogFilter {
    /// Filters by these settings from now on.
    pub fn replace(&self, settings: &Settings) -> Result<(), LogsError> {
        self.filter.reload(filter(settings)?)?;
        self.most.set(settings.lines_per_second);
        Ok(())
    }
}

/// Release builds say only what needs a person; a developer sees what the relay does.
fn default_filter(is_debug: bool) -> &'static str {
    match is_debug {
        true => "debug",
        false => "warn",
    }
}

/// Reads a filter, so that configuration can refuse a bad one at start. One mistyped level is
/// a filter too: of a target of that name, and of nothing else.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, FilterError> {
    let parsed = EnvFilter::builder().parse(filter)?;
    match filter.split(',').any(concerns_us) {
        true => Ok(parsed),
        false => Err(FilterError::Silent),
    }
}

/// Whether a directive is for what we log: it names no target but a level, or the beginning of
/// one of ours.
fn concerns_us(directive: &str) -> bool {
    let directive = directive.trim();
    let target = directive.split(['=', '[']).next().unwrap_or_default();
    directive.parse::<LevelFilter>().is_ok() || OURS.starts_with(target) || is_ours_by_name(target)
}

fn filter(settings: &Settings) -> Result<EnvFilter, FilterError> {
    let by_default = default_filter(cfg!(debug_assertions));
    parse_filter(settings.filter.as_deref().unwrap_or(by_default))
}

/// Starts the log, in which panics tell their place and not their words. Whoever has a last
/// word, and must see it written, says it to the outlet. Call once.
pub fn install(settings: &Settings) -> Result<(LogFilter, Outlet), LogsError> {
    let most = LinesMax::new(settings.lines_per_second);
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let outlet = Outlet::open(io::stderr(), settings.queue_bytes_max);
    let outlet = outlet.map_err(LogsError::Writer)?;
    panics::install(outlet.clone());
    let written = outlet.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || written.clone());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = filter
        .and(filter_fn(is_ours))
        .and(CallsiteLimit::new(most.clone()));
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    let filter = LogFilter {
        filter: handle,
        most,
    };
    Ok((filter, outlet))
}

/// Dependencies log what they carry: h2 its headers, tokio-postgres its parameters,
/// tungstenite its messages. Nor is that theirs alone to choose: h2 warns with the bytes
/// that it was pinged with. What our own code makes of their errors is all that an operator
/// needs, so nothing of theirs passes, whatever `RUST_LOG` says; and of those that write by
/// `log`, as all but h2 do, nothing is taken up at all.
fn is_ours(event: &Metadata<'_>) -> bool {
    is_ours_by_name(event.target())
}

fn is_ours_by_name(target: &str) -> bool {
    let within = target.strip_prefix(OURS);
    within.is_some_and(|path| path.is_empty() || path.starts_with("::"))
}

const OURS: &str = "mls_relay";

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::{env, thread};

    use super::*;

    #[test]
    fn a_release_says_what_needs_a_person_and_every_default_is_valid() {
        assert_eq!(default_filter(false), "warn");
        for is_debug in [false, true] {
            assert!(parse_filter(default_filter(is_debug)).is_ok());
        }
    }

    /// In a process of its own, since the log and what panics say are its process'.
    #[test]
    fn with_the_log_a_panic_tells_its_place_and_not_its_words() {
        let planted = "a word of a caller's";
        if env::var_os(CHILD).is_some() {
            let (_, outlet) = install(&Settings::default()).unwrap();
            let _at_last = outlet.flushed_at_last();
            let panicked = thread::spawn(move || panic!("{planted}")).join();
            assert!(panicked.is_err());
            return;
        }
        let test = "telemetry::logs::tests::with_the_log_a_panic_tells_its_place_and_not_its_words";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let said = String::from_utf8(child.stderr).unwrap();
        assert!(child.status.success(), "{said}");
        assert!(said.contains("a task panicked"), "{said}");
        assert!(said.contains("logs.rs"), "{said}");
        assert!(!said.contains(planted), "{said}");
    }

    const CHILD: &str = "MLS_RELAY_TEST_OF_A_PANIC";

    #[test]
    fn a_good_filter_is_read_and_a_bad_one_is_refused() {
        assert!(parse_filter("warn,mls_relay=debug").is_ok());
        assert!(parse_filter("mls_relay=loud").is_err());
    }
}

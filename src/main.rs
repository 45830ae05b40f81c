//! The process: configuration, telemetry, build, wait, drain, exit code.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mls_relay::app::{self, App, Beginnings};
use mls_relay::config::{self, Config, Doubt, Faults, Loaded, Source};
use mls_relay::runtime::{Drained, tell_supervisor};
use mls_relay::telemetry::{self, Format, LogFilter, Metrics};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Gives memory back after a mass disconnect, which the system's allocator does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An edge-terminated WebSocket relay and MLS delivery service for ATProto identities.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The configuration file [default: relay.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until told to stop (the default)
    Serve,
    /// Bring the database's schema up to date, and stop
    Migrate,
    /// Check the configuration and print what is in force, without secrets
    CheckConfig {
        /// Print a documented relay.toml with every default instead
        #[arg(long)]
        template: bool,
        /// Check with the variables of this file above the environment's, read as systemd reads
        /// an EnvironmentFile; - is standard input
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
    /// Ask the running relay whether it is ready; exit 0 when it is
    Health,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Some(Command::CheckConfig { template: true, .. }) = cli.command {
        return print(&config::template()).map_or_else(unavailable, |()| ExitCode::SUCCESS);
    }
    let command = cli.command.unwrap_or(Command::Serve);
    let source = Source::process(cli.config.as_deref());
    let source = match &command {
        Command::CheckConfig {
            env_file: Some(variables),
            ..
        } => source.and_then(|source| source.with_env_file(variables)),
        _ => source,
    };
    let source = match source {
        Ok(source) => source,
        Err(faults) => return misconfigured(&faults, &command),
    };
    match (command, Config::load(&source)) {
        (Command::Health, _) => health(Config::admin_listen(&source)),
        // Every fault at once: an operator should fix a configuration in one go.
        (command, Err(faults)) => misconfigured(&faults, &command),
        (Command::CheckConfig { env_file, .. }, Ok(loaded)) => check(&loaded, env_file.is_some()),
        (Command::Migrate, Ok(loaded)) => {
            let log = loaded.config.log.clone();
            start(&log, |_, _| migrate(loaded))
        }
        (Command::Serve, Ok(loaded)) => {
            let log = loaded.config.log.clone();
            start(&log, |logs, metrics| {
                serve(Beginnings {
                    loaded,
                    file: cli.config,
                    logs,
                    metrics,
                })
            })
        }
    }
}

/// Shows what would be in force, and fails for what a start would fail for. In a file of
/// variables that is the relay's alone, a name that no setting reads is a slip.
fn check(loaded: &Loaded, is_relays_alone: bool) -> ExitCode {
    if let Err(error) = print(&config::effective(loaded)) {
        return unavailable(error);
    }
    for doubt in &loaded.doubts {
        // Whoever does not hear it hears the exit code.
        let _ = writeln!(io::stderr(), "mls-relay: warning: {doubt}");
    }
    if let Err(faults) = config::look_for_files(loaded) {
        return unavailable(faults);
    }
    let is_misspelt = |doubt: &Doubt| matches!(doubt, Doubt::Misspelt { .. });
    match is_relays_alone && loaded.doubts.iter().any(is_misspelt) {
        true => ExitCode::from(EX_USAGE),
        false => ExitCode::SUCCESS,
    }
}

/// Sets up what every command that does something needs, then does it.
fn start<F>(log: &telemetry::Settings, command: impl FnOnce(LogFilter, Metrics) -> F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, Box<dyn Error>>>,
{
    let (logs, mut outlet) = match telemetry::install_logs(log) {
        Ok(installed) => installed,
        Err(error) => return refuse(&error, EX_USAGE, log.format, &mut io::stderr()),
    };
    let _at_last = outlet.flushed_at_last();
    let ended = Metrics::install()
        .map_err(Box::<dyn Error>::from)
        .and_then(|metrics| {
            let runtime = Runtime::new()?;
            let ended = runtime.block_on(command(logs, metrics));
            runtime.shutdown_timeout(REST);
            ended
        });
    // Behind what the log has said, and without waiting for whoever reads it.
    ended.unwrap_or_else(|error| refuse(&*error, EX_UNAVAILABLE, log.format, &mut outlet))
}

/// For the health checks of containers, which read the exit code only.
fn health(admin: SocketAddr) -> ExitCode {
    match app::is_ready(admin) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => unavailable(error),
    }
}

async fn migrate(loaded: Loaded) -> Result<ExitCode, Box<dyn Error>> {
    config::tell(&loaded.doubts);
    app::migrate(loaded.config).await?;
    print("the database's schema is up to date\n")?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(beginnings: Beginnings) -> Result<ExitCode, Box<dyn Error>> {
    config::tell(&beginnings.loaded.doubts);
    // Before anything starts, so that no signal finds us half-built and deaf.
    let mut signals = Signals::listen()?;
    let app = tokio::select! {
        started = App::start(beginnings) => started?,
        // Postgres, if it is up already, follows us by itself. The file is read once more
        // when the start has ended.
        _ = signals.ending(|| {}) => return Ok(ExitCode::SUCCESS),
    };
    // HUP reloads. TERM drains. INT, from a terminal, does not wait for anyone; nor does
    // a second TERM.
    let reload = app.reload();
    let code = tokio::select! {
        Err(error) = tell_when_ready(&app) => return Err(error.into()),
        ending = signals.ending(&reload) => match ending {
            Ending::Drain => ExitCode::SUCCESS,
            Ending::Stop => {
                // Nobody was promised a grace.
                app.stop().await;
                return Ok(ExitCode::SUCCESS);
            }
        },
        () = app.failed() => {
            tracing::error!("a task that all others need has panicked; leaving");
            ExitCode::FAILURE
        }
    };
    Ok(tokio::select! {
        drained = app.leave() => match drained {
            Drained::Complete => code,
            Drained::GraceElapsed { left } => {
                tracing::warn!(left, "the grace was too short for some");
                ExitCode::FAILURE
            }
        },
        _ = signals.ending(reload) => {
            tracing::warn!("told to stop twice; stopping at once");
            ExitCode::FAILURE
        }
    })
}

/// It serves already, so whoever ends it meanwhile has it drain.
async fn tell_when_ready(app: &App) -> io::Result<()> {
    app.ready().await;
    let mut ready = app.opening.ready_line();
    match io::stdout().is_terminal() {
        true => ready.insert_str(0, &format!("{}\n", app.opening.screen())),
        false => app.opening.warn(),
    }
    ready.push('\n');
    // On a thread of its own: whoever has our standard output may not read it.
    thread::Builder::new().spawn(move || {
        if let Err(error) = tell_supervisor() {
            tracing::warn!(%error, "the service manager cannot be told that the relay serves");
        }
        print(&ready)
    })?;
    Ok(())
}

/// How the process is told to end.
enum Ending {
    Drain,
    Stop,
}

struct Signals {
    term: Signal,
    int: Signal,
    /// Without a handler it would end the process.
    hangup: Signal,
    /// Whether a terminal was there at the start.
    had_terminal: bool,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            had_terminal: io::stdin().is_terminal(),
        })
    }

    /// The next that asks to end. Whoever asks for a reload before gets that.
    async fn ending(&mut self, reload: impl Fn()) -> Ending {
        loop {
            tokio::select! {
                _ = self.term.recv() => return Ending::Drain,
                _ = self.int.recv() => return Ending::Stop,
                // Sent by an operator, or by the system because the terminal has closed.
                _ = self.hangup.recv() => match self.had_terminal && !io::stdin().is_terminal() {
                    true => return Ending::Stop,
                    false => reload(),
                },
            }
        }
    }
}

/// clap says it; help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    // If standard output is gone there is nobody to tell.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(EX_USAGE),
        false => ExitCode::SUCCESS,
    }
}

/// Says what is wrong with a configuration, which would have told in which form to say it.
/// Whoever asks for a check is a person.
fn misconfigured(faults: &Faults, command: &Command) -> ExitCode {
    let format = match command {
        Command::Serve | Command::Migrate => config::wished_log_format(),
        _ => Format::Text,
    };
    refuse(faults, EX_USAGE, format, &mut io::stderr())
}

/// Says something on standard output. Whoever has heard enough may close it.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Tells a person what is not there, and gives the exit code.
fn unavailable(error: impl Error) -> ExitCode {
    refuse(&error, EX_UNAVAILABLE, Format::Text, &mut io::stderr())
}

/// Says why, with every cause, in the form of the log, and gives the exit code.
fn refuse(error: &dyn Error, code: u8, format: Format, to: &mut dyn Write) -> ExitCode {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    let said = match format {
        Format::Json => {
            let line = serde_json::json!({
                "timestamp": chrono::Utc::now().to_rfc3339(),
                "level": "ERROR",
                "message": format!("mls-relay: {error}"),
                "causes": causes,
                "target": "mls_relay",
            });
            format!("{line}\n")
        }
        Format::Text => {
            let causes = causes.iter().map(|cause| format!("  because: {cause}\n"));
            format!("mls-relay: {error}\n{}", causes.collect::<String>())
        }
    };
    // If nobody can be told, the code says what it can.
    let _ = to.write_all(said.as_bytes());
    ExitCode::from(code)
}

/// For what cannot be cut off once everything has ended: a look at a file, or for a name,
/// that the system does not come back from.
const REST: Duration = Duration::from_secs(1);

/// sysexits.h: the command line or the configuration is wrong.
const EX_USAGE: u8 = 64;

/// sysexits.h: something that serving needs is not available.
const EX_UNAVAILABLE: u8 = 69;

#[cfg(test)]
#[path = "main/tests.rs"]
mod tests;

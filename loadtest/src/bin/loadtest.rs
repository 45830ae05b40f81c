//! `loadtest run SCENARIO`: a scenario of `scenarios/` against a relay that is
//! started for it, or against one that runs already.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::load::report::Report;
use mls_relay_loadtest::load::scenario::Scenario;
use mls_relay_loadtest::load::{Target, run};
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{RelayOptions, RelayProcess, built_relay};

#[derive(Parser)]
#[command(version, about = "A load generator for mls-relay")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a scenario and reports
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    /// The name of a scenario that comes with this program, or a file
    scenario: String,

    /// A relay that runs already, as `https://HOST:PORT`; otherwise one is started
    #[arg(long, requires = "certificate", value_name = "URL")]
    relay: Option<String>,

    /// The certificates to trust for it
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Its service DID
    #[arg(long, default_value = "did:web:localhost", value_name = "DID")]
    service_did: String,

    /// Where its PLC_URL points: the accounts' documents are served there
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    directory: std::net::SocketAddr,

    /// The process of that relay, if it is on this machine, to measure its use
    #[arg(long)]
    pid: Option<u32>,

    /// The binary of the relay to start
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Instead of the scenario's own
    #[arg(long)]
    conversations: Option<usize>,

    /// Instead of the scenario's own
    #[arg(long)]
    accounts: Option<usize>,

    /// Instead of the scenario's own
    #[arg(long)]
    rate: Option<f64>,

    /// Instead of the scenario's own
    #[arg(long)]
    seconds: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run(arguments) = Arguments::parse().command;
    let outcome = tokio::select! {
        outcome = play(&arguments) => outcome,
        // Leaving the future stops a relay that was started.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match outcome {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprint!("the run failed: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: &Run) -> Result<Report, Box<dyn Error>> {
    let (name, scenario) = scenario(arguments)?;
    let directory = Directory::start_at(arguments.directory).await?;
    let mut progress = Progress::new();
    let report = match (&arguments.relay, &arguments.certificate) {
        (Some(url), Some(certificate)) => {
            let target = Target {
                relay: Arc::new(Relay::new(url, &arguments.service_did, certificate)?),
                directory: &directory,
                pid: arguments.pid,
            };
            run(&name, &scenario, &target, |text| progress.show(text)).await?
        }
        _ => {
            let process = start(arguments, &scenario, &directory).await?;
            let address = process.address();
            let certificate = process.certificate();
            let target = Target {
                relay: Arc::new(Relay::new(&address, &arguments.service_did, &certificate)?),
                directory: &directory,
                pid: Some(process.pid()),
            };
            run(&name, &scenario, &target, |text| progress.show(text)).await?
        }
    };
    progress.clear();
    println!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(report)
}

fn scenario(arguments: &Run) -> Result<(String, Scenario), Box<dyn Error>> {
    let path = Path::new(&arguments.scenario);
    let path = if path.is_file() {
        path.to_owned()
    } else {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        ours.join(path).with_extension("toml")
    };
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut scenario = Scenario::parse(&text)?;
    let with = |value: Option<usize>, own| value.unwrap_or(own);
    scenario.conversations = with(arguments.conversations, scenario.conversations);
    scenario.accounts = with(arguments.accounts, scenario.accounts);
    scenario.rate = arguments.rate.unwrap_or(scenario.rate);
    scenario.seconds = arguments.seconds.unwrap_or(scenario.seconds);
    scenario.check()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok((name.into_owned(), scenario))
}

/// Starts a relay whose limits do not stand in the way of one busy address.
async fn start(
    arguments: &Run,
    scenario: &Scenario,
    directory: &Directory,
) -> Result<RelayProcess, Box<dyn Error>> {
    let mut environment: Vec<(String, String)> = mls_relay_loadtest::load::RAISED_LIMITS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    environment.extend(scenario.environment.clone());
    let options = RelayOptions {
        binary: match &arguments.binary {
            Some(binary) => binary.clone(),
            None => built_relay()?,
        },
        service_did: arguments.service_did.clone(),
        plc_url: directory.url(),
        environment,
    };
    Ok(RelayProcess::start(&options).await?)
}

/// One line that is written over, on a terminal; elsewhere a line every so often.
struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            shown: None,
        }
    }

    fn show(&mut self, text: &str) {
        let pause = Duration::from_millis(if self.terminal { 50 } else { 2000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        if self.terminal {
            print!("\r\x1b[2K  {text}");
        } else {
            println!("  {text}");
        }
        // A closed pipe is not the run's concern.
        let _ = std::io::stdout().flush();
    }

    fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }
}

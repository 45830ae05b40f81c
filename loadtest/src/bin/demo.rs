//! `cargo run -p mls-relay-loadtest --bin demo`: see `mls_relay_loadtest::demo`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mls_relay_loadtest::demo::{Screen, Settings, play};
use mls_relay_loadtest::relay_process::built_relay;
use mls_relay_loadtest::{chain, told_to_stop};

/// Plays an end-to-end-encrypted conversation through a relay of its own.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The relay to start; by default the one that was built beside this program
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,

    /// Milliseconds between two messages
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pace: u64,

    /// No colours, also on a terminal
    #[arg(long)]
    plain: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demo failed: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let settings = Settings {
        relay: match arguments.relay {
            Some(relay) => relay,
            None => built_relay()?,
        },
        pace: Duration::from_millis(arguments.pace),
        environment: Vec::new(),
    };
    let mut screen = Screen::new(!arguments.plain);
    // Leaving the future stops the relay, whichever way we leave it.
    tokio::select! {
        clean = play(&settings, &mut screen) => Ok(clean?),
        told = told_to_stop() => Err(told?.into()),
    }
}

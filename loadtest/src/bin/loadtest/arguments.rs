//! What one may ask for.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mls_relay_loadtest::load::growth::Axis;
use mls_relay_loadtest::relay_process::SERVICE_DID;

#[derive(Parser)]
#[command(version, about = "A load generator for mls-relay")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs a scenario and reports
    Run(Run),
    /// Runs a scenario again and again, larger each time, and reports a line a step
    Growth(Growth),
}

// The scripts name the reports; whoever names others means those.
#[derive(clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct Run {
    /// The name of a scenario that comes with this program, or a file
    pub(crate) scenario: String,

    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) changes: Changes,

    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Also write the report as a page for a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct Growth {
    /// What grows
    #[arg(long, value_enum, default_value = "sockets")]
    pub(crate) axis: Axis,

    /// Instead of the axis' own, such as 1000,2000
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    pub(crate) steps: Vec<usize>,

    /// What each step starts from
    #[arg(long, default_value = "growth", value_name = "NAME|FILE")]
    pub(crate) scenario: String,

    #[command(flatten)]
    pub(crate) target: Target,

    /// Instead of the scenario's own
    #[arg(long)]
    pub(crate) seconds: Option<u64>,

    /// Also write the reports of all steps as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Target {
    /// A relay that runs already, as `https://HOST:PORT`; otherwise one is started
    #[arg(long, requires_all = ["certificate", "directory"], value_name = "URL")]
    pub(crate) relay: Option<String>,

    /// The certificates to trust for it
    #[arg(long, requires = "relay", value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,

    /// Its service DID
    #[arg(long, default_value = SERVICE_DID, value_name = "DID")]
    pub(crate) service_did: String,

    /// Where its PLC_URL points: the accounts' documents are served there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) directory: Option<std::net::SocketAddr>,

    /// The process of that relay, if it is on this machine, to measure its use
    #[arg(long, requires = "relay")]
    pub(crate) pid: Option<u32>,

    /// Where that relay shows its metrics, to learn whether it felt slow sockets
    #[arg(long, requires = "relay", value_name = "ADDRESS")]
    pub(crate) admin: Option<std::net::SocketAddr>,

    /// The binary of the relay to start
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
}

/// What is otherwise than in the scenario's file.
#[derive(clap::Args)]
pub(crate) struct Changes {
    /// Instead of the scenario's own
    #[arg(long)]
    pub(crate) conversations: Option<usize>,

    /// Instead of the scenario's own
    #[arg(long)]
    pub(crate) accounts: Option<usize>,

    /// Instead of the scenario's own
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,

    /// Instead of the scenario's own
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
}

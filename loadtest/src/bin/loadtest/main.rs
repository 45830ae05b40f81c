//! `loadtest run SCENARIO`: a scenario of `scenarios/` against a relay that is
//! started for it, or against one that runs already. `loadtest growth`: the same load
//! larger and larger.

mod arguments;
mod progress;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arguments::{Arguments, Changes, Command, Growth, Run, Target};
use clap::Parser;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::load;
use mls_relay_loadtest::load::growth::{self, Axis, Step};
use mls_relay_loadtest::load::report::Report;
use mls_relay_loadtest::load::scenario::Scenario;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{RelayOptions, RelayProcess, built_relay};
use mls_relay_loadtest::{chain, told_to_stop};
use progress::Progress;

#[tokio::main]
async fn main() -> ExitCode {
    load::files::raise_limit();
    let command = Arguments::parse().command;
    let outcome = async {
        match &command {
            Command::Run(arguments) => run(arguments).await,
            Command::Growth(arguments) => grow(arguments).await,
        }
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        // Leaving the future stops a relay that was started.
        told = told_to_stop() => Err(told.map_or_else(Into::into, Into::into)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the run failed: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// One scenario. Whether it was clean.
async fn run(arguments: &Run) -> Result<bool, Box<dyn Error>> {
    let (name, mut scenario) = scenario(&arguments.scenario)?;
    change(&mut scenario, &arguments.changes);
    scenario.check()?;
    let report = play(&name, &scenario, &arguments.target).await?;
    println!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
        println!("  as JSON: {}", path.display());
    }
    if let Some(path) = &arguments.html {
        std::fs::write(path, load::html::page(&report))?;
        println!("  as a page: {}", path.display());
    }
    Ok(report.is_clean())
}

/// One axis. Whether all steps were clean. Each step that started a relay of its own
/// has stopped it before the next, so that none inherits another's memory.
async fn grow(arguments: &Growth) -> Result<bool, Box<dyn Error>> {
    let (_, mut base) = scenario(&arguments.scenario)?;
    base.seconds = arguments.seconds.unwrap_or(base.seconds);
    let axis = Axis::from(arguments.axis);
    let steps = match arguments.steps.as_slice() {
        [] => axis.steps(),
        steps => steps,
    };
    let mut growth = growth::Growth {
        axis,
        steps: Vec::new(),
    };
    for step in steps {
        let scenario = axis.scenario(&base, *step);
        scenario.check()?;
        let name = format!("{} {step}", axis.name());
        println!("{name}");
        let report = match play(&name, &scenario, &arguments.target).await {
            Ok(report) => report,
            // What the machine cannot do ends the series, not what was measured.
            Err(error) if !growth.steps.is_empty() => {
                println!("  no further: {error}");
                break;
            }
            Err(error) => return Err(error),
        };
        growth.steps.push(Step {
            step: *step,
            report,
        });
    }
    println!("{}", growth.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&growth)?)?;
        println!("  as JSON: {}", path.display());
    }
    Ok(growth.is_clean())
}

async fn play(name: &str, scenario: &Scenario, target: &Target) -> Result<Report, Box<dyn Error>> {
    let directory = Directory::start_at(target.directory).await?;
    let started;
    let (relay, pid, admin) = match (&target.relay, &target.certificate) {
        (Some(url), Some(certificate)) => {
            let relay = Relay::new(url, &target.service_did, certificate)?;
            (relay, target.pid, target.admin)
        }
        _ => {
            started = start(target, scenario, &directory).await?;
            let (pid, admin) = (started.pid(), started.admin());
            (started.relay()?, Some(pid), Some(admin))
        }
    };
    let target = load::Target {
        relay: Arc::new(relay),
        directory: &directory,
        pid,
        admin,
    };
    let mut progress = Progress::new();
    let report = load::run(name, scenario, &target, |text| progress.show(text)).await;
    progress.clear();
    Ok(report?)
}

/// A scenario of ours by name, or any by path.
fn scenario(name: &str) -> Result<(String, Scenario), Box<dyn Error>> {
    let path = Path::new(name);
    let path = if path.is_file() {
        path.to_owned()
    } else {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        ours.join(path).with_extension("toml")
    };
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok((name.into_owned(), Scenario::parse(&text)?))
}

fn change(scenario: &mut Scenario, changes: &Changes) {
    let with = |value: Option<usize>, own| value.unwrap_or(own);
    scenario.conversations = with(changes.conversations, scenario.conversations);
    scenario.accounts = with(changes.accounts, scenario.accounts);
    scenario.rate = changes.rate.unwrap_or(scenario.rate);
    scenario.seconds = changes.seconds.unwrap_or(scenario.seconds);
}

async fn start(
    target: &Target,
    scenario: &Scenario,
    directory: &Directory,
) -> Result<RelayProcess, Box<dyn Error>> {
    let options = RelayOptions {
        binary: match &target.binary {
            // The relay is started in a directory of its own.
            Some(binary) => std::fs::canonicalize(binary)?,
            None => built_relay()?,
        },
        service_did: target.service_did.clone(),
        plc_url: directory.url(),
        environment: scenario.relay_environment(),
    };
    Ok(RelayProcess::start(&options).await?)
}

//! `loadtest run SCENARIO`: a scenario of `scenarios/` against a relay that is
//! started for it, or against one that runs already. `loadtest growth`: the same load
//! larger and larger.

mod arguments;
mod progress;
mod reports;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arguments::{Arguments, Changes, Command, Growth, Run, Target};
use clap::Parser;
use hyper::StatusCode;
use mls_relay_loadtest::directory::{ANY_PORT, Directory};
use mls_relay_loadtest::load;
use mls_relay_loadtest::load::growth::{self, Step};
use mls_relay_loadtest::load::report::Report;
use mls_relay_loadtest::load::scenario::Scenario;
use mls_relay_loadtest::load::scenarios;
use mls_relay_loadtest::load::{LoadError, Stop};
use mls_relay_loadtest::phone::PhoneError;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::relay_process::{
    RelayOptions, RelayProcess, RelayProcessError, built_relay,
};
use mls_relay_loadtest::xrpc_client::CallError;
use mls_relay_loadtest::{chain, say, told_to_stop};
use progress::Progress;

#[tokio::main]
async fn main() -> ExitCode {
    load::files::raise_limit();
    let command = Arguments::parse().command;
    let stop = Stop::default();
    let outcome = async {
        match &command {
            Command::Run(arguments) => run(arguments, &stop).await,
            Command::Growth(arguments) => grow(arguments, &stop).await,
        }
    };
    let told = async {
        let mut told = told_to_stop().await;
        if told.is_ok() && stop.tell() {
            eprintln!("\n  ending with what was measured; once more, and there is no report");
            told = told_to_stop().await;
        }
        // Stopping a relay takes a moment, in which nothing else would be said.
        eprintln!("\n  ending");
        told
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        // Leaving the future stops a relay that was started.
        told = told => Err(told.map_or_else(Into::into, Into::into)),
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

/// One scenario. Whether it was clean, and whole.
async fn run(arguments: &Run, stop: &Stop) -> Result<bool, Box<dyn Error>> {
    let (name, mut scenario) = scenario(&arguments.scenario)?;
    change(&mut scenario, &arguments.changes);
    scenario.check()?;
    let (json, html) = (arguments.json.as_deref(), arguments.html.as_deref());
    for path in [json, html].into_iter().flatten() {
        reports::check(path)?;
    }
    let report = play(&name, &scenario, &arguments.target, stop).await?;
    say(format_args!("{}\n", report.table()));
    if let Some(path) = json {
        reports::write(path, &serde_json::to_string_pretty(&report)?)?;
        say(format_args!("  as JSON: {}\n", path.display()));
    }
    if let Some(path) = html {
        reports::write(path, &load::html::page(&report))?;
        say(format_args!("  as a page: {}\n", path.display()));
    }
    Ok(report.is_clean && !report.is_cut_short)
}

/// One axis. Whether all steps were played, clean, and whole. Each step that started a relay of
/// its own has stopped it before the next, so that none inherits another's memory.
async fn grow(arguments: &Growth, stop: &Stop) -> Result<bool, Box<dyn Error>> {
    let (_, mut base) = scenario(&arguments.scenario)?;
    base.seconds = arguments.seconds.unwrap_or(base.seconds);
    let axis = arguments.axis;
    let steps = match arguments.steps.as_slice() {
        [] => axis.steps(),
        steps => steps,
    };
    // A wrong step at the end must not cost what was measured before it.
    for step in steps {
        axis.scenario(&base, *step).check()?;
    }
    arguments.json.as_deref().map_or(Ok(()), reports::check)?;
    let mut growth = growth::Growth {
        axis,
        steps: Vec::new(),
    };
    for step in steps {
        let scenario = axis.scenario(&base, *step);
        let name = format!("{} {step}", axis.name());
        say(format_args!("{name}\n"));
        let report = match play(&name, &scenario, &arguments.target, stop).await {
            Ok(report) => report,
            // What cannot be played ends the series, not what was measured.
            Err(error) if !growth.steps.is_empty() => {
                say(format_args!("  no further: {}\n", chain(&*error)));
                break;
            }
            Err(error) => return Err(error),
        };
        let is_cut_short = report.is_cut_short;
        growth.steps.push(Step {
            step: *step,
            report,
        });
        if is_cut_short {
            break;
        }
    }
    say(format_args!("{}\n", growth.table()));
    if let Some(path) = &arguments.json {
        reports::write(path, &serde_json::to_string_pretty(&growth)?)?;
        say(format_args!("  as JSON: {}\n", path.display()));
    }
    Ok(growth.is_clean(steps.len()))
}

async fn play(
    name: &str,
    scenario: &Scenario,
    target: &Target,
    stop: &Stop,
) -> Result<Report, Box<dyn Error>> {
    load::files::check(scenario)?;
    let served_at = target.directory.unwrap_or(ANY_PORT);
    let directory = Directory::start_at(served_at)
        .await
        .map_err(|error| format!("no directory can be served at {served_at}: {error}"))?;
    let mut progress = Progress::new();
    let mut started = None;
    let (relay, pid, admin) = match (&target.relay, &target.certificate) {
        (Some(url), Some(certificate)) => {
            let relay = Relay::new(url, &target.service_did, certificate)?;
            (relay, target.pid, target.admin)
        }
        _ => {
            progress.show("starting a relay");
            let process = start(target, scenario, &directory).await;
            progress.clear();
            let process = started.insert(process?);
            let (pid, admin) = (process.pid(), process.admin());
            (process.relay()?, Some(pid), Some(admin))
        }
    };
    let target = load::Target {
        relay: Arc::new(relay),
        directory: &directory,
        pid,
        admin,
    };
    let run = load::run(name, scenario, &target, stop, |text| progress.show(text));
    let outcome = tokio::select! {
        report = run => report.map_err(Into::into),
        // What it would have done is not known: there is nothing to report.
        ended = ended(started.as_mut()) => Err(ended.into()),
    };
    progress.clear();
    outcome.map_err(
        |error: Box<dyn Error>| match hint(error.downcast_ref(), &directory) {
            Some(hint) => format!("{}; {hint}", chain(&*error)).into(),
            None => error,
        },
    )
}

/// What to look at where a relay that runs already cannot be used.
fn hint(error: Option<&LoadError>, directory: &Directory) -> Option<String> {
    let Some(LoadError::Phone(PhoneError::Call(error))) = error else {
        return None;
    };
    match error {
        CallError::Connect(error) if error.is_distrust() => {
            Some("--certificate names the file of whom to trust".to_owned())
        }
        CallError::Refused { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
            let hint = "its limits are in the way: loadtest/README.md has the settings for a load";
            Some(hint.to_owned())
        }
        CallError::Refused { name, .. } if name == "BadJwtAudience" => {
            Some("--service-did is who the relay says it is (its SERVICE_DID)".to_owned())
        }
        CallError::Refused { .. } if directory.requests() == 0 => {
            let url = directory.url();
            Some(format!(
                "nobody has asked the directory at {url}: is it the relay's PLC_URL?"
            ))
        }
        _ => None,
    }
}

/// When a relay that was started has ended by itself; never when none was.
async fn ended(started: Option<&mut RelayProcess>) -> RelayProcessError {
    match started {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

/// A file, or a scenario of ours by name.
fn scenario(name: &str) -> Result<(String, Scenario), Box<dyn Error>> {
    let path = Path::new(name);
    let text = match scenarios::named(name) {
        Some(text) => text.to_owned(),
        None if path.is_file() => {
            std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?
        }
        None => {
            let ours = scenarios::names();
            return Err(
                format!("no scenario and no file is called {name}; there are {ours}").into(),
            );
        }
    };
    let scenario = Scenario::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok((name.into_owned(), scenario))
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
    let binary = match &target.binary {
        // The relay is started in a directory of its own.
        Some(binary) => std::fs::canonicalize(binary)
            .map_err(|error| format!("{}: {error}", binary.display()))?,
        None => built_relay()?,
    };
    check_environment(&binary, scenario)?;
    let options = RelayOptions {
        binary,
        service_did: target.service_did.clone(),
        plc_url: directory.url(),
        environment: scenario.relay_environment(),
        // The run goes on for a while, to report what there was.
        survives_ctrl_c: true,
    };
    Ok(RelayProcess::start(&options).await?)
}

/// Refuses a setting that this relay does not have: it would pass over a word that is wrong.
fn check_environment(binary: &Path, scenario: &Scenario) -> Result<(), String> {
    if scenario.environment.is_empty() {
        return Ok(());
    }
    let mut command = std::process::Command::new(binary);
    // Where it cannot be asked it cannot be started, either, and that is what is said then.
    let Ok(template) = command.args(["check-config", "--template"]).output() else {
        return Ok(());
    };
    let is_known = |name: &String| {
        let mut words = template
            .stdout
            .split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
        words.any(|word| word == name.as_bytes())
    };
    match scenario.environment.keys().find(|name| !is_known(name)) {
        Some(name) => Err(format!("environment.{name}: the relay has no such setting")),
        None => Ok(()),
    }
}

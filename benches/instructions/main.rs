//! How many instructions each hot path takes, counted by callgrind, beside what it took
//! when the counts were last kept. Counts do not feel who else is on the machine, so that
//! a change of a few in a hundred is seen where a time would drown in noise.
//!
//! `cargo bench --bench instructions` fails when a path takes more than it did by over
//! `GROWTH_MAX`. `BLESS=1` before it keeps the counts of this run in
//! `benches/instructions/counts.toml`: review them like code.
//!
//! This program starts itself under valgrind once for each path, with the path's name.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../../tests/support/database.rs"]
mod database;
#[path = "../support/figure.rs"]
mod figure;
#[path = "../support/node.rs"]
mod node;

mod build;
mod counts;
mod paths;

use std::process::{Command, ExitCode};

use counts::{Change, Counts};
use figure::Figure;
use paths::{PATHS, Work};

/// Turns that are counted, of which the mean is taken.
const TURNS: usize = 500;

/// The argument before a path's name.
const PATH: &str = "--path";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == PATH) {
        run(&arguments[at + 1]);
        return ExitCode::SUCCESS;
    }
    let counted = Counts {
        build: build::describe(),
        instructions: PATHS
            .iter()
            .map(|(name, _)| ((*name).to_owned(), count(name)))
            .collect(),
    };
    if std::env::var_os("BLESS").is_some() {
        counted.keep();
        return ExitCode::SUCCESS;
    }
    judge(&Counts::kept(), &counted)
}

/// Says how each path has changed.
fn judge(kept: &Counts, counted: &Counts) -> ExitCode {
    for (name, now) in &counted.instructions {
        let before = kept.instructions.get(name).map(|before| *before as f64);
        Figure::new(&format!("instructions_{name}"), *now as f64, "instructions")
            .over(before)
            .goal("ratio at most 1.05")
            .record();
    }
    if kept.build != counted.build {
        println!(
            "instructions: not judged, because the kept counts are of another build.\n  \
             kept: {}\n  this: {}\n  BLESS=1 keeps those of this one.",
            kept.build, counted.build
        );
        return ExitCode::SUCCESS;
    }
    let changes = kept.changes(counted);
    for change in &changes {
        println!("instructions: {change}");
    }
    if changes.iter().any(Change::is_a_fault) {
        println!("instructions: if that is meant to be, BLESS=1 keeps the new counts.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Instructions of one turn of a path, counted in a process of its own.
fn count(name: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        // Only what `counted` does, on its thread: neither start nor end, nor anybody
        // who works beside it.
        .args(["--collect-atstart=no", "--toggle-collect=*counted*"])
        .arg(std::env::current_exe().unwrap())
        .args([PATH, name])
        .output()
        .expect("valgrind can be started: `apt-get install valgrind`");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected :")?;
        count.trim().parse::<u64>().ok()
    });
    match collected {
        Some(collected) if output.status.success() && collected > 0 => collected / TURNS as u64,
        _ => panic!("{name} was not counted:\n{said}"),
    }
}

fn run(name: &str) {
    let (_, prepare) = PATHS.iter().find(|path| path.0 == name).unwrap();
    let mut work = prepare();
    // Everything that happens only once has happened.
    for turn in 0..TURNS {
        work(turn);
    }
    counted(&mut work);
}

/// What callgrind looks for by its name; nothing else may have it in its own.
#[inline(never)]
fn counted(work: &mut Work) {
    for turn in 0..TURNS {
        work(turn);
    }
}

//! One line that is written over, on a terminal; elsewhere a line every so often.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            shown: None,
        }
    }

    pub(crate) fn show(&mut self, text: &str) {
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

    pub(crate) fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }
}

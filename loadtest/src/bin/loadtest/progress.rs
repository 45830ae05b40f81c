//! One line that is written over, on a terminal; elsewhere a line every so often.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use mls_relay_loadtest::say;

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
        match self.terminal {
            // What is wider than the terminal is cut, or each time would leave a line.
            true => say(format_args!("\r\x1b[2K\x1b[?7l  {text}\x1b[?7h")),
            false => say(format_args!("  {text}\n")),
        }
    }

    pub(crate) fn clear(&self) {
        if self.terminal {
            say(format_args!("\r\x1b[2K"));
        }
    }
}

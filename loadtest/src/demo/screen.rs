//! The account that the demo gives of itself: on a terminal with colours and a
//! line of progress, otherwise in plain lines.

use std::io::{self, IsTerminal};

use super::referee::Row;
use crate::load::report::Quantiles;
use crate::say;

/// In a file, a line of progress only every so many messages.
const PLAIN_STEP: usize = 50;

const WIDTH: usize = 30;

/// Standard output, used by one task.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    colours: bool,
    progress_shown: bool,
    last_plain: usize,
}

/// How far the conversation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub sent: usize,
    pub of: usize,
    pub decrypted: usize,
    pub epoch: u64,
    /// What is special just now.
    pub note: &'a str,
}

impl Screen {
    /// `colours` can be switched off for terminals that have none.
    pub fn new(colours: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            terminal,
            colours: terminal && colours,
            progress_shown: false,
            last_plain: 0,
        }
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.line(&format!("\n{text}"));
    }

    /// Something that was done.
    pub fn done(&mut self, text: &str) {
        let mark = self.paint("32", "✓");
        self.line(&format!("  {mark} {text}"));
    }

    /// Something that happened in the course of the conversation.
    pub fn happened(&mut self, text: &str) {
        let mark = self.paint("33", "•");
        self.line(&format!("  {mark} {text}"));
    }

    /// Something that is wrong.
    pub fn wrong(&mut self, text: &str) {
        let mark = self.paint("31", "✗");
        self.line(&format!("  {mark} {text}"));
    }

    /// What one should know to read what is above.
    pub fn note(&mut self, text: &str) {
        let text = self.paint("2", text);
        self.line(&format!("  {text}\n"));
    }

    /// Shows how far we are, over the last time it was shown.
    pub fn progress(&mut self, progress: Progress<'_>) {
        let Progress {
            sent,
            of,
            decrypted,
            epoch,
            note,
        } = progress;
        let text = format!("{sent:>3}/{of} sent, {decrypted:>3} decrypted, epoch {epoch}  {note}");
        if self.terminal {
            let full = WIDTH * sent.min(of) / of.max(1);
            let bar = format!("{}{}", "━".repeat(full), "─".repeat(WIDTH - full));
            let bar = self.paint("36", &bar);
            say(format_args!("\r\x1b[2K  {bar} {text}"));
            self.progress_shown = true;
        } else if sent >= self.last_plain + PLAIN_STEP {
            self.last_plain = sent;
            self.line(&format!("  {text}"));
        }
    }

    /// The table at the end.
    pub fn table(&mut self, rows: &[Row]) {
        let header = format!(
            "  {:<16} {:>7} {:>10} {:>8} {:>6} {:>10} {:>13} {:>10} {:>9} {:>9}",
            "device",
            "events",
            "decrypted",
            "resumed",
            "lost",
            "duplicate",
            "out of order",
            "forbidden",
            "p50",
            "p99",
        );
        self.line("");
        let header = self.paint("1", &header);
        self.line(&header);
        for row in rows {
            let Quantiles { p50_ms, p99_ms, .. } = Quantiles::from(&row.latency);
            let text = format!(
                "  {:<16} {:>7} {:>10} {:>8} {:>6} {:>10} {:>13} {:>10} {:>9} {:>9}",
                row.label,
                row.events,
                row.decrypted,
                row.resumed,
                row.lost,
                row.duplicated,
                row.out_of_order,
                row.forbidden,
                format!("{p50_ms:.1} ms"),
                format!("{p99_ms:.1} ms"),
            );
            let text = if row.is_clean() {
                text
            } else {
                self.paint("31", &text)
            };
            self.line(&text);
        }
        self.line("");
    }

    fn line(&mut self, text: &str) {
        if self.progress_shown {
            say(format_args!("\r\x1b[2K"));
            self.progress_shown = false;
        }
        say(format_args!("{text}\n"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

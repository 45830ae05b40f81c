//! Where the log leaves the process: a thread of its own writes it, because whoever should
//! read it may not. A pipe that nobody empties, a full disk, a terminal that stands still hold
//! up that thread and no worker; lines that find no room are lost, and counted.
//!
//! # Why not tracing-appender
//!
//! It bounds lines and not bytes, does not count those that the system refuses, and ends with
//! a line on standard output if it is full then (0.2.5), which may be the same full pipe.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Takes whole lines, and waits for nobody. Clones lead to the same.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    emptied: Condvar,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// What waited before is being written.
    is_writing: bool,
    /// Lines that were lost, of which nothing is written yet.
    lost: u64,
}

impl Outlet {
    /// Begins to write what it is given, of which at most so many bytes may wait.
    pub(super) fn open(out: impl Write + Send + 'static, bytes_max: usize) -> io::Result<Self> {
        let outlet = Self(Arc::new(Inner {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            bytes_max,
        }));
        let inner = Arc::clone(&outlet.0);
        let writer = thread::Builder::new().name("log".to_owned());
        writer.spawn(move || inner.write_on(out))?;
        Ok(outlet)
    }

    /// Waits until everything is written that was said before, but no longer than this.
    pub fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut waiting = self.0.waiting.lock();
        while waiting.is_writing || !waiting.bytes.is_empty() {
            let waited = self.0.emptied.wait_until(&mut waiting, deadline);
            if waited.timed_out() {
                return;
            }
        }
    }

    /// Flushes when it is dropped, which is the last thing that a process should do.
    pub fn flushed_at_last(&self) -> Flushed {
        Flushed(self.clone())
    }

    fn take(&self, line: &[u8]) {
        let mut waiting = self.0.waiting.lock();
        let has_room = waiting.bytes.len() + line.len() <= self.0.bytes_max;
        match has_room {
            true => waiting.bytes.extend_from_slice(line),
            false => waiting.lost += 1,
        }
        drop(waiting);
        if !has_room {
            return count_lost("full", 1);
        }
        self.0.filled.notify_one();
    }
}

/// Each write is one line, or a few that belong together: all of it is taken, or nothing.
impl Write for Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inner {
    fn write_on(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        let mut is_well = true;
        loop {
            let lost = self.wait_for_more(&mut taken, is_well);
            if lost > 0 {
                tracing::warn!(missing = lost, "lines of the log are missing here");
            }
            let refused = write(&mut out, &taken);
            is_well = refused.is_empty();
            let lines = refused.iter().filter(|byte| **byte == b'\n').count();
            let mut waiting = self.waiting.lock();
            waiting.is_writing = false;
            waiting.lost += lines as u64;
            drop(waiting);
            self.emptied.notify_all();
            taken.clear();
            count_lost("refused", lines as u64);
        }
    }

    /// Takes all that waits, so that one write brings many lines. How many are missing behind
    /// them, if it can be written that they are.
    fn wait_for_more(&self, taken: &mut Vec<u8>, is_well: bool) -> u64 {
        let mut waiting = self.waiting.lock();
        while waiting.bytes.is_empty() && (waiting.lost == 0 || !is_well) {
            self.filled.wait(&mut waiting);
        }
        std::mem::swap(&mut waiting.bytes, taken);
        waiting.is_writing = true;
        match is_well {
            true => std::mem::take(&mut waiting.lost),
            false => 0,
        }
    }
}

/// Never under the lock: should counting panic, the hook wants to say so.
fn count_lost(reason: &'static str, lines: u64) {
    metrics::counter!("relay_log_lines_dropped_total", "reason" => reason).increment(lines);
}

/// Writes all that the system takes. What it refuses is the rest.
fn write<'a>(out: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody shares the pipe who does not want to wait for it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => break,
        }
    }
    bytes
}

/// See [`Outlet::flushed_at_last`].
#[derive(Debug)]
#[must_use = "it flushes as soon as it is dropped"]
pub struct Flushed(Outlet);

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.flush(PATIENCE);
    }
}

/// A reader who is slow has this long for the last lines; one who does not read keeps no
/// process from ending.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks whether the last lines have gone.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    /// Takes something whenever the test lets it, and tells what.
    struct Gate {
        opened: mpsc::Receiver<io::Result<usize>>,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.opened.recv().unwrap_or(Ok(usize::MAX))?;
            let taken = &bytes[..most.min(bytes.len())];
            let text = String::from_utf8(taken.to_vec()).unwrap();
            let _ = self.written.send(text);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct World {
        outlet: Outlet,
        open: mpsc::Sender<io::Result<usize>>,
        written: mpsc::Receiver<String>,
    }

    impl World {
        fn new(bytes_max: usize) -> Self {
            let (open, opened) = mpsc::channel();
            let (written_in, written) = mpsc::channel();
            let gate = Gate {
                opened,
                written: written_in,
            };
            let outlet = Outlet::open(gate, bytes_max).unwrap();
            Self {
                outlet,
                open,
                written,
            }
        }

        fn say(&mut self, line: &str) {
            self.outlet.write_all(line.as_bytes()).unwrap();
        }

        /// Waits until the thread has what was said, and is stuck with it.
        fn be_stuck(&self) {
            while !self.outlet.0.waiting.lock().bytes.is_empty() {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn whoever_speaks_waits_for_nobody_and_order_and_lines_stay_whole() {
        let mut world = World::new(16);
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            world.say("first\n");
            world.be_stuck();
            world.say("second\n");
            world.say("a third\n");
            world.say("no room\n");
            world.say("4\n");
        });
        let counted = recorder.handle().render();
        let full = "relay_log_lines_dropped_total{reason=\"full\"} 2";
        assert!(counted.contains(full), "{counted}");
        // A pipe takes what it has room for.
        for taken in [3, 1000, 1000] {
            world.open.send(Ok(taken)).unwrap();
        }
        world.outlet.flush(Duration::from_secs(60));
        let written: String = world.written.try_iter().collect();
        assert_eq!(written, "first\nsecond\na third\n");
    }

    #[test]
    fn what_the_system_refuses_is_lost_and_what_follows_is_not() {
        let mut world = World::new(100);
        for refusal in [ErrorKind::StorageFull, ErrorKind::Interrupted] {
            world.open.send(Err(refusal.into())).unwrap();
        }
        world.say("refused\nas well\n");
        world.outlet.flush(Duration::from_secs(60));
        assert_eq!(world.outlet.0.waiting.lock().lost, 2);
        drop(world.open);
        world.outlet.write_all(b"taken\n").unwrap();
        world.outlet.flush(Duration::from_secs(60));
        assert_eq!(world.written.recv().unwrap(), "taken\n");
        // Now it can be told.
        while world.outlet.0.waiting.lock().lost > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_flush_gives_up_on_a_reader_who_does_not_read() {
        let mut world = World::new(100);
        world.say("nobody reads this\n");
        world.outlet.flush(Duration::from_millis(20));
        drop(world.open);
        world.outlet.flush(Duration::from_secs(60));
        assert_eq!(world.written.recv().unwrap(), "nobody reads this\n");
    }
}

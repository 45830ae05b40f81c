//! Follows the configuration file while the relay runs: a file that holds every rule is
//! swapped in as a whole, any other changes nothing and is talked about until mended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::certificates::configured;
use super::connections_room;
use super::live::LiveSettings;
use crate::config::{self, Change, Config, Doubt, Fault, Faults, Key, Loaded, Place, Source};
use crate::edge::Finding;
use crate::runtime::{FileStamp, Shutdown};
use crate::telemetry::{LogFilter, with_causes};
use crate::tls::Certificates;

/// Asks for a reload, and knows how the last one went. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reloads(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: Notify,
    state: Mutex<State>,
}

/// How the file stands to what is in force.
#[derive(Clone, Debug, Default)]
struct State {
    /// What is wrong with it; empty when it is in force.
    faults: Vec<Fault>,
    /// Its keys whose value waits for a restart.
    waiting: Vec<&'static str>,
}

/// Why the file is read again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    Asked,
    Changed,
    /// It may have changed while the relay started. The start has told what it found then.
    Started,
    /// It was refused, perhaps for something that stands elsewhere and is mended now, such
    /// as a certificate. Only what is new about it is told.
    Retry,
}

/// What a reload works with.
pub(super) struct Reloader {
    /// The file that was named on the command line.
    file: Option<PathBuf>,
    live: LiveSettings,
    certificates: Certificates,
    logs: LogFilter,
    in_force: Config,
    /// Whether there was a file at the last reload that succeeded.
    had_file: bool,
    /// What the start has told.
    told: Vec<Doubt>,
}

impl Reloads {
    /// Reads the file again now, whether or not it looks changed.
    pub(super) fn ask(&self) {
        self.0.asked.notify_one();
    }

    /// Begins to follow the file, until the drain.
    pub(super) fn start(&self, reloader: Reloader, shutdown: &Shutdown) {
        let (reloads, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn_lasting("reload", reloader, move |reloader| {
            let (reloads, stop) = (reloads.clone(), stop.clone());
            Box::pin(async move {
                tokio::select! {
                    () = stop.draining() => {}
                    () = reloads.follow(reloader) => {}
                }
            })
        });
    }

    async fn follow(&self, reloader: &mut Reloader) {
        let path = Source::path(reloader.file.as_deref()).to_owned();
        // Nothing yet, not even that there is no file: it is read once more, for it may have
        // changed since it was read for the start.
        let (mut settled, mut seen) = (None, None);
        let mut tried = Instant::now();
        loop {
            let mut cause = Cause::Asked;
            tokio::select! {
                () = self.0.asked.notified() => {}
                () = sleep(LOOK_EVERY) => {
                    let now = Some(FileStamp::of(&path).await);
                    // A file that is still being written is another one at the next look.
                    let is_still = now == seen;
                    seen = now;
                    cause = match now == settled {
                        _ if !is_still => continue,
                        false if settled.is_none() => Cause::Started,
                        false => Cause::Changed,
                        true if self.is_refused() && tried.elapsed() >= RETRY_EVERY => Cause::Retry,
                        true => continue,
                    };
                }
            }
            settled = Some(FileStamp::of(&path).await);
            self.reload(reloader, cause).await;
            tried = Instant::now();
        }
    }

    fn is_refused(&self) -> bool {
        !self.0.state.lock().faults.is_empty()
    }

    async fn reload(&self, reloader: &mut Reloader, cause: Cause) {
        let outcome = match reloader.read_and_apply(cause).await {
            Ok((applied, waiting)) => {
                if self.is_refused() {
                    tracing::warn!("the configuration holds again, and is in force");
                }
                self.stands(State {
                    faults: Vec::new(),
                    waiting,
                });
                if applied { "applied" } else { "unchanged" }
            }
            Err(Faults(faults)) => {
                let known = match cause {
                    Cause::Retry => self.0.state.lock().faults.clone(),
                    Cause::Asked | Cause::Changed | Cause::Started => Vec::new(),
                };
                if faults == known {
                    return;
                }
                for fault in faults.iter().filter(|fault| !known.contains(fault)) {
                    tracing::error!(%fault, "the configuration was refused and nothing changed");
                }
                let waiting = self.0.state.lock().waiting.clone();
                self.stands(State { faults, waiting });
                "refused"
            }
        };
        metrics::counter!("relay_config_reloads_total", "outcome" => outcome).increment(1);
    }

    fn stands(&self, state: State) {
        metrics::gauge!("relay_config_faults").set(state.faults.len() as f64);
        metrics::gauge!("relay_config_waiting").set(state.waiting.len() as f64);
        *self.0.state.lock() = state;
    }

    /// For health.
    pub(super) fn finding(&self) -> Finding {
        let state = self.0.state.lock();
        if !state.faults.is_empty() {
            return Finding::ill(Faults(state.faults.clone()).to_string());
        }
        match state.waiting.is_empty() {
            true => Finding::well(),
            false => Finding::well().noting(format!(
                "until a restart the old value stands of {}",
                state.waiting.join(", ")
            )),
        }
    }
}

impl Reloader {
    pub(super) fn new(
        loaded: &Loaded,
        file: Option<PathBuf>,
        live: LiveSettings,
        certificates: Certificates,
        logs: LogFilter,
    ) -> Self {
        Self {
            file,
            live,
            certificates,
            logs,
            in_force: loaded.config.clone(),
            had_file: loaded.has_file,
            told: loaded.doubts.clone(),
        }
    }

    /// Whether anything is new, and what waits.
    async fn read_and_apply(&mut self, cause: Cause) -> Result<(bool, Vec<&'static str>), Faults> {
        let loaded = self.read().await?;
        let mut doubts = loaded.doubts.clone();
        let applied = self.apply(loaded).await?;
        if cause == Cause::Started {
            doubts.retain(|doubt| !self.told.contains(doubt));
        }
        config::tell(&doubts);
        Ok(applied)
    }

    async fn read(&self) -> Result<Loaded, Faults> {
        let file = self.file.clone();
        let read = move || Config::load(&Source::process(file.as_deref())?);
        let loaded = match tokio::task::spawn_blocking(read).await {
            Ok(loaded) => loaded?,
            Err(_) => return Err(fault(&self.path(), "could not be read")),
        };
        // Editors that rename leave a moment without a file. The defaults were never
        // asked for then.
        match self.had_file && !loaded.has_file {
            true => Err(fault(&self.path(), "is gone; what it said stays")),
            false => Ok(loaded),
        }
    }

    /// Puts it in force, as a whole. Whether anything is new, and what waits.
    async fn apply(&mut self, loaded: Loaded) -> Result<(bool, Vec<&'static str>), Faults> {
        let change = Change::between(&self.in_force, &loaded.config);
        let change = change.map_err(|faults| placed(faults, &loaded))?;
        // The only step that can still fail comes before the first that cannot.
        let certificates = self.load_certificates(&change).await;
        certificates.map_err(|faults| placed(faults, &loaded))?;
        let swapped = self.live.adopt(&change.config);
        if swapped.contains(&"log") {
            // The filter was read once already: only the log itself may be gone.
            if let Err(error) = self.logs.replace(&change.config.log) {
                tracing::warn!(error = %with_causes(&error), "the log's filter stays");
            }
        }
        let is_new = |name| change.applied.iter().any(|key| key.name == name);
        if is_new("limits.connections_total") {
            connections_room(&change.config);
        }
        // At warn, since release builds log no less: whoever looks into the log later
        // must find when a value began to apply.
        for key in &change.applied {
            let value = shown(key, &change.config);
            tracing::warn!(key = key.name, value, "a setting has changed");
        }
        for key in &change.waiting {
            let value = shown(key, &loaded.config);
            tracing::warn!(key = key.name, value, "a setting waits for a restart");
        }
        self.had_file = loaded.has_file;
        self.in_force = change.config;
        let waiting = change.waiting.iter().map(|key| key.name).collect();
        Ok((!change.applied.is_empty(), waiting))
    }

    async fn load_certificates(&self, change: &Change) -> Result<(), Faults> {
        let names_others = change
            .applied
            .iter()
            .any(|key| key.name.starts_with("edge.tls_"));
        if !names_others {
            return Ok(());
        }
        let files = configured(&change.config);
        if files.is_empty() {
            let problem = "cannot be taken away while the relay runs";
            return Err(fault("edge.tls_cert", problem));
        }
        let certificates = self.certificates.clone();
        // They may lie on a file system that does not answer.
        let replace = move || {
            certificates
                .replace_files(&files)
                .map_err(|e| with_causes(&e))
        };
        let replaced = tokio::task::spawn_blocking(replace).await;
        let replaced = replaced.unwrap_or_else(|_| Err("could not be read".to_owned()));
        replaced.map_err(|problem| fault("edge.tls_cert", problem))
    }

    fn path(&self) -> String {
        Source::path(self.file.as_deref()).display().to_string()
    }
}

/// Faults that were found later than in reading, with where their keys were set.
fn placed(Faults(mut faults): Faults, loaded: &Loaded) -> Faults {
    for fault in &mut faults {
        if let Some(place) = loaded.origins.get(fault.key.as_str()) {
            fault.place = place.clone();
        }
    }
    Faults(faults)
}

/// A key's value for people; secrets are hidden.
fn shown(key: &Key, config: &Config) -> String {
    key.value(config).unwrap_or_else(|| "not set".to_owned())
}

fn fault(key: &str, problem: impl Into<String>) -> Faults {
    Fault::new(Place::Default, key, problem).into()
}

/// Such a stat costs nothing. The second that sees the same file reads it: within a second of
/// its writing.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// As often as the files of certificates are looked at.
const RETRY_EVERY: Duration = Duration::from_secs(10);

//! Something made from files: made anew when their contents change, and kept as it was
//! when the new contents are no good.
//!
//! Contents are compared, not times or inodes, so every kind of replacement is seen: a
//! write, an atomic rename, a symlink that now leads elsewhere.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use super::error::CertError;
use super::files::FromFiles;
use crate::telemetry::with_causes;
use crate::types::sha256_of;

#[derive(Debug)]
pub(super) struct Watched<T> {
    /// Its name in metrics and logs.
    pub(super) label: String,
    pub(super) paths: Vec<PathBuf>,
    pub(super) current: T,
    seen: Option<[u8; 32]>,
    /// The files cannot be served as they are now.
    pub(super) is_faulty: bool,
}

impl<T: FromFiles> Watched<T> {
    /// The first time: nothing older could stay in force, so only what cannot be served at
    /// all is refused. One that has expired is served, and alarms.
    pub(super) fn start(
        label: String,
        paths: Vec<PathBuf>,
        now: SystemTime,
    ) -> Result<Self, CertError> {
        let contents = read(&paths)?;
        let current = T::from_files(&contents).map_err(|error| unfit(&paths, error))?;
        let fit = current.check_time(now);
        let watched = Self {
            seen: Some(sha256_of(&contents)),
            is_faulty: fit.is_err(),
            label,
            paths,
            current,
        };
        if let Err(error) = fit {
            let why = with_causes(&error);
            tracing::warn!(certificate = %watched.label, why, "served all the same: there is none from before");
        }
        watched.show();
        Ok(watched)
    }

    /// Judges what its files hold now; true if what is in force was replaced. Reading them is
    /// the caller's, who should hold no lock for as long as a disk may take.
    pub(super) fn take(&mut self, contents: Contents, now: SystemTime) -> bool {
        let seen = contents.as_ref().ok().map(|contents| sha256_of(contents));
        let is_news = seen != self.seen;
        if !is_news && !self.is_faulty {
            return false;
        }
        self.seen = seen;
        let made = contents.and_then(|contents| {
            let made = T::from_files(&contents);
            let made = made.and_then(|made| made.check_time(now).map(|()| made));
            made.map_err(|error| unfit(&self.paths, error))
        });
        let is_replaced = match made {
            Ok(made) => {
                self.current = made;
                count("replaced");
                match std::mem::take(&mut self.is_faulty) {
                    true => {
                        tracing::warn!(certificate = %self.label, "replaced: its files can be served");
                    }
                    false => tracing::info!(certificate = %self.label, "replaced"),
                }
                true
            }
            // Said once for each change, shown until it is mended.
            Err(error) => {
                self.is_faulty = true;
                if is_news {
                    count("refused");
                    self.warn(&error);
                }
                false
            }
        };
        self.show();
        is_replaced
    }

    /// Its files are being read for so long that nobody knows what they hold.
    pub(super) fn miss(&mut self) {
        if !std::mem::replace(&mut self.is_faulty, true) {
            tracing::warn!(certificate = %self.label, "its files do not come; what was in force stays");
        }
        self.show();
    }

    fn warn(&self, error: &CertError) {
        let why = with_causes(error);
        tracing::warn!(certificate = %self.label, why, "its files cannot be served; what was in force stays");
    }

    fn show(&self) {
        self.faulty().set(if self.is_faulty { 1.0 } else { 0.0 });
    }

    /// Nobody looks at its files any more.
    pub(super) fn hide(&self) {
        self.faulty().set(0.0);
    }

    fn faulty(&self) -> metrics::Gauge {
        metrics::gauge!("relay_tls_certificate_faulty", "certificate" => self.label.clone())
    }
}

/// What files hold, or why they cannot be read.
pub(super) type Contents = Result<Vec<Vec<u8>>, CertError>;

/// Reads files, which may lie on a network, and take as long as that does.
pub(super) fn read(paths: &[PathBuf]) -> Contents {
    let contents = paths.iter().map(|path| {
        fs::read(path).map_err(|source| CertError::Read {
            path: path.clone(),
            source,
        })
    });
    contents.collect()
}

fn unfit(paths: &[PathBuf], error: CertError) -> CertError {
    CertError::Unfit {
        files: paths.to_vec(),
        source: Box::new(error),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("relay_tls_certificate_reloads_total", "outcome" => outcome).increment(1);
}

//! The certificates in force: from files and from ACME, replaceable while serving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::error::CertError;
use super::files::{CertificateFiles, FromFiles};
use super::selection::Selection;
use super::watched::{Watched, read};

/// Hands every handshake the newest certificate for the name it asks for. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Current>);

#[derive(Debug)]
struct Current {
    selection: ArcSwap<Selection>,
    sources: Mutex<Sources>,
    alarm: Duration,
    /// As of the last look, so that health probes need not look.
    is_well: AtomicBool,
}

#[derive(Debug)]
struct Sources {
    files: Vec<Watched<Certificate>>,
    issued: Issued,
    /// When it was last said that one ends soon.
    warned: Option<SystemTime>,
}

/// What ACME is to bring.
#[derive(Debug)]
enum Issued {
    NotWanted,
    Awaited,
    Here(Certificate),
}

impl Certificates {
    /// Loads them, the default first. `alarm`: how long before its end a certificate
    /// counts as ending soon; `awaits_acme`: whether one more is to come from there.
    pub fn load(
        files: &[CertificateFiles],
        alarm: Duration,
        awaits_acme: bool,
    ) -> Result<Self, CertError> {
        let now = SystemTime::now();
        let issued = match awaits_acme {
            true => Issued::Awaited,
            false => Issued::NotWanted,
        };
        let certificates = Self(Arc::new(Current {
            selection: ArcSwap::default(),
            sources: Mutex::new(Sources {
                files: watch_all(files, now)?,
                issued,
                warned: None,
            }),
            alarm,
            is_well: AtomicBool::new(true),
        }));
        certificates.settle(now);
        Ok(certificates)
    }

    /// Replaces the list of files. On any error all stays as it was.
    pub fn replace_files(&self, files: &[CertificateFiles]) -> Result<(), CertError> {
        let now = SystemTime::now();
        let files = watch_all(files, now)?;
        let left = files.len();
        let replaced = std::mem::replace(&mut self.0.sources.lock().files, files);
        for gone in replaced.iter().skip(left) {
            gone.hide();
            expires(&gone.label).set(f64::INFINITY);
        }
        self.settle(now);
        Ok(())
    }

    /// Looks whether files have changed, and whether an end is near. Reads files, and holds
    /// nothing meanwhile that others wait for.
    pub(super) fn look(&self, now: SystemTime) {
        let paths = |file: &Watched<Certificate>| file.paths.clone();
        let all: Vec<_> = self.0.sources.lock().files.iter().map(paths).collect();
        let all: Vec<_> = all.into_iter().map(|paths| (read(&paths), paths)).collect();
        for (file, (contents, paths)) in self.0.sources.lock().files.iter_mut().zip(all) {
            // Another list of files may have come meanwhile.
            if file.paths == paths {
                file.take(contents, now);
            }
        }
        self.settle(now);
    }

    /// A look takes too long: whatever it finds, the ends of what is in force come nearer.
    pub(super) fn miss(&self, now: SystemTime) {
        self.0
            .sources
            .lock()
            .files
            .iter_mut()
            .for_each(Watched::miss);
        self.settle(now);
    }

    /// Puts in force what ACME has brought.
    pub(super) fn issue(&self, certificate: Certificate) {
        self.0.sources.lock().issued = Issued::Here(certificate);
        self.settle(SystemTime::now());
    }

    /// Whether none is missing, at fault, or near its end, as of the last look.
    pub fn is_well(&self) -> bool {
        self.0.is_well.load(Ordering::Relaxed)
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>
    }

    /// Brings the selection, health and metrics in line with the sources.
    fn settle(&self, now: SystemTime) {
        let mut sources = self.0.sources.lock();
        let named = sources.named();
        let mut certificates: Vec<_> = named.iter().map(|(_, certificate)| *certificate).collect();
        // One that clients refuse is served where there is no other.
        certificates.sort_by_key(|certificate| certificate.check_time(now).is_err());
        self.0
            .selection
            .store(Arc::new(Selection::of(certificates)));
        let mut ending = 0;
        for (label, certificate) in &named {
            let ends = certificate.ends.duration_since(UNIX_EPOCH);
            let ends = ends.unwrap_or_default().as_secs_f64();
            expires(label).set(ends);
            ending += u32::from(certificate.ends_soon(now, self.0.alarm));
        }
        metrics::gauge!("relay_tls_certificates_expiring").set(f64::from(ending));
        let is_well = ending == 0
            && !matches!(sources.issued, Issued::Awaited)
            && !sources.files.iter().any(|file| file.is_faulty);
        self.0.is_well.store(is_well, Ordering::Relaxed);
        let is_due = sources
            .warned
            .is_none_or(|warned| now.duration_since(warned).is_ok_and(|ago| ago > WARN_EVERY));
        if ending > 0 && is_due {
            sources.warned = Some(now);
            tracing::warn!(ending, "certificates end soon, or have ended");
        }
    }
}

impl Sources {
    /// All that can be served, each with its name in metrics: none tells whose it is.
    fn named(&self) -> Vec<(String, &Certificate)> {
        let files = self.files.iter().enumerate();
        let files = files.map(|(index, file)| (index.to_string(), &file.current));
        let issued = match &self.issued {
            Issued::Here(certificate) => Some(("acme".to_owned(), certificate)),
            _ => None,
        };
        files.chain(issued).collect()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let selection = self.selection.load();
        selection.choose(hello.server_name(), hello.signature_schemes())
    }
}

impl FromFiles for Certificate {
    fn from_files(contents: &[Vec<u8>]) -> Result<Self, CertError> {
        match contents {
            [chain, key] => Self::from_pem(chain, key),
            _ => Err(CertError::NoKey),
        }
    }

    fn check_time(&self, now: SystemTime) -> Result<(), CertError> {
        Self::check_time(self, now)
    }
}

fn watch_all(
    files: &[CertificateFiles],
    now: SystemTime,
) -> Result<Vec<Watched<Certificate>>, CertError> {
    let watched = files.iter().enumerate().map(|(index, files)| {
        let paths = vec![files.cert.clone(), files.key.clone()];
        Watched::start(index.to_string(), paths, now)
    });
    watched.collect()
}

/// Of a certificate that is not served any more: never.
fn expires(label: &str) -> metrics::Gauge {
    metrics::gauge!("relay_tls_certificate_expires_seconds", "certificate" => label.to_owned())
}

/// Metrics tell it all the time.
const WARN_EVERY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;
    use std::sync::mpsc::channel;
    use std::thread;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use rustls::SignatureScheme;

    use super::*;
    use crate::tls::certificate::tests::{certificate, pem};

    const FORTNIGHT: Duration = Duration::from_secs(14 * 86_400);

    struct Pair<'a>(&'a Path);

    impl Pair<'_> {
        fn files(&self) -> CertificateFiles {
            CertificateFiles {
                cert: self.0.join("cert.pem"),
                key: self.0.join("key.pem"),
            }
        }

        fn write(&self, (chain, key): &(String, String)) {
            fs::write(self.files().cert, chain).unwrap();
            fs::write(self.files().key, key).unwrap();
        }
    }

    fn names(certificates: &Certificates) -> Vec<String> {
        certificates.0.sources.lock().files[0].current.names.clone()
    }

    #[test]
    fn what_cannot_be_served_leaves_the_last_good_one_and_is_seen_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair(dir.path());
        pair.write(&pem(&["old.example"], (2020, 2090)));
        let certificates = Certificates::load(&[pair.files()], FORTNIGHT, false).unwrap();
        let now = SystemTime::now();
        certificates.look(now);
        assert!(certificates.is_well());
        let (chain, key) = pem(&["new.example"], (2020, 2090));
        let (_, other_key) = pem(&["new.example"], (2020, 2090));
        for bad in [
            (chain.clone(), other_key),
            (String::new(), key.clone()),
            (chain.clone(), "nonsense".to_owned()),
            pem(&["new.example"], (2020, 2021)),
            pem(&["new.example"], (2088, 2090)),
        ] {
            pair.write(&bad);
            for _ in 0..2 {
                certificates.look(now);
                assert_eq!(names(&certificates), ["old.example"]);
                assert!(!certificates.is_well());
            }
        }
        fs::remove_file(pair.files().key).unwrap();
        certificates.look(now);
        assert_eq!(names(&certificates), ["old.example"]);
        pair.write(&(chain, key));
        certificates.look(now);
        assert_eq!(names(&certificates), ["new.example"]);
        assert!(certificates.is_well());
    }

    #[test]
    fn what_acme_brings_is_served_while_a_file_does_not_come() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair(dir.path());
        let (chain, key) = pem(&["file.example"], (2020, 2090));
        pair.write(&(chain.clone(), key));
        let certificates = Certificates::load(&[pair.files()], FORTNIGHT, true).unwrap();
        let cert = pair.files().cert;
        fs::remove_file(&cert).unwrap();
        // Whoever opens a pipe to read from it waits for somebody who writes.
        mknodat(CWD, &cert, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let looking = certificates.clone();
        let look = thread::spawn(move || looking.look(SystemTime::now()));
        // Open for writing only once the look has come so far.
        let mut file = File::options().write(true).open(&cert).unwrap();
        let (told, heard) = channel();
        let issuing = certificates.clone();
        thread::spawn(move || {
            issuing.issue(certificate(&["a.example"]));
            told.send(()).unwrap();
        });
        heard.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(certificates.is_well());
        file.write_all(chain.as_bytes()).unwrap();
        drop(file);
        look.join().unwrap();
        assert_eq!(names(&certificates), ["file.example"]);
    }

    #[test]
    fn another_list_of_files_is_taken_whole_or_not_at_all() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (pair, missing) = (Pair(dir.path()), Pair(Path::new("/nowhere")));
        let new = Pair(other.path());
        pair.write(&pem(&["old.example"], (2020, 2090)));
        new.write(&pem(&["new.example"], (2020, 2090)));
        let certificates = Certificates::load(&[pair.files()], FORTNIGHT, false).unwrap();
        let refused = certificates.replace_files(&[new.files(), missing.files()]);
        assert!(matches!(refused, Err(CertError::Read { .. })));
        assert_eq!(names(&certificates), ["old.example"]);
        certificates.replace_files(&[new.files()]).unwrap();
        assert_eq!(names(&certificates), ["new.example"]);
    }

    #[test]
    fn one_that_a_reload_takes_away_alarms_nobody() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (stays, goes) = (Pair(dir.path()), Pair(other.path()));
        stays.write(&pem(&["stays.example"], (2020, 2090)));
        goes.write(&pem(&["goes.example"], (2020, 2021)));
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = |name: &str| {
            let shown = recorder.handle().render();
            let line = shown.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse::<f64>().unwrap()
        };
        let faulty = "relay_tls_certificate_faulty{certificate=\"1\"}";
        let expires = "relay_tls_certificate_expires_seconds{certificate=\"1\"}";
        metrics::with_local_recorder(&recorder, || {
            let both = [stays.files(), goes.files()];
            let certificates = Certificates::load(&both, FORTNIGHT, false).unwrap();
            assert_eq!(shown(faulty), 1.0);
            assert!(shown(expires).is_finite());
            certificates.replace_files(&both[..1]).unwrap();
        });
        assert_eq!(shown(faulty), 0.0);
        assert_eq!(shown(expires), f64::INFINITY);
    }

    #[test]
    fn one_that_waits_for_its_time_is_taken_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair(dir.path());
        pair.write(&pem(&["old.example"], (2020, 2090)));
        let certificates = Certificates::load(&[pair.files()], FORTNIGHT, false).unwrap();
        pair.write(&pem(&["new.example"], (2088, 2090)));
        certificates.look(SystemTime::now());
        assert_eq!(names(&certificates), ["old.example"]);
        certificates.look(UNIX_EPOCH + Duration::from_secs(119 * 31_556_952));
        assert_eq!(names(&certificates), ["new.example"]);
    }

    #[test]
    fn an_expired_one_is_served_when_there_is_no_other_and_alarms() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Pair(dir.path());
        pair.write(&pem(&["old.example"], (2020, 2021)));
        let certificates = Certificates::load(&[pair.files()], FORTNIGHT, false).unwrap();
        assert!(!certificates.is_well());
        assert_eq!(names(&certificates), ["old.example"]);
        // As when ACME has taken over, and the files were left.
        let other = certificate(&["old.example"]);
        certificates.issue(other.clone());
        for name in [Some("old.example"), None] {
            let selection = certificates.0.selection.load();
            let chosen = selection.choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256]);
            assert!(Arc::ptr_eq(&chosen.unwrap(), &other.key), "{name:?}");
        }
    }

    #[test]
    fn a_certificate_that_acme_has_yet_to_bring_is_missed() {
        let certificates = Certificates::load(&[], FORTNIGHT, true).unwrap();
        assert!(!certificates.is_well());
        certificates.issue(certificate(&["a.example"]));
        assert!(certificates.is_well());
    }
}

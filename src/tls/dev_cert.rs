//! The development certificate: self-signed, for this machine only, made when no
//! other is configured.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Datelike, Utc};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::error::CertError;

/// Where it is, and whether it was made just now.
#[derive(Clone, Debug)]
pub struct DevCertificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub made: bool,
}

/// The certificate under `dir`: the one that is there while it is young enough, else
/// a new one for `localhost`, `127.0.0.1` and `::1`.
pub fn ensure(dir: &Path, now: SystemTime) -> Result<DevCertificate, CertError> {
    let mut found = DevCertificate {
        cert: dir.join("localhost.pem"),
        key: dir.join("localhost-key.pem"),
        made: false,
    };
    if is_young(&found.cert, now) && found.key.exists() {
        return Ok(found);
    }
    fs::create_dir_all(dir).map_err(|source| unwritable(dir, source))?;
    let (cert, key) = generate(now)?;
    // The key first: a certificate without its key would count as there.
    write(&found.key, &key, PRIVATE)?;
    write(&found.cert, &cert, PUBLIC)?;
    found.made = true;
    Ok(found)
}

fn generate(now: SystemTime) -> Result<(String, String), rcgen::Error> {
    // Whatever reads as an address is entered as one.
    let mut params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "mls-relay development");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Yesterday: the reader's clock may be behind ours.
    let (year, month, day) = calendar(now - ONE_DAY);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = calendar(now + VALIDITY);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

fn calendar(time: SystemTime) -> (i32, u8, u8) {
    let date = DateTime::<Utc>::from(time);
    // Months and days of a calendar fit in a byte.
    let month = u8::try_from(date.month()).unwrap_or(1);
    let day = u8::try_from(date.day()).unwrap_or(1);
    (date.year(), month, day)
}

/// Its age is that of its file: nobody else writes there.
fn is_young(cert: &Path, now: SystemTime) -> bool {
    fs::metadata(cert)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|made| now.duration_since(made).unwrap_or_default() < RENEWAL)
}

/// Written beside and renamed, so that a reader never meets half a file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let beside = path.with_extension("new");
    let written = replace(&beside, path, text, mode);
    written.map_err(|source| unwritable(path, source))
}

fn replace(beside: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // A leftover would keep its own mode.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

fn unwritable(path: &Path, source: io::Error) -> CertError {
    CertError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Before now: clocks differ.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// Apple's clients refuse leaves that live longer than 825 days.
const VALIDITY: Duration = Duration::from_secs(800 * 86_400);

/// Well before it ends.
const RENEWAL: Duration = Duration::from_secs(700 * 86_400);

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::certificate::Certificate;

    #[test]
    fn it_is_made_once_kept_and_renewed_before_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = ensure(dir.path(), now).unwrap();
        assert!(first.made);
        let read = |path| fs::read(path).unwrap();
        let it = Certificate::from_pem(&read(&first.cert), &read(&first.key)).unwrap();
        assert!(it.is_for("localhost"));
        // An address of four bytes (RFC 5280 section 4.2.1.6).
        let address = [0x87, 4, 127, 0, 0, 1];
        assert!(it.key.cert[0].windows(6).any(|bytes| bytes == address));
        assert!(!ensure(dir.path(), now).unwrap().made);
        assert!(ensure(dir.path(), now + RENEWAL + ONE_DAY).unwrap().made);
    }

    #[test]
    fn only_the_owner_reads_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let made = ensure(dir.path(), SystemTime::now()).unwrap();
        let mode = fs::metadata(made.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

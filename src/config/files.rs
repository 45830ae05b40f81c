//! Whether the user who asks can open the files that settings name: the start would find
//! out after the old relay has stopped.

use std::fs::File;
use std::path::Path;

use super::Loaded;
use super::fault::{Fault, Faults, Place};

/// Every file that is named and cannot be opened.
pub fn look_for_files(loaded: &Loaded) -> Result<(), Faults> {
    let config = &loaded.config;
    let single = [
        ("edge.tls_cert", &config.edge.tls_cert),
        ("edge.tls_key", &config.edge.tls_key),
        ("tls.client_ca", &config.tls.client_ca),
        ("acme.ca_file", &config.acme.ca_file),
        ("database.ca_file", &config.store.ca_file),
    ];
    let single = single
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.as_deref()?)));
    let pairs = config.tls.certificates.iter();
    let pairs = pairs.flat_map(|files| [files.cert.as_path(), files.key.as_path()]);
    let named = single.chain(pairs.map(|path| ("tls.certificates", path)));
    let faults = named.filter_map(|(key, path)| fault(key, path, loaded));
    Faults::found(faults.collect())
}

fn fault(key: &'static str, path: &Path, loaded: &Loaded) -> Option<Fault> {
    let error = File::open(path).err()?;
    let place = loaded.origins.get(key).unwrap_or(&Place::Default).clone();
    let problem = format!("{} cannot be opened: {error}", path.display());
    Some(Fault::new(place, key, problem))
}

//! Which certificates are served, and what keeps them fresh.

use std::time::SystemTime;

use crate::config::Config;
use crate::runtime::Shutdown;
use crate::store::Store;
use crate::tls::{
    Acme, CertError, CertificateFiles, Certificates, ClientAuthorities, DevCertificate, TicketKeys,
    Tls, TlsError, ensure_dev_certificate,
};

/// Loads the files that are configured. Only where there are none, and no ACME, there is a
/// development certificate.
pub(super) fn load(config: &Config) -> Result<(Certificates, Option<DevCertificate>), CertError> {
    let mut all = configured(config);
    let awaits_acme = !config.acme.domains.is_empty();
    let mut made = None;
    if all.is_empty() && !awaits_acme {
        let dev = ensure_dev_certificate(&config.edge.certs_dir, SystemTime::now())?;
        all.push(files(&dev.cert, &dev.key));
        made = Some(dev);
    }
    let certificates = Certificates::load(&all, config.tls.expiry_alarm, awaits_acme)?;
    Ok((certificates, made))
}

/// The files that are configured, the single pair first.
pub(super) fn configured(config: &Config) -> Vec<CertificateFiles> {
    let pair = config.edge.tls_cert.iter().zip(&config.edge.tls_key);
    let pair = pair.map(|(cert, key)| files(cert, key));
    pair.chain(config.tls.certificates.iter().cloned())
        .collect()
}

/// Begins to keep them, and what resumption needs, in order.
pub(super) async fn serve(
    config: &Config,
    store: &Store,
    certificates: Certificates,
    client_authorities: Option<ClientAuthorities>,
    shutdown: &Shutdown,
) -> Result<Tls, TlsError> {
    let settings = &config.tls;
    let tickets = TicketKeys::share(settings.ticket_rotation, store.clone(), shutdown).await?;
    let challenges = match config.acme.domains.is_empty() {
        true => None,
        false => Some(Acme::start(
            config.acme.clone(),
            settings.look_every,
            store.clone(),
            certificates.clone(),
            shutdown,
        )?),
    };
    let tls = Tls::new(client_authorities, certificates, tickets, challenges)?;
    tls.watch(settings.look_every, shutdown);
    Ok(tls)
}

fn files(cert: &std::path::Path, key: &std::path::Path) -> CertificateFiles {
    CertificateFiles {
        cert: cert.to_owned(),
        key: key.to_owned(),
    }
}

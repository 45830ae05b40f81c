//! Pure. `[acme]`: certificates from a directory.

use http::Uri;

use crate::config::key::Key;
use crate::config::kinds::{List, Maybe, PATH, Text, seconds};
use crate::outbound::names_user;
use crate::tls::Domain;

pub(super) const KEYS: &[Key] = keys![
    /// Names to have a certificate for from an ACME directory, which must reach this relay under
    /// each of them on port 443 (TLS-ALPN-01). Setting this accepts the directory's terms of
    /// service. Empty: ACME is not used.
    acme.domains, ACME_DOMAINS, Restart:
        List(DOMAIN) => acme.domains;

    /// The ACME directory. The default is Let's Encrypt; to practise without its limits, use
    /// https://acme-staging-v02.api.letsencrypt.org/directory.
    acme.directory, ACME_DIRECTORY, Restart:
        HTTPS_URL => acme.directory;

    /// Mail addresses at which the directory may warn you. Used when the account is made.
    acme.contact, ACME_CONTACT, Restart:
        List(MAIL_ADDRESS) => acme.contact;

    /// An authority, PEM, beside the public ones, for a directory of your own.
    acme.ca_file, ACME_CA_FILE, Restart:
        Maybe(PATH) => acme.ca_file;

    /// How long to wait after a failed order before the next. It doubles with each failure, up to
    /// 12 hours, for all nodes together; directories count failures.
    acme.retry_seconds, ACME_RETRY_SECONDS, Restart:
        seconds(1..=43_200) => acme.retry_first;
];

const DOMAIN: Text<Domain> =
    Text::parsed("names, such as [\"relay.example.com\"], without wildcards");

const MAIL_ADDRESS: Text<String> = Text::parsed("mail addresses");

const HTTPS_URL: Text<String> = Text {
    parse: |url| {
        let uri = url.parse::<Uri>().ok()?;
        let is_host = uri.authority().is_some_and(|host| !names_user(host));
        (url.starts_with("https://") && is_host).then(|| url.to_owned())
    },
    ..Text::parsed("an https URL")
};

//! Pure. `[tls]` and `[acme]`: certificates, resumption, and who may connect at all.

use super::{CertificatesSetting, Effect, Key, List, Maybe, Parsed, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "tls.certificates",
        env: "TLS_CERTIFICATES",
        effect: Effect::Restart,
        doc: "More certificates beside edge.tls_cert, each a PEM chain with its key. A client gets \
              the one for the name it asks for, else the first; edge.tls_cert comes before these.",
        setting: &CertificatesSetting(|c| &mut c.tls.certificates),
    },
    Key {
        name: "tls.look_seconds",
        env: "TLS_LOOK_SECONDS",
        effect: Effect::Restart,
        doc: "How often the files of certificates are looked at, and what ACME gave to other \
              nodes. A change is served from the next handshake on.",
        setting: &Span {
            at: |c| &mut c.tls.look_every,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "tls.expiry_alarm_days",
        env: "TLS_EXPIRY_ALARM_DAYS",
        effect: Effect::Restart,
        doc: "How long before its end a certificate alarms. One that lives for less than four \
              times that alarms in the last quarter of its life.",
        setting: &Span {
            at: |c| &mut c.tls.expiry_alarm,
            unit: Unit::Days,
            least: 1,
            most: 90,
        },
    },
    Key {
        name: "tls.client_ca",
        env: "TLS_CLIENT_CA",
        effect: Effect::Restart,
        doc: "Mutual TLS toward a proxy: authorities, PEM. Set: whoever shows no certificate of \
              theirs on edge.listen is refused in the handshake. Sessions are not resumed then.",
        setting: &Maybe::path(|c| &mut c.tls.client_ca),
    },
    Key {
        name: "tls.ticket_rotation_hours",
        env: "TLS_TICKET_ROTATION_HOURS",
        effect: Effect::Restart,
        doc: "How long a key encrypts session tickets before the next one does, on all nodes. A \
              client resumes for two to three times that. The same on all nodes.",
        setting: &Span {
            at: |c| &mut c.tls.ticket_rotation,
            unit: Unit::Hours,
            least: 1,
            // Two rotations must fit in the week that RFC 8446 allows a ticket.
            most: 72,
        },
    },
    Key {
        name: "acme.domains",
        env: "ACME_DOMAINS",
        effect: Effect::Restart,
        doc: "Names to have a certificate for from an ACME directory, which must reach this relay \
              under each of them on port 443 (TLS-ALPN-01). Setting this accepts the directory's \
              terms of service. Empty: ACME is not used.",
        setting: &List {
            at: |c| &mut c.acme.domains,
            allowed: "names, such as [\"relay.example.com\"], without wildcards",
        },
    },
    Key {
        name: "acme.directory",
        env: "ACME_DIRECTORY",
        effect: Effect::Restart,
        doc: "The ACME directory. The default is Let's Encrypt; to practise without its limits, use \
              https://acme-staging-v02.api.letsencrypt.org/directory.",
        setting: &Parsed {
            at: |c| &mut c.acme.directory,
            allowed: "an https URL",
            check: |url: &String| {
                let is_uri = url
                    .parse::<http::Uri>()
                    .is_ok_and(|uri| uri.host().is_some());
                url.starts_with("https://") && is_uri
            },
        },
    },
    Key {
        name: "acme.contact",
        env: "ACME_CONTACT",
        effect: Effect::Restart,
        doc: "Mail addresses at which the directory may warn you. Used when the account is made.",
        setting: &List {
            at: |c| &mut c.acme.contact,
            allowed: "mail addresses",
        },
    },
    Key {
        name: "acme.ca_file",
        env: "ACME_CA_FILE",
        effect: Effect::Restart,
        doc: "An authority, PEM, beside the public ones, for a directory of your own.",
        setting: &Maybe::path(|c| &mut c.acme.ca_file),
    },
    Key {
        name: "acme.retry_seconds",
        env: "ACME_RETRY_SECONDS",
        effect: Effect::Restart,
        doc: "How long to wait after a failed order before the next. It doubles with each failure, \
              up to 12 hours, for all nodes together; directories count failures.",
        setting: &Span {
            at: |c| &mut c.acme.retry_first,
            unit: Unit::Seconds,
            least: 1,
            most: 43_200,
        },
    },
];

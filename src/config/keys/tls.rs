//! Pure. `[tls]`: certificates, resumption, and who may connect at all.

use crate::config::certificate_pairs::CertificatePairs;
use crate::config::key::Key;
use crate::config::kinds::{Maybe, PATH, days, hours, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// More certificates beside edge.tls_cert, each a PEM chain with its key. A client gets the one
    /// for the name it asks for, else the first; edge.tls_cert comes before these.
    tls.certificates, TLS_CERTIFICATES, Restart:
        CertificatePairs => tls.certificates;

    /// How often the files of certificates are looked at, and what ACME gave to other nodes. A
    /// change is served from the next handshake on.
    tls.look_seconds, TLS_LOOK_SECONDS, Restart:
        seconds(1..=3600) => tls.look_every;

    /// How long before its end a certificate alarms. One that lives for less than four times that
    /// alarms in the last quarter of its life.
    tls.expiry_alarm_days, TLS_EXPIRY_ALARM_DAYS, Restart:
        days(1..=90) => tls.expiry_alarm;

    /// Mutual TLS toward a proxy: authorities, PEM. Set: whoever shows no certificate of theirs on
    /// edge.listen is refused in the handshake. Sessions are not resumed then.
    tls.client_ca, TLS_CLIENT_CA, Restart:
        Maybe(PATH) => tls.client_ca;

    /// How long a key encrypts session tickets before the next one does, on all nodes. A client
    /// resumes for two to three times that. The same on all nodes.
    // Two rotations must fit in the week that RFC 8446 allows a ticket.
    tls.ticket_rotation_hours, TLS_TICKET_ROTATION_HOURS, Restart:
        hours(1..=72) => tls.ticket_rotation;
];

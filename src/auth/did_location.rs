//! Pure. Where the document of a DID is to be found: the PLC directory for
//! `did:plc`, the host itself for `did:web` (ATProto DID specification,
//! "Blessed DID Methods"). Everything else has no place.

use crate::types::Did;

/// Where to ask for a document.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum DidLocation<'a> {
    /// In the PLC directory, under the whole DID.
    Plc,
    /// At `https://{host}/.well-known/did.json`, on port 443.
    Web { host: &'a str },
}

/// Why a DID cannot be looked up by us. The same answer at every attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LocationError {
    #[error("the token's iss must be a did:plc or a did:web")]
    MethodUnsupported,
    #[error("the token's iss must be a did:plc of 24 characters of base32")]
    NotOfPlc,
    #[error(
        "the token's iss must be a did:web of a public host name in lower case, without port and path"
    )]
    NotAHost,
}

impl<'a> DidLocation<'a> {
    pub(crate) fn of(did: &'a Did) -> Result<Self, LocationError> {
        let text = did.expose();
        if let Some(id) = text.strip_prefix("did:plc:") {
            let base32 = id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
            let is_of_plc = base32 && id.len() == PLC_ID_LEN;
            return is_of_plc
                .then_some(Self::Plc)
                .ok_or(LocationError::NotOfPlc);
        }
        let host = text
            .strip_prefix("did:web:")
            .ok_or(LocationError::MethodUnsupported)?;
        let is_host = is_public_host_name(host);
        is_host
            .then_some(Self::Web { host })
            .ok_or(LocationError::NotAHost)
    }
}

/// The part of a host's name below which one owner can have any number of hosts: its last
/// two labels, and one more where a country registers under words such as `co.uk`. A list of
/// all suffixes would be newer every month. Where this takes a suffix for a domain, its
/// owners share what one of them could have.
pub(crate) fn domain_of(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let (last, second, third) = (dots.next(), dots.next(), dots.next());
    let after = |dot: Option<usize>| dot.map_or(host, |at| &host[at + 1..]);
    let is_of_country = after(last).len() == 2;
    let word = after(second).split('.').next().unwrap_or_default();
    match is_of_country && WORDS_OF_COUNTRIES.contains(&word) {
        true => after(third),
        false => after(second),
    }
}

/// A DNS name of the public internet. ATProto allows neither paths (further
/// colons) nor, outside of development, ports (`%3A`), and 443 needs no saying;
/// so both are refused by the alphabet alone. IP literals have no top-level
/// domain of letters. Upper case would give one host many DIDs.
fn is_public_host_name(host: &str) -> bool {
    let mut labels = host.rsplit('.');
    let top = labels.next().unwrap_or_default();
    host.len() <= HOST_LEN_MAX
        && labels.next().is_some()
        && host.split('.').all(is_label)
        && top.starts_with(|c: char| c.is_ascii_lowercase())
        && !TOPS_NOT_PUBLIC.contains(&top)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_LEN_MAX).contains(&label.len())
        && label
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// 15 bytes of a hash in base32.
const PLC_ID_LEN: usize = 24;

/// RFC 1035 section 2.3.4.
const HOST_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;

/// Below two letters: what countries call commerce, companies, schools, networks, the state.
const WORDS_OF_COUNTRIES: [&str; 10] = [
    "ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org",
];

/// RFC 6761, RFC 6762, RFC 7686, RFC 9476 and the ATProto handle specification:
/// names that the public DNS does not answer, or that mean this machine.
const TOPS_NOT_PUBLIC: [&str; 8] = [
    "alt",
    "arpa",
    "example",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_methods_have_their_places() {
        let plc = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
        assert_eq!(DidLocation::of(&plc), Ok(DidLocation::Plc));
        let web = Did::parse("did:web:pds.someone.net").unwrap();
        let host = "pds.someone.net";
        assert_eq!(DidLocation::of(&web), Ok(DidLocation::Web { host }));
    }

    #[test]
    fn hosts_of_one_owner_are_of_one_domain() {
        for (host, domain) in [
            ("someone.net", "someone.net"),
            ("pds.someone.net", "someone.net"),
            ("a.b.c.someone.net", "someone.net"),
            ("co.uk", "co.uk"),
            ("someone.co.uk", "someone.co.uk"),
            ("a.b.someone.co.uk", "someone.co.uk"),
            ("a.b.someone.de", "someone.de"),
            ("a.com.net", "com.net"),
        ] {
            assert_eq!(domain_of(host), domain, "{host}");
        }
    }

    #[test]
    fn every_other_did_has_none() {
        use LocationError as E;
        for (did, error) in [
            (
                "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
                E::MethodUnsupported,
            ),
            ("did:plc:short", E::NotOfPlc),
            ("did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ", E::NotOfPlc),
            ("did:plc:ewvi7nxzyoun6zhxrhs64oi1", E::NotOfPlc),
            ("did:plc:..%2f..%2fx6zhxrhs64oiz", E::NotOfPlc),
            ("did:web:localhost", E::NotAHost),
            ("did:web:intranet", E::NotAHost),
            ("did:web:localhost%3A8443", E::NotAHost),
            ("did:web:pds.someone.net%3A443", E::NotAHost),
            ("did:web:pds.someone.net:path", E::NotAHost),
            ("did:web:pds.someone.net%2Fpath", E::NotAHost),
            ("did:web:PDS.someone.net", E::NotAHost),
            ("did:web:127.0.0.1", E::NotAHost),
            ("did:web:2130706433", E::NotAHost),
            ("did:web:0x7f.1", E::NotAHost),
            ("did:web:printer.local", E::NotAHost),
            ("did:web:metadata.google.internal", E::NotAHost),
            ("did:web:a..net", E::NotAHost),
            ("did:web:.net", E::NotAHost),
            ("did:web:a.net.", E::NotAHost),
            ("did:web:-a.net", E::NotAHost),
            ("did:web:under_score.net", E::NotAHost),
        ] {
            let did_parsed = Did::parse(did).unwrap();
            assert_eq!(DidLocation::of(&did_parsed), Err(error), "{did}");
        }
    }
}

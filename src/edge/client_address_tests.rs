//! Headers as proxies and liars send them.

use std::sync::LazyLock;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "203.0.113.7";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

static PROXIES: LazyLock<[IpNet; 2]> =
    LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()));

fn trust(sources: &[AddressHeader]) -> Trust<'_> {
    Trust {
        proxies: &*PROXIES,
        sources,
    }
}

/// The client, as text, of a request from a trusted proxy with these headers.
fn client(sources: &[AddressHeader], headers: &[(&str, &str)]) -> (String, Origin) {
    client_from(PROXY, sources, headers)
}

fn client_from(
    peer: &str,
    sources: &[AddressHeader],
    headers: &[(&str, &str)],
) -> (String, Origin) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (client, origin) = trust(sources).client(ip(peer), &map);
    (client.expose().to_string(), origin)
}

fn header(address: &str) -> (String, Origin) {
    (address.to_owned(), Origin::Header)
}

fn malformed() -> (String, Origin) {
    (PROXY.to_owned(), Origin::Malformed)
}

use AddressHeader::{CfConnectingIp, Forwarded, XForwardedFor, XRealIp};

#[test]
fn by_default_no_header_is_believed() {
    let headers = [("x-forwarded-for", STRANGER), ("x-real-ip", STRANGER)];
    assert_eq!(client(&[], &headers), (PROXY.to_owned(), Origin::Proxy));
}

#[test]
fn a_proxy_that_names_nobody_is_told_from_a_client_that_comes_by_itself() {
    let found = client(&AddressHeader::ALL, &[]);
    assert_eq!(found, (PROXY.to_owned(), Origin::Proxy));
    let found = client_from(STRANGER, &AddressHeader::ALL, &[]);
    assert_eq!(found, (STRANGER.to_owned(), Origin::Socket));
}

#[test]
fn a_stranger_cannot_name_its_own_address() {
    for name in [
        "x-forwarded-for",
        "forwarded",
        "cf-connecting-ip",
        "x-real-ip",
    ] {
        let found = client_from("198.51.100.9", &AddressHeader::ALL, &[(name, "192.0.2.66")]);
        assert_eq!(found, ("198.51.100.9".to_owned(), Origin::Untrusted));
    }
}

#[test]
fn a_list_is_read_from_the_right_past_trusted_hops() {
    let cases = [
        (STRANGER, STRANGER),
        ("1.1.1.1, 203.0.113.7", STRANGER),
        ("1.1.1.1, 203.0.113.7, 10.1.1.1, 10.2.2.2", STRANGER),
        ("junk, 203.0.113.7,10.1.1.1", STRANGER),
        ("é, 203.0.113.7", STRANGER),
        ("10.3.3.3, 10.1.1.1", "10.3.3.3"),
        (" 203.0.113.7 , ", STRANGER),
    ];
    for (value, expected) in cases {
        assert_eq!(
            client(&[XForwardedFor], &[("x-forwarded-for", value)]),
            header(expected),
            "{value}"
        );
    }
}

#[test]
fn repeated_lists_are_one_list() {
    let headers = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "203.0.113.7, 10.1.1.1"),
    ];
    assert_eq!(client(&[XForwardedFor], &headers), header(STRANGER));
    for first in ["for=1.1.1.1", "for=é", "é"] {
        let headers = [("forwarded", first), ("forwarded", "for=203.0.113.7")];
        assert_eq!(client(&[Forwarded], &headers), header(STRANGER));
    }
}

#[test]
fn junk_at_the_right_means_the_socket_and_never_further_left() {
    for value in [
        "203.0.113.7, é",
        "203.0.113.7, junk",
        "203.0.113.7, unknown, 10.1.1.1",
        "203.0.113.7, 1.2.3",
        "203.0.113.7, ::g",
    ] {
        assert_eq!(
            client(&[XForwardedFor], &[("x-forwarded-for", value)]),
            malformed(),
            "{value}"
        );
    }
}

#[test]
fn addresses_are_read_in_every_form_that_proxies_write() {
    let cases = [
        ("203.0.113.7:4711", STRANGER),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", STRANGER),
        ("[::ffff:203.0.113.7]:80", STRANGER),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
    ];
    for (value, expected) in cases {
        assert_eq!(
            client(&[XRealIp], &[("x-real-ip", value)]),
            header(expected),
            "{value}"
        );
    }
    for value in [
        "",
        "203.0.113.7:99999",
        "[2001:db8::1]x",
        "[2001:db8::1",
        "fe80::1%",
        "203.0.113.7.1",
        "0x7f.1",
        "010.0.0.1",
    ] {
        assert_eq!(
            client(&[XRealIp], &[("x-real-ip", value)]),
            malformed(),
            "{value}"
        );
    }
}

#[test]
fn a_trusted_hop_is_known_in_its_mapped_form_too() {
    let headers = [("x-forwarded-for", "203.0.113.7, ::ffff:10.1.1.1")];
    assert_eq!(client(&[XForwardedFor], &headers), header(STRANGER));
    assert_eq!(
        client_from("::ffff:10.0.0.1", &[XForwardedFor], &headers),
        header(STRANGER)
    );
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    let cases = [
        ("for=203.0.113.7", STRANGER),
        ("For=203.0.113.7;proto=https;by=10.0.0.1", STRANGER),
        ("for=1.1.1.1, for=203.0.113.7", STRANGER),
        (r#"for="[2001:db8:cafe::17]:4711""#, "2001:db8:cafe::17"),
        (
            r#"host="a,b;for=1.1.1.1";for=203.0.113.7, for=10.9.9.9"#,
            STRANGER,
        ),
        (r#"for="203.0.113.7:47011""#, STRANGER),
    ];
    for (value, expected) in cases {
        assert_eq!(
            client(&[Forwarded], &[("forwarded", value)]),
            header(expected),
            "{value}"
        );
    }
    for value in [
        "for=unknown",
        "for=_hidden",
        "proto=https",
        "for=1.1.1.1;for=2.2.2.2",
        r#"for="1.1.1.1"#,
        "junk",
    ] {
        assert_eq!(
            client(&[Forwarded], &[("forwarded", value)]),
            malformed(),
            "{value}"
        );
    }
}

#[test]
fn a_header_that_names_one_address_names_one_address() {
    let twice = [
        ("cf-connecting-ip", STRANGER),
        ("cf-connecting-ip", "1.1.1.1"),
    ];
    assert_eq!(client(&[CfConnectingIp], &twice), malformed());
    // Whoever joins the lines of a header leaves the client's word before the proxy's.
    for list in ["1.1.1.1, 203.0.113.7", "2001:db8::9%, 203.0.113.7"] {
        let headers = [("cf-connecting-ip", list)];
        assert_eq!(client(&[CfConnectingIp], &headers), malformed(), "{list}");
    }
}

#[test]
fn the_first_configured_header_that_is_present_decides_alone() {
    let headers = [
        ("x-forwarded-for", "1.1.1.1"),
        ("cf-connecting-ip", STRANGER),
    ];
    assert_eq!(
        client(&[CfConnectingIp, XForwardedFor], &headers),
        header(STRANGER)
    );
    let headers = [("x-forwarded-for", "1.1.1.1"), ("cf-connecting-ip", "junk")];
    assert_eq!(
        client(&[CfConnectingIp, XForwardedFor], &headers),
        malformed()
    );
    let headers = [("x-forwarded-for", STRANGER)];
    assert_eq!(
        client(&[CfConnectingIp, XForwardedFor], &headers),
        header(STRANGER)
    );
}

proptest! {
    #[test]
    fn whatever_a_client_sends_the_proxy_has_the_last_word(spoofed in "[ -~]{0,60}") {
        let list = format!("{spoofed}, {STRANGER}");
        prop_assert_eq!(client(&[XForwardedFor], &[("x-forwarded-for", &list)]), header(STRANGER));
        for proxy in [format!("for={STRANGER}"), format!("for=\"{STRANGER}\"")] {
            let list = format!("{spoofed}, {proxy}");
            let found = client(&[Forwarded], &[("forwarded", &list)]);
            // A quote that is left open makes it unreadable, and nothing worse.
            let is_open = spoofed.contains('"') && found == malformed();
            prop_assert!(is_open || found == header(STRANGER), "{list}: {found:?}");
        }
    }

    #[test]
    fn no_quote_of_a_client_hides_what_the_proxy_says(
        before in "[a-z=;, \"]{0,12}", after in "[a-z=;, \\\\\"]{0,12}"
    ) {
        for proxy in [format!("for={STRANGER}"), format!("for=\"{STRANGER}\"")] {
            let list = format!("{before}for=6.6.6.6{after}, {proxy}");
            let found = client(&[Forwarded], &[("forwarded", &list)]);
            prop_assert!([header(STRANGER), malformed()].contains(&found), "{list}: {found:?}");
        }
    }

    #[test]
    fn no_header_makes_it_fail(value in "[ -~]{0,80}") {
        for source in AddressHeader::ALL {
            client(&[source], &[(source.name().as_str(), &value)]);
        }
    }
}

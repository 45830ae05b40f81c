//! Pure. To whom a request is addressed (RFC 9112 section 3.2, RFC 9113 section 8.3.1). The relay
//! is one service under every name, but a message that a proxy in front may read otherwise than
//! we do is refused.

use http::Version;
use http::header::{HOST, HeaderMap};
use http::request::Parts;
use http::uri::Authority;

/// What is wrong with the `Host` of a request; `None` if nothing is. HTTP/1.0, which health
/// checkers speak, needs none, and HTTP/2 has `:authority`, which a `Host` beside it must equal.
pub(super) fn fault(request: &Parts) -> Option<&'static str> {
    let target = request.uri.authority().map(|host| host.as_str().as_bytes());
    // A target that names a host takes the place of the header in HTTP/1.1, and does not in
    // HTTP/2.
    let authority = target.filter(|_| request.version > Version::HTTP_11);
    let mut hosts = hosts(&request.headers);
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Some("must be given once"),
        (host, _) => host,
    };
    match (authority, host) {
        (None, None) if request.version >= Version::HTTP_11 => Some("must be given"),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Some("must be the same as :authority")
        }
        _ => {
            let mut named = target.into_iter().chain(host);
            (!named.all(is_host)).then_some("must be a host, and perhaps a port")
        }
    }
}

fn hosts(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(HOST).iter().map(|value| value.as_bytes())
}

/// A host with or without a port, or nothing: so it is where a target has none.
fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value) else {
        return false;
    };
    let (whole, host) = (authority.as_str(), authority.host());
    // What stands before an `@` is of no host's name.
    let Some(rest) = whole.strip_prefix(host) else {
        return false;
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn fault_of(version: Version, hosts: &[&str]) -> Option<&'static str> {
        fault_at("/", version, hosts)
    }

    fn fault_at(target: &str, version: Version, hosts: &[&str]) -> Option<&'static str> {
        let (mut parts, ()) = Request::get(target).body(()).unwrap().into_parts();
        parts.version = version;
        for host in hosts {
            let host = HeaderValue::from_bytes(host.as_bytes()).unwrap();
            parts.headers.append(HOST, host);
        }
        fault(&parts)
    }

    #[test]
    fn a_request_is_addressed_once_unless_its_version_needs_no_address() {
        for (version, hosts, expected) in [
            (Version::HTTP_11, &["a"][..], None),
            (Version::HTTP_11, &[], Some("must be given")),
            (Version::HTTP_11, &["a", "a"], Some("must be given once")),
            (Version::HTTP_10, &[], None),
            (Version::HTTP_10, &["a", "b"], Some("must be given once")),
            (Version::HTTP_2, &[], Some("must be given")),
            (Version::HTTP_2, &["a"], None),
        ] {
            assert_eq!(fault_of(version, hosts), expected, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn over_http_2_a_host_beside_the_authority_is_the_same() {
        let target = "https://A.example:8443/";
        for (hosts, is_fine) in [
            (&[][..], true),
            (&["a.Example:8443"], true),
            (&["a.example"], false),
            (&["b.example:8443"], false),
            (&[""], false),
            (&["a.example:8443", "a.example:8443"], false),
        ] {
            let fault = fault_at(target, Version::HTTP_2, hosts);
            assert_eq!(fault.is_none(), is_fine, "{hosts:?}");
        }
        assert!(fault_at("https://u@a.example/", Version::HTTP_2, &[]).is_some());
    }

    #[test]
    fn a_target_that_names_a_host_names_nobody_with_it() {
        for version in [Version::HTTP_10, Version::HTTP_11] {
            // There the target decides, and the header is ignored.
            let target = "http://a.example/";
            assert_eq!(fault_at(target, version, &["b.example"]), None);
            // RFC 9110 section 4.2.4.
            let named = fault_at("http://u:p@a.example/", version, &["a.example"]);
            assert_eq!(named, Some("must be a host, and perhaps a port"));
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "",
            "a",
            "chat.example.com",
            "chat.example.com.",
            "a:443",
            "a:",
            "10.0.0.1:8443",
            "[::1]",
            "[fe80::1]:8443",
            "my_pod-1:80",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(fault_of(Version::HTTP_11, &[host]), None, "{host}");
        }
        for no_host in [
            "a b",
            "a/b",
            "http://a",
            "u@a",
            "u:p@a:1",
            ":443",
            "a:b",
            "a:1:2",
            "[::1",
            "a:-1",
            "::1",
            "a?b",
            "a#b",
            "b\u{fc}cher.example",
            "a\\b",
        ] {
            let fault = fault_of(Version::HTTP_11, &[no_host]);
            assert!(fault.is_some(), "{no_host}");
        }
    }
}

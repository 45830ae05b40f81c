//! Pure. Where a request's body ends (RFC 9112 section 6.1). hyper goes by the last of its
//! transfer codings and takes no other off; a proxy in front may read what has several in another
//! way, and see another request behind it.

use http::header::{HeaderMap, TRANSFER_ENCODING};

/// What is wrong with a request's `Transfer-Encoding`; `None` if nothing is.
pub(super) fn fault(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    (!is_plain).then_some("must be chunked, once")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_body_comes_as_it_is_or_in_chunks() {
        for (codings, is_plain) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["chunked", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            }
            assert_eq!(fault(&headers).is_none(), is_plain, "{codings:?}");
        }
    }
}

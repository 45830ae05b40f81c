//! A head that hyper cannot read it answers by itself, with a status and no more. Its client is to
//! hear of that as of every other refusal.

use bytes::Bytes;
use http::StatusCode;

use super::cors;
use crate::wire::{THE_REQUEST, XrpcError, XrpcStatus};

/// Says what hyper has said by itself; `None` if it has not.
pub(super) fn in_our_words(said: &[u8]) -> Option<Bytes> {
    let (status_line, fields) = own_head(said)?;
    let refused = match StatusCode::from_bytes(status_line.get(9..12)?.as_bytes()).ok()? {
        StatusCode::BAD_REQUEST => refusal(XrpcStatus::BadRequest, "must be HTTP/1.1"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let what = "must have a smaller head, with fewer headers";
            refusal(XrpcStatus::HeadTooLarge, what)
        }
        _ => return None,
    };
    let body = refused.to_json();
    let mut head = refused.into_response().into_parts().0;
    cors::allow(&mut head.headers);
    let mut answer = format!("{status_line}\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for field in fields.filter(|field| !field.starts_with(EMPTY)) {
        answer.extend([field.as_bytes(), b"\r\n"].concat());
    }
    for (name, value) in &head.headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend([b"\r\n", body.as_slice()].concat());
    Some(answer.into())
}

fn refusal(status: XrpcStatus, what: &str) -> XrpcError {
    XrpcError::new(status, "InvalidRequest", format!("{THE_REQUEST}: {what}"))
}

/// The status line and the headers of an answer that has no body and nothing that all of ours
/// have.
fn own_head(said: &[u8]) -> Option<(&str, impl Iterator<Item = &str>)> {
    // Nearly all others end here.
    if !said.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(said).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next()?;
    let is_own = |field: &str| {
        let names = [EMPTY, "connection: ", "date: "];
        names.iter().any(|name| field.starts_with(name))
    };
    let fields = lines.clone();
    let has_body = !lines.clone().any(|field| field == EMPTY);
    (!has_body && lines.all(is_own)).then_some((status_line, fields))
}

const EMPTY: &str = "content-length: 0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_by_others_stays_as_it_is() {
        for said in [
            "",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\naccess-control-allow-origin: *\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\ndate: today\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(in_our_words(said.as_bytes()), None, "{said}");
        }
    }

    #[test]
    fn what_hyper_says_keeps_its_status_and_its_end_of_the_connection() {
        let said = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = in_our_words(said.as_bytes()).unwrap();
        let answer = std::str::from_utf8(&answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
        assert!(body.contains("InvalidRequest"), "{body}");
    }
}

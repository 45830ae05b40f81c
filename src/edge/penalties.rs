//! The penalty box for operators, on their own listener. Subjects are listed as keyed
//! hashes; to lift one, name the address or the account.
//!
//! `GET /penalties`, `PUT /penalties?address=192.0.2.1&seconds=600` (without seconds, ten
//! minutes; at most `limits.penalty_most_seconds`), `DELETE /penalties?did=did:plc:…`.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::route::{bare, json as json_response, named, value};
use crate::limits::{Limits, Offender};
use crate::refusal::wrong_method;
use crate::types::{ClientIp, Did, hex};
use crate::wire::{Body, invalid};

/// Answers a request for `/penalties`.
pub(super) fn answer<B>(request: &Request<B>, limits: &Limits) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::GET | Method::HEAD => list(limits),
        Method::PUT => {
            let most = limits.longest_penalty().as_secs();
            let wanted = value(query, "seconds").map_or(Ok(DEFAULT_SECONDS.min(most)), str::parse);
            match wanted {
                Ok(seconds) if seconds <= most => {
                    let stay = Duration::from_secs(seconds);
                    change(query, |offender| limits.penalize(offender, stay))
                }
                _ => too_long(most),
            }
        }
        Method::DELETE => change(query, |offender| limits.lift(offender)),
        _ => wrong_method("GET, HEAD, PUT, DELETE").into_response(),
    }
}

fn list(limits: &Limits) -> Response<Body> {
    let inmates: Vec<_> = limits
        .penalties()
        .iter()
        .map(|stay| {
            json!({"subject": hex(&stay.subject), "level": stay.level, "untilMs": stay.until})
        })
        .collect();
    json_response(StatusCode::OK, json!({ "penalties": inmates }).to_string())
}

/// Applies a change to the one that the query names; 400 if it names nobody.
fn change(query: &str, apply: impl FnOnce(Offender<'_>)) -> Response<Body> {
    let address = named(query, "address", str::parse::<IpAddr>);
    let did = named(query, "did", Did::parse);
    match (address, did) {
        (Some(Ok(address)), None) => apply(Offender::Address(ClientIp::new(address))),
        (None, Some(Ok(did))) => apply(Offender::Account(&did)),
        _ => return invalid("address", "must be an IP address, or did a DID").into_response(),
    }
    bare(StatusCode::NO_CONTENT)
}

/// A stay that would be cut short is none that was asked for.
fn too_long(most: u64) -> Response<Body> {
    let bound = format!("must be 0 to {most} (limits.penalty_most_seconds)");
    invalid("seconds", &bound).into_response()
}

/// As `PUT /penalties` has it where nobody says.
const DEFAULT_SECONDS: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Clock, Settings};
    use crate::runtime::Live;

    fn ask(limits: &Limits, method: Method, query: &str) -> StatusCode {
        let request = Request::builder()
            .method(method)
            .uri(format!("/penalties?{query}"))
            .body(())
            .unwrap();
        answer(&request, limits).status()
    }

    #[test]
    fn an_address_or_an_account_is_put_in_and_let_out() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        for who in [
            "address=192.0.2.1",
            "did=did:plc:abc",
            "address=2001:db8::1",
            "address=2001%3Adb8%3A%3A1",
        ] {
            assert_eq!(
                ask(&limits, Method::PUT, &format!("{who}&seconds=60")),
                StatusCode::NO_CONTENT
            );
            assert_eq!(limits.penalties().len(), 1);
            assert_eq!(ask(&limits, Method::DELETE, who), StatusCode::NO_CONTENT);
            assert!(limits.penalties().is_empty());
        }
    }

    #[test]
    fn whoever_is_not_named_is_not_punished() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        for query in [
            "",
            "address=x",
            "did=x",
            "address=192.0.2.1&did=did:plc:abc",
            "address=192.0.2.1&seconds=x",
        ] {
            assert_eq!(
                ask(&limits, Method::PUT, query),
                StatusCode::BAD_REQUEST,
                "{query}"
            );
        }
        assert!(limits.penalties().is_empty());
    }

    #[test]
    fn a_stay_over_the_most_is_refused_with_the_bound_and_none_is_begun() {
        let mut settings = Settings::default();
        settings.penalties.most = Duration::from_secs(60);
        let limits = Limits::new(Live::new(settings), Clock::manual());
        let put = |query: &str| ask(&limits, Method::PUT, query);
        let who = "address=192.0.2.1";
        for over in ["61", "18446744073709551616"] {
            let status = put(&format!("{who}&seconds={over}"));
            assert_eq!(status, StatusCode::BAD_REQUEST, "{over}");
        }
        assert!(limits.penalties().is_empty());
        assert_eq!(put(&format!("{who}&seconds=60")), StatusCode::NO_CONTENT);
        assert_eq!(put(who), StatusCode::NO_CONTENT, "without a wish, the most");
    }
}

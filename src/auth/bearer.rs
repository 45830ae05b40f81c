//! Pure. Finds the credential in a request's headers (RFC 6750 section 2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::AuthError;

/// The token of `Authorization: Bearer …`. A second header, another scheme or an
/// empty token is no credential: what it would mean is a guess.
pub(crate) fn find(headers: &HeaderMap) -> Result<&str, AuthError> {
    let token = || {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    };
    token().ok_or(AuthError::CredentialMissing)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_scheme_may_be_written_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(find(&headers(&[value])).unwrap(), "a.b.c");
        }
    }

    #[test]
    fn anything_else_is_no_credential() {
        let wrong: [&[&'static str]; 6] = [
            &[],
            &["Bearer"],
            &["Bearer  "],
            &["a.b.c"],
            &["DPoP a.b.c"],
            &["Bearer a.b.c", "Bearer a.b.c"],
        ];
        for values in wrong {
            let headers = headers(values);
            let found = find(&headers);
            assert!(
                matches!(found, Err(AuthError::CredentialMissing)),
                "{values:?}"
            );
        }
    }
}

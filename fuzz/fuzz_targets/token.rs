//! Service tokens. Which header and claims pass is told a second time here, with wider
//! numbers and without shortcuts; and a token has one spelling.

#![cfg_attr(fuzzing, no_main)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mls_relay::auth::fuzzing;
use mls_relay::types::{Did, Jti};
use serde_json::Value;

const NOW: i64 = 1_800_000_000;
const AUDIENCE: &str = "did:web:relay.test";
const METHOD: &str = "blue.catbird.mls.sendMessage";

/// A token, or what is in one: header, claims and signature, with 0xff between them.
pub(crate) fn run(data: &[u8]) {
    let _ = str::from_utf8(data).map(claims);
    let parts: Vec<_> = data.split(|byte| *byte == 0xff).collect();
    let [header, body, signature] = parts[..] else {
        return;
    };
    let value = serde_json::from_slice::<Value>;
    let (Ok(header_value), Ok(body_value)) = (value(header), value(body)) else {
        return;
    };
    let passed = claims(&token(header, body, signature));
    // Once more as a program writes it: a name that is said twice is said once then.
    let text = token(
        header_value.to_string().as_bytes(),
        body_value.to_string().as_bytes(),
        signature,
    );
    if text.len() > 4096 {
        return;
    }
    let expected = expected(&header_value, &body_value);
    assert_eq!(claims(&text), expected);
    assert!(passed.is_none() || passed == expected);
    // The last letter has bits to spare, which must be zero.
    if expected.is_some() && signature.len() % 3 == 1 {
        let other = text[..text.len() - 1].to_owned() + "_";
        assert_eq!(claims(&other), None);
    }
}

type Passed = Option<(Did, Option<Jti>)>;

fn claims(token: &str) -> Passed {
    fuzzing::claims(token, AUDIENCE, METHOD, NOW).ok()
}

fn token(header: &[u8], claims: &[u8], signature: &[u8]) -> String {
    [header, claims, signature]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".")
}

fn expected(header: &Value, claims: &Value) -> Passed {
    let alg = header["alg"].as_str()?;
    let typ = optional(header, "typ", Value::as_str)?;
    let kid = optional(header, "kid", Value::as_str)?;
    let header_fits = ["ES256", "ES256K"].contains(&alg)
        && typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"))
        && kid.is_none_or(|kid| kid == "#atproto")
        && header["crit"].is_null();

    let number = |name| optional(claims, name, |value| value.as_i64().map(i128::from));
    let (exp, iat, nbf) = (number("exp")??, number("iat")?, number("nbf")?);
    let now = i128::from(NOW);
    // An unstated beginning is now; none is later than a clock may be ahead.
    let begins = iat.unwrap_or(now).min(now + 30);
    let times_fit = exp + 5 >= now
        && iat.is_none_or(|iat| iat <= now + 30)
        && nbf.is_none_or(|nbf| nbf <= now + 30)
        && exp - begins <= 300
        && exp - (now + 30) <= 300;

    let text = |name| optional(claims, name, Value::as_str);
    let (iss, aud, lxm, jti) = (text("iss")??, text("aud")??, text("lxm")??, text("jti")??);
    let (did, fragment) = iss.split_once('#').unwrap_or((iss, "atproto"));
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let texts_fit = [AUDIENCE.to_owned(), format!("{AUDIENCE}#atproto_mls")].contains(&aud.into())
        && lxm == METHOD
        && (1..=64).contains(&fragment.len())
        && fragment.chars().all(is_word);

    let are_objects = header.is_object() && claims.is_object();
    let fits = are_objects && header_fits && times_fit && texts_fit;
    Some((Did::parse(did).ok()?, Some(Jti::parse(jti).ok()?))).filter(|_| fits)
}

/// `None` for a value of another form; a null is no value.
fn optional<'a, T>(
    of: &'a Value,
    name: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Option<Option<T>> {
    match of.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(value) => read(value).map(Some),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

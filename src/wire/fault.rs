//! Pure. What serde says of a value that it could not read, in the words of the lexicons:
//! which field, and what it must be. Never the value, which may be an identity.

/// What is wrong with a request.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Fault {
    /// The path of the field; `None` for the request itself.
    pub(super) field: Option<String>,
    pub(super) what: String,
    /// Whether the field must be one of a list of names.
    pub(super) is_of_list: bool,
}

impl Fault {
    /// Reads what serde said of a path.
    pub(super) fn read(path: &str, said: &str) -> Self {
        let of_list = |what: String| Self {
            is_of_list: true,
            ..Self::at(path, what)
        };
        if let Some(name) = said.strip_prefix("missing field ") {
            return Self::of(path, name, "is missing");
        }
        if let Some(name) = said.strip_prefix("duplicate field ") {
            return Self::of(parent_of(path, name), name, "is given twice");
        }
        if let Some(rest) = said.strip_prefix("unknown field ") {
            let name = expected(rest).map_or(rest, |(name, _)| name);
            return Self::of(parent_of(path, name), name, "is not a field of this");
        }
        if said.starts_with("unknown variant ") {
            let names = expected(said).map_or("one of those in the lexicon", |(_, names)| names);
            return of_list(format!("must be {}", names.replace('`', "")));
        }
        if said.starts_with("invalid ")
            && let Some((_, wanted)) = expected(said)
        {
            return Self::at(path, format!("must be {}", words(wanted)));
        }
        match said {
            // Of a name in a list, if the text is JSON.
            "expected value" => of_list("must be text".to_owned()),
            "number out of range" => Self::at(path, "must be a whole number".to_owned()),
            "recursion limit exceeded" => Self::at(path, "is nested too deep".to_owned()),
            // What the types of this crate say is in such words already.
            _ if said.starts_with("must ") || said.starts_with("has ") => {
                Self::at(path, said.to_owned())
            }
            _ => Self::at(path, "is not as the lexicon says".to_owned()),
        }
    }

    fn at(path: &str, what: String) -> Self {
        Self {
            field: (!path.is_empty() && path != ".").then(|| path.to_owned()),
            what,
            is_of_list: false,
        }
    }

    /// Of a member of what is at the path. Its name is repeated if it could be one.
    fn of(parent: &str, quoted: &str, what: &str) -> Self {
        let name = unquoted(quoted);
        let parent = parent.trim_end_matches('.');
        if name.len() > NAME_LEN_MAX {
            return Self::at(parent, "has a field that is not one of this".to_owned());
        }
        let field = match parent {
            "" => name.to_owned(),
            _ => format!("{parent}.{name}"),
        };
        Self::at(&field, what.to_owned())
    }
}

/// A member that was read has its name, or a question mark, at the end of the path.
fn parent_of<'a>(path: &'a str, quoted: &str) -> &'a str {
    let parent = path.strip_suffix(unquoted(quoted));
    match parent.or(path.strip_suffix('?')) {
        Some(parent) if parent.is_empty() || parent.ends_with('.') => parent,
        _ => path,
    }
}

/// Without serde's own marks: a name may have more.
fn unquoted(name: &str) -> &str {
    let inner = name
        .strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'));
    inner.unwrap_or(name)
}

/// What was met, and what was expected instead: behind the last of these words, for a client
/// may have said them, too.
fn expected(said: &str) -> Option<(&str, &str)> {
    let words = [", expected ", ", there are no "];
    let splits = words.iter().filter_map(|words| said.rsplit_once(words));
    splits.max_by_key(|(met, _)| met.len())
}

/// What serde calls it, and what the lexicons do.
fn words(wanted: &str) -> &str {
    match wanted {
        "a string" | "a borrowed string" | "string or map" | "variant identifier" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        _ if wanted.starts_with("struct ") => "an object",
        _ if wanted.starts_with("enum ") => "text",
        _ => wanted,
    }
}

/// The lexicons' longest has half of it.
const NAME_LEN_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, said: &str) -> String {
        let fault = Fault::read(path, said);
        format!("{}: {}", fault.field.unwrap_or_default(), fault.what)
    }

    #[test]
    fn what_serde_says_is_told_in_the_words_of_the_lexicons() {
        for (path, said, words) in [
            (".", "missing field `epoch`", "epoch: is missing"),
            ("a[1]", "missing field `b`", "a[1].b: is missing"),
            (
                "metadata",
                "missing field `data`",
                "metadata.data: is missing",
            ),
            (
                "a.evil",
                "unknown field `evil`, expected `b` or `c`",
                "a.evil: is not a field of this",
            ),
            (
                "a.?",
                "unknown field `evil`, there are no fields",
                "a.evil: is not a field of this",
            ),
            ("?", "duplicate field `b`", "b: is given twice"),
            (
                "n",
                "invalid value: integer `-1`, expected u64",
                "n: must be a whole number",
            ),
            (
                "n",
                "invalid type: string \"did:plc:x, expected \", expected u64",
                "n: must be a whole number",
            ),
            (
                ".",
                "invalid length 0, expected struct SendMessage with 7 elements",
                ": must be an object",
            ),
            (
                "o",
                "unknown variant `did:plc:x`, expected one of `a`, `b`",
                "o: must be one of a, b",
            ),
            ("d", "must be a DID", "d: must be a DID"),
            ("d", "something new", "d: is not as the lexicon says"),
        ] {
            assert_eq!(told(path, said), words, "{said}");
        }
    }

    #[test]
    fn a_name_that_nobody_would_give_a_field_is_not_repeated() {
        let long = "x".repeat(500);
        let said = format!("unknown field `{long}`, expected `a`");
        let words = "a: has a field that is not one of this";
        assert_eq!(told(&format!("a.{long}"), &said), words);
    }

    #[test]
    fn a_name_that_looks_like_what_serde_says_is_still_a_name() {
        let whole = ": has a field that is not one of this";
        for name in ["`x", "x`", "x, expected `y`", "x, there are no y"] {
            for rest in ["expected `a`", "there are no fields"] {
                let told_of = |name: &str| told(name, &format!("unknown field `{name}`, {rest}"));
                assert_eq!(told_of(name), format!("{name}: is not a field of this"));
                assert_eq!(told_of(&name.repeat(50)), whole, "{name}, {rest}");
            }
        }
    }
}

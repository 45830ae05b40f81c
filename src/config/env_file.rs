//! Pure. A file of environment variables, read as systemd reads an `EnvironmentFile`: nothing
//! is expanded, and a value goes to the end of its line.
//!
//! What systemd takes besides is refused, since nobody needs it for settings and a shell reads
//! it otherwise: values over several lines, a backslash outside of quotation marks, and text
//! after a closing quotation mark. What systemd skips with a line in its own log is refused
//! too: lines without `=`, `export`, names that are none.

use std::path::Path;

use super::fault::{Fault, Place};

/// Every variable, in order: of two of the same name the later one counts.
pub(super) fn variables(path: &Path, text: &str) -> (Vec<(String, String)>, Vec<Fault>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        match variable(line) {
            Ok(variable) => found.extend(variable),
            Err(problem) => {
                faults.push(Fault::new(Place::line(path, index + 1), "", problem));
            }
        }
    }
    (found, faults)
}

/// None for a line that says nothing.
fn variable(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    let (name, value) = line.split_once('=').ok_or("it is no NAME=VALUE")?;
    let name = name.trim_end();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || !name.chars().all(is_name)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err("what stands before = is no name of a variable (and systemd knows no export)");
    }
    Ok(Some((name.to_owned(), unquoted(value.trim_start())?)))
}

fn unquoted(value: &str) -> Result<String, &'static str> {
    let Some(mark) = value
        .chars()
        .next()
        .filter(|first| ['"', '\''].contains(first))
    else {
        return match value.contains('\\') {
            true => Err("a backslash needs quotation marks around the value"),
            false => Ok(value.to_owned()),
        };
    };
    let mut text = String::new();
    let mut rest = value.chars().skip(1);
    while let Some(next) = rest.next() {
        match next {
            _ if next == mark => {
                return match rest.next() {
                    None => Ok(text),
                    Some(_) => Err("text follows the closing quotation mark"),
                };
            }
            '\\' if mark == '"' => match rest.next() {
                Some(escaped @ ('"' | '\\' | '`' | '$')) => text.push(escaped),
                Some(other) => text.extend(['\\', other]),
                None => break,
            },
            _ => text.push(next),
        }
    }
    Err("the closing quotation mark is missing on this line")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> Result<String, &'static str> {
        variable(line).map(|found| found.map_or_else(String::new, |(_, value)| value))
    }

    #[test]
    fn values_are_what_systemd_makes_of_them_and_not_a_shell() {
        for (line, expected) in [
            (
                "A=postgres://u:p$x@h/d?a=b&sslmode=require",
                "postgres://u:p$x@h/d?a=b&sslmode=require",
            ),
            ("A=  two words # and this  ", "two words # and this"),
            ("  A =x", "x"),
            ("A=", ""),
            (r#"A="a \"b\" \$c \n""#, r#"a "b" $c \n"#),
            (r"A='a\b $c'", r"a\b $c"),
        ] {
            assert_eq!(value(line), Ok(expected.to_owned()), "{line}");
        }
        for line in ["", "   ", "# A=x", "; A=x"] {
            assert_eq!(variable(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_is_read_otherwise_elsewhere_is_refused_with_its_line() {
        for line in [
            "A",
            "export A=x",
            "1A=x",
            "=x",
            r"A=a\ b",
            "A=\"open",
            "A=\"a\" b",
            "A='a'\"b\"",
        ] {
            assert!(variable(line).is_err(), "{line}");
        }
        let (found, faults) = variables(Path::new("relay.env"), "A=x\nexport B=y\n");
        assert_eq!(found, [("A".to_owned(), "x".to_owned())]);
        let said = faults.first().unwrap().to_string();
        assert!(said.starts_with("relay.env:2: "), "{said}");
        assert!(!said.contains("B=y"), "{said}");
    }
}

//! The house rules that a compiler cannot check: layers, purity, sizes, exposure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::{before_tests, code, rust_files};

/// Lowest first. A module may use any group before its own: never a later one, and
/// never a neighbour in the same group.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["wire", "mls"],
    &["telemetry", "runtime", "outbound"],
    &["store"],
    &["events", "retention"],
    &["limits", "auth", "blocks", "receipt", "tls"],
    &["refusal"],
    &["xrpc", "session"],
    &["edge", "postgres"],
    &["config"],
    &["app"],
];

/// Files outside the layers: they see everything.
const ROOTS: &[&str] = &["lib", "main"];

/// What a file headed `//! Pure.` may not mention outside its tests; nor may it name a file
/// of its area that is not.
const IMPURE: &[&str] = &[
    "tokio::",
    "async fn",
    ".await",
    "::now()",
    "tracing::",
    "std::net::Tcp",
    "std::fs",
    "std::env::",
];

/// The modules that may turn an identity back into text, each with its reason.
const MAY_EXPOSE: &[(&str, &str)] = &[
    ("auth", "tokens and DID documents name accounts"),
    ("blocks", "the AppView is asked about accounts"),
    (
        "config",
        "a database's address, to show it without its password",
    ),
    ("mls", "a credential names an account"),
    (
        "limits",
        "the keys of its tables are hashes of addresses and accounts",
    ),
    ("receipt", "a receipt names its conversation"),
    ("session", "a ticket, to redeem it"),
    ("store", "rows hold identifiers"),
    ("types", "where they are made"),
    ("wire", "answers and events name accounts"),
    ("xrpc", "handlers compare what was sent with who sent it"),
];

/// Where what clients send, and what the relay keeps of it, has types of its own.
const OF_CLIENTS: &[&str] = &[
    "auth", "blocks", "events", "mls", "receipt", "session", "store", "wire", "xrpc",
];

/// Of those areas, the types that hold text or bytes and may be printed, each with its reason.
const MAY_PRINT: &[(&str, &str)] = &[
    ("Canary", "the name of a channel of this process"),
    ("Fault", "a field's name, and what is wrong with it"),
    ("Settings", "what operators have set"),
    ("StoreError", "what Postgres says of itself"),
];

/// Before a file's tests: what one person reads in one sitting.
const LINES_MAX: usize = 400;

#[test]
fn every_file_keeps_the_house_rules() {
    let mut faults = Vec::new();
    for path in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let file = File::new(&path, &text);
        faults.extend(
            file.faults()
                .map(|fault| format!("{}: {fault}", path.display())),
        );
    }
    assert!(faults.is_empty(), "untidy:\n{}", faults.join("\n"));
}

#[test]
fn every_file_of_tests_says_what_it_promises_and_is_read_in_one_sitting() {
    let areas = ["deploy", "integration", "support"].map(|area| Path::new("tests").join(area));
    let files = areas.iter().flat_map(|area| rust_files(area));
    for path in files.chain(["tests/cluster.rs", "tests/rolling.rs"].map(PathBuf::from)) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} opens otherwise",
            path.display()
        );
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

struct File<'a> {
    path: &'a Path,
    /// The first part of its path below `src`.
    module: String,
    /// Everything before its tests, without comments.
    code: String,
    text: &'a str,
}

impl<'a> File<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        let part = path.iter().nth(1).unwrap().to_string_lossy();
        Self {
            path,
            module: part.trim_end_matches(".rs").to_owned(),
            code: code(text),
            text,
        }
    }

    fn faults(&self) -> impl Iterator<Item = String> {
        let rules = [
            self.shape(),
            self.purity(),
            self.layer(),
            self.exposure(),
            self.printing(),
        ];
        rules.into_iter().flatten()
    }

    fn shape(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.text.starts_with("//! ") {
            faults.push("does not open by saying what it is for".to_owned());
        }
        if self.code.lines().count() > LINES_MAX {
            faults.push(format!("has over {LINES_MAX} lines before its tests"));
        }
        faults.extend(
            self.bare_bounds().map(|name| {
                format!("{name} is a bound or a time: say whose, if it is not a setting")
            }),
        );
        if self.code.contains("super::super") {
            faults.push("climbs with super::super: name the path from crate".to_owned());
        }
        faults
    }

    /// Bounds and times that no line explains, be it theirs or that of those just above.
    fn bare_bounds(&self) -> impl Iterator<Item = &str> {
        let mut is_explained = false;
        before_tests(self.text).lines().filter_map(move |line| {
            let line = line.trim_start();
            let constant = line
                .split_once("const ")
                .filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
            let name = constant.and_then(|(_, rest)| rest.split_once(": "));
            is_explained = match line {
                _ if line.starts_with("//") => true,
                _ if line.starts_with("#[") || name.is_some() => is_explained,
                _ => false,
            };
            let (name, rest) = name?;
            let is_bound = name.ends_with("_MAX") || rest.starts_with("Duration");
            (is_bound && !is_explained).then_some(name)
        })
    }

    fn purity(&self) -> Vec<String> {
        if !is_pure(self.text) {
            return Vec::new();
        }
        let words = IMPURE.iter().filter(|word| self.code.contains(**word));
        let mentions = words.map(|word| format!("mentions {word}"));
        let uses = self.neighbours().into_iter().filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            (!is_pure(&text)).then(|| format!("uses {}", path.display()))
        });
        let faults = mentions.chain(uses);
        faults
            .map(|fault| format!("says it is pure, but {fault}"))
            .collect()
    }

    /// Where the files of its area would be, if what it names there is a file.
    fn neighbours(&self) -> Vec<PathBuf> {
        let own = self.path.parent().unwrap();
        let above = match self.path.ends_with("mod.rs") {
            true => own.parent().unwrap(),
            false => own,
        };
        let area = Path::new("src").join(&self.module);
        let by_area = self.names(&format!("crate::{}", self.module));
        let by_area = by_area.iter().map(|name| area.join(name));
        let all = self.names("super");
        let all = all.iter().map(|name| above.join(name)).chain(by_area);
        all.flat_map(|path| [path.with_extension("rs"), path.join("mod.rs")])
            .collect()
    }

    fn layer(&self) -> Vec<String> {
        let module = self.module.as_str();
        if ROOTS.contains(&module) {
            return Vec::new();
        }
        if !LAYERS.concat().contains(&module) {
            return vec!["belongs to no layer: give it one".to_owned()];
        }
        let names = self.names("crate");
        let above = LAYERS.iter().skip_while(|group| !group.contains(&module));
        let closed = above
            .flat_map(|group| group.iter())
            .filter(|other| **other != module);
        closed
            .filter(|other| names.contains(*other))
            .map(|other| format!("may not use {other}"))
            .collect()
    }

    /// The names that follow: `prefix::name` and `prefix::{name, …}`.
    fn names(&self, prefix: &str) -> Vec<&str> {
        let prefix = format!("{prefix}::");
        let after = self.code.split(&prefix).skip(1);
        let names = after.flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split("};").next().unwrap().split(',').collect(),
            None => vec![rest],
        });
        let words = names.map(|name| name.trim_start().split(ends_a_word).next().unwrap());
        // A star names nothing.
        words.filter(|word| !word.is_empty()).collect()
    }

    fn exposure(&self) -> Vec<String> {
        let may = MAY_EXPOSE.iter().any(|(module, _)| *module == self.module);
        match self.code.contains(".expose()") && !may {
            true => vec!["turns an identity into text".to_owned()],
            false => Vec::new(),
        }
    }

    /// A derived `Debug` shows every field, so whatever holds text or bytes of clients has
    /// `unprintable!` instead, or none.
    fn printing(&self) -> Vec<String> {
        if !OF_CLIENTS.contains(&self.module.as_str()) {
            return Vec::new();
        }
        let derived = self.code.split("#[derive(").skip(1);
        let printable = derived.filter_map(|rest| {
            let (traits, rest) = rest.split_once(")]")?;
            let kinds = ["struct ", "enum "].into_iter();
            let start = kinds.filter_map(|kind| Some(rest.find(kind)? + kind.len()));
            let rest = &rest[start.min()?..];
            let name = rest.split(ends_a_word).next()?;
            let end = ["\n}", ";\n"].into_iter().filter_map(|end| rest.find(end));
            let body = &rest[..end.min().unwrap_or(rest.len())];
            let holds_text = ["String", "Vec<u8>", "Bytes"].iter();
            let is_open = holds_text.clone().any(|text| body.contains(text));
            (traits.contains("Debug") && is_open).then_some(name)
        });
        printable
            .filter(|name| MAY_PRINT.iter().all(|(may, _)| may != name))
            .map(|name| format!("{name} holds text or bytes and would print them"))
            .collect()
    }
}

fn ends_a_word(next: char) -> bool {
    !next.is_alphanumeric() && next != '_'
}

fn is_pure(text: &str) -> bool {
    text.starts_with("//! Pure.")
}

#[test]
fn the_rules_can_fail() {
    let text = "use crate::app;\nfn f(did: &Did) { did.expose(); }\nconst OPEN_MAX: u32 = 9;\n\
                // As RFC 1 has it.\nconst SHUT_MAX: u32 = 9;\nconst WAIT: Duration = HOUR;\n\n\
                const TIME: Duration = HOUR;\n";
    let file = File::new(Path::new("src/refusal.rs"), text);
    let faults: Vec<_> = file.faults().collect();
    assert_eq!(
        faults,
        [
            "does not open by saying what it is for",
            "OPEN_MAX is a bound or a time: say whose, if it is not a setting",
            "TIME is a bound or a time: say whose, if it is not a setting",
            "may not use app",
            "turns an identity into text",
        ]
    );
    let text = "//! Pure. It is not.\nuse super::hub::Hub;\nuse crate::{types::Did, session};\n\
                let t = Instant::now();\n\
                #[derive(Clone, Debug)]\npub struct Said(Vec<u8>);\n\
                #[derive(Debug)]\nstruct Bad;\n#[derive(Debug)]\nstruct Place {\n    at: Seq,\n}\n\
                #[derive(Clone)]\nstruct Kept {\n    name: String,\n}\n";
    let file = File::new(Path::new("src/events/x.rs"), text);
    let faults: Vec<_> = file.faults().collect();
    assert_eq!(
        faults,
        [
            "says it is pure, but mentions ::now()",
            "says it is pure, but uses src/events/hub.rs",
            "may not use session",
            "Said holds text or bytes and would print them"
        ]
    );
}

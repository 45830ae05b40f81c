//! The lexicons of `lexicons/`, and whether a value is within them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

/// Every lexicon document, by its NSID.
pub(crate) struct Lexicons(HashMap<String, Value>);

/// A definition, and the document in which its local references stand.
#[derive(Clone, Copy)]
struct Def<'a> {
    document: &'a str,
    schema: &'a Value,
}

impl Lexicons {
    /// Loads the documents of this checkout.
    pub(crate) fn load() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lexicons/blue/catbird/mls");
        let documents = fs::read_dir(&folder).expect("the lexicons are in the checkout");
        let documents = documents.map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let document: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let id = document["id"].as_str().unwrap().to_owned();
            assert_eq!(
                path.file_stem().unwrap().to_str(),
                id.rsplit('.').next(),
                "a document's name is the end of its id"
            );
            (id, document)
        });
        Self(documents.collect())
    }

    /// The names of calls that have a document, with their kinds.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(id, document)| {
            let name = id.strip_prefix(PREFIX)?;
            Some((name, document["defs"]["main"]["type"].as_str()?))
        })
    }

    /// What a call takes: its properties, and which of them it needs.
    pub(crate) fn takes(&self, call: &str) -> (Map<String, Value>, Vec<String>) {
        let main = self.main(call);
        let schema = match main["type"] == "procedure" {
            true => &main["input"]["schema"],
            false => &main["parameters"],
        };
        match schema["ref"].as_str() {
            Some(name) => self.object(name),
            None => parts(schema),
        }
    }

    /// The properties of a shared shape, and which of them it needs.
    pub(crate) fn object(&self, name: &str) -> (Map<String, Value>, Vec<String>) {
        let (document, local) = name.split_once('#').unwrap();
        parts(&self.0[document]["defs"][local])
    }

    pub(crate) fn is_query(&self, call: &str) -> bool {
        self.main(call)["type"] == "query"
    }

    /// Faults of a procedure's input.
    pub(crate) fn input_faults(&self, call: &str, value: &Value) -> Vec<String> {
        self.body_faults(call, "input", value)
    }

    /// Faults of an answer.
    pub(crate) fn output_faults(&self, call: &str, value: &Value) -> Vec<String> {
        self.body_faults(call, "output", value)
    }

    /// Faults of a subscription's body, by the frame's `t`.
    pub(crate) fn event_faults(&self, name: &str, value: &Value) -> Vec<String> {
        let document = format!("{PREFIX}subscribeConvoEvents");
        let schema = &self.0[&document]["defs"][name.trim_start_matches('#')];
        self.faults(
            Def {
                document: &document,
                schema,
            },
            value,
        )
    }

    /// What a subscription tells, and the fields that each may have.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&str, BTreeSet<String>)> {
        let defs = &self.0[&format!("{PREFIX}subscribeConvoEvents")]["defs"];
        let names = defs["main"]["message"]["schema"]["refs"].as_array();
        names.unwrap().iter().map(|name| {
            let name = name.as_str().unwrap();
            let (properties, _) = parts(&defs[name.trim_start_matches('#')]);
            (name, properties.keys().cloned().collect())
        })
    }

    /// Whether a call's document names an error. Those of all calls need no entry.
    pub(crate) fn knows_error(&self, call: &str, name: &str) -> bool {
        const GENERAL: [&str; 19] = [
            "AuthenticationRequired",
            "BadJwt",
            "BadJwtAudience",
            "BadJwtIss",
            "BadJwtLexiconMethod",
            "BadJwtSignature",
            "BadJwtType",
            "InternalServerError",
            "InvalidRequest",
            "JwtExpired",
            "JwtReplayed",
            "MethodNotImplemented",
            "NotEnoughResources",
            "PayloadTooLarge",
            "RateLimitExceeded",
            "RequestTimeout",
            "UnsupportedMediaType",
            "UpstreamFailure",
            "UpstreamTimeout",
        ];
        let listed = self.main(call)["errors"].as_array();
        let listed = listed.is_some_and(|errors| errors.iter().any(|e| e["name"] == name));
        listed || GENERAL.contains(&name)
    }

    fn main(&self, call: &str) -> &Value {
        let id = format!("{PREFIX}{call}");
        let document = self.0.get(&id);
        &document.unwrap_or_else(|| panic!("{call} has no lexicon"))["defs"]["main"]
    }

    fn body_faults(&self, call: &str, part: &str, value: &Value) -> Vec<String> {
        let document = format!("{PREFIX}{call}");
        let schema = &self.main(call)[part]["schema"];
        self.faults(
            Def {
                document: &document,
                schema,
            },
            value,
        )
    }

    fn faults(&self, def: Def<'_>, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(def, "", value, &mut faults);
        faults
    }

    fn check(&self, def: Def<'_>, path: &str, value: &Value, faults: &mut Vec<String>) {
        let schema = def.schema;
        match schema["type"].as_str() {
            Some("object") => self.check_object(def, path, value, faults),
            Some("array") => {
                let Some(items) = value.as_array() else {
                    return faults.push(format!("{path}: is not a list"));
                };
                check_bounds(schema, "Length", items.len(), path, faults);
                let item = Def {
                    schema: &schema["items"],
                    ..def
                };
                for (index, value) in items.iter().enumerate() {
                    self.check(item, &format!("{path}[{index}]"), value, faults);
                }
            }
            Some("ref") => {
                let name = schema["ref"].as_str().unwrap();
                let (document, local) = name.split_once('#').unwrap_or((name, "main"));
                let document = if document.is_empty() {
                    def.document
                } else {
                    document
                };
                let schema = &self.0[document]["defs"][local];
                assert!(schema.is_object(), "{name} is defined nowhere");
                self.check(Def { document, schema }, path, value, faults);
            }
            Some("string") => check_string(schema, path, value, faults),
            Some("bytes") => check_bytes(schema, path, value, faults),
            Some("integer") => check_integer(schema, path, value, faults),
            Some("boolean") if value.is_boolean() => {}
            Some("boolean") => faults.push(format!("{path}: is not true or false")),
            other => panic!("{path}: the validator does not know {other:?}"),
        }
    }

    fn check_object(&self, def: Def<'_>, path: &str, value: &Value, faults: &mut Vec<String>) {
        let Some(object) = value.as_object() else {
            return faults.push(format!("{path}: is not an object"));
        };
        let nothing = Map::new();
        let properties = def.schema["properties"].as_object().unwrap_or(&nothing);
        for name in def.schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            assert!(
                properties.contains_key(name),
                "{name} is required but not described"
            );
            if !object.contains_key(name) {
                faults.push(format!("{path}.{name}: is missing"));
            }
        }
        for (name, value) in object {
            let path = format!("{path}.{name}");
            match properties.get(name) {
                Some(schema) => self.check(Def { schema, ..def }, &path, value, faults),
                None => faults.push(format!("{path}: is unknown")),
            }
        }
    }
}

fn parts(schema: &Value) -> (Map<String, Value>, Vec<String>) {
    let required = schema["required"].as_array().into_iter().flatten();
    let required = required.map(|name| name.as_str().unwrap().to_owned());
    (
        schema["properties"].as_object().unwrap().clone(),
        required.collect(),
    )
}

fn check_string(schema: &Value, path: &str, value: &Value, faults: &mut Vec<String>) {
    let Some(text) = value.as_str() else {
        return faults.push(format!("{path}: is not a string"));
    };
    check_bounds(schema, "Length", text.len(), path, faults);
    let good = match schema["format"].as_str() {
        Some("did") => text.starts_with("did:") && !text.contains('#'),
        Some("datetime") => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        Some("uri") => text.contains("://"),
        Some("at-uri") => text.starts_with("at://"),
        None => true,
        Some(other) => panic!("{path}: the validator does not know the format {other}"),
    };
    if !good {
        faults.push(format!("{path}: is not of its format"));
    }
    let closed = schema["enum"].as_array();
    if closed.is_some_and(|allowed| !allowed.contains(value)) {
        faults.push(format!("{path}: is none of the allowed values"));
    }
}

fn check_bytes(schema: &Value, path: &str, value: &Value, faults: &mut Vec<String>) {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let text = value
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.get("$bytes"))
        .and_then(Value::as_str);
    match text.map(|text| STANDARD_NO_PAD.decode(text)) {
        Some(Ok(bytes)) => check_bounds(schema, "Length", bytes.len(), path, faults),
        _ => faults.push(format!(
            "{path}: is not {{\"$bytes\": base64 without padding}}"
        )),
    }
}

fn check_integer(schema: &Value, path: &str, value: &Value, faults: &mut Vec<String>) {
    let Some(number) = value.as_u64() else {
        return faults.push(format!("{path}: is not a whole number of at least 0"));
    };
    let bound = |name: &str| schema[name].as_u64();
    if number >= 1 << 53
        || bound("minimum").is_some_and(|least| number < least)
        || bound("maximum").is_some_and(|most| number > most)
    {
        faults.push(format!("{path}: is out of bounds"));
    }
}

fn check_bounds(schema: &Value, of: &str, size: usize, path: &str, faults: &mut Vec<String>) {
    let bound = |name: &str| schema[format!("{name}{of}")].as_u64();
    let size = size as u64;
    if bound("min").is_some_and(|least| size < least)
        || bound("max").is_some_and(|most| size > most)
    {
        faults.push(format!("{path}: is too long or too short"));
    }
}

const PREFIX: &str = "blue.catbird.mls.";

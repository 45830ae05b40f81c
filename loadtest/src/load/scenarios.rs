//! Pure. The scenarios that come with this program, wherever it is taken.

/// Each by its name: the files under `scenarios/`.
pub const OURS: [(&str, &str); 9] = [
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("fanout", include_str!("../../scenarios/fanout.toml")),
    ("chat", include_str!("../../scenarios/chat.toml")),
    ("groups", include_str!("../../scenarios/groups.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("slow", include_str!("../../scenarios/slow.toml")),
    ("abuse", include_str!("../../scenarios/abuse.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
    ("growth", include_str!("../../scenarios/growth.toml")),
];

/// The text of a scenario of ours.
pub fn named(name: &str) -> Option<&'static str> {
    let mut named = OURS.iter().filter(|(ours, _)| *ours == name);
    named.next().map(|(_, text)| *text)
}

/// All names, for whoever asked for one that there is not.
pub fn names() -> String {
    OURS.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::scenario::Scenario;

    #[test]
    fn every_file_is_a_scenario_that_can_be_run_by_its_name() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut found = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(named(name), Some(text.as_str()), "{name}");
            let scenario = Scenario::parse(&text).unwrap();
            // The options of a run change numbers, and not what is said of it.
            let about = &scenario.about;
            assert!(!about.contains(|c: char| c.is_ascii_digit()), "{about}");
            let scenario = toml::Value::try_from(scenario).unwrap();
            is_explained(scenario.as_table().unwrap());
            found += 1;
        }
        assert_eq!(found, OURS.len());
        assert_eq!(named("nothing"), None);
    }

    /// Whoever writes one finds each field in the README. Settings are the relay's.
    fn is_explained(fields: &toml::Table) {
        let readme = include_str!("../../README.md");
        for (field, value) in fields {
            assert!(readme.contains(&format!("`{field}`")), "{field}");
            if let Some(nested) = value.as_table().filter(|_| field != "environment") {
                is_explained(nested);
            }
        }
    }
}

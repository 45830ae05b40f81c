//! Pure. One key of the configuration: its names, what it takes, why it exists.

use super::Config;
use super::setting::Setting;

/// A key, described once. Everything that reads, checks, prints or documents the
/// configuration goes by this.
pub struct Key {
    /// The table and the key in `relay.toml`, such as `edge.listen`.
    pub name: &'static str,
    /// The environment variable that overrides the file.
    pub env: &'static str,
    /// When a change takes effect.
    pub effect: Effect,
    /// What it does and how to choose it. One paragraph.
    pub doc: &'static str,
    pub(super) setting: &'static dyn Setting,
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// At the next reload.
    Live,
    /// At the next start.
    Restart,
}

impl Key {
    /// The table of `relay.toml` that it stands in.
    pub fn table(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(table, _)| table)
    }

    /// Its name inside the table.
    pub fn leaf(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(_, leaf)| leaf)
    }

    /// What it takes, as the end of a sentence.
    pub fn allowed(&self) -> String {
        self.setting.allowed()
    }

    /// Its value in `config`, as TOML. None: not set.
    pub fn value(&self, config: &Config) -> Option<String> {
        // Settings reach their field through one `&mut` accessor, for reading too.
        self.setting.show(&mut config.clone())
    }

    /// Its value when nobody sets it.
    pub fn default(&self) -> Option<String> {
        self.value(&Config::default())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

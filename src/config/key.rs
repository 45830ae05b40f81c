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
    /// With the reload, for everything that is open and everything to come.
    Live,
    /// With the reload, for connections to come: those that are open have taken the
    /// value into buffers or into the kernel.
    NewConnections,
    /// At the next start.
    Restart,
}

impl Effect {
    /// The end of a paragraph about a key; nothing for what applies at once.
    pub(super) fn note(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::NewConnections => " A change is for new connections.",
            Self::Restart => " A change needs a restart.",
        }
    }

    /// The same as a cell of a table.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Live => "at once",
            Self::NewConnections => "new connections",
            Self::Restart => "restart",
        }
    }
}

impl Key {
    /// Its name inside its table.
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
        self.setting.show(config)
    }

    /// Whether it has the same value in both: secrets too, which are shown alike.
    pub fn is_same(&self, one: &Config, other: &Config) -> bool {
        self.setting.is_same(one, other)
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

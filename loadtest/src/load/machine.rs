//! What a run was measured on.

use serde::Serialize;

/// The machine of the generator, which is the relay's too unless it is remote.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// That this program may use.
    pub cores: usize,
    pub processor: String,
    pub memory_mib: u64,
    pub kernel: String,
}

impl Machine {
    /// What cannot be read is empty: this is for people, who see that.
    pub fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            memory_mib: memory_mib(&value(&read("/proc/meminfo"), "MemTotal")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The first `name : value` of a file under `/proc`.
fn value(text: &str, name: &str) -> String {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = values.filter(|(key, _)| key.trim() == name);
    let value = values.next().map(|(_, value)| value.trim());
    value.unwrap_or_default().to_owned()
}

fn memory_mib(kilobytes: &str) -> u64 {
    let number = kilobytes.split_ascii_whitespace().next();
    number.and_then(|text| text.parse().ok()).unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_name_counts() {
        let text = "processor\t: 0\nmodel name\t: A: B\nmodel name\t: C\n";
        assert_eq!(value(text, "model name"), "A: B");
        assert_eq!(value(text, "model"), "");
        assert_eq!(memory_mib("2048 kB"), 2);
    }
}

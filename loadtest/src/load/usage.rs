//! What a process on this machine has used, from `/proc`.

use std::time::Duration;

/// CPU time and resident memory of a process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu: Duration,
    pub resident_kib: u64,
}

impl Usage {
    /// None when there is no such process, or no `/proc`.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            cpu: cpu(&stat)?,
            resident_kib: resident_kib(&status)?,
        })
    }

    /// CPU time since then.
    pub fn cpu_since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }
}

/// A process and all that descend from it.
pub fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let children = children.split_ascii_whitespace().flat_map(str::parse);
    std::iter::once(pid)
        .chain(children.flat_map(family))
        .collect()
}

/// User and system time: the 14th and 15th field, in hundredths of a second on
/// every Linux that there is. The second field may hold spaces, but ends with `)`.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_uses() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_kib > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
    }
}

//! Pure. The name that was meant where another was written.

use strsim::levenshtein;

/// Of these, the one that lies nearest to `name`, if it is not further than `slips_max` edits.
pub(super) fn nearest(
    name: &str,
    names: impl Iterator<Item = &'static str>,
    slips_max: usize,
) -> Option<&'static str> {
    let nearest = names.map(|known| (levenshtein(name, known), known)).min();
    nearest
        .filter(|(edits, _)| *edits <= slips_max)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_far_from_all_was_not_meant() {
        let names = || ["edge.listen", "log.filter"].into_iter();
        assert_eq!(nearest("edge.lissen", names(), 2), Some("edge.listen"));
        assert_eq!(nearest("log.level", names(), 2), None);
    }
}

//! Pure. The name that somebody meant who wrote another.

/// Of these, the one that lies nearest to `name`, if it is not further than `slips_max` edits.
pub(super) fn nearest(
    name: &str,
    names: impl Iterator<Item = &'static str>,
    slips_max: usize,
) -> Option<&'static str> {
    let nearest = names.map(|known| (distance(name, known), known)).min();
    nearest
        .filter(|(edits, _)| *edits <= slips_max)
        .map(|(_, known)| known)
}

/// Levenshtein's: how many single edits lie between two names.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(&right) {
            let here = (diagonal + usize::from(l != *r))
                .min(before + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            before = here;
        }
        // The first column is the number of letters left out so far.
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lissten", "listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn what_is_too_far_from_all_was_not_meant() {
        let names = || ["edge.listen", "log.filter"].into_iter();
        assert_eq!(nearest("edge.lissen", names(), 2), Some("edge.listen"));
        assert_eq!(nearest("log.level", names(), 2), None);
    }
}

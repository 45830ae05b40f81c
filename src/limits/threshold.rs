//! Pure. Dynamic thresholds for what all share: how much one may hold follows from how much is
//! free, so that there is something left for newcomers, and nobody is held back while there is
//! plenty.
//!
//! Where packets share a buffer, one queue may hold a fixed part of what is free (Choudhury and
//! Hahne, 1998). Packets leave; connections stay. Whoever comes with one address after the other
//! would take the same part of what is left each time, and `n` of them leave next to nothing,
//! `C / (1 + a)^n` of `C` places. So the part shrinks with what is free: it is `a F / C` of `F`
//! free places. Then `n` who take all they can leave at least `C / (1 + a n)`, in whatever order
//! they come and go: each of them, when it takes its last place, holds at most `a G² / C`, where
//! `G` is free once it has that, and so adds at most `a / C` to `1 / F`.

/// How many of so many places one may hold while so many are free: this part of those, in
/// percent, where all are free. At least one, if any is.
pub(super) fn threshold(free: u64, places: u64, percent: u32) -> u64 {
    let squared = u128::from(free) * u128::from(free);
    let most = squared.saturating_mul(percent.into());
    let most = most.div_ceil(u128::from(places.max(1)) * 100);
    u64::try_from(most).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Who takes or gives back a place at each step: what is free in the end.
    fn free(places: u64, percent: u32, steps: impl IntoIterator<Item = (usize, bool)>) -> u64 {
        let (mut held, mut free) = ([0; 100], places);
        for (one, takes) in steps {
            if takes && held[one] < threshold(free, places, percent) {
                (held[one], free) = (held[one] + 1, free - 1);
            } else if !takes && held[one] > 0 {
                (held[one], free) = (held[one] - 1, free + 1);
            }
        }
        free
    }

    #[test]
    fn many_who_take_all_they_can_one_after_the_other_leave_places() {
        for (greedy, left) in [(1, 36_602), (4, 19_378), (13, 7_535), (100, 1_001)] {
            let steps = (0..greedy).flat_map(|one| (0..50_000).map(move |_| (one, true)));
            assert_eq!(free(50_000, 50, steps), left, "{greedy}");
        }
    }

    #[test]
    fn the_last_place_is_for_whoever_has_none() {
        assert_eq!(
            [0, 1, 10, 100].map(|free| threshold(free, 100, 50)),
            [0, 1, 1, 50]
        );
        assert_eq!(threshold(u64::MAX >> 7, u64::MAX >> 7, 100), u64::MAX >> 7);
        assert_eq!(threshold(u64::MAX, 1, u32::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn in_whatever_order_they_come_and_go_at_least_so_much_is_left(
            places in 1u64..1_000,
            percent in 1u32..300,
            greedy in 1usize..20,
            steps in proptest::collection::vec((0usize..20, 0u8..4), 1..4_000),
        ) {
            let steps = steps.iter().map(|(one, chance)| (one % greedy, *chance > 0));
            let left = free(places, percent, steps);
            // Each may have a part of a place too much.
            let bound = places * 100 / (100 + u64::from(percent) * greedy as u64);
            prop_assert!(left + greedy as u64 + 1 >= bound, "{left} of {bound}");
            prop_assert!(left == 0 || threshold(left, places, percent) > 0);
        }
    }
}

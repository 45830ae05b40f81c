//! Pure. Latencies as bars of a histogram.

use hdrhistogram::Histogram;
use serde::Serialize;

/// How many latencies lay where. Ten buckets a decade, from the shortest latency to the
/// longest, without a hole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Buckets(pub Vec<Bucket>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    pub from_ms: f64,
    pub to_ms: f64,
    pub count: u64,
}

impl From<&Histogram<u64>> for Buckets {
    fn from(micros: &Histogram<u64>) -> Self {
        // The edge below which no latency is, since none is below a microsecond.
        let edge = |index: i32| 10_f64.powf(f64::from(index) / 10.0) / 1000.0;
        let index = |micros: u64| ((micros.max(1) as f64).log10() * 10.0).floor() as i32;
        let mut buckets: Vec<Bucket> = Vec::new();
        if micros.is_empty() {
            return Self(buckets);
        }
        let first = index(micros.min());
        for seen in micros.iter_recorded() {
            let place = (index(seen.value_iterated_to()) - first).max(0);
            for next in buckets.len() as i32..=place {
                buckets.push(Bucket {
                    from_ms: edge(first + next),
                    to_ms: edge(first + next + 1),
                    count: 0,
                });
            }
            if let Some(bucket) = buckets.get_mut(place as usize) {
                bucket.count += seen.count_at_value();
            }
        }
        Self(buckets)
    }
}

/// Where the latencies of a run lay.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Histograms {
    pub connect: Buckets,
    pub send: Buckets,
    pub delivery: Buckets,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_latency_and_leave_no_hole() {
        let mut micros = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        assert_eq!(Buckets::from(&micros), Buckets::default());
        for value in [150, 160, 900, 1_000_000] {
            micros.record(value).unwrap();
        }
        let Buckets(buckets) = Buckets::from(&micros);
        let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        assert_eq!(count, 4);
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].to_ms == pair[1].from_ms)
        );
        let (first, last) = (buckets.first().unwrap(), buckets.last().unwrap());
        assert!(first.count > 0 && first.from_ms <= 0.15);
        assert!(last.count == 1 && last.to_ms > 1000.0);
    }
}

//! Pure. How a run went over time: a bounded number of points, which grow coarser as
//! the run grows longer, and the slope of the relay's memory.

use serde::Serialize;

/// Points of one run. A curve of more is no better to look at.
const POINTS_MAX: usize = 480;

/// Memory that grows over less than this says little: what caches take looks the same.
const SLOPE_SECONDS_MIN: f64 = 30.0;

/// What happened in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// The end of the interval, from the start of the run.
    pub at_seconds: f64,
    pub span_seconds: f64,
    /// Sockets that were live at its end.
    pub live: u64,
    pub sends: u64,
    pub deliveries: u64,
    pub reconnects: u64,
    /// Of the deliveries in it, in milliseconds; None when there were none.
    pub delivery_p50_ms: Option<f64>,
    pub delivery_p99_ms: Option<f64>,
    /// CPU time of the relay by wall time, when it is on this machine.
    pub relay_cores: Option<f64>,
    /// At its end, when it is on this machine.
    pub relay_resident_kib: Option<u64>,
    pub generator_cores: f64,
}

impl Point {
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.span_seconds.max(f64::MIN_POSITIVE)
    }

    /// This interval and the one after it as one. Their 50th percentiles are weighed
    /// by deliveries; of the 99th the worse stays, so that a stall does not fade.
    fn join(&self, next: &Self) -> Self {
        let span = self.span_seconds + next.span_seconds;
        let by_time = |a: f64, b: f64| {
            (a * self.span_seconds + b * next.span_seconds) / span.max(f64::MIN_POSITIVE)
        };
        let by_deliveries = |a: f64, b: f64| {
            let (n, m) = (self.deliveries as f64, next.deliveries as f64);
            (a * n + b * m) / (n + m).max(1.0)
        };
        Self {
            at_seconds: next.at_seconds,
            span_seconds: span,
            live: next.live,
            sends: self.sends + next.sends,
            deliveries: self.deliveries + next.deliveries,
            reconnects: self.reconnects + next.reconnects,
            delivery_p50_ms: both(self.delivery_p50_ms, next.delivery_p50_ms, by_deliveries),
            delivery_p99_ms: both(self.delivery_p99_ms, next.delivery_p99_ms, f64::max),
            relay_cores: both(self.relay_cores, next.relay_cores, by_time),
            relay_resident_kib: next.relay_resident_kib.or(self.relay_resident_kib),
            generator_cores: by_time(self.generator_cores, next.generator_cores),
        }
    }
}

fn both(a: Option<f64>, b: Option<f64>, join: impl Fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (one, other) => one.or(other),
    }
}

/// A moment that explains a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mark {
    pub at_seconds: f64,
    pub what: Moment,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Everyone is subscribed and the first message is due.
    Begin,
    /// A part of the sockets loses the connection.
    Storm,
    /// The hostile begin.
    Attack,
    /// The last message was due; the hostile have stopped.
    End,
    /// Everyone leaves.
    Over,
}

/// All intervals of a run, without a hole, and its moments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// How long an interval is at least.
    pub interval_seconds: f64,
    pub points: Vec<Point>,
    pub marks: Vec<Mark>,
}

impl Timeline {
    pub fn new(interval_seconds: f64) -> Self {
        Self {
            interval_seconds,
            points: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Appends an interval. When there are too many, two become one, from then on too.
    pub fn push(&mut self, point: Point) {
        match self.points.last_mut() {
            // Half an interval is one that was cut by rounding.
            Some(last) if last.span_seconds + point.span_seconds / 2.0 < self.interval_seconds => {
                *last = last.join(&point);
            }
            _ => self.points.push(point),
        }
        if self.points.len() > POINTS_MAX {
            self.interval_seconds *= 2.0;
            self.points = self
                .points
                .chunks(2)
                .filter_map(|pair| match pair {
                    [one, next] => Some(one.join(next)),
                    rest => rest.first().copied(),
                })
                .collect();
        }
    }

    /// Appends what is left over at the end to the last interval: a few ticks of CPU time
    /// over next to no time would be a peak.
    pub fn push_last(&mut self, point: &Point) {
        match self.points.last_mut() {
            Some(last) => *last = last.join(point),
            None => self.points.push(*point),
        }
    }

    /// Marks are few, but a soak of days has many storms: those beyond are left out.
    pub fn mark(&mut self, at_seconds: f64, what: Moment) {
        if self.marks.len() < POINTS_MAX || what != Moment::Storm {
            self.marks.push(Mark { at_seconds, what });
        }
    }

    pub fn moment(&self, what: Moment) -> Option<f64> {
        let mark = self.marks.iter().find(|mark| mark.what == what)?;
        Some(mark.at_seconds)
    }

    /// How fast the relay's memory grows in KiB a minute, by least squares over the
    /// second half of the time between the first message and the last: by then it
    /// should have what it needs. None for short runs.
    pub fn memory_slope(&self) -> Option<f64> {
        let (begin, end) = (self.moment(Moment::Begin)?, self.moment(Moment::End)?);
        let half = f64::midpoint(begin, end);
        if end - half < SLOPE_SECONDS_MIN {
            return None;
        }
        let seen: Vec<(f64, f64)> = self
            .points
            .iter()
            .filter(|point| (half..=end).contains(&point.at_seconds))
            .filter_map(|point| Some((point.at_seconds / 60.0, point.relay_resident_kib? as f64)))
            .collect();
        slope(&seen)
    }
}

/// Of the straight line that lies nearest to these points. None for fewer than three,
/// or when all have the same x.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let n = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x) * (x - mean_x);
    }
    (xx > 0.0).then(|| xy / xx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: usize) -> Point {
        Point {
            at_seconds: second as f64 + 1.0,
            span_seconds: 1.0,
            deliveries: 10,
            delivery_p50_ms: Some(2.0),
            delivery_p99_ms: Some(if second == 700 { 900.0 } else { 5.0 }),
            relay_resident_kib: Some(10_000 + 3 * second as u64),
            ..Point::default()
        }
    }

    #[test]
    fn a_long_run_keeps_few_points_and_forgets_neither_counts_nor_stalls() {
        let mut timeline = Timeline::new(1.0);
        for second in 0..5000 {
            timeline.push(point(second));
        }
        assert!(timeline.points.len() <= POINTS_MAX);
        assert!(timeline.points.len() > POINTS_MAX / 4);
        let deliveries: u64 = timeline.points.iter().map(|point| point.deliveries).sum();
        let span: f64 = timeline.points.iter().map(|point| point.span_seconds).sum();
        assert_eq!(deliveries, 50_000);
        assert_eq!(span, 5000.0);
        assert_eq!(timeline.points.last().unwrap().at_seconds, 5000.0);
        let worst = timeline.points.iter().filter_map(|p| p.delivery_p99_ms);
        assert_eq!(worst.fold(0.0, f64::max), 900.0);
        assert!(
            timeline
                .points
                .iter()
                .all(|p| p.delivery_p50_ms == Some(2.0))
        );
        let spans = timeline.points.iter().map(|point| point.span_seconds);
        assert!(spans.fold(0.0, f64::max) <= timeline.interval_seconds);
    }

    #[test]
    fn an_interval_without_deliveries_has_no_latency_to_join() {
        let quiet = Point {
            span_seconds: 1.0,
            ..Point::default()
        };
        let joined = point(0).join(&quiet);
        assert_eq!(joined.delivery_p50_ms, Some(2.0));
        assert_eq!(joined.per_second(joined.deliveries), 5.0);
        assert_eq!(quiet.join(&quiet).delivery_p99_ms, None);
    }

    #[test]
    fn a_leak_is_a_slope_of_the_second_half() {
        let mut timeline = Timeline::new(1.0);
        timeline.mark(0.0, Moment::Begin);
        for second in 0..100 {
            let mut point = point(second);
            if second < 40 {
                // Warming up is no leak.
                point.relay_resident_kib = Some(1);
            }
            timeline.push(point);
        }
        assert_eq!(timeline.memory_slope(), None);
        timeline.mark(100.0, Moment::End);
        let slope = timeline.memory_slope().unwrap();
        assert!((slope - 180.0).abs() < 1e-6, "{slope}");
    }

    #[test]
    fn a_short_run_says_nothing_of_a_leak() {
        let mut timeline = Timeline::new(1.0);
        timeline.mark(0.0, Moment::Begin);
        timeline.mark(20.0, Moment::End);
        for second in 0..20 {
            timeline.push(point(second));
        }
        assert_eq!(timeline.memory_slope(), None);
    }

    #[test]
    fn the_last_moment_is_no_peak_of_its_own() {
        let mut timeline = Timeline::new(1.0);
        timeline.push(point(0));
        timeline.push_last(&Point {
            at_seconds: 1.001,
            span_seconds: 0.001,
            deliveries: 1,
            generator_cores: 10.0,
            ..Point::default()
        });
        let [last] = timeline.points.as_slice() else {
            panic!("{} points", timeline.points.len());
        };
        assert_eq!((last.deliveries, last.at_seconds), (11, 1.001));
        assert!(last.generator_cores < 0.011, "{}", last.generator_cores);
    }

    #[test]
    fn too_few_points_have_no_slope() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}

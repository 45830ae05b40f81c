//! Pure. From values to places in a drawing, and numbers as people write them.

/// A straight line or powers of ten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rise {
    Linear,
    Log,
}

/// Maps values from `low` to `high` to places from `from` to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    rise: Rise,
    low: f64,
    high: f64,
    /// Between ticks; in decades where the rise is logarithmic.
    step: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From 0 to a round number that is at least `high`.
    pub(super) fn linear(high: f64, from: f64, to: f64) -> Self {
        let step = step(high);
        Self {
            rise: Rise::Linear,
            low: 0.0,
            high: (high / step).ceil().max(1.0) * step,
            step,
            from,
            to,
        }
    }

    /// From 0 to exactly `high`.
    pub(super) fn exact(high: f64, from: f64, to: f64) -> Self {
        Self {
            high: high.max(f64::MIN_POSITIVE),
            ..Self::linear(high, from, to)
        }
    }

    /// From the power of ten at or below `low` to the one at or above `high`.
    pub(super) fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(1e-6).log10().floor();
        let high = high.max(1e-6).log10().ceil().max(low + 1.0);
        Self {
            rise: Rise::Log,
            low: 10_f64.powf(low),
            high: 10_f64.powf(high),
            step: 1.0,
            from,
            to,
        }
    }

    /// Where a value lies. What is out of range lies at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = match self.rise {
            Rise::Linear => (value - self.low) / (self.high - self.low),
            Rise::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        self.from + share * (self.to - self.from)
    }

    /// The round values within it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let first = match self.rise {
            Rise::Linear => self.low,
            Rise::Log => self.low.log10(),
        };
        let value = |index: u32| {
            let value = first + f64::from(index) * self.step;
            match self.rise {
                Rise::Linear => value,
                Rise::Log => 10_f64.powf(value),
            }
        };
        // Rounding must not cost the last tick.
        let last = self.high * (1.0 + 1e-9);
        (0..20)
            .map(value)
            .take_while(|tick| *tick <= last)
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that there are three to six steps up to `high`.
/// Where there is nothing but 0, the axis goes to 1.
fn step(high: f64) -> f64 {
    if high <= 0.0 {
        return 1.0;
    }
    let raw = high.max(1e-9) / 4.0;
    let power = 10_f64.powf(raw.log10().floor());
    let rest = raw / power;
    let times = match rest {
        rest if rest < 1.5 => 1.0,
        rest if rest < 3.5 => 2.0,
        rest if rest < 7.5 => 5.0,
        _ => 10.0,
    };
    times * power
}

/// Three digits, and k or M for what is large.
pub(super) fn number(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_scale_ends_at_a_round_number() {
        let scale = Scale::linear(93.0, 200.0, 0.0);
        assert_eq!(scale.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::linear(128.0, 0.0, 1.0).ticks().last(), Some(&140.0));
        assert_eq!(scale.place(0.0), 200.0);
        assert_eq!(scale.place(50.0), 100.0);
        assert_eq!(scale.place(1000.0), 0.0);
        assert_eq!(Scale::linear(0.0, 0.0, 1.0).ticks(), [0.0, 1.0]);
    }

    #[test]
    fn a_logarithmic_scale_gives_each_decade_the_same_room() {
        let scale = Scale::log(0.3, 80.0, 0.0, 300.0);
        let ticks: Vec<_> = scale.ticks().into_iter().map(number).collect();
        assert_eq!(ticks, ["0.1", "1", "10", "100"]);
        assert!((scale.place(1.0) - 100.0).abs() < 1e-9);
        assert!((scale.place(10.0) - 200.0).abs() < 1e-9);
        assert_eq!(scale.place(0.0), 0.0);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.0042, "0.004"),
            (1.5, "1.5"),
            (12.34, "12.3"),
            (1234.0, "1234"),
            (20_000.0, "20k"),
            (2_500_000.0, "2.5M"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}

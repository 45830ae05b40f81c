//! Pure. Curves over time and bars over latencies, as SVG.

use std::fmt::Write as _;

use super::scale::{Rise, Scale, number};
use crate::load::buckets::Buckets;
use crate::load::report::Quantiles;
use crate::load::timeline::{Mark, Moment};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 10.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = HEIGHT - 22.0;

/// Nearer than this, two names above a histogram would lie on each other.
const NAMES_APART: f64 = 40.0;

/// One curve. There is no line where there is no value.
pub(super) struct Curve<'a> {
    pub name: &'a str,
    pub values: Vec<Option<f64>>,
}

/// Curves that share their axes.
pub(super) struct TimeChart<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub rise: Rise,
    /// The time of each value, in seconds.
    pub times: &'a [f64],
    pub curves: Vec<Curve<'a>>,
    pub marks: &'a [Mark],
}

/// The classes that give curves their colours.
const COLOURS: [&str; 2] = ["a", "b"];

impl TimeChart<'_> {
    /// Nothing when there is no value at all.
    pub(super) fn draw(&self) -> String {
        let values = || {
            self.curves
                .iter()
                .flat_map(|c| &c.values)
                .flatten()
                .copied()
        };
        let Some(most) = values().reduce(f64::max) else {
            return String::new();
        };
        let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
        let y = match self.rise {
            Rise::Linear => Scale::linear(most, BOTTOM, TOP),
            Rise::Log => Scale::log(least, most, BOTTOM, TOP),
        };
        let x = Scale::exact(self.times.last().copied().unwrap_or(1.0), LEFT, RIGHT);
        let (title, unit, most) = (self.title, self.unit, number(most));
        let said = format!("{title} over time, at most {most} {unit}");
        let mut svg = open(said.trim_end());
        axes(&mut svg, &x, &y, |seconds| format!("{} s", number(seconds)));
        for mark in self.marks {
            let class = match mark.what {
                Moment::Attack => "mark attack",
                _ => "mark",
            };
            let _ = write!(
                svg,
                r#"<line class="{class}" x1="{0:.1}" x2="{0:.1}" y1="{TOP}" y2="{BOTTOM}"/>"#,
                x.place(mark.at_seconds)
            );
        }
        for (curve, colour) in self.curves.iter().zip(COLOURS) {
            let path = path(self.times, &curve.values, &x, &y);
            let _ = write!(svg, r#"<path class="curve {colour}" d="{path}"/>"#);
        }
        self.tips(&mut svg, &x);
        svg.push_str("</svg>");
        format!(
            r#"<div class="card"><h3>{title} <span class="soft">{unit}</span></h3>{svg}{}</div>"#,
            self.legend()
        )
    }

    /// A strip for each time, which says all values when one points at it.
    fn tips(&self, svg: &mut String, x: &Scale) {
        let mut from = LEFT;
        for (index, time) in self.times.iter().enumerate() {
            let to = x.place(*time);
            let _ = write!(
                svg,
                r#"<rect class="hover" x="{from:.1}" y="{TOP}" width="{:.1}" height="{}"><title>{} s"#,
                (to - from).max(0.0),
                BOTTOM - TOP,
                number(*time)
            );
            for curve in &self.curves {
                if let Some(Some(value)) = curve.values.get(index) {
                    let _ = write!(svg, "\n{}: {} {}", curve.name, number(*value), self.unit);
                }
            }
            svg.push_str("</title></rect>");
            from = to;
        }
    }

    /// A curve that is alone has the chart's name, and one without a value needs none.
    fn legend(&self) -> String {
        if self.curves.len() == 1 {
            return String::new();
        }
        let mut legend = String::from(r#"<div class="legend">"#);
        let has_values = |curve: &Curve| curve.values.iter().any(Option::is_some);
        let curves = self.curves.iter().zip(COLOURS);
        for (curve, colour) in curves.filter(|(curve, _)| has_values(curve)) {
            let _ = write!(
                legend,
                r#"<span><i class="{colour}"></i>{}</span>"#,
                curve.name
            );
        }
        legend.push_str("</div>");
        legend
    }
}

/// What is said instead of a drawing where it cannot be seen.
fn open(said: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">"#)
}

fn axes(svg: &mut String, x: &Scale, y: &Scale, name: impl Fn(f64) -> String) {
    for tick in y.ticks() {
        let place = y.place(tick);
        let _ = write!(
            svg,
            r#"<line class="rule" x1="{LEFT}" x2="{RIGHT}" y1="{place:.1}" y2="{place:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            place + 4.0,
            number(tick)
        );
    }
    for tick in x.ticks() {
        let place = x.place(tick);
        // The first stands beside the lowest name of the other axis.
        let anchor = match place <= LEFT {
            true => "start",
            false => "middle",
        };
        let _ = write!(
            svg,
            r#"<text x="{place:.1}" y="{}" text-anchor="{anchor}">{}</text>"#,
            HEIGHT - 6.0,
            name(tick)
        );
    }
}

/// Straight lines between values that follow each other.
fn path(times: &[f64], values: &[Option<f64>], x: &Scale, y: &Scale) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for (time, value) in times.iter().zip(values) {
        match value {
            Some(value) => {
                let _ = write!(path, "{pen}{:.1} {:.1}", x.place(*time), y.place(*value));
                // A value by itself is a dot: the line to its own place has round ends.
                if pen == 'M' {
                    path.push_str("h0");
                }
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    path
}

/// Bars over a logarithmic axis of milliseconds, with lines at the median and the 99th
/// percentile.
pub(super) fn histogram(title: &str, Buckets(buckets): &Buckets, quantiles: &Quantiles) -> String {
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else {
        return String::new();
    };
    let x = Scale::log(first.from_ms, last.to_ms, LEFT, RIGHT);
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1);
    let y = Scale::linear(most as f64, BOTTOM, TOP);
    let figures = format!(
        "p50 {}, p99 {}, max {}",
        duration(quantiles.p50_ms),
        duration(quantiles.p99_ms),
        duration(quantiles.max_ms)
    );
    let mut svg = open(&format!("Latencies of {title}: {figures}"));
    axes(&mut svg, &x, &y, duration);
    for bucket in buckets {
        let (left, right) = (x.place(bucket.from_ms), x.place(bucket.to_ms));
        let top = y.place(bucket.count as f64);
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/><rect class="hover" x="{left:.1}" y="{TOP}" width="{:.1}" height="{}"><title>{} to {}: {}</title></rect>"#,
            left + 0.5,
            (right - left - 1.0).max(0.5),
            BOTTOM - top,
            right - left,
            BOTTOM - TOP,
            duration(bucket.from_ms),
            duration(bucket.to_ms),
            bucket.count
        );
    }
    let (p50, p99) = (x.place(quantiles.p50_ms), x.place(quantiles.p99_ms));
    let anchors = match p99 - p50 < NAMES_APART {
        true => ("end", "start"),
        false => ("middle", "middle"),
    };
    for (name, place, anchor) in [("p50", p50, anchors.0), ("p99", p99, anchors.1)] {
        let _ = write!(
            svg,
            r#"<line class="mark" x1="{place:.1}" x2="{place:.1}" y1="{TOP}" y2="{BOTTOM}"/><text x="{place:.1}" y="{}" text-anchor="{anchor}">{name}</text>"#,
            TOP - 3.0
        );
    }
    svg.push_str("</svg>");
    format!(r#"<div class="card"><h3>{title} <span class="soft">{figures}</span></h3>{svg}</div>"#)
}

pub(super) fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 0.1 => format!("{} µs", number(ms * 1000.0)),
        ms if ms < 1000.0 => format!("{} ms", number(ms)),
        ms => format!("{} s", number(ms / 1000.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::buckets::Bucket;

    fn chart(values: Vec<Option<f64>>) -> String {
        TimeChart {
            title: "Load",
            unit: "1/s",
            rise: Rise::Linear,
            times: &[1.0, 2.0, 3.0, 4.0],
            curves: vec![Curve {
                name: "sends",
                values,
            }],
            marks: &[Mark {
                at_seconds: 2.0,
                what: Moment::Storm,
            }],
        }
        .draw()
    }

    #[test]
    fn a_curve_breaks_where_there_is_no_value() {
        let svg = chart(vec![Some(1.0), Some(2.0), None, Some(4.0)]);
        // The last one is alone, and a dot.
        assert!(svg.contains("h0\"/>"), "{svg}");
        let path = svg.split("<path").nth(1).unwrap();
        let path = path.split("/>").next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert_eq!(svg.matches(r#"class="mark""#).count(), 1);
        assert!(svg.contains("<title>2 s\nsends: 2 1/s</title>"));
        assert!(svg.contains(r#"aria-label="Load over time, at most 4 1/s""#));
        assert_eq!(chart(vec![None; 4]), "");
    }

    #[test]
    fn what_was_not_measured_is_not_in_the_legend() {
        let curve = |name, value| Curve {
            name,
            values: vec![value],
        };
        let legend = TimeChart {
            title: "CPU",
            unit: "cores",
            rise: Rise::Linear,
            times: &[1.0],
            curves: vec![curve("relay", None), curve("generator", Some(0.1))],
            marks: &[],
        }
        .legend();
        let generator = r#"<span><i class="b"></i>generator</span>"#;
        assert_eq!(legend, format!(r#"<div class="legend">{generator}</div>"#));
    }

    #[test]
    fn nothing_is_drawn_outside_the_frame() {
        let svg = chart(vec![Some(0.0), Some(1e9), Some(-1.0), Some(0.1)]);
        for part in svg.split(['M', 'L']).skip(1) {
            let mut place = part.split([' ', '"', 'h']).map(str::parse::<f64>);
            if let (Some(Ok(x)), Some(Ok(y))) = (place.next(), place.next()) {
                assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y));
            }
        }
    }

    #[test]
    fn a_bucket_is_a_bar_that_says_what_it_holds() {
        let bucket = |from_ms, to_ms, count| Bucket {
            from_ms,
            to_ms,
            count,
        };
        let buckets = Buckets(vec![bucket(0.5, 1.0, 7), bucket(1.0, 2000.0, 3)]);
        let quantiles = Quantiles {
            count: 10,
            p50_ms: 0.8,
            p90_ms: 1.0,
            p99_ms: 1500.0,
            p999_ms: 1500.0,
            max_ms: 1500.0,
        };
        let svg = histogram("Delivery", &buckets, &quantiles);
        assert_eq!(svg.matches(r#"class="bar""#).count(), 2);
        assert!(svg.contains("<title>1 ms to 2 s: 3</title>"));
        assert!(
            svg.contains(r#"aria-label="Latencies of Delivery: p50 0.8 ms, p99 1.5 s, max 1.5 s""#)
        );
        assert!(svg.contains(">1 s</text>") && svg.contains(">p99</text>"));
        assert_eq!(histogram("Delivery", &Buckets::default(), &quantiles), "");
        let near = Quantiles {
            p99_ms: 0.81,
            ..quantiles
        };
        let svg = histogram("Delivery", &buckets, &near);
        assert!(svg.contains(r#"text-anchor="end">p50"#));
        assert!(svg.contains(r#"text-anchor="start">p99"#));
    }
}

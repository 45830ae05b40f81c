//! Pure. A report as one file that any browser shows, without scripts and without
//! anything from elsewhere.

mod chart;
mod scale;

use std::fmt::Write as _;

use super::report::{Quantiles, Report};
use super::timeline::Point;
use chart::{Curve, TimeChart, duration, histogram};
use scale::{Rise, number};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    let name = escape(&report.scenario);
    let sections = [
        head(report),
        tiles(report),
        time_lines(report),
        histograms(report),
        latencies(report),
        facts(report),
        scenario(report),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: mls-relay under load</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body><main>\n{sections}</main></body>\n</html>\n"
    )
}

fn head(report: &Report) -> String {
    let version = report.relay_version.as_deref().unwrap_or("unknown");
    let machine = &report.machine;
    let class = match report.is_clean {
        true => "verdict",
        false => "verdict bad",
    };
    let mut text = format!(
        "<h1>{}</h1><p>{}</p><p class=\"{class}\">{}</p><p class=\"soft\">{} · mls-relay {} at {} · \
         {} cores, {} · {} GiB · Linux {}</p>\n",
        escape(&report.scenario),
        escape(&report.about),
        escape(&report.verdict()),
        escape(&report.started),
        escape(version),
        escape(&report.relay_address),
        machine.cores,
        escape(&machine.processor),
        number(machine.memory_mib as f64 / 1024.0),
        escape(&machine.kernel)
    );
    for warning in report.warnings() {
        let _ = writeln!(text, r#"<p class="warning">{}</p>"#, escape(&warning));
    }
    text
}

/// What one looks for first.
fn tiles(report: &Report) -> String {
    let mut tiles = vec![
        (number(report.sockets as f64), "sockets"),
        (
            number(report.delivered_in_run as f64 / report.seconds.max(1e-9)),
            "deliveries a second",
        ),
        (latency(&report.delivery, |q| q.p50_ms), "delivery, p50"),
        (latency(&report.delivery, |q| q.p99_ms), "delivery, p99"),
    ];
    if let Some(relay) = &report.relay {
        let memory = relay.kib_per_socket;
        tiles.extend(memory.map(|kib| (format!("{} KiB", number(kib)), "relay memory a socket")));
        tiles.push((
            format!("{} s", number(relay.cpu_seconds_in_ten)),
            "relay CPU in ten seconds",
        ));
    }
    let tiles = tiles.iter().fold(String::new(), |mut text, (value, name)| {
        let _ = write!(
            text,
            r#"<div class="tile"><b>{value}</b><span>{name}</span></div>"#
        );
        text
    });
    format!("<div class=\"tiles\">{tiles}</div>\n")
}

fn latency(quantiles: &Quantiles, of: impl Fn(&Quantiles) -> f64) -> String {
    match quantiles.count {
        0 => "none".to_owned(),
        _ => duration(of(quantiles)),
    }
}

fn time_lines(report: &Report) -> String {
    let points = &report.timeline.points;
    let times: Vec<f64> = points.iter().map(|point| point.at_seconds).collect();
    let curve = |name, of: &dyn Fn(&Point) -> Option<f64>| Curve {
        name,
        values: points.iter().map(of).collect(),
    };
    let chart = |title, unit, rise, curves| TimeChart {
        title,
        unit,
        rise,
        times: &times,
        curves,
        marks: &report.timeline.marks,
    };
    let rate = |count: fn(&Point) -> u64| move |p: &Point| Some(p.per_second(count(p)));
    let charts = [
        chart(
            "Deliveries",
            "a second",
            Rise::Linear,
            vec![
                curve("deliveries", &rate(|p| p.deliveries)),
                curve("sends", &rate(|p| p.sends)),
            ],
        ),
        chart(
            "Delivery latency",
            "ms",
            Rise::Log,
            vec![
                curve("p50", &|p| p.delivery_p50_ms),
                curve("p99", &|p| p.delivery_p99_ms),
            ],
        ),
        chart(
            "CPU",
            "cores",
            Rise::Linear,
            vec![
                curve("relay, without Postgres", &|p| p.relay_cores),
                curve("generator", &|p| Some(p.generator_cores)),
            ],
        ),
        chart(
            "Resident memory of the relay",
            "MiB",
            Rise::Linear,
            vec![curve("memory", &|p| {
                Some(p.relay_resident_kib? as f64 / 1024.0)
            })],
        ),
        chart(
            "Live sockets",
            "",
            Rise::Linear,
            vec![curve("live", &|p| Some(p.live as f64))],
        ),
        chart(
            "Reconnects",
            "a second",
            Rise::Linear,
            vec![curve("reconnects", &rate(|p| p.reconnects))],
        ),
    ];
    let charts = charts.iter().map(TimeChart::draw).collect::<String>();
    format!(
        "<h2>Over time</h2><p class=\"soft\">In seconds from when the first subscribed. Dashed: the \
         first message, storms, the last message, the farewell; in red, the beginning of an \
         attack.</p><div class=\"grid\">{charts}</div>\n"
    )
}

fn histograms(report: &Report) -> String {
    let seen = &report.histograms;
    let charts = [
        histogram("Delivery", &seen.delivery, &report.delivery),
        histogram("Send", &seen.send, &report.send),
        histogram("Connect to live", &seen.connect, &report.connect),
    ]
    .concat();
    format!(
        "<h2>Latencies</h2><p class=\"soft\">Messages count from when they were due, not from when \
         they could leave. Each bar is a tenth of a decade, as high as there were latencies in \
         it.</p><div class=\"grid\">{charts}</div>\n"
    )
}

fn latencies(report: &Report) -> String {
    let mut rows = String::new();
    for (name, q) in report.latencies() {
        let _ = write!(
            rows,
            r#"<tr><th scope="row">{name}</th><td>{}</td>"#,
            q.count
        );
        for value in [q.p50_ms, q.p90_ms, q.p99_ms, q.p999_ms, q.max_ms] {
            let _ = write!(rows, "<td>{value:.2}</td>");
        }
        rows.push_str("</tr>");
    }
    let columns = ["ms", "count", "p50", "p90", "p99", "p99.9", "max"];
    let columns = columns.map(|name| format!(r#"<th scope="col">{name}</th>"#));
    let columns = columns.concat();
    format!(
        "<div class=\"card scroll\" style=\"margin-top:.9rem\"><table><tr>{columns}</tr>{rows}</table>\
         </div>\n"
    )
}

fn facts(report: &Report) -> String {
    let rows = report
        .facts()
        .iter()
        .fold(String::new(), |mut rows, (name, value)| {
            let _ = write!(
                rows,
                r#"<tr><th scope="row">{name}</th><td class="words">{}</td></tr>"#,
                escape(value)
            );
            rows
        });
    format!("<h2>In figures</h2><div class=\"card scroll\"><table>{rows}</table></div>\n")
}

fn scenario(report: &Report) -> String {
    let text = toml::to_string(&report.played).unwrap_or_default();
    format!(
        "<h2>The scenario</h2><div class=\"card\"><pre>{}</pre></div>\n",
        escape(&text)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape(r#"<a href="x">&"#),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }

    #[test]
    fn the_style_brings_nothing_from_elsewhere() {
        assert!(!STYLE.contains("http") && !STYLE.contains("@import") && !STYLE.contains("url("));
        assert!(STYLE.contains("prefers-color-scheme: dark"));
    }
}

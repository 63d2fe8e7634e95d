//! The page of a run, or of two in one picture.

use super::super::record::{Latency, Point};
use super::super::result::Report;
use super::super::text;
use super::page::{card, escape, page, table};
use super::plot::{Axis, Line, Plot, Scale};

/// Latencies that lie further apart than this are drawn on a logarithmic axis.
const LOG_FROM: f64 = 20.0;
/// The least end of the axis of shares: 99.9 %.
const NINES_MIN: f64 = 3.0;

/// The page of these runs.
pub(in super::super) fn report(runs: &[&Report]) -> String {
    let last = runs.last().expect("a page shows a run");
    let title = match runs {
        [one] => format!("{}: {}", one.label, one.plan.work.name()),
        _ => runs.iter().map(|run| run.label.as_str()).collect::<Vec<_>>().join(" and "),
    };
    let mut body: String = runs
        .iter()
        .flat_map(|run| run.warnings().into_iter().map(|warning| format!("{}: {warning}", run.label)))
        .map(|warning| format!("<p class=\"warn\">{}</p>\n", escape(&warning)))
        .collect();
    let heads: String = runs.iter().enumerate().map(|(at, run)| head(at, run)).collect();
    body.push_str(&format!("<div class=\"runs\">{heads}</div>\n"));
    body.push_str(&card("Throughput", "Answers a second, for each second of the run", &throughput(runs)));
    body.push_str(&card("Latency over time", "p99 and p50 of each second", &latency_over_time(runs)));
    let note = "At most so long took so many of the requests; each nine has the same width";
    body.push_str(&card("Latency by percentile", note, &percentiles(runs)));
    body.push_str(&card("Figures", "", &figures(runs)));
    body.push_str(&failures(runs));
    body.push_str(&format!(
        "<footer>quorate bench {}, {}; the generator ran on {}</footer>\n",
        escape(&last.version),
        text::moment(last.unix_s),
        escape(&last.machine.summary())
    ));
    let subtitle = if runs.len() == 1 { last.plan.summary() } else { "Two runs of quorate bench".to_owned() };
    page(&title, &subtitle, &body)
}

fn head(at: usize, run: &Report) -> String {
    let big = |value: &str, name: &str| format!("<div><b>{}</b>{name}</div>", escape(value));
    format!(
        "<section class=\"card run\" style=\"--run:var(--c{at})\"><h2>{}</h2><p class=\"note\">{}</p>\
         <div class=\"big\">{}{}{}{}</div></section>\n",
        escape(&run.label),
        escape(&run.plan.summary()),
        big(&text::rate(run.rate), "requests a second"),
        big(&text::micros(run.latency.p50_us), "p50"),
        big(&text::micros(run.latency.p99_us), "p99"),
        big(&text::count(run.failed), "failed"),
    )
}

fn seconds(at: f64) -> String {
    format!("{at:.0} s")
}

fn throughput(runs: &[&Report]) -> String {
    let lines = runs.iter().enumerate().map(|(at, run)| Line {
        name: run.label.clone(),
        colour: at,
        is_thin: false,
        points: run.series.iter().map(|point| (point.at_s, point.rate())).collect(),
    });
    Plot {
        x: Axis { title: "time", scale: Scale::Linear, write: seconds },
        y: Axis { title: "requests a second", scale: Scale::Linear, write: text::rate },
        lines: lines.collect(),
    }
    .render()
}

fn latency_over_time(runs: &[&Report]) -> String {
    type Of = fn(&Point) -> f64;
    let quantiles: [(&str, bool, Of); 2] =
        [("p99", false, |point| point.p99_us), ("p50", true, |point| point.p50_us)];
    let mut lines = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        for (name, is_thin, of) in quantiles {
            // A second without an answer has no latency; the throughput shows it.
            let points = run.series.iter().filter(|point| point.count > 0);
            let points = points.map(|point| (point.at_s, of(point))).collect();
            lines.push(Line { name: format!("{} {name}", run.label), colour: at, is_thin, points });
        }
    }
    Plot {
        x: Axis { title: "time", scale: Scale::Linear, write: seconds },
        y: Axis { title: "latency", scale: latency_scale(&lines), write: short_micros },
        lines,
    }
    .render()
}

fn percentiles(runs: &[&Report]) -> String {
    // The last point of a curve is the greatest of all, at a share of 1: it is drawn at the share that it stands for.
    let end = |latency: &Latency| (latency.count.max(2) as f64).log10();
    let nines = runs.iter().map(|run| end(&run.latency)).fold(NINES_MIN, f64::max).min(6.0);
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .map(|(at, run)| {
            let most = 1.0 - 1.0 / run.latency.count.max(2) as f64;
            let points = run.latency.curve.iter().map(|(share, us)| (share.min(most), *us)).collect();
            Line { name: run.label.clone(), colour: at, is_thin: false, points }
        })
        .collect();
    Plot {
        x: Axis { title: "share of requests", scale: Scale::Nines(nines), write: percent },
        y: Axis { title: "latency", scale: latency_scale(&lines), write: short_micros },
        lines,
    }
    .render()
}

fn latency_scale(lines: &[Line]) -> Scale {
    let values = || lines.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|us| *us > 0.0);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if most > LOG_FROM * least { Scale::Log } else { Scale::Linear }
}

/// Round numbers need no decimals.
fn short_micros(us: f64) -> String {
    let (number, unit) = match us {
        us if us < 1e3 => (us, "\u{b5}s"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", (number * 100.0).round() / 100.0)
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e8).round() / 1e6)
}

fn figures(runs: &[&Report]) -> String {
    type Of = fn(&Latency) -> f64;
    type Write = fn(f64) -> String;
    let of_latency: [(&str, Of); 9] = [
        ("min", |latency| latency.min_us),
        ("mean", |latency| latency.mean_us),
        ("p50", |latency| latency.p50_us),
        ("p75", |latency| latency.p75_us),
        ("p90", |latency| latency.p90_us),
        ("p99", |latency| latency.p99_us),
        ("p99.9", |latency| latency.p999_us),
        ("p99.99", |latency| latency.p9999_us),
        ("max", |latency| latency.max_us),
    ];
    let mut rows: Vec<(String, Vec<f64>, Write)> = Vec::new();
    let mut add = |name: &str, of: &dyn Fn(&Report) -> f64, write: Write| {
        rows.push((name.to_owned(), runs.iter().map(|run| of(run)).collect(), write));
    };
    add("requests a second", &|run| run.rate, text::rate);
    for (name, of) in of_latency {
        add(name, &|run| of(&run.latency), text::micros);
    }
    for kind in ["put", "get", "list"] {
        if runs.iter().any(|run| run.latency_by_kind.len() > 1 && run.latency_by_kind.contains_key(kind)) {
            let at = |run: &Report| run.latency_by_kind.get(kind).map_or(0.0, |latency| latency.p99_us);
            add(&format!("p99 of {kind}"), &at, text::micros);
        }
    }
    if runs.iter().any(|run| run.delay.is_some()) {
        let delay = |run: &Report| run.delay.as_ref().map_or(0.0, |delay| delay.p99_us);
        add("p99 of sent after it was due", &delay, text::micros);
    }
    add("answered", &|run| run.answered as f64, |count| text::count(count as u64));
    add("failed", &|run| run.failed as f64, |count| text::count(count as u64));
    add("measured", &|run| run.elapsed_s, |seconds| format!("{seconds:.1} s"));
    let cpu = |run: &Report| 1e6 * run.generator_cpu_s / run.answered.max(1) as f64;
    add("generator's CPU, a request", &cpu, text::micros);

    let mut header = vec![String::new()];
    header.extend(runs.iter().map(|run| run.label.clone()));
    if let [first, second] = runs {
        header.push(format!("{} / {}", second.label, first.label));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, values, write)| {
            let mut row = vec![name];
            row.extend(values.iter().map(|value| write(*value)));
            if let [first, second] = values[..] {
                row.push(text::ratio(second / first));
            }
            row
        })
        .collect();
    table(&header, &rows)
}

fn failures(runs: &[&Report]) -> String {
    let rows: Vec<Vec<String>> = runs
        .iter()
        .flat_map(|run| run.errors.iter().map(|(kind, error)| (run.label.clone(), kind, error)))
        .map(|(label, kind, error)| {
            vec![format!("{label}: {kind}"), text::count(error.count), error.example.clone()]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["", "requests", "the first one"].map(str::to_owned);
    card("Failed requests", "By kind", &table(&header, &rows))
}

#[cfg(test)]
mod tests {
    use super::super::super::result::tests::report as sample;
    use super::*;

    #[test]
    fn a_page_has_what_a_reader_looks_for() {
        let run = sample("fast <one>", 100);
        let html = report(&[&run]);
        for part in [
            "<!doctype html>",
            "fast &lt;one&gt;",
            "Throughput",
            "Latency over time",
            "Latency by percentile",
            "99.9 %",
            "requests a second",
            "no &lt;leader&gt;",
            &run.plan.summary(),
            "prefers-color-scheme: dark",
        ] {
            assert!(html.contains(part), "{part} is not there");
        }
        assert_eq!(html.matches("<svg").count(), 3);
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    }

    #[test]
    fn two_runs_share_the_plots_and_have_ratios() {
        let (before, after) = (sample("before", 200), sample("after", 100));
        let html = report(&[&before, &after]);
        assert!(html.contains("before and after") && html.contains("after / before"), "it names both");
        assert!(html.contains("curve s0") && html.contains("curve s1"), "both are drawn");
        assert!(html.contains("1.00\u{d7}"), "the same rate");
        assert_eq!(html.matches("<svg").count(), 3);
    }

    #[test]
    fn a_page_needs_no_network_and_no_script() {
        let run = sample("one", 100);
        let html = report(&[&run, &run]);
        for part in ["http://", "https://", "src=", "@import", "url(", "<script", "<link"] {
            assert!(!html.contains(part), "{part} is there");
        }
        assert!(!html.contains("NaN") && !html.contains("inf"), "every number is one");
    }

    #[test]
    fn a_run_in_which_nothing_was_answered_can_be_shown() {
        let mut run = sample("nothing", 100);
        (run.latency, run.series, run.answered, run.rate) = (Latency::default(), Vec::new(), 0, 0.0);
        let html = report(&[&run, &run]);
        assert!(!html.contains("NaN"), "every number is one");
    }
}

//! Line plots as SVG: small, without scripts, and in the page's own fonts and colours, which a plotting crate's output does not follow
//! when the reader's screen is dark.

use std::fmt::Write;

use super::page::escape;

const WIDTH: f64 = 1_020.0;
const HEIGHT: f64 = 300.0;
/// Around the plot: top, right, bottom, left.
const MARGIN: [f64; 4] = [14.0, 12.0, 40.0, 68.0];
/// Lines of a grid, about.
const TICKS: f64 = 5.0;

/// How a number becomes a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// In proportion.
    Linear,
    /// Each factor of ten the same length.
    Log,
    /// A share p at log10(1 / (1 - p)), so that each nine has the same length; it ends here.
    Nines(f64),
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines(end) => (1.0 / (1.0 - value).max(f64::MIN_POSITIVE)).log10().min(end),
        }
    }
}

/// An axis.
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) title: &'static str,
    /// How.
    pub(super) scale: Scale,
    /// How its numbers are written.
    pub(super) write: fn(f64) -> String,
}

/// A line.
pub(super) struct Line {
    /// Its name in the legend.
    pub(super) name: String,
    /// Its colour: that of a run.
    pub(super) colour: usize,
    /// Whether it is the lesser one of its colour.
    pub(super) is_thin: bool,
    /// Its points.
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot with its legend.
pub(super) struct Plot {
    /// To the right.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// What is drawn.
    pub(super) lines: Vec<Line>,
}

/// A range of places on an axis, and where its grid lines are.
struct Range {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Range {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Range {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (0.0, 1.0);
        }
        match scale {
            Scale::Linear => Range::linear(most),
            Scale::Log => Range::log(least, most),
            Scale::Nines(end) => {
                let nines = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];
                let is_shown = |share: &f64| Scale::Nines(f64::INFINITY).place(*share) <= end + 1e-9;
                let ticks = nines.into_iter().filter(is_shown).collect();
                Range { from: 0.0, to: end, ticks }
            }
        }
    }

    /// From 0, in steps of 1, 2 or 5 times a power of ten.
    fn linear(most: f64) -> Range {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = (most / step).ceil();
        Range {
            from: 0.0,
            to: count * step,
            ticks: (0..=count as u32).map(|at| f64::from(at) * step).collect(),
        }
    }

    /// Whole powers of ten, with 2 and 5 between them where there are few.
    fn log(least: f64, most: f64) -> Range {
        let least = least.max(1e-3);
        let most = most.max(least * 1.01);
        let steps: &[f64] = if most / least > 1e4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        let all: Vec<f64> =
            (low..=high).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power))).collect();
        let from = all.iter().copied().rfind(|tick| *tick <= least * 1.000_001).unwrap_or(least);
        let to = all.iter().copied().find(|tick| *tick >= most * 0.999_999).unwrap_or(most);
        let ticks = all.into_iter().filter(|tick| (from..=to).contains(tick)).collect();
        Range { from: from.log10(), to: to.log10(), ticks }
    }
}

impl Plot {
    /// As HTML.
    pub(super) fn render(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let mut x = Range::of(self.x.scale, points().map(|point| point.0));
        if self.x.scale == Scale::Linear {
            // Time ends where the data does, and not at the next round number.
            let end = points().map(|point| point.0).fold(0.0, f64::max);
            x.to = if end > 0.0 { end } else { x.to };
            x.ticks.retain(|tick| *tick <= x.to * 1.000_001);
        }
        let y = Range::of(self.y.scale, points().map(|point| point.1));
        let [top, right, bottom, left] = MARGIN;
        let place_x = |value: f64| {
            let share = (self.x.scale.place(value) - x.from) / (x.to - x.from).max(f64::MIN_POSITIVE);
            left + share.clamp(0.0, 1.0) * (WIDTH - left - right)
        };
        let place_y = |value: f64| {
            let share = (self.y.scale.place(value) - y.from) / (y.to - y.from).max(f64::MIN_POSITIVE);
            HEIGHT - bottom - share.clamp(0.0, 1.0) * (HEIGHT - top - bottom)
        };
        let mut svg = String::new();
        let (floor, end) = (HEIGHT - bottom, WIDTH - right);
        for tick in &y.ticks {
            let (at, text) = (place_y(*tick), escape(&(self.y.write)(*tick)));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 10.0,
                at + 4.0
            );
        }
        for tick in &x.ticks {
            let (at, text) = (place_x(*tick), escape(&(self.x.write)(*tick)));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{floor}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                floor + 18.0
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{left}\" x2=\"{end}\" y1=\"{floor}\" y2=\"{floor}\"/>\
             <text class=\"unit\" x=\"{end}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            HEIGHT - 4.0,
            escape(self.x.title)
        );
        for line in &self.lines {
            svg.push_str(&self.draw(line, &place_x, &place_y));
        }
        format!(
            "{}<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{svg}</svg>\n",
            self.legend(),
            escape(self.y.title)
        )
    }

    fn draw(&self, line: &Line, place_x: &dyn Fn(f64) -> f64, place_y: &dyn Fn(f64) -> f64) -> String {
        let places: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (place_x(*x), place_y(*y))).collect();
        let Some(((first, _), (last, _))) = places.first().zip(places.last()) else { return String::new() };
        let path: String = places.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let path = path.trim_end();
        let mut svg = String::new();
        // Under several curves it would be mud.
        if !line.is_thin && self.lines.iter().filter(|line| !line.is_thin).count() == 1 {
            let floor = HEIGHT - MARGIN[2];
            let _ = write!(
                svg,
                "<polygon class=\"area s{}\" points=\"{first:.1},{floor} {path} {last:.1},{floor}\"/>",
                line.colour
            );
        }
        let thin = if line.is_thin { " thin" } else { "" };
        let _ = write!(svg, "<polyline class=\"curve s{}{thin}\" points=\"{path}\"/>", line.colour);
        for ((x, y), (at, value)) in places.iter().zip(&line.points) {
            let said = format!("{}: {} at {}", line.name, (self.y.write)(*value), (self.x.write)(*at));
            let _ = write!(
                svg,
                "<circle class=\"dot s{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}</title></circle>",
                line.colour,
                escape(&said)
            );
        }
        svg
    }

    fn legend(&self) -> String {
        let entries: String = self
            .lines
            .iter()
            .map(|line| {
                let thin = if line.is_thin { " class=\"thin\"" } else { "" };
                let name = escape(&line.name);
                format!("<span><i{thin} style=\"color:var(--c{})\"></i>{name}</span>", line.colour)
            })
            .collect();
        format!("<div class=\"legend\">{entries}</div>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_round_numbers() {
        assert_eq!(Range::linear(1_234.0).ticks, [0.0, 500.0, 1_000.0, 1_500.0]);
        assert_eq!(Range::linear(0.0).ticks.last(), Some(&1.0));
        let log = Range::of(Scale::Log, [3.0, 150.0].into_iter());
        assert_eq!(log.ticks, [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]);
        let log = Range::of(Scale::Log, [7.0, 7.0].into_iter());
        assert!(log.to > log.from && log.ticks.len() >= 2, "{:?}", log.ticks);
    }

    #[test]
    fn each_nine_has_the_same_length() {
        let scale = Scale::Nines(5.0);
        let places = [0.0, 0.9, 0.99, 0.999].map(|share| scale.place(share));
        for (place, expected) in places.into_iter().zip([0.0, 1.0, 2.0, 3.0]) {
            assert!((place - expected).abs() < 1e-9, "{place} is not {expected}");
        }
        assert_eq!(scale.place(1.0), 5.0, "all of them is the end");
        let range = Range::of(Scale::Nines(3.2), [0.0].into_iter());
        assert_eq!(range.ticks, [0.0, 0.5, 0.9, 0.99, 0.999]);
    }

    #[test]
    fn a_plot_without_points_is_a_plot() {
        let axis = || Axis { title: "t", scale: Scale::Linear, write: |value| value.to_string() };
        let line = Line { name: "a<b".to_owned(), colour: 0, is_thin: false, points: Vec::new() };
        let html = Plot { x: axis(), y: axis(), lines: vec![line] }.render();
        assert!(html.contains("<svg") && html.contains("a&lt;b") && !html.contains("NaN"), "{html}");
    }
}

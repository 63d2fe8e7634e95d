//! Bars, as boxes of the page: they need no SVG, and take the width that there is.

use super::page::escape;

/// A bar.
pub(super) struct Bar {
    /// Its name.
    pub(super) name: String,
    /// Its colour in the style sheet.
    pub(super) colour: usize,
    /// Its length.
    pub(super) value: f64,
    /// The number beside it.
    pub(super) text: String,
    /// What it means.
    pub(super) note: String,
}

/// The share of the width that the longest bar has: beside it is its number.
const LONGEST_PERCENT: f64 = 56.0;

/// Bars of one kind.
pub(super) fn bars(bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let rows: String = bars
        .iter()
        .map(|bar| {
            let share = if longest > 0.0 { bar.value / longest } else { 0.0 };
            let width = LONGEST_PERCENT * if share.is_finite() { share } else { 0.0 };
            format!(
                "<div class=\"name\">{}</div><div class=\"track\"><div class=\"bar\" \
                 style=\"width:{width:.2}%;background:var(--c{})\"></div><div class=\"value\">{}<em>{}</em></div></div>\n",
                escape(&bar.name),
                bar.colour,
                escape(&bar.text),
                escape(&bar.note)
            )
        })
        .collect();
    format!("<div class=\"bars\">{rows}</div>\n")
}

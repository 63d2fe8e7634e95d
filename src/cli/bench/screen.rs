//! What a person sees while it runs: on a terminal one line that is renewed in place, else a line every few seconds. It goes to
//! stderr, so that stdout has the results alone.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Plan;
use super::record::Point;
use super::text;

/// Where there is no terminal, a line for so much time.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Where the progress is shown.
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    is_silent: bool,
    /// When a line was last written, since the run began.
    line_at: Duration,
    sent: u64,
    prefix: String,
}

impl Screen {
    /// Finds out what stderr is.
    pub(crate) fn new() -> Screen {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let bar = (std::io::stderr().is_terminal() && !dumb).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:24.cyan/black.bright} {percent:>3}%  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("\u{2501}\u{2578}\u{2500}"));
            bar
        });
        Screen { bar, is_silent: false, line_at: Duration::ZERO, sent: 0, prefix: String::new() }
    }

    /// One that says nothing.
    pub(crate) fn silent() -> Screen {
        Screen { bar: None, is_silent: true, line_at: Duration::ZERO, sent: 0, prefix: String::new() }
    }

    /// What stands before all that is shown from now on.
    pub(crate) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// A run begins.
    pub(crate) fn begin(&mut self, plan: &Plan) {
        (self.line_at, self.sent) = (Duration::ZERO, 0);
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(length(plan));
            bar.set_message(format!("{}warming up", self.prefix));
            bar.tick();
        }
    }

    /// A second of it passed.
    pub(crate) fn show(&mut self, plan: &Plan, at: Duration, point: Option<&Point>) {
        let Some(point) = point else { return };
        self.sent += point.count + point.failed;
        let mut line = format!(
            "{}{}/s  p50 {}  p99 {}",
            self.prefix,
            text::rate(point.rate()),
            text::micros(point.p50_us),
            text::micros(point.p99_us)
        );
        if point.failed > 0 {
            line.push_str(&format!("  {} failed", text::count(point.failed)));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(position(plan, at, self.sent));
                bar.set_message(line);
            }
            None if at >= self.line_at + LINE_INTERVAL => {
                self.line_at = at;
                self.line(&format!("{:>5.0} s  {line}", at.as_secs_f64()));
            }
            None => {}
        }
    }

    /// Keys are being loaded.
    pub(crate) fn preloading(&mut self, loaded: u64, count: u64) {
        let line = format!("{}loading keys: {} of {}", self.prefix, text::count(loaded), text::count(count));
        match &self.bar {
            Some(bar) => {
                bar.set_length(count);
                bar.set_position(loaded);
                bar.set_message(line);
            }
            None if loaded < count => self.line(&line),
            None => {}
        }
    }

    /// It is over: the line goes, the results come.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_message("");
            bar.finish_and_clear();
        }
    }

    /// Says something that stays.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            _ if self.is_silent => {}
            Some(bar) => bar.suspend(|| write_line(line)),
            None => write_line(line),
        }
    }
}

/// Nobody may be reading: then there is nobody to tell.
fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A bar is as long as what ends the run.
fn length(plan: &Plan) -> u64 {
    match (plan.duration_s, plan.requests) {
        (Some(seconds), _) => (seconds * 1e3) as u64,
        (None, Some(requests)) => requests,
        (None, None) => 0,
    }
}

fn position(plan: &Plan, at: Duration, sent: u64) -> u64 {
    let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    if plan.duration_s.is_some() { at_ms } else { sent }.min(length(plan))
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn the_bar_follows_what_ends_the_run() {
        let by_count = Plan { requests: Some(100), duration_s: None, ..plan() };
        assert_eq!(position(&by_count, Duration::from_secs(9), 50), 50);
        assert_eq!(position(&by_count, Duration::from_secs(9), 500), 100);
        let by_time = Plan { requests: None, duration_s: Some(2.0), ..plan() };
        assert_eq!((length(&by_time), position(&by_time, Duration::from_millis(500), 7)), (2_000, 500));
    }
}

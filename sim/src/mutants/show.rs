//! What the one who waits sees: a bar on a terminal, a line for each thing done elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// See the [module](self).
pub struct Show {
    bar: ProgressBar,
}

impl Show {
    /// Begins, with so many things to do.
    pub fn begin(things: u64) -> Show {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style =
            ProgressStyle::with_template("{spinner} {bar:20} {pos}/{len} mutants, {elapsed}  {wide_msg}")
                .expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(things), target).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(250));
        Show { bar }
    }

    /// What is being done now; seen on a terminal alone.
    pub fn now(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            // Standard output is gone: the table and the exit code are left to say it.
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        });
    }

    /// One thing is done.
    pub fn done(&self) {
        self.bar.inc(1);
    }

    /// All is done.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

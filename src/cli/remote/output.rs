//! What commands print: in three formats, coloured on a terminal.
//!
//! | format | for | what it is |
//! |---|---|---|
//! | `table` | people | aligned columns under a header; long values are shortened |
//! | `plain` | shell scripts | no header; columns separated by one tab; keys and values escaped (but the value of `get`: its bytes) |
//! | `json` | programs | one object on each line |
//!
//! Where somebody stops reading, what comes then is dropped, and the command ends as it would have. An output that fails (a full disk) is a failure of the command, told at its end.

use std::io::{BufWriter, ErrorKind, IsTerminal, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use serde::{Deserialize, Serialize};

use super::super::Failure;
use super::exit;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Table,
    Json,
    Plain,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Normal,
    Header,
    Quiet,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Tone::Normal => Style::new(),
            Tone::Header => Style::new().bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warning => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// Where a command prints to.
pub(super) struct Out {
    to: BufWriter<Box<dyn Write>>,
    format: Format,
    has_colors: bool,
    is_terminal: bool,
    fault: Option<std::io::Error>,
    is_over: bool,
}

impl Out {
    /// Standard output.
    pub(super) fn stdout(format: Format, color: Color) -> Out {
        let stdout = std::io::stdout();
        let has_colors = match color {
            Color::Always => true,
            Color::Never => false,
            // A terminal that can, or CLICOLOR_FORCE; unless NO_COLOR is set.
            Color::Auto => AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
        };
        let is_terminal = stdout.is_terminal();
        Out::new(Box::new(stdout), format, has_colors, is_terminal)
    }

    fn new(to: Box<dyn Write>, format: Format, has_colors: bool, is_terminal: bool) -> Out {
        let to = BufWriter::new(to);
        Out { to, format, has_colors, is_terminal, fault: None, is_over: false }
    }

    /// How answers are to be printed.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Whether a person looks at it.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether there is any use in printing more.
    pub(super) fn is_open(&self) -> bool {
        !self.is_over
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        if let Err(error) = self.to.write_all(bytes) {
            self.fail(error);
        }
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(b"\n");
    }

    /// Prints an object on a line.
    pub(super) fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(mut line) => {
                line.push(b'\n');
                self.bytes(&line);
            }
            Err(error) => self.fail(error.into()),
        }
    }

    /// Text in its colour.
    pub(super) fn painted(&self, text: &str, tone: Tone) -> String {
        if !self.has_colors || tone == Tone::Normal || text.is_empty() {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }

    /// Lets readers have what was printed so far.
    pub(super) fn flush(&mut self) {
        if !self.is_over
            && let Err(error) = self.to.flush()
        {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: std::io::Error) {
        self.is_over = true;
        self.fault = Some(error);
    }

    /// Ends the output.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.flush();
        let Some(error) = self.fault.take() else { return Ok(()) };
        // What is left in the buffer is not tried again.
        let _ = self.to.into_parts();
        // A reader that went away early (`| head`) has seen enough.
        if error.kind() == ErrorKind::BrokenPipe {
            return Ok(());
        }
        Err(Failure::new(exit::LOCAL, format!("the output cannot be written: {error}")))
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! An output that remembers.

    use std::cell::RefCell;
    use std::io::Write;
    use std::rc::Rc;

    use super::{Format, Out};

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `print` prints.
    pub(in super::super) fn printed(format: Format, print: impl FnOnce(&mut Out)) -> String {
        shown(format, false, print)
    }

    /// The same, coloured or not.
    pub(in super::super) fn shown(format: Format, has_colors: bool, print: impl FnOnce(&mut Out)) -> String {
        let shared = Shared::default();
        let mut out = Out::new(Box::new(shared.clone()), format, has_colors, has_colors);
        print(&mut out);
        out.finish().expect("memory takes everything");
        String::from_utf8(shared.0.take()).expect("tests print text")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::shown;
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure_and_a_full_disk_is() {
        for (kind, is_failure) in [(ErrorKind::BrokenPipe, false), (ErrorKind::StorageFull, true)] {
            let mut out = Out::new(Box::new(Failing(kind)), Format::Plain, false, false);
            out.line("x");
            out.flush();
            assert!(!out.is_open(), "{kind}");
            out.line("more is dropped");
            assert_eq!(out.finish().is_err(), is_failure, "{kind}");
        }
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let paint = |out: &mut Out| {
            let text = out.painted("x", Tone::Good);
            out.line(&text);
        };
        assert_eq!(shown(Format::Table, false, paint), "x\n");
        assert_eq!(shown(Format::Table, true, paint), "\u{1b}[32mx\u{1b}[0m\n");
    }
}

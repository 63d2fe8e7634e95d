//! A mutant: a patch with a header that says what it breaks.
//!
//! ```text
//! Hazard: H8
//! Broken: a vote leaves before it is on disk
//! Means: A voter that crashes forgets whom it voted for and votes again
//!   in the same term: two leaders.
//!
//! --- a/src/raft/follower.rs
//! +++ b/src/raft/follower.rs
//! @@ -183,3 +183,3 @@
//!          }
//! -        old line
//! +        new line
//!      }
//! ```
//!
//! One file under `src/`, one hunk, few lines. It is applied where the text of its context and removed lines stands,
//! which must be at one place exactly: line numbers are not looked at, so that changes elsewhere in the file do not
//! break it. `git apply` and `patch -p1` take the same file.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a mutant may remove and add, together.
pub const CHANGED_LINES_MAX: usize = 15;

/// A bug on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its file's name without the ending.
    pub name: String,
    /// The hazard that it is an example of, such as `H8`.
    pub hazard: String,
    /// What is broken, in a line.
    pub broken: String,
    /// What that means for those who rely on it.
    pub means: String,
    /// The file that it changes, relative to the root of the tree.
    pub file: PathBuf,
    /// Context and removed lines, as they must stand in the file.
    before: String,
    /// What stands there then.
    after: String,
    /// How many lines it removes and adds.
    pub changed_lines: usize,
}

impl Mutant {
    /// All mutants of a directory, by name.
    ///
    /// # Errors
    /// A text that names the file and says what is wrong with it.
    pub fn all(dir: &Path) -> Result<Vec<Mutant>, String> {
        let at = |error: std::io::Error| format!("{}: {error}", dir.display());
        let mut mutants = Vec::new();
        for entry in fs::read_dir(dir).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let (Some(name), Some("patch")) = (
                path.file_stem().and_then(|stem| stem.to_str()),
                path.extension().and_then(|end| end.to_str()),
            ) else {
                return Err(format!("{}: only .patch files belong here", path.display()));
            };
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            mutants.push(Mutant::parse(name, &text).map_err(|what| format!("{}: {what}", path.display()))?);
        }
        mutants.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(mutants)
    }

    /// Reads a patch.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Mutant, String> {
        let (header, diff) =
            text.split_once("\n\n").ok_or("there is no empty line between header and diff")?;
        let fields = fields(header)?;
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone()).ok_or(format!("the header has no `{wanted}:`"))
        };
        let hunk = Hunk::parse(diff)?;
        let mutant = Mutant {
            name: name.to_owned(),
            hazard: field("Hazard")?,
            broken: field("Broken")?,
            means: field("Means")?,
            file: hunk.file,
            before: hunk.before,
            after: hunk.after,
            changed_lines: hunk.changed_lines,
        };
        mutant.check()?;
        Ok(mutant)
    }

    fn check(&self) -> Result<(), String> {
        let Mutant { name, hazard, file, changed_lines, .. } = self;
        let number = hazard.strip_prefix('H').and_then(|digits| digits.parse::<u32>().ok());
        let number = number.ok_or(format!("`{hazard}` is no hazard"))?;
        if !name.starts_with(&format!("h{number:02}-")) {
            return Err(format!("a mutant of {hazard} is called h{number:02}-..."));
        }
        if !file.starts_with("src") {
            return Err(format!("{} is not the product: nothing outside src/ is broken", file.display()));
        }
        if *changed_lines == 0 || *changed_lines > CHANGED_LINES_MAX {
            return Err(format!("{changed_lines} changed lines, {CHANGED_LINES_MAX} are allowed"));
        }
        Ok(())
    }

    /// Whether it breaks the consensus core, which the core simulator runs.
    pub fn is_of_core(&self) -> bool {
        self.file.starts_with("src/raft")
    }

    /// The file's text with the bug in it.
    ///
    /// # Errors
    /// That the place is not there, or more than once.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        let places = lines_begin(text).filter(|&at| text[at..].starts_with(&self.before)).count();
        match places {
            1 => {}
            0 => {
                return Err(format!(
                    "{}: the lines that {} changes are not there",
                    self.file.display(),
                    self.name
                ));
            }
            _ => {
                let file = self.file.display();
                return Err(format!(
                    "{file}: the lines that {} changes stand there {places} times",
                    self.name
                ));
            }
        }
        let at = lines_begin(text).find(|&at| text[at..].starts_with(&self.before)).unwrap_or(0);
        Ok([&text[..at], &self.after, &text[at + self.before.len()..]].concat())
    }
}

/// Where the lines of a text begin.
fn lines_begin(text: &str) -> impl Iterator<Item = usize> + '_ {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).filter(|&at| at < text.len())
}

/// The `Name: value` pairs of a header. A line that begins with a space goes on with the one before it.
fn fields(header: &str) -> Result<Vec<(String, String)>, String> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.lines() {
        if let Some(rest) = line.strip_prefix(' ') {
            let (_, value) = fields.last_mut().ok_or("the header begins with a space")?;
            value.push(' ');
            value.push_str(rest.trim());
        } else {
            let (name, value) = line.split_once(':').ok_or(format!("`{line}` is no header line"))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    Ok(fields)
}

struct Hunk {
    file: PathBuf,
    before: String,
    after: String,
    changed_lines: usize,
}

impl Hunk {
    fn parse(diff: &str) -> Result<Hunk, String> {
        let mut lines = diff.lines();
        let mut path = |mark: &str| {
            let line = lines.next().unwrap_or_default();
            let path = line.strip_prefix(mark).map(PathBuf::from);
            path.ok_or(format!("`{line}` stands where `{mark}...` should"))
        };
        let (old, new) = (path("--- a/")?, path("+++ b/")?);
        if old != new {
            return Err("it changes the name of a file".to_owned());
        }
        let place = lines.next().unwrap_or_default();
        if !place.starts_with("@@ ") {
            return Err(format!("`{place}` stands where `@@ ...` should"));
        }
        let (mut before, mut after, mut changed_lines) = (String::new(), String::new(), 0);
        for line in lines {
            let (kind, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
            match kind {
                " " | "-" | "+" => {}
                "@" => return Err("it has more than one hunk".to_owned()),
                _ => return Err(format!("`{line}` is no line of a hunk")),
            }
            for (text, passes_by) in [(&mut before, "+"), (&mut after, "-")] {
                if kind != passes_by {
                    text.push_str(rest);
                    text.push('\n');
                }
            }
            changed_lines += usize::from(kind != " ");
        }
        Ok(Hunk { file: new, before, after, changed_lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "Hazard: H8\nBroken: it is\n  broken\nMeans: harm\n\n\
        --- a/src/x.rs\n+++ b/src/x.rs\n@@ -7,3 +7,3 @@\n one\n-two\n+TWO\n three\n";

    #[test]
    fn a_header_and_a_hunk() {
        let mutant = Mutant::parse("h08-x", PATCH).expect("a mutant");
        assert_eq!((mutant.hazard.as_str(), mutant.broken.as_str()), ("H8", "it is broken"));
        assert_eq!(mutant.changed_lines, 2);
        assert!(!mutant.is_of_core());
    }

    #[test]
    fn it_is_applied_wherever_its_place_has_moved_to() {
        let mutant = Mutant::parse("h08-x", PATCH).expect("a mutant");
        assert_eq!(mutant.apply("zero\none\ntwo\nthree\n").as_deref(), Ok("zero\none\nTWO\nthree\n"));
        assert!(mutant.apply("one\n2\nthree\n").is_err());
        assert!(mutant.apply("one\ntwo\nthree\none\ntwo\nthree\n").is_err());
        assert!(mutant.apply("someone\ntwo\nthree\n").is_err(), "whole lines count");
    }

    #[test]
    fn what_is_no_mutant_is_refused() {
        let refused = |name: &str, from: &str, to: &str| {
            assert!(PATCH.contains(from), "{from} is in the patch");
            Mutant::parse(name, &PATCH.replace(from, to)).expect_err("refused")
        };
        assert!(Mutant::parse("h09-x", PATCH).is_err(), "another hazard's name");
        refused("h08-x", "Means: harm", "Harm: means");
        refused("h08-x", "H8", "8");
        refused("h08-x", "src/x.rs", "sim/x.rs");
        refused("h08-x", "+TWO\n", &"+two\n".repeat(CHANGED_LINES_MAX));
        refused("h08-x", " three\n", " three\n@@ -9,1 +9,1 @@\n-four\n+FOUR\n");
    }
}

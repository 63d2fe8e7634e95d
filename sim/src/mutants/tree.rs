//! A copy of the tree to build in.
//!
//! The copy has what git tracks, or would, as it was in the working tree at the one [`Copy::refresh`] of a run: what is
//! changed there meanwhile changes nothing here. A file is written only if it differs, so that what was built from it
//! before is still good; what is not in the tree any more is removed. A mutant is written into the copy, and what it
//! replaced is written back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::patch::Mutant;

/// The tree that this program was built from.
pub fn root() -> PathBuf {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
    sim.parent().unwrap_or(sim).to_path_buf()
}

/// A copy of a tree.
#[derive(Clone, Debug)]
pub struct Copy {
    from: PathBuf,
    to: PathBuf,
}

impl Copy {
    /// A copy of `from` at `to`; nothing is there before the first [`Copy::refresh`].
    ///
    /// # Errors
    /// If one is inside the other's files, or `to` cannot be made.
    pub fn new(from: &Path, to: &Path) -> io::Result<Copy> {
        fs::create_dir_all(to)?;
        let (from, to) = (from.canonicalize()?, to.canonicalize()?);
        if to.starts_with(&from) || from.starts_with(&to) {
            return Err(io::Error::other(format!(
                "{} and {} must not be inside each other",
                to.display(),
                from.display()
            )));
        }
        Ok(Copy { from, to })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.to
    }

    /// Makes the copy equal to the tree, mutants gone.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn refresh(&self) -> io::Result<()> {
        let names = self.names()?;
        for name in &names {
            let source = self.from.join(name);
            // Tracked and deleted, or a link into nowhere: it is not part of what is built.
            if source.is_file() {
                write_if_other(&self.to.join(name), &fs::read(source)?)?;
            }
        }
        let names: BTreeSet<PathBuf> =
            names.into_iter().filter(|name| self.from.join(name).is_file()).collect();
        let mut found = Vec::new();
        list(&self.to, Path::new(""), &mut found)?;
        for name in found.iter().filter(|name| !names.contains(*name)) {
            fs::remove_file(self.to.join(name))?;
        }
        Ok(())
    }

    /// Puts a bug into the copy, until it is mended, or the copy refreshed.
    ///
    /// # Errors
    /// If the patch does not fit, or the file cannot be written.
    pub fn break_with(&self, mutant: &Mutant) -> io::Result<Broken> {
        let path = self.to.join(&mutant.file);
        let right = fs::read_to_string(&path)?;
        let wrong = mutant.apply(&right).map_err(io::Error::other)?;
        write_if_other(&path, wrong.as_bytes())?;
        Ok(Broken { path, right })
    }

    /// The commit that the tree is at, with a mark if it was changed since.
    pub fn commit(&self) -> String {
        let described = git(&self.from, &["describe", "--always", "--dirty=+", "--exclude=*"]);
        described.map_or("unknown".to_owned(), |text| text.trim().to_owned())
    }

    /// The names of the tree's files.
    fn names(&self) -> io::Result<Vec<PathBuf>> {
        let mut names =
            match git(&self.from, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]) {
                Some(text) => text.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect(),
                None => {
                    let mut names = Vec::new();
                    list(&self.from, Path::new(""), &mut names)?;
                    names
                }
            };
        let is_plain = |name: &PathBuf| name.components().all(|part| matches!(part, Component::Normal(_)));
        names.retain(is_plain);
        Ok(names)
    }
}

/// A file of the copy with a bug in it.
#[derive(Debug)]
#[must_use]
pub struct Broken {
    path: PathBuf,
    right: String,
}

impl Broken {
    /// Takes the bug out again.
    ///
    /// # Errors
    /// If the file cannot be written: nothing that is built from the copy from now on is what it seems.
    pub fn mend(self) -> io::Result<()> {
        write_if_other(&self.path, self.right.as_bytes())
    }
}

fn git(dir: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(dir).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The names of all files under `root/at` but what was built and what git keeps for itself.
fn list(root: &Path, at: &Path, names: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(at))? {
        let entry = entry?;
        let name = at.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            // Builds go beside a manifest; elsewhere `target` is a name like any other.
            let is_built = entry.file_name() == "target" && root.join(at).join("Cargo.toml").is_file();
            if !is_built && entry.file_name() != ".git" {
                list(root, &name, names)?;
            }
        } else if entry.file_name() != ".git" {
            names.push(name);
        }
    }
    Ok(())
}

/// Writes a file, unless it has these bytes already: builds look at the time of the last write.
fn write_if_other(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, bytes)
}

//! The verification of a stopped node's directory: identity, every record of the log, the whole state file, and whether
//! they belong together.
//!
//! What a node would repair from the other members is damage all the same: it is not repaired here, and a disk that loses
//! one sector loses more. It goes on after damage as far as that has a meaning: a damaged log ends at the damage, since nothing behind it can be
//! told from what never was, but the state files are verified all the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Disk, Place, unreadable};
use crate::fsm::{self, offline::Examined};
use crate::node::{identity, state_files};
use crate::server::{Exit, continues, store_exit};
use crate::types::{GroupId, Index, Owner, Term};
use crate::wal::{self, RecoveredGroup, offline};

/// What was found of one part of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part: `identity`, `segment`, `log` (as a whole), `state` (the file that counts), `leftover` (one that does
    /// not).
    pub what: &'static str,
    /// The file, or the directory.
    pub file: PathBuf,
    /// The first entry that it holds.
    pub from: Option<Index>,
    /// The last entry that it holds.
    pub to: Option<Index>,
    /// The file's length, where it was read.
    pub bytes: Option<u64>,
    /// Whether something is wrong with it.
    pub is_damaged: bool,
    /// Where in the file, if that is known.
    pub byte: Option<u64>,
    /// What it is, or what is wrong.
    pub text: String,
}

impl Finding {
    /// The file, the place and what is wrong, on one line.
    pub fn complaint(&self) -> String {
        let at = self.byte.map_or(String::new(), |byte| format!(" at byte {byte}"));
        format!("{}: damaged{at}: {}", self.file.display(), self.text)
    }

    fn of(what: &'static str, file: &Path) -> Finding {
        Finding {
            what,
            file: file.to_path_buf(),
            from: None,
            to: None,
            bytes: None,
            is_damaged: false,
            byte: None,
            text: String::new(),
        }
    }

    fn sound(self, text: impl Into<String>) -> Finding {
        Finding { text: text.into(), ..self }
    }

    fn damaged(self, byte: Option<u64>, text: impl Into<String>) -> Finding {
        Finding { is_damaged: true, byte, text: text.into(), ..self }
    }
}

/// Verifies a data directory and tells of each part of it, in order. Memory is bounded as a node's is. Blocks on the disk.
///
/// # Errors
/// If it could not be verified: no such directory, a node runs on it, the disk failed. Damage is a finding.
pub fn check(disk: &Disk, dir: &Path, tell: &mut dyn FnMut(Finding)) -> Result<(), Exit> {
    let place = Place::find(disk, dir)?;
    let _no_node_runs = offline::lock(&*disk.fs, &place.wal)?;
    let owner = check_identity(disk, dir, &place, tell)?;
    let group = check_log(disk, &place, owner, tell)?;
    for number in wanted(&place, group.as_ref()) {
        check_state(disk, &place, number, owner, group.as_ref(), tell)?;
    }
    Ok(())
}

/// The state files to verify: all that are there, and the one that the log points to.
fn wanted(place: &Place, group: Option<&RecoveredGroup>) -> Vec<u64> {
    let mut numbers = place.numbers.clone();
    numbers.extend(group.map(|group| group.state));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Returns whose the other files should be: the identity's word, or the log's own where that is not to be had.
fn check_identity(
    disk: &Disk,
    dir: &Path,
    place: &Place,
    tell: &mut dyn FnMut(Finding),
) -> Result<Option<Owner>, Exit> {
    let finding = Finding::of("identity", &dir.join("identity"));
    match &place.identity {
        Ok(Some(facts)) => {
            let mut text = format!("{}, {}", facts.owner, facts.stage);
            if let Some(former) = facts.replaces {
                let _ = write!(text, "; it replaces node {}, whose log was given up", former.node);
            }
            if let Some((file, what)) = facts.damaged {
                let text = format!("{what}: the next start makes it anew from its other copy");
                tell(Finding::of("identity", &dir.join(file)).damaged(Some(0), text));
            }
            let finding = Finding { bytes: Some(facts.bytes), ..finding };
            tell(match facts.is_ready && !place.has_log {
                true => {
                    finding.damaged(None, format!("{text}, but the log is missing, and with it its votes"))
                }
                false => finding.sound(text),
            });
            return Ok(Some(facts.owner));
        }
        Ok(None) => tell(finding.damaged(None, "it is missing beside a log or a state file")),
        Err(identity::Error::Damaged { what, .. } | identity::Error::Foreign { what, .. }) => {
            tell(finding.damaged(Some(0), what.clone()));
        }
        Err(identity::Error::Io { path, source }) => return Err(unreadable(path, source)),
    }
    match offline::owner(&*disk.fs, &place.wal) {
        Err(error @ wal::Error::Io { .. }) if place.has_log => Err(error.into()),
        // What is wrong with that file is told when it is read.
        owner => Ok(owner.unwrap_or_default()),
    }
}

/// Reads the whole log; returns the group if all of it is sound.
fn check_log(
    disk: &Disk,
    place: &Place,
    owner: Option<Owner>,
    tell: &mut dyn FnMut(Finding),
) -> Result<Option<RecoveredGroup>, Exit> {
    if !place.has_log {
        return Ok(None);
    }
    let files = offline::files(&*disk.fs, &place.wal)?;
    let Some(owner) = owner else {
        let text =
            "neither the identity nor the log's first file says whose it is: its records are not verified";
        tell(Finding::of("log", &place.wal).damaged(None, text));
        return Ok(None);
    };
    let mut read = 0;
    let mut on_segment = |segment: offline::SegmentRead| {
        let path = files.get(read).map_or(place.wal.as_path(), |(_, path)| path.as_path());
        read += 1;
        let (from, to) = segment.entries.unzip();
        let finding = Finding { from, to, bytes: Some(segment.bytes), ..Finding::of("segment", path) };
        tell(finding.sound(format!("{} records", segment.records)));
    };
    let found = offline::read(&*disk.fs, &place.wal, owner, &mut on_segment);
    let log = Finding::of("log", &place.wal);
    let group = match found {
        Ok(Some((_, mut recovered))) => {
            let torn = recovered.torn.take();
            for wound in &recovered.wounds {
                let text = format!("{} are not what was written", wound.what);
                tell(Finding::of("segment", &wound.file).damaged(Some(wound.offset), text));
            }
            recovered.groups.remove(&GroupId::FIRST).map(|group| (group, torn))
        }
        Ok(None) => None,
        Err(error) => {
            tell_log_error(error, tell)?;
            for (_, path) in files.iter().skip(read + 1) {
                tell(Finding::of("segment", path).damaged(None, "not verified: it follows the damage"));
            }
            return Ok(None);
        }
    };
    let Some((group, torn)) = group else {
        tell(log.damaged(None, "it knows no group 1"));
        return Ok(None);
    };
    if group.hard_state.in_doubt {
        let text = "its end is lost: what stood behind what can be read is not known, and the node grants no vote until its \
                    leader has sent it all again";
        tell(log.clone().damaged(None, text));
    }
    if let (Some(first), Some(last)) = (group.damaged.first(), group.damaged.last()) {
        let (count, first, last) = (group.damaged.len(), first.index, last.index);
        let text = format!(
            "{count} entries from {first} to {last} cannot be read: a node that starts gets them from the other members"
        );
        tell(log.clone().damaged(None, text));
    }
    let (term, commit) = (group.hard_state.term, group.hard_state.commit);
    let mut text =
        format!("term {term}, committed to {commit} at least, points to {}", state_files::name(group.state));
    if let Some(torn) = torn {
        text.push_str("; ends torn, which is no damage: ");
        text.push_str(&torn);
    }
    tell(Finding { from: Some(group.purged.0.next()), to: Some(group.last), ..log }.sound(text));
    Ok(Some(group))
}

/// Damage of the log becomes a finding, anything else an end.
fn tell_log_error(error: wal::Error, tell: &mut dyn FnMut(Finding)) -> Result<(), Exit> {
    let (file, byte, text) = match error {
        wal::Error::Damaged { file, offset, what } => (file, Some(offset), what),
        wal::Error::Foreign { file, found, expected } => {
            (file, Some(0), format!("it is the log of {found}, and this is the directory of {expected}"))
        }
        wal::Error::Version { ref file, .. } => (file.clone(), Some(0), error.to_string()),
        error => return Err(error.into()),
    };
    tell(Finding::of("segment", &file).damaged(byte, text));
    Ok(())
}

/// Verifies a state file, and that the log goes on where it ends, if it is the one that counts.
fn check_state(
    disk: &Disk,
    place: &Place,
    number: u64,
    owner: Option<Owner>,
    group: Option<&RecoveredGroup>,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), Exit> {
    let path = place.state.join(state_files::name(number));
    let counts = group.is_none_or(|group| group.state == number);
    let finding = Finding::of(if counts { "state" } else { "leftover" }, &path);
    if !place.numbers.contains(&number) {
        let start = (Index(0), Term(0));
        tell(match group.map_or(Ok(()), |group| continues(group, start)) {
            Ok(()) => finding.sound("it is not there yet: the next start makes it, from the log"),
            Err(_) => finding.damaged(None, "it is missing, and the log does not hold all that was in it"),
        });
        return Ok(());
    }
    if !counts {
        tell(finding.sound("it does not count (any more): the next start removes it"));
        return Ok(());
    }
    let Some(owner) = owner else {
        tell(finding.damaged(None, "nothing says whose it should be: it is not verified"));
        return Ok(());
    };
    let (bytes, found) = match (disk.state_file)(&path) {
        Ok(raw) => (raw.len().ok(), fsm::offline::examine(raw, owner)),
        Err(error) => (None, Err(error)),
    };
    let finding = Finding { bytes, ..finding };
    let examined = match found {
        Ok(examined) => examined,
        Err(fsm::Error::Damaged { offset, what }) => {
            tell(finding.damaged(offset, what));
            return Ok(());
        }
        Err(error @ (fsm::Error::Version { .. } | fsm::Error::Foreign { .. })) => {
            tell(finding.damaged(Some(0), error.to_string()));
            return Ok(());
        }
        Err(error) => return Err(store_exit(&path, &error)),
    };
    let from = (examined.folded.0 > Index(0)).then_some(Index(1));
    let finding = Finding { from, to: Some(examined.folded.0), ..finding };
    tell(match group.map_or(Ok(()), |group| continues(group, examined.folded)) {
        Ok(()) => finding.sound(describe(&examined)),
        Err(what) => finding.damaged(None, format!("{what}: they are not of the same node or moment")),
    });
    Ok(())
}

fn describe(examined: &Examined) -> String {
    let Examined { keys, revision, state_hash, sessions, strays, .. } = examined;
    if !examined.is_formed {
        return "never formed: the next start begins it anew, from the log".to_owned();
    }
    let mut text =
        format!("{keys} keys, revision {revision}, state hash {state_hash:032x}, {sessions} sessions");
    if *strays > 0 {
        text.push_str(&format!("; {strays} blocks that nothing refers to are what a crash left"));
    }
    text
}

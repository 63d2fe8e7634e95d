//! Golden scripts: scenarios in `scripts/`, each with a prose header and the whole trace of what the log did.
//!
//! A block is one or more commands, `----`, and their output up to the next empty line. With `UPDATE_GOLDEN=1` the
//! outputs are rewritten; the difference is there to be reviewed. An unknown command or field is an error.
//!
//! ```text
//! open [segment=N] [max=N] [tail=N]           opens the log, says what recovery found
//! close                                       drops it
//! append WRITE [| WRITE]...                   one batch; a WRITE is group=G [term=T vote=V commit=C] [entries=E,E,..]
//!                                             and an E is INDEX@TERM:LEN, :zeroLEN, :noop or :configNODES;
//!                                             install=INDEX@TERM:NODES:STATE and repairs=E,E,.. stand before them
//! purge group=G to=I
//! switch group=G state=S
//! read group=G first=I last=I [bytes=N]
//! fault call=+N kind=error|stop               the Nth call from here fails, or is the last one
//! crash keep=none|all|K,K,..                  un-synced sectors that survive, counted from 0; names do with all only
//! kill                                        the process is gone, the machine is not
//! flip segment=N byte=B bits=M
//! zero segment=N sector=S
//! inspect
//! files
//! ```

use std::fmt::Write as _;

use super::*;
use crate::wal::fs::testing::{Fault, Unsynced};
use crate::wal::inspect::inspect;

#[test]
fn golden_scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wal/tests/scripts");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let output = run(&script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &output).unwrap();
        }
        let now = std::fs::read_to_string(&path).unwrap();
        assert_eq!(output, now, "{} (UPDATE_GOLDEN=1 rewrites it)", path.display());
    }
}

#[test]
fn scripts_refuse_what_they_do_not_know() {
    for (script, error) in [
        ("opne\n----\n", "unknown command opne"),
        ("open segments=4\n----\n", "unknown field segments"),
        ("read group=1 first=1\n----\n", "field last is missing"),
        ("open segment=x\n----\n", "segment=x is not a number"),
        ("open\n", "no ---- after the commands"),
        ("append group=1 entries=1\n----\n", "entry 1 is not INDEX@TERM:WHAT"),
        ("append group=1 install=1@1:3\n----\n", "install 1@1:3 is not INDEX@TERM:NODES:STATE"),
    ] {
        assert_eq!(run(script).unwrap_err(), error);
    }
}

type Result<T> = std::result::Result<T, String>;

/// Runs a script and returns it with the outputs it should have.
fn run(script: &str) -> Result<String> {
    let mut runner = Runner::default();
    let mut output = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(output, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut commands = vec![line];
        loop {
            let line = lines.next().ok_or("no ---- after the commands")?;
            writeln!(output, "{line}").unwrap();
            if line == "----" {
                break;
            }
            commands.push(line);
        }
        while lines.next_if(|line| !line.is_empty()).is_some() {}
        for command in commands {
            output.push_str(&runner.command(command)?);
        }
    }
    Ok(output)
}

#[derive(Default)]
struct Runner {
    fs: MemFs,
    open: Option<(Wal, Reader)>,
    memberships: BTreeMap<(GroupId, u64), u64>,
}

struct Fields(BTreeMap<String, String>);

impl Fields {
    fn parse(text: &str) -> Result<Fields> {
        let field = |word: &str| {
            let (key, value) = word.split_once('=').ok_or(format!("{word} is not key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        text.split_whitespace().map(field).collect::<Result<_>>().map(Fields)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn maybe(&mut self, key: &str) -> Result<Option<u64>> {
        let parse = |text: String| number(&text).ok_or(format!("{key}={text} is not a number"));
        self.text(key).map(parse).transpose()
    }

    fn number(&mut self, key: &str) -> Result<u64> {
        self.maybe(key)?.ok_or(format!("field {key} is missing"))
    }

    fn end(self) -> Result<()> {
        self.0.keys().next().map_or(Ok(()), |key| Err(format!("unknown field {key}")))
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

impl Runner {
    fn command(&mut self, line: &str) -> Result<String> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.fs.take_trace();
        let result = match name {
            "open" => self.open(rest)?,
            "append" => self.append(rest)?,
            "purge" => self.purge(rest)?,
            "switch" => self.switch(rest)?,
            "read" => self.read(rest)?,
            "fault" => self.fault(rest)?,
            "crash" => self.crash(rest)?,
            "flip" | "zero" => self.damage(name, rest)?,
            "inspect" | "files" | "close" | "kill" => {
                Fields::parse(rest)?.end()?;
                match name {
                    "inspect" => self.inspect(),
                    "files" => self.files(),
                    "close" => {
                        self.open = None;
                        String::new()
                    }
                    _ => {
                        self.fs.kill();
                        self.open = None;
                        String::new()
                    }
                }
            }
            _ => return Err(format!("unknown command {name}")),
        };
        let mut output = String::new();
        for call in self.fs.take_trace() {
            writeln!(output, "  {call}").unwrap();
        }
        output.push_str(&result);
        Ok(if output.is_empty() { "ok\n".to_owned() } else { output })
    }

    fn open(&mut self, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let options = Options {
            owner: OWNER,
            segment_bytes: fields.maybe("segment")?.unwrap_or(5120),
            bytes_max: fields.maybe("max")?.unwrap_or(1 << 20),
            tail_bytes_max: fields.maybe("tail")?.unwrap_or(1 << 20) as usize,
        };
        fields.end()?;
        self.open = None;
        let groups = BTreeMap::from([(GROUP, membership(3)), (OTHER, membership(1))]);
        let (wal, reader, recovered) = match Wal::open(self.fs.shared(), Path::new(DIR), options, &groups) {
            Ok(opened) => opened,
            Err(error) => return Ok(format!("{error}\n")),
        };
        let mut output = String::new();
        if let Some(torn) = &recovered.torn {
            writeln!(output, "torn: {torn}").unwrap();
        }
        for wound in &recovered.wounds {
            writeln!(output, "wound: {wound}").unwrap();
        }
        for (id, group) in &recovered.groups {
            write!(output, "group {id}: {}; purged {}", describe(&group.hard_state), at(group.purged))
                .unwrap();
            let members = group.base.members.len();
            write!(output, " under {members} members, state {}; entries to {}", group.state, group.last)
                .unwrap();
            let terms: Vec<String> = group.terms.iter().map(|run| at(*run)).collect();
            write!(output, "; terms [{}]", terms.join(" ")).unwrap();
            for (index, membership) in &group.memberships {
                write!(output, "; {} members at {index}", membership.members.len()).unwrap();
            }
            write!(output, "; tail of {}", group.tail.len()).unwrap();
            let damaged = group.damaged.iter().map(|damaged| at((damaged.index, damaged.term)));
            let damaged: Vec<String> = damaged.collect();
            let damaged =
                if damaged.is_empty() { String::new() } else { format!("; damaged {}", damaged.join(" ")) };
            writeln!(output, "{damaged}").unwrap();
        }
        if recovered.groups.values().all(|group| group.damaged.is_empty()) {
            drop(Model::found(&recovered, &reader));
        }
        self.open = Some((wal, reader));
        Ok(output)
    }

    fn append(&mut self, rest: &str) -> Result<String> {
        let mut batch = Vec::new();
        for part in rest.split('|') {
            let mut fields = Fields::parse(part)?;
            let group = GroupId(fields.number("group")? as u32);
            let state = match fields.maybe("term")? {
                None => None,
                Some(term) => Some(hard_state(term, fields.number("vote")?, fields.number("commit")?)),
            };
            let mut repairs = Vec::new();
            for word in fields.text("repairs").iter().flat_map(|text| text.split(',')) {
                repairs.push(parse_entry(word).ok_or(format!("repair {word} is not INDEX@TERM:WHAT"))?);
            }
            let mut entries = Vec::new();
            for word in fields.text("entries").iter().flat_map(|text| text.split(',')) {
                let entry = parse_entry(word).ok_or(format!("entry {word} is not INDEX@TERM:WHAT"))?;
                if entry.kind == EntryKind::Membership {
                    let members = Membership::decode(&entry.payload).unwrap().members.len() as u64;
                    self.memberships.insert((group, entry.index.0), members);
                }
                entries.push(entry);
            }
            let install = match fields.text("install") {
                None => None,
                Some(text) => {
                    let (install, members) = parse_install(&text)
                        .ok_or(format!("install {text} is not INDEX@TERM:NODES:STATE"))?;
                    self.memberships.insert((group, install.to.0.0), members);
                    Some(install)
                }
            };
            fields.end()?;
            batch.push(GroupWrite { group, hard_state: state, install, repairs, entries });
        }
        let wal = &mut self.open.as_mut().ok_or("the log is not open")?.0;
        Ok(outcome(wal.append(&batch).and_then(|()| remove_freed(wal))))
    }

    fn purge(&mut self, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let (group, to) = (GroupId(fields.number("group")? as u32), Index(fields.number("to")?));
        fields.end()?;
        let (wal, reader) = self.open.as_mut().ok_or("the log is not open")?;
        let entry = reader.read(group, to, to, 1).map_err(|error| error.to_string())?;
        let term = entry.first().ok_or("there is no such entry")?.term;
        let configs = self.memberships.range((group, 0)..=(group, to.0));
        let members = configs.last().map_or(if group == GROUP { 3 } else { 1 }, |(_, members)| *members);
        let result = wal.purge(group, (to, term), &membership(members)).and_then(|()| remove_freed(wal));
        Ok(outcome(result))
    }

    fn switch(&mut self, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let (group, state) = (GroupId(fields.number("group")? as u32), fields.number("state")?);
        fields.end()?;
        Ok(outcome(self.open.as_mut().ok_or("the log is not open")?.0.switch(group, state)))
    }

    fn read(&mut self, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let group = GroupId(fields.number("group")? as u32);
        let (first, last) = (Index(fields.number("first")?), Index(fields.number("last")?));
        let bytes = fields.maybe("bytes")?.map_or(usize::MAX, |bytes| bytes as usize);
        fields.end()?;
        let reader = &self.open.as_ref().ok_or("the log is not open")?.1;
        Ok(match reader.read(group, first, last, bytes) {
            Err(error) => format!("{error}\n"),
            Ok(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        format!("{}:{:?}:{}", at((entry.index, entry.term)), entry.kind, entry.payload.len())
                    })
                    .collect();
                format!("[{}]\n", entries.join(" "))
            }
        })
    }

    fn fault(&mut self, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let call = fields.text("call").ok_or("field call is missing")?;
        let call = call.strip_prefix('+').and_then(number).filter(|call| *call > 0).ok_or("call=+N")?;
        let kind = match fields.text("kind").as_deref() {
            Some("error") => Fault::Error,
            Some("stop") => Fault::Stop,
            other => return Err(format!("kind={other:?}")),
        };
        fields.end()?;
        self.fs.fail_at(self.fs.calls() + call - 1, kind);
        Ok(String::new())
    }

    fn crash(&mut self, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let keep = fields.text("keep").ok_or("field keep is missing")?;
        fields.end()?;
        let kept: Vec<u64> = keep.split(',').filter_map(number).collect();
        if kept.is_empty() && keep != "all" && keep != "none" {
            return Err(format!("keep={keep}"));
        }
        let mut sectors = 0;
        let mut output = String::new();
        self.fs.crash(&mut |lost| {
            let keeps = match &lost {
                Unsynced::Sector(..) => {
                    sectors += 1;
                    keep == "all" || kept.contains(&(sectors - 1))
                }
                _ => keep == "all",
            };
            let (what, number) = match &lost {
                Unsynced::Name(path) => (format!("name {}", path.display()), String::new()),
                Unsynced::Length(path) => {
                    (format!("length of what was made as {}", path.display()), String::new())
                }
                Unsynced::Sector(path, sector) => (
                    format!("sector {sector} of what was made as {}", path.display()),
                    format!(" ({})", sectors - 1),
                ),
            };
            writeln!(output, "{} {what}{number}", if keeps { "kept" } else { "lost" }).unwrap();
            keeps
        });
        self.open = None;
        Ok(output)
    }

    fn damage(&mut self, name: &str, rest: &str) -> Result<String> {
        let mut fields = Fields::parse(rest)?;
        let path = segment(fields.number("segment")?);
        if name == "flip" {
            let (byte, bits) = (fields.number("byte")?, fields.number("bits")?);
            fields.end()?;
            self.fs.flip(&path, byte as usize, bits as u8);
        } else {
            let sector = fields.number("sector")? as usize;
            fields.end()?;
            let mut bytes = self.fs.bytes(&path);
            bytes[sector * 512..(sector + 1) * 512].fill(0);
            self.fs.set_bytes(&path, bytes);
        }
        Ok(String::new())
    }

    fn inspect(&mut self) -> String {
        let mut output = String::new();
        let mut visit = |info: crate::wal::inspect::RecordInfo| {
            let (segment, offset, length) = (info.segment, info.offset, info.length);
            write!(output, "{segment:>2} {offset:>6} +{length:<5} batch {:<3} {:<10}", info.batch, info.kind)
                .unwrap();
            match info.damage {
                Some(damage) => writeln!(output, " {damage}").unwrap(),
                None => {
                    let state = info.state.map_or(String::new(), |state| format!(" state {state}"));
                    writeln!(output, " group {} {}@{}{state}", info.group, info.index, info.term).unwrap();
                }
            }
        };
        inspect(&self.fs, Path::new(DIR), &mut visit).unwrap();
        output
    }

    fn files(&self) -> String {
        self.fs.files().iter().map(|(path, len)| format!("{} {len}\n", path.display())).collect()
    }
}

fn parse_entry(word: &str) -> Option<Entry> {
    let (place, what) = word.split_once(':')?;
    let (index, term) = place.split_once('@')?;
    let (index, term) = (number(index)?, number(term)?);
    if what == "noop" {
        return Some(Entry::new(Index(index), Term(term), EntryKind::Noop, Bytes::new()));
    }
    if let Some(nodes) = what.strip_prefix("config") {
        return Some(config(index, term, number(nodes)?));
    }
    if let Some(len) = what.strip_prefix("zero") {
        return Some(zeroes(index, term, number(len)? as usize));
    }
    Some(command(index, term, number(what)? as usize))
}

/// The install, and how many members it has.
fn parse_install(text: &str) -> Option<(Install, u64)> {
    let mut parts = text.split(':');
    let (index, term) = parts.next()?.split_once('@')?;
    let (nodes, state) = (number(parts.next()?)?, number(parts.next()?)?);
    let install = install((number(index)?, number(term)?), nodes, state);
    parts.next().is_none().then_some((install, nodes))
}

fn outcome(result: std::result::Result<(), Error>) -> String {
    result.map_or_else(|error| format!("{error}\n"), |()| "ok\n".to_owned())
}

fn at((index, term): (Index, Term)) -> String {
    format!("{index}@{term}")
}

fn describe(state: &HardState) -> String {
    let vote = state.vote.map_or("-".to_owned(), |vote| vote.to_string());
    let doubt = if state.in_doubt { ", in doubt" } else { "" };
    format!("term {} vote {vote} commit {}{doubt}", state.term, state.commit)
}

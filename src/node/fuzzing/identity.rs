//! The identity file.

use std::path::Path;

use crate::node::identity::{Error, Expected, Identity};
use crate::transport::Admission;
use crate::types::{Incarnation, NodeId};
use crate::wal::fs::testing::MemFs;
use crate::wal::fs::{self, SharedFs};

const DIR: &str = "/node";

fn open(shared: &SharedFs) -> Result<Identity, Error> {
    let members = vec![NodeId(1), NodeId(2), NodeId(3)];
    let expected = Expected { node: NodeId(2), token: "token", members, joins: false };
    Identity::open(shared.clone(), Path::new(DIR), &expected, 0x0123_4567_89ab_cdef)
}

/// A directory is taken only as what its file says, and its file is left as it is until there is something new to
/// record; then it still says all that it said.
pub(crate) fn check(input: &[u8]) -> bool {
    let memory = MemFs::new();
    let (shared, path) = (memory.shared(), Path::new(DIR).join("identity"));
    fs::replace(&*shared, &path, input).expect("the disk is well");
    let identity = match open(&shared) {
        Ok(identity) => identity,
        Err(Error::Damaged { .. } | Error::Foreign { .. }) => {
            assert!(memory.bytes(&path) == input, "a file that is refused was changed");
            return false;
        }
        Err(error) => panic!("no answer to bytes on a disk that is well: {error}"),
    };
    assert!(memory.bytes(&path) == input, "a file was changed by being read");
    identity.set_ready().expect("the disk is well");
    let again = open(&shared).unwrap_or_else(|error| panic!("taken, written, and not taken again: {error}"));
    assert!(again.is_ready(), "what was recorded is not there");
    assert_eq!((again.cluster(), again.incarnation()), (identity.cluster(), identity.incarnation()));
    let said = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let kept = |line: &&str| !line.starts_with("state ") && !line.starts_with("crc ");
        text.lines().filter(kept).map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(said(&memory.bytes(&path)), said(input), "recording that it is ready changed something else");
    true
}

/// Makes the checksum in the last line right.
pub(crate) fn mend(input: &mut Vec<u8>) {
    let body = input.strip_suffix(b"\n").unwrap_or(input);
    let Some(last) = body.iter().rposition(|byte| *byte == b'\n') else { return };
    input.truncate(last + 1);
    let crc = crc32fast::hash(input);
    input.extend(format!("crc {crc:08x}\n").into_bytes());
}

/// A new directory's file, and one that has met its peers.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let memory = MemFs::new();
    let (shared, path) = (memory.shared(), Path::new(DIR).join("identity"));
    let identity = open(&shared).expect("a new directory");
    let new = memory.bytes(&path);
    identity.set_ready().expect("the disk is well");
    let (fatal, _reports) = crate::node::FatalSender::channel();
    let gate = crate::node::identity::Gate::new(identity, fatal);
    for peer in [3, 1] {
        gate.admit(NodeId(peer), Incarnation(peer << 60)).expect("never met before");
    }
    vec![("new", new), ("met", memory.bytes(&path))]
}

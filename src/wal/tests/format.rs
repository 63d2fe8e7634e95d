//! The format is a document and a promise: a log with one of everything, byte for byte.
//!
//! `golden/format-v2-*.hex` was written by the second version of the format, the first that anybody's data is in. It
//! changes when the encoding of a membership does; for any other reason it may only change together with the version
//! number, and logs of version 2 must stay readable.

use super::*;
use crate::wal::inspect::{RecordInfo, inspect};
use crate::wal::sector::{SECTOR_BYTES, Sector, judge};

fn one_of_everything() -> (MemFs, Model) {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, ..) = reopen(&fs);
    let batch = [
        write(
            GROUP,
            Some(hard_state(3, 2, 1)),
            vec![Entry::new(Index(1), Term(3), EntryKind::Noop, Bytes::new())],
        ),
        write(OTHER, None, vec![command(1, 2, 5)]),
        write(GROUP, None, vec![command(2, 3, 3), config(3, 3, 2), zeroes(4, 3, 600)]),
    ];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    let (to, base) = model.purge(GROUP, 2);
    wal.purge(GROUP, to, &base).unwrap();
    let batch = [write(GROUP, None, vec![command(4, 4, 1400)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    wal.switch(GROUP, 1).unwrap();
    model.groups.get_mut(&GROUP).unwrap().state = 1;
    let batch = [installing(GROUP, None, install((3, 3), 2, 2), vec![])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    let to = install((0x0102_0304, 5), 4, 0x0506_0708);
    let batch = [installing(GROUP, Some(hard_state(5, 0, 3)), to, vec![command(0x0102_0305, 5, 2)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    let repairs = vec![command(0x0102_0305, 5, 2)];
    wal.append(&[GroupWrite { repairs, ..write(GROUP, None, vec![]) }]).unwrap();
    (fs, model)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut zeroes = false;
    for (at, row) in bytes.chunks(16).enumerate() {
        if row.iter().all(|byte| *byte == 0) {
            text.push_str(if zeroes { "" } else { "*\n" });
            zeroes = true;
            continue;
        }
        zeroes = false;
        text.push_str(&format!("{:04x} ", at * 16));
        row.iter().for_each(|byte| text.push_str(&format!(" {byte:02x}")));
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; 5120];
    for line in text.lines().filter(|line| *line != "*") {
        let (at, row) = line.split_once("  ").unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (place, byte) in row.split(' ').enumerate() {
            bytes[at + place] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
    bytes
}

fn golden(number: u64) -> String {
    format!("{}/src/wal/tests/golden/format-v2-{number}.hex", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn golden_bytes() {
    let (fs, model) = one_of_everything();
    for number in [1, 2, 3] {
        let text = hex(&fs.bytes(&segment(number)));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(golden(number), &text).unwrap();
        }
        let golden = std::fs::read_to_string(golden(number)).unwrap();
        assert_eq!(text, golden, "the format has changed: logs that exist can no longer be read");
        fs.set_bytes(&segment(number), unhex(&golden));
    }
    fs.kill();
    let (.., found) = reopen(&fs);
    assert_eq!(found, model, "a log of version 2 is read");
}

#[test]
fn no_written_sector_is_zero_and_no_unwritten_one_is_not() {
    let (fs, _) = one_of_everything();
    let bytes = fs.bytes(&segment(1));
    for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate().skip(2) {
        match judge(bytes, 1, sector as u64) {
            Sector::Whole(_) => assert!(bytes.iter().any(|byte| *byte != 0)),
            other => assert_eq!(other, Sector::Unwritten, "sector {sector}"),
        }
    }
    // A payload of zeroes covers the data of at least one sector wholly, and yet that one is seen as written.
    let hidden = bytes
        .chunks(SECTOR_BYTES)
        .skip(2)
        .filter(|sector| sector[..16] != [0; 16] && sector[16..] == [0; 496]);
    assert_eq!(hidden.count(), 1);
}

#[test]
fn inspect_shows_every_record_and_serializes() {
    let (fs, _) = one_of_everything();
    let mut infos: Vec<RecordInfo> = Vec::new();
    inspect(&fs, Path::new(DIR), &mut |info| infos.push(info)).unwrap();
    let kinds: Vec<&str> = infos.iter().map(|info| info.kind).collect();
    let first = [
        "segment",
        "group",
        "group",
        "group",
        "group",
        "hard-state",
        "hard-state",
        "noop",
        "command",
        "command",
        "membership",
    ];
    assert_eq!(kinds[..11], first);
    let count = |kind: &str| kinds.iter().filter(|it| **it == kind).count();
    assert_eq!((count("segment"), count("base"), count("reset"), count("repair")), (4, 6, 2, 1));
    assert_eq!(count("group") % 4, 0, "two copies of two groups in each preamble");
    let mut states: Vec<u64> = infos.iter().filter_map(|info| info.state).collect();
    states.dedup();
    assert!(states.ends_with(&[0x0506_0708]) && states.starts_with(&[0, 1]), "{states:?}");
    let reset = infos.iter().find(|info| info.kind == "reset").unwrap().to_string();
    assert!(reset.contains(" index 16909060 term 5 ") && reset.ends_with(" state 84281096"), "{reset}");
    assert!(infos.iter().all(|info| info.damage.is_none()));
    let noop = infos.iter().find(|info| info.kind == "noop").unwrap();
    let json = serde_json::to_string(noop).unwrap();
    assert_eq!(
        json,
        "{\"segment\":1,\"offset\":3088,\"length\":48,\"group\":1,\"index\":1,\"term\":3,\"kind\":\"noop\",\"batch\":2,\
         \"state\":null,\"damage\":null}"
    );
}

#[test]
fn inspect_survives_any_flipped_byte() {
    let (fs, _) = one_of_everything();
    for number in [1, 2, 3] {
        for offset in 0..5120 {
            let fs = fs.fork();
            fs.flip(&segment(number), offset, 0x81);
            let mut damaged = 0;
            inspect(&fs, Path::new(DIR), &mut |info| damaged += u32::from(info.damage.is_some())).unwrap();
            // Behind the end that the second segment names, a flipped byte is of no matter, and shown as cut.
            assert!(damaged > 0, "segment {number}, byte {offset}");
        }
    }
}

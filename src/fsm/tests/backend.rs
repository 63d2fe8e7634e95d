//! The checksum backend alone, without redb.

use proptest::prelude::*;

use super::*;
use crate::fsm::testing::{CrashFile, Loss};
use crate::types::{ClusterId, Incarnation, NodeId};

const OWNER: Owner = Owner {
    cluster: ClusterId(0xc1c2_c3c4_c5c6_c7c8),
    node: NodeId(1),
    incarnation: Incarnation(0xa1a2_a3a4_a5a6_a7a8),
};

fn checked(file: &CrashFile) -> Checked {
    Checked::open(Box::new(file.clone()), OWNER).expect("open")
}

/// A formed backend of so many blocks over a new file.
fn formed(blocks: u64) -> (CrashFile, Checked) {
    let file = CrashFile::new();
    let backend = checked(&file);
    backend.set_formed().expect("form");
    backend.set_len(blocks * BLOCK_BYTES as u64).expect("set_len");
    backend.write(0, &[1; 320]).expect("write the header");
    (file, backend)
}

fn offset(block: u64) -> u64 {
    block * BLOCK_BYTES as u64
}

fn read(backend: &Checked, block: u64, blocks: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0xee; blocks * BLOCK_BYTES];
    backend.read(offset(block), &mut out)?;
    Ok(out)
}

#[test]
fn lengths_map_both_ways_and_no_two_places_meet() {
    for blocks in [0, 1, 2, 3, 1_024, 1_025, 1_026, 2_048, 2_049, 2_050, 5_000] {
        assert_eq!(blocks_of_raw(raw_bytes(blocks)), Some(blocks), "{blocks} blocks");
        let mut places: BTreeSet<u64> = (0..blocks).map(raw_offset).collect();
        places.extend((0..groups(blocks)).map(sums_offset));
        places.insert(0);
        assert_eq!(places.len() as u64, 1 + blocks + groups(blocks), "two of {blocks} blocks share a place");
        assert_eq!(places.last().map(|last| last + BLOCK_BYTES as u64), Some(raw_bytes(blocks)));
    }
    for odd in [1, 4_095, 4_097, 3 * BLOCK_BYTES as u64, raw_bytes(1_025) + BLOCK_BYTES as u64] {
        assert_eq!(blocks_of_raw(odd), None, "{odd} bytes");
    }
}

#[test]
fn blocks_survive_a_reopening_and_those_never_written_are_zero() {
    let (file, backend) = formed(2_060);
    // A page of four blocks that has a checksum block in its middle.
    let page: Vec<u8> = (0..4 * BLOCK_BYTES).map(|at| (at / 7) as u8).collect();
    backend.write(offset(1_023), &page).expect("write");
    backend.sync_data().expect("sync");
    let backend = checked(&file.reboot(Loss::All, 0));
    assert_eq!(backend.len().expect("len"), offset(2_060));
    assert_eq!(read(&backend, 1_023, 4).expect("read"), page);
    assert_eq!(read(&backend, 1_030, 3).expect("read"), vec![0; 3 * BLOCK_BYTES]);
    let mut header = [0; 320];
    backend.read(0, &mut header).expect("read the header");
    assert_eq!(header, [1; 320]);
}

#[test]
fn blocks_that_were_cut_off_come_back_as_zero() {
    let (file, backend) = formed(1_500);
    for block in [10, 1_024, 1_025, 1_400] {
        backend.write(offset(block), &[9; BLOCK_BYTES]).expect("write");
    }
    backend.sync_data().expect("sync");
    for (blocks, left) in [(1_300, 3), (20, 1), (10, 0)] {
        backend.set_len(offset(blocks)).expect("shrink");
        backend.set_len(offset(1_500)).expect("grow");
        assert_eq!(backend.written_bytes(), offset(left));
        assert_eq!(read(&backend, blocks, 1_490 - blocks as usize).expect("read").iter().max(), Some(&0));
        backend.sync_data().expect("sync");
        let reopened = checked(&file.reboot(Loss::All, 0));
        assert_eq!(reopened.written_bytes(), offset(left));
        assert_eq!(read(&reopened, blocks, 1_490 - blocks as usize).expect("read").iter().max(), Some(&0));
    }
}

#[test]
fn a_block_in_another_ones_place_fails() {
    let (file, backend) = formed(4);
    for (block, byte) in [(1, 1), (2, 2)] {
        backend.write(offset(block), &[byte; BLOCK_BYTES]).expect("write");
    }
    backend.sync_data().expect("sync");
    let mut bytes = file.bytes();
    let (one, two) = (raw_offset(1) as usize, raw_offset(2) as usize);
    bytes.copy_within(one..one + BLOCK_BYTES, two);
    // With its sum: only the block's number gives it away.
    let sums = sums_offset(0) as usize;
    bytes.copy_within(sums..sums + 4, sums + 4);
    let backend = checked(&CrashFile::with_bytes(bytes));
    read(&backend, 1, 1).expect("block 1 is where it belongs");
    read(&backend, 2, 1).expect_err("block 2 holds block 1");
}

#[test]
fn each_flipped_bit_of_a_block_is_found_and_latched() {
    let (file, backend) = formed(3);
    let content: Vec<u8> = (0..BLOCK_BYTES).map(|at| (at * 31) as u8).collect();
    backend.write(offset(1), &content).expect("write");
    backend.sync_data().expect("sync");
    for at in 0..BLOCK_BYTES {
        let copy = CrashFile::with_bytes(file.bytes());
        copy.flip(raw_offset(1) as usize + at, 1 << (at % 8));
        let backend = checked(&copy);
        read(&backend, 1, 1).expect_err("a flipped bit reached the reader");
        let latched = backend.latch().check().expect_err("the latch is set");
        assert!(
            matches!(latched, Error::Damaged { offset: Some(offset), .. } if offset == raw_offset(1)),
            "{latched}"
        );
        read(&backend, 2, 1).expect_err("after damage nothing is read");
        backend.write(offset(2), &content).expect_err("nor written");
        backend.sync_data().expect_err("nor synced");
    }
    // A flip in a block that was never written, and in a sum.
    for at in [raw_offset(2) as usize + 77, sums_offset(0) as usize + 4] {
        let copy = CrashFile::with_bytes(file.bytes());
        copy.flip(at, 0x10);
        read(&checked(&copy), 2, 1).expect_err("a flipped bit reached the reader");
    }
}

#[test]
fn each_flipped_bit_of_the_two_head_sectors_is_found() {
    let (file, backend) = formed(2);
    backend.sync_data().expect("sync");
    for at in (0..SECTOR_BYTES).chain(BLOCK_BYTES..BLOCK_BYTES + SECTOR_BYTES) {
        for bit in 0..8 {
            let copy = CrashFile::with_bytes(file.bytes());
            copy.flip(at, 1 << bit);
            let result = Checked::open(Box::new(copy), OWNER).and_then(|backend| {
                let mut header = [0; 320];
                backend.read(0, &mut header).map_err(|_| backend.latch().check().expect_err("latched"))
            });
            assert!(matches!(result, Err(Error::Damaged { .. })), "bit {bit} of byte {at}: {result:?}");
        }
    }
}

#[test]
fn another_format_version_is_refused_loudly() {
    let (file, _) = formed(2);
    let mut sector = superblock(OWNER, true);
    sector[8] = 2;
    seal_sector(&mut sector);
    let mut bytes = file.bytes();
    bytes[..SECTOR_BYTES].copy_from_slice(&sector);
    let refused = Checked::open(Box::new(CrashFile::with_bytes(bytes)), OWNER).map(|_| ());
    assert_eq!(refused, Err(Error::Version { found: 2, known: 1 }));
    // A file that is something else altogether.
    let text = CrashFile::with_bytes(vec![b'x'; 8_192]);
    assert!(matches!(Checked::open(Box::new(text), OWNER), Err(Error::Damaged { offset: Some(0), .. })));
}

#[test]
fn the_formed_file_of_another_owner_is_refused_and_left_as_it_is() {
    let others = [
        Owner { cluster: ClusterId(OWNER.cluster.0 ^ 1), ..OWNER },
        Owner { node: NodeId(2), ..OWNER },
        Owner { incarnation: Incarnation(OWNER.incarnation.0 ^ (1 << 63)), ..OWNER },
    ];
    let (file, _) = formed(2);
    let before = file.bytes();
    for expected in others {
        let refused = Checked::open(Box::new(file.clone()), expected).map(|_| ());
        assert_eq!(refused, Err(Error::Foreign { found: OWNER, expected }));
        assert!(file.bytes() == before, "the file was changed");
        // One that was never formed held nothing: it is begun anew, and by then it is the new owner's.
        let begun = CrashFile::new();
        checked(&begun);
        Checked::open(Box::new(begun.clone()), expected).and_then(|file| file.set_formed()).expect("begin");
        Checked::open(Box::new(begun.clone()), expected).expect("its own file");
        let refused = Checked::open(Box::new(begun), OWNER).map(|_| ());
        assert_eq!(refused, Err(Error::Foreign { found: expected, expected: OWNER }));
    }
    checked(&file);
}

/// These are on disks: a change needs a new format version.
#[test]
fn golden_bytes() {
    let sector = superblock(OWNER, true);
    assert_eq!(sector[..13], *b"QRTSTATE\x01\0\0\0\x01");
    assert_eq!(sector[13..16], [0; 3]);
    assert_eq!(sector[16..24], [0xc8, 0xc7, 0xc6, 0xc5, 0xc4, 0xc3, 0xc2, 0xc1]);
    assert_eq!(sector[24..32], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sector[32..40], [0xa8, 0xa7, 0xa6, 0xa5, 0xa4, 0xa3, 0xa2, 0xa1]);
    assert!(sector[40..SECTOR_CRC_AT].iter().all(|&byte| byte == 0));
    assert_eq!(sector[SECTOR_CRC_AT..], [166, 74, 44, 189]);
    assert_eq!(block_sum(1, &[0; BLOCK_BYTES]), 171356283);
    assert_eq!(block_sum(2, b"content"), crc32fast::hash(b"\x02\0\0\0\0\0\0\0content"));
    assert_eq!((raw_offset(0), sums_offset(0), raw_offset(1)), (4_096, 8_192, 12_288));
    assert_eq!((raw_offset(1_024), sums_offset(1), raw_offset(1_025)), (4_202_496, 4_206_592, 4_210_688));
}

#[test]
fn accesses_off_the_grid_are_refused() {
    let (_, backend) = formed(3);
    let block = [0; BLOCK_BYTES];
    for at in [1, 4_097, offset(3), u64::MAX] {
        backend.write(at, &block).expect_err("a write off the grid");
    }
    backend.write(0, &block).expect_err("a header that does not fit its sector");
    backend.write(offset(1), &block[..100]).expect_err("a part of a block");
    backend.set_len(100).expect_err("a length off the grid");
    backend.read(4_097, &mut [0; BLOCK_BYTES]).expect_err("a read off the grid");
    backend.read(0, &mut [0; BLOCK_BYTES]).expect_err("a read of more than the header");
    let past = backend.read(offset(3), &mut [0; BLOCK_BYTES]).expect_err("a read past the end");
    assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
    backend.latch().check().expect("a refused access is no failure of the disk");
}

/// Covers H15: a failed write or sync is never repeated, and nothing is written after it.
#[test]
fn the_first_failed_call_is_the_last() {
    for failing in 0..4 {
        let (file, backend) = formed(3);
        file.fail_after(failing);
        let mut failed = None;
        let steps: [&dyn Fn() -> io::Result<()>; 4] = [
            &|| backend.set_len(offset(4)),
            &|| backend.write(offset(1), &[1; BLOCK_BYTES]),
            &|| backend.sync_data(),
            &|| backend.write(0, &[2; 320]),
        ];
        for step in steps {
            match (step(), failed) {
                (Ok(()), None) => {}
                (Ok(()), Some(_)) => panic!("a call succeeded after call {failing} failed"),
                (Err(_), _) => {
                    let calls = *failed.get_or_insert(file.calls());
                    assert_eq!(file.calls(), calls, "the disk was called after call {failing} failed");
                }
            }
        }
        assert!(failed.is_some(), "call {failing} was never made");
        assert!(matches!(backend.latch().check(), Err(Error::Io { .. })));
    }
}

#[test]
fn a_file_that_was_not_formed_is_begun_anew() {
    let file = CrashFile::new();
    let backend = checked(&file);
    backend.set_len(offset(5)).expect("set_len");
    backend.write(offset(1), &[7; BLOCK_BYTES]).expect("write");
    backend.sync_data().expect("sync");
    let backend = checked(&file);
    assert!(!backend.is_formed());
    assert_eq!(backend.len().expect("len"), 0);
    backend.set_len(offset(5)).expect("set_len");
    assert_eq!(read(&backend, 1, 1).expect("read"), vec![0; BLOCK_BYTES]);
}

/// Crashes while a file is begun: whatever is left of it opens, and as an empty one.
#[test]
fn a_crash_during_the_beginning_leaves_a_file_that_opens() {
    for calls in 0..6 {
        for loss in Loss::EVERY {
            for seed in 0..20 {
                let file = CrashFile::new();
                file.cut_after(calls);
                let _ = Checked::open(Box::new(file.clone()), OWNER).and_then(|backend| backend.set_formed());
                let left = file.reboot(loss, seed);
                let backend = checked(&left);
                assert_eq!(backend.len().expect("len"), 0, "after {calls} calls, {loss:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Against a plain vector of blocks, and of those that were ever written.
    #[test]
    fn behaves_as_a_plain_file(
        steps in proptest::collection::vec((0..4_u8, 1..1_040_u64, 1..4_usize, any::<u8>()), 1..30)
    ) {
        let (file, mut backend) = formed(1);
        let mut model: Vec<u8> = vec![0];
        let mut written = vec![false];
        for (step, block, blocks, byte) in steps {
            match step {
                0 => {
                    backend.set_len(offset(block)).expect("set_len");
                    model.resize(block as usize, 0);
                    written.resize(block as usize, false);
                }
                1 if block as usize + blocks <= model.len() => {
                    backend.write(offset(block), &vec![byte; blocks * BLOCK_BYTES]).expect("write");
                    model[block as usize..block as usize + blocks].fill(byte);
                    written[block as usize..block as usize + blocks].fill(true);
                }
                2 if block as usize + blocks <= model.len() => {
                    let got = read(&backend, block, blocks).expect("read");
                    for (got, expected) in got.chunks(BLOCK_BYTES).zip(&model[block as usize..]) {
                        prop_assert!(got.iter().all(|byte| byte == expected));
                    }
                }
                3 => {
                    backend.sync_data().expect("sync");
                    backend = checked(&file.reboot(Loss::All, 0));
                    // Back to the handle that goes on: the reboot was a copy.
                    prop_assert_eq!(backend.len().expect("len"), offset(model.len() as u64));
                    for (block, expected) in model.iter().enumerate().skip(1) {
                        let got = read(&backend, block as u64, 1).expect("read");
                        prop_assert!(got.iter().all(|byte| byte == expected), "block {}", block);
                    }
                    backend = checked(&file);
                }
                _ => {}
            }
            let count = written.iter().filter(|&&written| written).count() as u64;
            prop_assert_eq!(backend.written_bytes(), offset(count));
        }
    }
}

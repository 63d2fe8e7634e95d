//! Wounds of every shape in what was synced: a log is refused, or nothing is missing from it.

use super::damage::{end_of, several_segments};
use super::*;

/// Changes the files in one way; false if that changes nothing.
fn wound(random: &mut fastrand::Rng, files: &mut [Vec<u8>]) -> bool {
    let before = files.to_vec();
    let (at, other) = (random.usize(..files.len()), random.usize(..files.len()));
    let (len, donor) = (files[at].len(), files[other].clone());
    let sector = |random: &mut fastrand::Rng, len: usize| random.usize(..len / 512) * 512;
    let place = random.usize(..len);
    let size = random.usize(1..=1500).min(len - place);
    match random.u8(0..8) {
        0 => files[at][place..place + size].iter_mut().for_each(|byte| *byte = random.u8(..)),
        1 => {
            // Two sectors change places, perhaps between files.
            let (here, there) = (sector(random, len), sector(random, donor.len()));
            let mine = files[at][here..here + 512].to_vec();
            files[at][here..here + 512].copy_from_slice(&donor[there..there + 512]);
            files[other][there..there + 512].copy_from_slice(&mine);
        }
        2 => {
            // What follows a hole moves up.
            files[at].drain(place..place + size);
            files[at].resize(len, 0);
        }
        3 => {
            let piece: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
            files[at].splice(place..place, piece);
            files[at].truncate(len);
        }
        4 => files[at] = donor,
        5 => files[at].truncate(place),
        6 => files[at].extend((0..size).map(|_| 0)),
        _ => {
            // A run of sectors is written one sector too far.
            let from = sector(random, len);
            let count = (random.usize(1..=4) * 512).min(len - from).min(len.saturating_sub(from + 512));
            files[at].copy_within(from..from + count, (from + 512).min(len - count));
        }
    }
    *files != before
}

/// Whether all that differs before the end of each file is sectors that were zeroed: this is what a crash leaves, and
/// outside the fault model where the last batch was synced.
fn only_zeroed(before: &[Vec<u8>], after: &[Vec<u8>], ends: &[usize]) -> bool {
    before.iter().zip(after).zip(ends).all(|((before, after), end)| {
        let mut pairs = before[..*end].chunks(512).zip(after.chunks(512));
        before.len() == after.len() && pairs.all(|(a, b)| a == b || b.iter().all(|byte| *byte == 0))
    })
}

#[test]
fn no_wound_shortens_the_log_in_silence() {
    let (fs, model) = several_segments();
    let before: Vec<Vec<u8>> = (1..=3).map(|number| fs.bytes(&segment(number))).collect();
    let ends: Vec<usize> = (1..)
        .zip(&before)
        .map(|(number, bytes)| end_of(&fs, number, bytes.len()).next_multiple_of(512))
        .collect();
    let (mut refused, mut repaired, mut whole) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut files = before.clone();
        let mut random = fastrand::Rng::with_seed(seed);
        if !wound(&mut random, &mut files) {
            continue;
        }
        let fs = fs.fork();
        fs.kill();
        for (number, bytes) in (1..).zip(&files) {
            fs.set_bytes(&segment(number), bytes.clone());
        }
        match open(&fs) {
            Ok(opened) if !opened.2.wounds.is_empty() && opened.2.torn.is_none() => {
                heal(&fs, opened, &model);
                repaired += 1;
            }
            Ok((_, reader, recovered)) => {
                let nothing_lost = Model::found(&recovered, &reader) == model;
                assert!(nothing_lost || only_zeroed(&before, &files, &ends), "seed {seed}");
                whole += u32::from(nothing_lost);
            }
            Err(Error::Damaged { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    // Behind the place where a cut segment ends, a wound is of no matter.
    assert!(
        refused > 300 && repaired > 300 && whole > 20,
        "{refused} refused, {repaired} repaired, {whole} whole"
    );
}

/// Single sectors of another log of the same node, each whole and in its own place, with the same batches, indexes and
/// terms: only the chain of records tells that they do not belong.
#[test]
fn a_batch_of_another_log_is_damage() {
    let logs = [1, 2].map(|payload| {
        let fs = MemFs::new();
        let (mut wal, ..) = reopen(&fs);
        for index in 1..=3 {
            let payload = Bytes::from(vec![payload; 20]);
            let entry = Entry::new(Index(index), Term(1), EntryKind::Command, payload);
            wal.append(&[write(GROUP, None, vec![entry])]).unwrap();
        }
        fs
    });
    let images = logs.each_ref().map(|fs| fs.bytes(&segment(1)));
    let differing: Vec<usize> = (0..images[0].len())
        .step_by(512)
        .filter(|at| images[0][*at..at + 512] != images[1][*at..at + 512])
        .collect();
    assert_eq!(differing.len(), 3, "a sector for each batch");
    for at in differing {
        let fs = logs[0].fork();
        fs.kill();
        let mut bytes = images[0].clone();
        bytes[at..at + 512].copy_from_slice(&images[1][at..at + 512]);
        fs.set_bytes(&segment(1), bytes);
        let error = open(&fs).map(|_| ()).unwrap_err();
        let Error::Damaged { what, .. } = &error else { panic!("{error}") };
        assert_eq!(what, "the record does not follow the one before it", "byte {at}");
    }
}

//! Bits rot in the state file: no reader ever gets a wrong value.

use bytes::Bytes;

use super::support::*;
use crate::command::{Command, Record};
use crate::fsm::testing::CrashFile;
use crate::fsm::{Error, Options, Store};
use crate::types::ClientId;

const BLOCK_BYTES: usize = 4_096;

/// A file with records of all sizes, sessions and replies.
fn populated() -> (CrashFile, Vec<(Bytes, Record)>) {
    let file = CrashFile::new();
    let store = open(&file).expect("open");
    for client in 0..3 {
        apply(&store, Command::OpenSession { client: ClientId(client) });
        let session = Some(at(client, 1, 1));
        apply_envelope(&store, &envelope(session, write(vec![put("in a session", "v")])));
    }
    for round in 0..4_usize {
        for key in 0..120_usize {
            let value = format!("{round}-{key}-").repeat(key * key % 200);
            apply(&store, write(vec![put(&format!("key {:03}", key * 7 % 120), &value)]));
            if key.is_multiple_of(11) {
                apply(&store, write(vec![delete(&format!("key {key:03}"))]));
            }
        }
        store.fold().expect("fold");
    }
    let content = dump(&store).expect("list");
    (file, content)
}

/// Reads everything every way, and says whether damage was found. A wrong answer fails the test.
fn examine(file: CrashFile, content: &[(Bytes, Record)], when: &str) -> bool {
    let assert_is_damage = |error: Error| {
        assert!(matches!(error, Error::Damaged { .. }), "{when}: {error}");
        true
    };
    let store = match Store::open(Box::new(file), options()) {
        Ok(store) => store,
        Err(error) => return assert_is_damage(error),
    };
    for (key, record) in content {
        let query = crate::command::Query::Get { keyspace: crate::types::Keyspace(0), key: key.clone() };
        match store.query(&query) {
            Ok(answer) => {
                let found = crate::command::Found::Record(Some(record.clone()));
                assert_eq!(answer.found, found, "{when}: a wrong value for {key:?}");
            }
            Err(error) => return assert_is_damage(error),
        }
    }
    match dump(&store) {
        Ok(found) => assert!(found == content, "{when}: a wrong list"),
        Err(error) => return assert_is_damage(error),
    }
    // A replayed command meets its session as it was, and a fold touches the rest of the file.
    let again = envelope(Some(at(1, 1, 1)), write(vec![put("in a session", "v")]));
    let index = store.applied().0.next().0;
    match store.apply(&[input_of(index, &again)]) {
        Ok(replies) => {
            assert!(matches!(replies[0], crate::command::Reply::Written { .. }), "{when}: {replies:?}")
        }
        Err(error) => return assert_is_damage(error),
    }
    match store.fold() {
        Ok(_) => false,
        Err(error) => assert_is_damage(error),
    }
}

#[test]
fn no_flipped_bit_reaches_a_reader() {
    let (file, content) = populated();
    let bytes = file.bytes();
    assert!(!examine(CrashFile::with_bytes(bytes.clone()), &content, "no flip"), "the file is sound");
    let mut rng = fastrand::Rng::with_seed(17);
    let (mut flips, mut found) = (0, 0);
    for block in 0..bytes.len() / BLOCK_BYTES {
        for sample in 0..10_usize {
            // The borders of the block and of its first sector, then anywhere.
            let within =
                [0, 511, 512, 4_095].get(sample).copied().unwrap_or_else(|| rng.usize(0..BLOCK_BYTES));
            let (at, bit) = (block * BLOCK_BYTES + within, rng.u32(0..8));
            let damaged = CrashFile::with_bytes(bytes.clone());
            damaged.flip(at, 1 << bit);
            found += usize::from(examine(damaged, &content, &format!("bit {bit} of byte {at} flipped")));
            flips += 1;
        }
    }
    // The rest is in blocks that nothing refers to. Were the checksums not looked at, this would be near nothing.
    assert!(found * 4 > flips, "only {found} of {flips} flips were found");
}

#[test]
fn damage_is_latched_and_names_its_place() {
    let (file, content) = populated();
    // Without a cache: a debug build of redb reads every page when it opens.
    let uncached = Options { cache_bytes: 0, ..options() };
    let store = Store::open(Box::new(file.clone()), uncached).expect("open");
    // Behind the store's back, so that it is met by a reader and not at the opening.
    for block in 3..file.bytes().len() / BLOCK_BYTES {
        file.flip(block * BLOCK_BYTES + 100, 4);
    }
    let query =
        |key: &Bytes| crate::command::Query::Get { keyspace: crate::types::Keyspace(0), key: key.clone() };
    let first = content.iter().find_map(|(key, record)| match store.query(&query(key)) {
        Ok(answer) => {
            assert_eq!(answer.found, crate::command::Found::Record(Some(record.clone())));
            None
        }
        Err(error) => Some(error),
    });
    let first = first.expect("damage was read");
    assert!(matches!(first, Error::Damaged { offset: Some(offset), .. } if offset % 4_096 == 0), "{first}");
    assert!(first.to_string().contains("at offset"), "{first}");
    assert_eq!(store.query(&query(&bytes("any"))), Err(first.clone()));
    let index = store.applied().0.next().0;
    assert_eq!(store.apply(&[input(index, write(vec![put("k", "v")]))]), Err(first.clone()));
    assert_eq!(store.fold(), Err(first));
}

#[test]
fn a_shortened_file_is_damage() {
    let (file, content) = populated();
    let bytes = file.bytes();
    for len in [1, 511, 4_095, 4_097, 8_192, bytes.len() / 2 / BLOCK_BYTES * BLOCK_BYTES, bytes.len() - 1] {
        let cut = CrashFile::with_bytes(bytes[..len].to_vec());
        assert!(
            examine(cut, &content, &format!("cut to {len} bytes")),
            "a file of {len} bytes was taken for whole"
        );
    }
}

//! The targets on mutants of their corpus: the same ones in every run.

use std::fs;
use std::path::{Path, PathBuf};

use super::meter::measure;
use super::{TARGETS, Target, mutate, target};

/// Mutants of each target, half of them mended. `QUORATE_FUZZ_CASES` asks for more.
const CASES: u64 = 3_000;

fn directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

/// The saved inputs of a target, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let directory = directory(target);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&directory).unwrap();
        for (name, bytes) in (target.samples)() {
            fs::write(directory.join(format!("valid-{name}")), bytes).unwrap();
        }
    }
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut corpus: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    corpus.sort();
    corpus
}

/// Shows the input if the check panics.
struct Shown<'a> {
    target: &'a Target,
    input: &'a [u8],
}

impl Drop for Shown<'_> {
    #[allow(clippy::print_stderr, reason = "this is how a failing test says where its input is")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("quorate-fuzz-{}", self.target.name));
            let saved = fs::write(&path, self.input);
            eprintln!(
                "the input of {} bytes is in {} ({saved:?}): once it is understood, keep it as {}/found-...",
                self.input.len(),
                path.display(),
                directory(self.target).display()
            );
        }
    }
}

/// Checks one input, its cost included.
fn check(target: &Target, input: &[u8]) -> bool {
    let shown = Shown { target, input };
    let (accepted, bytes) = measure(|| (target.check)(input));
    let (base, factor) = target.heap_bytes_max;
    let max = base + factor * input.len();
    assert!(bytes <= max, "{} bytes of memory for an input of {}: {max} are allowed", bytes, input.len());
    drop(shown);
    accepted
}

fn run(name: &str) {
    let target = target(name);
    let corpus = corpus(target);
    for (name, input) in &corpus {
        let accepted = check(target, input);
        assert!(accepted || !name.starts_with("valid-"), "{name} of {} is refused", target.name);
    }
    let cases = std::env::var("QUORATE_FUZZ_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let mut seen = [0_u64; 2];
    for case in 0..cases {
        let mut random = fastrand::Rng::with_seed(case);
        let mut input = corpus[random.usize(..corpus.len())].1.clone();
        let donor = &corpus[random.usize(..corpus.len())].1;
        mutate(&mut random, &mut input, donor);
        if case % 2 == 0 {
            (target.mend)(&mut input);
        }
        seen[usize::from(check(target, &input))] += 1;
    }
    // A target that accepts nothing, or everything, is not asked what it should be asked.
    let [refused, accepted] = seen;
    assert!(
        refused > cases / 100 && accepted > cases / 100,
        "{name}: {accepted} accepted, {refused} refused"
    );
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )+

        #[test]
        fn every_target_is_run_and_has_its_binary() {
            let names = [$(stringify!($name)),+];
            assert!(TARGETS.iter().map(|target| target.name).eq(names));
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
            let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
            let declared = manifest.lines().filter(|line| *line == "[[bin]]").count();
            assert_eq!(declared, names.len(), "binaries in tests/fuzz/Cargo.toml");
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "tests/fuzz/Cargo.toml lacks {name}");
            }
        }
    };
}

targets!(
    wal,
    codec,
    membership,
    identity,
    frame,
    handshake,
    snapshot,
    peers,
    forward,
    rows,
    state,
    snapshot_state,
    rest,
    grpc,
    etcd,
    settings,
    script
);

/// A mutation changes something, mostly, and the same seed makes the same mutant.
#[test]
fn mutants_differ_and_repeat() {
    let base: Vec<u8> = (0..2_000).map(|at| at as u8).collect();
    let mutant = |seed| {
        let mut input = base.clone();
        mutate(&mut fastrand::Rng::with_seed(seed), &mut input, &[7; 700]);
        input
    };
    let differing = (0..500).filter(|seed| mutant(*seed) != base).count();
    assert!(differing > 450, "{differing} of 500 differ");
    assert!((0..500).all(|seed| mutant(seed) == mutant(seed)));
    let mut empty = Vec::new();
    (0..500).for_each(|seed| mutate(&mut fastrand::Rng::with_seed(seed), &mut empty, &[]));
}

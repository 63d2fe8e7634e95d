//! How a valid input becomes one that nobody would write: by its structure rather than bit by bit alone.

use super::INPUT_BYTES_MAX;

/// Numbers at which arithmetic goes wrong.
const ODD_NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// Changes `input` one to four times. Parts are borrowed from `donor`, another input of the same parser.
pub fn mutate(random: &mut fastrand::Rng, input: &mut Vec<u8>, donor: &[u8]) {
    for _ in 0..random.usize(1..=4) {
        change(random, input, donor);
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn change(random: &mut fastrand::Rng, input: &mut Vec<u8>, donor: &[u8]) {
    match random.u8(0..12) {
        0 | 1 => flip(random, input),
        2 => {
            if let Some(at) = place(random, input) {
                input[at] = random.u8(..);
            }
        }
        3 | 4 => number(random, input),
        5 => step(random, input),
        6 => {
            let range = range(random, input);
            input.drain(range);
        }
        7 => {
            let piece = input[range(random, input)].to_vec();
            insert(random, input, &piece);
        }
        8 => {
            let piece = donor[range(random, donor)].to_vec();
            insert(random, input, &piece);
        }
        9 => overwrite(random, input, donor),
        10 => swap(random, input),
        _ => fill(random, input),
    }
}

/// A place in the input.
fn place(random: &mut fastrand::Rng, input: &[u8]) -> Option<usize> {
    (!input.is_empty()).then(|| random.usize(..input.len()))
}

/// A stretch of the input, mostly a short one; one in four is made of whole sectors.
fn range(random: &mut fastrand::Rng, input: &[u8]) -> std::ops::Range<usize> {
    let (start, len) = match random.u8(0..8) {
        0 | 1 => (random.usize(0..=input.len()) / 512 * 512, 512 * random.usize(1..=4)),
        2 => (random.usize(0..=input.len()), random.usize(0..=input.len())),
        _ => (random.usize(0..=input.len()), random.usize(1..=16)),
    };
    start..(start + len).min(input.len())
}

fn insert(random: &mut fastrand::Rng, input: &mut Vec<u8>, piece: &[u8]) {
    let at = random.usize(0..=input.len());
    for _ in 0..if random.u8(0..8) == 0 { random.usize(2..20) } else { 1 } {
        if input.len() + piece.len() <= INPUT_BYTES_MAX {
            input.splice(at..at, piece.iter().copied());
        }
    }
}

fn flip(random: &mut fastrand::Rng, input: &mut [u8]) {
    if let Some(at) = place(random, input) {
        input[at] ^= 1 << random.u8(0..8);
    }
}

/// Writes an odd number, of any width and either byte order; or a varint, or digits.
fn number(random: &mut fastrand::Rng, input: &mut Vec<u8>) {
    let Some(at) = place(random, input) else { return };
    let odd = ODD_NUMBERS[random.usize(..ODD_NUMBERS.len())];
    let odd = odd.wrapping_add(random.u64(0..3)).wrapping_sub(1);
    let bytes = match random.u8(0..8) {
        0 => vec![odd as u8],
        1 => (odd as u16).to_le_bytes().to_vec(),
        2 => (odd as u32).to_le_bytes().to_vec(),
        3 | 4 => odd.to_le_bytes().to_vec(),
        5 => odd.to_be_bytes().to_vec(),
        6 => varint(odd),
        _ => return digits(input, at, odd),
    };
    let end = if random.bool() { (at + bytes.len()).min(input.len()) } else { at };
    input.splice(at..end, bytes);
}

/// Puts a number in the place of the first one that is written in digits at or after `at`, or inserts it there.
fn digits(input: &mut Vec<u8>, at: usize, number: u64) {
    let start = input[at..].iter().position(u8::is_ascii_digit).map_or(at, |found| at + found);
    let len = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(start..start + len, number.to_string().into_bytes());
}

/// Adds a little to a little-endian number, or takes it away.
fn step(random: &mut fastrand::Rng, input: &mut [u8]) {
    let Some(at) = place(random, input) else { return };
    let mut word = [0; 8];
    let len = 8.min(input.len() - at);
    word[..len].copy_from_slice(&input[at..at + len]);
    let by = random.u64(1..=8);
    let stepped = match random.bool() {
        true => u64::from_le_bytes(word).wrapping_add(by),
        false => u64::from_le_bytes(word).wrapping_sub(by),
    };
    input[at..at + len].copy_from_slice(&stepped.to_le_bytes()[..len]);
}

fn overwrite(random: &mut fastrand::Rng, input: &mut [u8], donor: &[u8]) {
    let from = range(random, donor);
    let at = if random.bool() { from.start } else { random.usize(0..=input.len()) }.min(input.len());
    let len = from.len().min(input.len() - at);
    input[at..at + len].copy_from_slice(&donor[from.start..from.start + len]);
}

/// Swaps two stretches of equal length.
fn swap(random: &mut fastrand::Rng, input: &mut [u8]) {
    let (a, b) = (range(random, input), range(random, input));
    let len = a.len().min(b.len());
    for at in 0..len {
        input.swap(a.start + at, b.start + at);
    }
}

/// Fills a stretch with one byte.
fn fill(random: &mut fastrand::Rng, input: &mut [u8]) {
    let byte = [0, 0xff, random.u8(..)][random.usize(0..3)];
    let range = range(random, input);
    input[range].fill(byte);
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

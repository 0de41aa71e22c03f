//! Seeded damage: the same seed spoils the same corpus in the same way, on every machine.

pub use antiphon_core::Dice;

/// Longest input that a mutation makes, in bytes.
pub const INPUT_LEN_MAX: usize = 64 * 1024;

/// Most mutations that are laid over each other.
const CHANGES_MAX: u64 = 6;

/// Numbers on which lengths, offsets and counts go wrong.
const NUMBERS: [u32; 10] = [0, 1, 7, 8, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// What turns a number into another or into none.
const DIGITS: &[u8] = b"0123456789+-aZ";

/// Pieces that parsers look for.
const WORDS: [&str; 40] = [
    "~",
    "=",
    ".",
    "/",
    "//",
    "/../",
    "/*",
    "*",
    "-",
    ",",
    "bytes=",
    "x=",
    "n=",
    "p=/*",
    "u=",
    "q=",
    "g=-US",
    "i=::/0",
    "w=",
    "m=GET",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    "\\u0000",
    "null",
    "1e999",
    "-1",
    "99999999999",
    "18446744073709551616",
    "\n",
    "\r\n",
    "\0",
    "ä",
    "moov",
    "stsz",
    "mdat",
    "EDGESIX1",
];

/// One of `corpus`, changed in a few places; at most [`INPUT_LEN_MAX`] bytes.
pub fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = pick(corpus, dice).to_vec();
    for _ in 0..1 + dice.roll() % CHANGES_MAX {
        change(&mut input, corpus, dice);
    }
    input.truncate(INPUT_LEN_MAX);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(input.len());
    let some = 1 + dice.below(16);
    let end = (at + some).min(input.len());
    match dice.below(9) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.roll() as u8,
        2 => put(input, at, &NUMBERS[dice.below(NUMBERS.len())].to_be_bytes()),
        3 => drop(input.splice(at..at, WORDS[dice.below(WORDS.len())].bytes())),
        4 => drop(input.drain(at..end)),
        5 => input.truncate(at),
        6 => {
            let copy = input[at..end].to_vec();
            let to = dice.below(input.len());
            drop(input.splice(to..to, copy));
        }
        7 => {
            let other = pick(corpus, dice);
            let from = dice.below(other.len());
            let tail = other[from..].to_vec();
            input.truncate(at);
            input.extend(tail);
        }
        _ => put(input, at, &DIGITS[dice.below(DIGITS.len())..]),
    }
}

/// Writes over what is there, as far as there is something.
fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (old, new) in input[at..].iter_mut().zip(bytes) {
        *old = *new;
    }
}

fn pick<'c>(corpus: &'c [Vec<u8>], dice: &mut Dice) -> &'c [u8] {
    corpus.get(dice.below(corpus.len())).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_damage_and_another_seed_another() {
        let corpus = [b"bytes=0-99".to_vec(), Vec::new(), b"bytes=-5".to_vec()];
        let run = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| mutated(&corpus, &mut dice)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).iter().any(|input| !corpus.contains(input)));
    }

    #[test]
    fn no_mutation_outgrows_the_limit() {
        let corpus = [vec![b'a'; INPUT_LEN_MAX]];
        let mut dice = Dice::new(3);
        assert!((0..200).all(|_| mutated(&corpus, &mut dice).len() <= INPUT_LEN_MAX));
    }
}

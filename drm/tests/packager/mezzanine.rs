//! Files at rest: what is sealed opens, whatever was altered does not.

use crate::world::{Dice, Recording, template};
use antiphon_core::{AssetId, Rendition, Scheme, Span};
use antiphon_drm::content::index::{KidPatch, KidSlot};
use antiphon_drm::content::mezzanine::{
    CHUNK_PLAIN_LEN, DataKey, HEADER_LEN, Header, Identity, Kind, Mezzanine, MezzanineError, SealError,
    Sealing, TAG_LEN, WRAPPED_KEY_LEN_MAX, WRAPPER_LEN_MAX, seal,
};
use proptest::prelude::*;
use std::sync::LazyLock;

const IDENTITY: Identity = Identity {
    kind: Kind::Template,
    asset: AssetId::from_bytes([3; 16]),
    rendition: Rendition::Aac256,
    scheme: Scheme::Cenc,
};
const SEALED_CHUNK_LEN: usize = (CHUNK_PLAIN_LEN + TAG_LEN) as usize;

/// Three whole chunks and a bit.
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| Dice::new(1).bytes(3 * CHUNK_PLAIN_LEN as usize + 1_000));
static STORED: LazyLock<Vec<u8>> = LazyLock::new(|| sealed(&PLAIN, &key(), [5; 8]));

fn key() -> DataKey {
    DataKey::from_bytes([0xab; 32])
}

fn sealing(key: &DataKey) -> Sealing<'_> {
    Sealing {
        identity: IDENTITY,
        data_key: key,
        wrapper: "file:0123456789abcdef",
        wrapped_key: &[9; 60],
        nonce_prefix: [5; 8],
        kid_patches: &[],
    }
}

fn sealed(plain: &[u8], key: &DataKey, nonce_prefix: [u8; 8]) -> Vec<u8> {
    seal(plain, &Sealing { nonce_prefix, ..sealing(key) }).unwrap()
}

fn unlock(stored: &[u8]) -> Result<Mezzanine, MezzanineError> {
    Header::parse(stored)?.unlock(&key(), &IDENTITY)
}

fn open(stored: &[u8], span: Span) -> Result<Vec<u8>, MezzanineError> {
    let mezzanine = unlock(&stored[..HEADER_LEN])?;
    let run = mezzanine.stored_run(span)?.span;
    let end = (run.end() as usize).min(stored.len());
    mezzanine.open(span, &stored[(run.start() as usize).min(end)..end])
}

proptest! {
    #[test]
    fn any_span_opens_to_its_bytes(a in 0_u64..200_000, b in 0_u64..200_000) {
        let len = PLAIN.len() as u64;
        let (start, end) = ((a.min(b)) % len, (a.max(b) % len) + 1);
        prop_assume!(start < end);
        let span = Span::new(start, end).unwrap();
        prop_assert!(open(&STORED, span).unwrap() == PLAIN[start as usize..end as usize]);
    }

    #[test]
    fn one_altered_bit_in_a_chunk_and_no_byte_comes_out(at in HEADER_LEN..HEADER_LEN + 3 * SEALED_CHUNK_LEN + 1_016, bit in 0_u8..8) {
        let mut stored = STORED.clone();
        stored[at] ^= 1 << bit;
        let chunk = ((at - HEADER_LEN) / SEALED_CHUNK_LEN) as u32;
        let whole = Span::whole(PLAIN.len() as u64).unwrap();
        prop_assert_eq!(open(&stored, whole), Err(MezzanineError::Chunk { chunk }));
        // A span of another chunk still opens: damage is not spread.
        let other = u64::from((chunk + 1) % 4) * CHUNK_PLAIN_LEN;
        prop_assert!(open(&stored, Span::new(other, other + 10).unwrap()).is_ok());
    }
}

#[test]
fn spans_on_the_borders_of_chunks_read_no_chunk_too_many() {
    let mezzanine = unlock(&STORED).unwrap();
    let stored = |start, end| mezzanine.stored_run(Span::new(start, end).unwrap()).unwrap().span;
    let chunk = |number: u64| HEADER_LEN as u64 + number * SEALED_CHUNK_LEN as u64;
    assert_eq!(stored(0, 1), Span::new(chunk(0), chunk(1)).unwrap());
    assert_eq!(stored(0, CHUNK_PLAIN_LEN), Span::new(chunk(0), chunk(1)).unwrap());
    assert_eq!(stored(0, CHUNK_PLAIN_LEN + 1), Span::new(chunk(0), chunk(2)).unwrap());
    assert_eq!(stored(CHUNK_PLAIN_LEN, CHUNK_PLAIN_LEN + 1), Span::new(chunk(1), chunk(2)).unwrap());
    let end = PLAIN.len() as u64;
    assert_eq!(stored(end - 1, end), Span::new(chunk(3), STORED.len() as u64).unwrap());
    let span = Span::new(end, end + 1).unwrap();
    assert_eq!(mezzanine.stored_run(span), Err(MezzanineError::Outside { span, plain_len: end }));
}

#[test]
fn files_of_every_length_around_a_chunk_open_whole() {
    let chunk = CHUNK_PLAIN_LEN as usize;
    for len in [1, 15, 16, 17, chunk - 1, chunk, chunk + 1, 2 * chunk] {
        let stored = sealed(&PLAIN[..len], &key(), [1; 8]);
        let mezzanine = unlock(&stored).unwrap();
        assert_eq!(mezzanine.header().stored_len(), stored.len() as u64);
        assert!(mezzanine.open_whole(&stored).unwrap() == PLAIN[..len], "{len} bytes");
    }
}

#[test]
fn one_altered_bit_in_the_header_and_the_file_is_not_believed() {
    for at in 0..HEADER_LEN {
        let mut stored = STORED[..HEADER_LEN].to_vec();
        stored[at] ^= 1 << (at % 8);
        assert!(unlock(&stored).is_err(), "byte {at}");
    }
}

#[test]
fn chunks_cannot_be_moved_dropped_or_brought_from_elsewhere() {
    let whole = Span::whole(PLAIN.len() as u64).unwrap();
    let chunk = |number: usize| HEADER_LEN + number * SEALED_CHUNK_LEN;
    let mut swapped = STORED.clone();
    swapped[chunk(0)..chunk(2)].rotate_left(SEALED_CHUNK_LEN);
    assert_eq!(open(&swapped, whole), Err(MezzanineError::Chunk { chunk: 0 }));

    // The same plain bytes under the same key and nonces, but of a file with another header.
    let other = seal(&PLAIN, &Sealing { wrapper: "file:other", ..sealing(&key()) }).unwrap();
    let mut mixed = STORED.clone();
    mixed[chunk(1)..chunk(2)].copy_from_slice(&other[chunk(1)..chunk(2)]);
    assert_eq!(open(&mixed, whole), Err(MezzanineError::Chunk { chunk: 1 }));

    let want = STORED.len() as u64 - HEADER_LEN as u64;
    let cut = &STORED[..chunk(3)];
    assert_eq!(open(cut, whole), Err(MezzanineError::StoredLen { got: 3 * SEALED_CHUNK_LEN as u64, want }));
    let grown = [&STORED[..], &[0]].concat();
    let mezzanine = unlock(&grown).unwrap();
    assert_eq!(
        mezzanine.open(whole, &grown[HEADER_LEN..]),
        Err(MezzanineError::StoredLen { got: want + 1, want })
    );
}

#[test]
fn a_file_opens_under_its_own_key_and_name_only() {
    let header = || Header::parse(&STORED).unwrap();
    let wrong = DataKey::from_bytes([0xac; 32]);
    assert_eq!(header().unlock(&wrong, &IDENTITY).unwrap_err(), MezzanineError::HeaderMac);
    for expected in [
        Identity { kind: Kind::Index, ..IDENTITY },
        Identity { asset: AssetId::from_bytes([4; 16]), ..IDENTITY },
        Identity { rendition: Rendition::Aac320, ..IDENTITY },
        Identity { scheme: Scheme::Cbcs, ..IDENTITY },
    ] {
        let told = header().unlock(&key(), &expected).unwrap_err();
        assert_eq!(told, MezzanineError::Identity { found: IDENTITY, expected });
        assert_ne!(expected.wrap_context(), IDENTITY.wrap_context());
    }
}

#[test]
fn the_header_carries_what_the_reader_needs_to_unwrap_and_patch() {
    let template = template(&Recording::of(100).to_bytes(), 16);
    let (wrapper, wrapped_key) = ("w".repeat(WRAPPER_LEN_MAX), vec![1; WRAPPED_KEY_LEN_MAX]);
    let key = key();
    let (wrapper, wrapped_key, kid_patches) =
        (wrapper.as_str(), wrapped_key.as_slice(), template.index.kid_patches());
    let stored =
        seal(&template.bytes, &Sealing { wrapper, wrapped_key, kid_patches, ..sealing(&key) }).unwrap();
    let header = Header::parse(&stored[..HEADER_LEN]).unwrap();
    assert_eq!((header.wrapper(), header.wrapped_key()), (wrapper, wrapped_key));
    assert_eq!(header.kid_patches(), kid_patches);
    assert_eq!(header.plain_len(), template.bytes.len() as u64);
    assert_eq!(header.unlock(&key, &IDENTITY).unwrap().open_whole(&stored), Ok(template.bytes));
}

#[test]
fn what_does_not_fit_a_header_is_not_sealed() {
    let key = key();
    let refused = |sealing: Sealing<'_>| seal(b"x", &sealing).unwrap_err();
    assert_eq!(seal(b"", &sealing(&key)), Err(SealError::Empty));
    assert_eq!(refused(Sealing { wrapper: "", ..sealing(&key) }), SealError::Wrapper);
    assert_eq!(refused(Sealing { wrapper: "a b", ..sealing(&key) }), SealError::Wrapper);
    assert_eq!(
        refused(Sealing { wrapper: &"w".repeat(WRAPPER_LEN_MAX + 1), ..sealing(&key) }),
        SealError::Wrapper
    );
    assert_eq!(refused(Sealing { wrapped_key: &[], ..sealing(&key) }), SealError::WrappedKey(0));
    let long = vec![0; WRAPPED_KEY_LEN_MAX + 1];
    assert_eq!(refused(Sealing { wrapped_key: &long, ..sealing(&key) }), SealError::WrappedKey(long.len()));
    let patches = [KidPatch { offset: 1, slot: KidSlot::Own }; 18];
    assert_eq!(refused(Sealing { kid_patches: &patches, ..sealing(&key) }), SealError::KidPatches(18));
}

#[test]
fn nothing_of_the_music_or_the_key_is_legible_at_rest() {
    let plain = b"a song to be kept ".repeat(10_000);
    let stored = sealed(&plain, &key(), [2; 8]);
    assert!(!stored.windows(18).any(|bytes| bytes == &plain[..18]));
    assert!(!stored.windows(8).any(|bytes| bytes == &key().expose()[..8]));
    assert_eq!(format!("{:?}", key()), "DataKey(hidden)");
    assert!(!format!("{:?} {:?}", unlock(&stored), sealing(&key())).contains("171, 171"));
}

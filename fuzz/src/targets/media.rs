//! What the origin reads: recordings to ingest, and its own stored files.

use crate::Outcome;
use antiphon_core::{Scheme, Span};
use antiphon_drm::content::encrypt::encrypt_range;
use antiphon_drm::content::index::SampleIndex;
use antiphon_drm::content::mezzanine::{DataKey, Header};
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::Template;
use antiphon_drm::keys::{ContentKey, KeyId};
use sha2::{Digest, Sha256};

/// The data key of the corpus' stored files, as bytes.
pub const DATA_KEY: [u8; 32] = *b"a key that only opens fuzz input";

/// Largest object that is made of an input, in bytes: an index may describe one of terabytes.
const OBJECT_LEN_MAX: u64 = 1 << 20;

/// A recording: whatever is taken has samples inside the file, and can be laid out, indexed and encrypted.
pub fn source(data: &[u8]) -> Outcome {
    let Ok(file) = AudioFile::parse(data) else {
        return Outcome::Refused;
    };
    let total: u64 = file.samples().iter().map(|sample| sample.bytes.len() as u64).sum();
    assert!(total <= data.len() as u64, "{total} bytes of samples in {}", data.len());
    let Ok(template) = Template::build(&file, file.frames_per_fragment(), 2, Scheme::Cenc) else {
        return Outcome::Refused;
    };
    assert_eq!(template.index.total_len(), template.bytes.len() as u64);
    assert_eq!(template.index.kid_count(), 2);
    encrypts(&template.index, &template.bytes);
    let written = template.index.to_bytes();
    assert_eq!(SampleIndex::from_bytes(&written).as_ref(), Ok(&template.index));
    Outcome::Taken
}

/// A stored sample index, as it comes and with its hash made right: what is read is consistent, has one
/// spelling, and describes an object that can be encrypted.
pub fn sample_index(data: &[u8]) -> Outcome {
    let hash = Sha256::digest(data);
    let believable = [data, &hash[..16]].concat();
    let mut outcome = Outcome::Refused;
    for bytes in [data, &believable] {
        let Ok(index) = SampleIndex::from_bytes(bytes) else {
            continue;
        };
        outcome = Outcome::Taken;
        assert_eq!(index.to_bytes(), bytes, "an index has one spelling");
        let mut end = None;
        for fragment in index.fragments() {
            assert!(end.is_none_or(|end| end == fragment.moof), "fragments lie one behind the other");
            assert!(fragment.moof < fragment.payload && fragment.payload <= fragment.end);
            assert_eq!(index.sizes_of(fragment).len(), usize::from(fragment.samples));
            end = Some(fragment.end);
        }
        if index.total_len() <= OBJECT_LEN_MAX {
            encrypts(&index, &vec![0; index.total_len() as usize]);
        }
    }
    outcome
}

/// A stored file: a header that is believed was sealed with the key in hand, and so was all that opens.
pub fn mezzanine_header(data: &[u8]) -> Outcome {
    let Ok(header) = Header::parse(data) else {
        return Outcome::Refused;
    };
    let len = header.plain_len();
    let run = |start, end| Span::new(start, end).map(|span| header.stored_run(span));
    for inside in [run(0, 1), run(0, len), run(len - 1, len)] {
        assert!(inside.is_some_and(|run| run.is_ok_and(|run| run.span.end() <= header.stored_len())));
    }
    for past in [run(0, len + 1), run(len, len + 1), run(0, u64::MAX)] {
        assert!(past.is_some_and(|run| run.is_err()));
    }
    let identity = header.identity();
    let Ok(file) = header.unlock(&DataKey::from_bytes(DATA_KEY), &identity) else {
        return Outcome::Refused;
    };
    let Ok(plain) = file.open_whole(data) else {
        return Outcome::Refused;
    };
    assert_eq!(plain.len() as u64, file.plain_len());
    Outcome::Taken
}

/// The whole object and its pieces are the same bytes, whatever the layout.
fn encrypts(index: &SampleIndex, template: &[u8]) {
    let key = ContentKey::from_bytes([7; 16]);
    let kids: Vec<KeyId> = (0..index.kid_count()).map(|n| KeyId::from_bytes([n as u8; 16])).collect();
    let Some(all) = Span::whole(index.total_len()) else {
        panic!("an index of an empty object");
    };
    let mut object = template.to_vec();
    let done = encrypt_range(&mut object, all, index, &key, &kids, 0);
    assert!(done.is_ok(), "{done:?}");
    let third = all.len() / 3;
    for span in [Span::new(0, third), Span::new(third, 2 * third), Span::new(2 * third, all.len())] {
        let Some(span) = span else { continue };
        let bytes = span.start() as usize..span.end() as usize;
        let mut piece = template[bytes.clone()].to_vec();
        let done = encrypt_range(&mut piece, span, index, &key, &kids, 0);
        assert!(done.is_ok() && piece == object[bytes], "{span:?} is not what the whole object has there");
    }
}

//! Objects out of templates: in pieces, across epochs, with the wrong arguments.

use crate::world::{Dice, Recording, changeable, kids, template};
use antiphon_core::Span;
use antiphon_drm::content::encrypt::{EncryptError, Encryptor, encrypt_range};
use antiphon_drm::content::index::{Fragment, FragmentShape, MDAT_HEADER_LEN, SampleIndex};
use antiphon_drm::content::template::Template;
use antiphon_drm::keys::{ContentKey, KeyId};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| template(&Recording::of(400).to_bytes(), 3));

fn object(key: u8, kids: &[KeyId], own: usize) -> Vec<u8> {
    let mut bytes = TEMPLATE.bytes.clone();
    let span = Span::whole(bytes.len() as u64).unwrap();
    encrypt_range(&mut bytes, span, &TEMPLATE.index, &ContentKey::from_bytes([key; 16]), kids, own).unwrap();
    bytes
}

proptest! {
    #[test]
    fn an_object_is_the_same_made_whole_or_in_pieces(seed in any::<u64>(), longest in 1_u64..5_000) {
        let (kids, key) = (kids(7, 3), ContentKey::from_bytes([7; 16]));
        let whole = object(7, &kids, 1);
        let object = Encryptor::new(&TEMPLATE.index, &key, &kids, 1).unwrap();
        let (mut dice, mut at, mut pieces) = (Dice::new(seed), 0, Vec::new());
        while at < whole.len() as u64 {
            let span = Span::new(at, (at + 1 + dice.below(longest)).min(whole.len() as u64)).unwrap();
            let mut piece = TEMPLATE.bytes[span.start() as usize..span.end() as usize].to_vec();
            object.apply(span, &mut piece).unwrap();
            pieces.extend(piece);
            at = span.end();
        }
        prop_assert!(pieces == whole);
    }
}

#[test]
fn every_single_byte_of_an_object_can_be_made_alone() {
    let (kids, key) = (kids(9, 3), ContentKey::from_bytes([9; 16]));
    let whole = object(9, &kids, 0);
    let object = Encryptor::new(&TEMPLATE.index, &key, &kids, 0).unwrap();
    for (at, expected) in whole.iter().enumerate() {
        let mut byte = [TEMPLATE.bytes[at]];
        object.apply(Span::new(at as u64, at as u64 + 1).unwrap(), &mut byte).unwrap();
        assert_eq!(byte[0], *expected, "byte {at}");
    }
}

#[test]
fn between_epochs_only_key_ids_and_samples_differ() {
    let (before, after) = (object(1, &kids(10, 3), 1), object(2, &kids(90, 3), 1));
    let may_differ = changeable(&TEMPLATE.index);
    assert_eq!(before.len(), after.len());
    for (at, may) in may_differ.iter().enumerate() {
        let same = before[at] == after[at] && before[at] == TEMPLATE.bytes[at];
        assert!(*may || same, "byte {at} of a box differs");
    }
    let differing = (0..before.len()).filter(|at| before[*at] != after[*at]).count();
    let changeable = may_differ.iter().filter(|may| **may).count();
    // One byte in 256 stays by chance.
    assert!(differing * 100 > changeable * 98, "{differing} of {changeable} bytes changed");
}

#[test]
fn every_sample_has_a_key_stream_of_its_own() {
    // A silent recording: equal samples must not become equal bytes.
    let silence = Recording { samples: vec![vec![0; 64]; 200], ..Recording::of(200) };
    let template = template(&silence.to_bytes(), 1);
    let mut bytes = template.bytes;
    let span = Span::whole(bytes.len() as u64).unwrap();
    encrypt_range(&mut bytes, span, &template.index, &ContentKey::from_bytes([4; 16]), &kids(1, 1), 0)
        .unwrap();
    let mut streams = std::collections::HashSet::new();
    for fragment in template.index.fragments() {
        for at in 0..usize::from(fragment.samples) {
            streams.insert(bytes[fragment.payload as usize + at * 64..][..64].to_vec());
        }
    }
    assert_eq!(streams.len(), 200);
}

#[test]
fn the_variants_of_a_fragment_share_no_key_stream() {
    let template = template(&Recording::of(90).to_bytes(), 1);
    let shapes = |variant| {
        let shape = |fragment: &Fragment| FragmentShape {
            moof_len: (fragment.payload - fragment.moof) as u32 - MDAT_HEADER_LEN,
            payload_len: (fragment.end - fragment.payload) as u32,
            samples: fragment.samples,
            variant,
        };
        template.index.fragments().iter().map(shape).collect::<Vec<_>>()
    };
    let streams = [0, 1].map(|variant| {
        let sizes =
            template.index.fragments().iter().flat_map(|fragment| template.index.sizes_of(fragment).to_vec());
        let kid_offsets: Vec<u32> = template.index.kid_patches().iter().map(|patch| patch.offset).collect();
        let facts = template.index.facts().clone();
        let index = SampleIndex::assemble(facts, &kid_offsets, &shapes(variant), sizes.collect()).unwrap();
        let mut bytes = vec![0; template.bytes.len()];
        let span = Span::whole(bytes.len() as u64).unwrap();
        encrypt_range(&mut bytes, span, &index, &ContentKey::from_bytes([4; 16]), &kids(1, 1), 0).unwrap();
        bytes[index.fragments()[0].payload as usize..].to_vec()
    });
    let alike = streams[0].iter().zip(&streams[1]).filter(|(a, b)| a == b && **a != 0).count();
    assert!(alike * 100 < streams[0].len(), "{alike} bytes of {} are alike", streams[0].len());
}

#[test]
fn the_init_segment_names_the_own_key_and_those_of_all_renditions() {
    let kids = kids(20, 3);
    let object = object(1, &kids, 2);
    let at = |patch: usize| &object[TEMPLATE.index.kid_patches()[patch].offset as usize..][..16];
    assert_eq!(at(0), kids[2].as_bytes());
    for (number, kid) in kids.iter().enumerate() {
        assert_eq!(at(number + 1), kid.as_bytes());
    }
}

#[test]
fn arguments_of_another_track_are_refused_and_nothing_is_touched() {
    let key = ContentKey::from_bytes([1; 16]);
    let index = Arc::new(TEMPLATE.index.clone());
    let new = |kids: &[KeyId], own| Encryptor::new(index.clone(), &key, kids, own).err();
    assert_eq!(new(&kids(1, 2), 0), Some(EncryptError::KidCount { got: 2, want: 3 }));
    assert_eq!(new(&kids(1, 4), 0), Some(EncryptError::KidCount { got: 4, want: 3 }));
    assert_eq!(new(&kids(1, 3), 3), Some(EncryptError::Own { own: 3, want: 3 }));
    let object = Encryptor::new(index.clone(), &key, &kids(1, 3), 0).unwrap();
    let total_len = index.total_len();
    let span = Span::new(total_len - 1, total_len + 1).unwrap();
    assert_eq!(object.apply(span, &mut [0; 2]), Err(EncryptError::Outside { span, total_len }));
    let (span, mut bytes) = (Span::new(0, total_len).unwrap(), [5; 9]);
    assert_eq!(object.apply(span, &mut bytes), Err(EncryptError::BufferLen { got: 9, span }));
    assert_eq!(bytes, [5; 9]);
}

#[test]
fn an_encryptor_does_not_print_its_key() {
    let key = ContentKey::from_bytes([0xab; 16]);
    let object = Encryptor::new(Arc::new(TEMPLATE.index.clone()), &key, &kids(1, 3), 0).unwrap();
    let printed = format!("{object:?}");
    assert!(printed.contains("SampleCipher(hidden)") && !printed.contains("171, 171"), "{printed:.200}");
}

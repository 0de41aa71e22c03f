//! Files that lie, are cut short, or are something else.

use crate::world::{Dice, Place, Recording, Wide, aac_entry, full_box, kids, mp4_box};
use antiphon_core::{AssetId, Rendition, Scheme, Span};
use antiphon_drm::content::encrypt::Encryptor;
use antiphon_drm::content::index::SampleIndex;
use antiphon_drm::content::mezzanine::{DataKey, HEADER_LEN, Header, Identity, Kind, Sealing, seal};
use antiphon_drm::content::source::{
    AudioFile, Codec, SAMPLE_DURATION_MAX, SAMPLE_LEN_MAX, SAMPLES_MAX, SourceError, TIMESCALE_MAX,
    TIMESCALE_MIN,
};
use antiphon_drm::content::template::Template;
use antiphon_drm::content::{BoxError, FourCc};
use antiphon_drm::keys::ContentKey;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn refusal(bytes: &[u8]) -> SourceError {
    AudioFile::parse(bytes).expect_err("this file is refused")
}

fn any_recording() -> impl Strategy<Value = Recording> {
    (1_usize..40, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(count, wide, front, others)| {
        Recording {
            wide: if wide { Wide::Yes } else { Wide::No },
            place: if front { Place::Front } else { Place::End },
            other_tracks: if others { vec![*b"vide"] } else { vec![] },
            ..Recording::of(count)
        }
    })
}

/// A word that parsers stumble over, written somewhere.
fn any_damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u32, usize)>> {
    let word = prop_oneof![
        Just(0),
        Just(1),
        Just(7),
        Just(8),
        Just(u32::MAX),
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        Just(1 << 22),
        any::<u32>(),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), word, 1_usize..=4), 1..8)
}

fn damage(bytes: &mut [u8], damages: &[(prop::sample::Index, u32, usize)]) {
    for (place, word, len) in damages {
        let at = place.index(bytes.len());
        let len = (*len).min(bytes.len() - at);
        bytes[at..at + len].copy_from_slice(&word.to_be_bytes()[4 - len..]);
    }
}

/// Whatever a parser lets through must hold together all the way to the encrypted object.
fn pack(bytes: &[u8]) {
    let Ok(file) = AudioFile::parse(bytes) else { return };
    let Ok(template) = Template::build(&file, file.frames_per_fragment().min(4096), 2, Scheme::Cenc) else {
        return;
    };
    assert_eq!(template.index.total_len(), template.bytes.len() as u64);
    encrypt(&template.index, template.bytes.clone());
    assert_eq!(SampleIndex::from_bytes(&template.index.to_bytes()).as_ref(), Ok(&template.index));
}

fn encrypt(index: &SampleIndex, mut bytes: Vec<u8>) {
    let key = ContentKey::from_bytes([1; 16]);
    let object = Encryptor::new(index, &key, &kids(1, index.kid_count()), 0).unwrap();
    object.apply(Span::whole(bytes.len() as u64).unwrap(), &mut bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_file_makes_the_packager_panic(recording in any_recording(), damages in any_damage()) {
        let mut bytes = recording.to_bytes();
        damage(&mut bytes, &damages);
        pack(&bytes);
    }

    #[test]
    fn no_damage_to_the_tables_makes_the_packager_panic(count in 1_usize..40, damages in any_damage()) {
        let mut bytes = Recording::of(count).to_bytes();
        let moov = bytes.windows(4).rposition(|four| four == b"moov").unwrap();
        damage(&mut bytes[moov + 4..], &damages);
        pack(&bytes);
    }

    #[test]
    fn no_bytes_at_all_make_the_packager_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        pack(&bytes);
        if let Some(kind) = bytes.get_mut(4..8) {
            kind.copy_from_slice(b"moov");
            pack(&bytes);
        }
    }

    #[test]
    fn no_damage_to_an_index_makes_its_parser_panic(count in 1_usize..300, damages in any_damage()) {
        let file = Recording::of(count).to_bytes();
        let mut bytes = crate::world::template(&file, 3).index.to_bytes();
        // The hash is made right again, else it would hide everything behind it.
        let body = bytes.len() - 16;
        damage(&mut bytes[..body], &damages);
        let hash = Sha256::digest(&bytes[..body]);
        bytes[body..].copy_from_slice(&hash[..16]);
        if let Ok(index) = SampleIndex::from_bytes(&bytes) {
            prop_assert_eq!(index.to_bytes(), bytes, "an index has one byte form");
            if index.total_len() < 1 << 24 {
                encrypt(&index, vec![0; index.total_len() as usize]);
            }
        }
    }

    #[test]
    fn no_damage_to_a_header_makes_its_parser_panic(damages in any_damage(), cut in 0..HEADER_LEN) {
        let mut bytes = sealed();
        damage(&mut bytes[..400], &damages);
        if let Ok(header) = Header::parse(&bytes) {
            let whole = Span::whole(header.plain_len()).unwrap();
            prop_assert!(header.stored_run(whole).unwrap().span.end() == header.stored_len());
        }
        prop_assert!(Header::parse(&bytes[..cut]).is_err());
    }
}

fn sealed() -> Vec<u8> {
    let identity = Identity {
        kind: Kind::Template,
        asset: AssetId::from_bytes([3; 16]),
        rendition: Rendition::Aac128,
        scheme: Scheme::Cenc,
    };
    let data_key = DataKey::from_bytes([1; 32]);
    let (wrapper, wrapped_key, nonce_prefix) = ("file:1", &[9; 60][..], [5; 8]);
    let sealing =
        Sealing { identity, data_key: &data_key, wrapper, wrapped_key, nonce_prefix, kid_patches: &[] };
    seal(&[7; 100], &sealing).unwrap()
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    for place in [Place::Front, Place::End] {
        let bytes = Recording { place, ..Recording::of(20) }.to_bytes();
        assert!(AudioFile::parse(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(AudioFile::parse(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}

#[test]
fn all_lawful_spellings_of_a_file_are_one_recording() {
    let plain = Recording::of(200);
    let told = plain.to_bytes();
    let told = AudioFile::parse(&told).unwrap();
    let spellings = [
        Recording { wide: Wide::Yes, ..plain.clone() },
        Recording { place: Place::Front, ..plain.clone() },
        Recording { durations: vec![(1, 1024), (0, 0), (199, 1024)], ..plain.clone() },
        Recording { chunks: vec![60, 60, 60, 20], chunk_runs: vec![(1, 60), (4, 20)], ..plain.clone() },
        Recording { other_tracks: vec![*b"vide", *b"text"], ..plain },
    ];
    for (at, spelling) in spellings.iter().enumerate() {
        let bytes = spelling.to_bytes();
        let file = AudioFile::parse(&bytes).unwrap();
        assert_eq!(file.samples(), told.samples(), "spelling {at}");
        assert_eq!((file.priming(), file.play()), (told.priming(), told.play()), "spelling {at}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused_by_name() {
    assert_eq!(refusal(b""), SourceError::Empty);
    assert_eq!(refusal(b"RIFF\x24\x08\0\0WAVEfmt "), SourceError::NotMp4);
    assert_eq!(refusal(b"ID3"), SourceError::NotMp4);
    assert_eq!(refusal(&[0; 4096]), SourceError::NotMp4);
    let ftyp = mp4_box(b"ftyp", &[b"isom"]);
    assert_eq!(refusal(&ftyp).to_string(), "no `moov` box in `file`");
    let moov = mp4_box(b"moov", &[]);
    assert_eq!(
        refusal(&[ftyp.clone(), moov.clone(), moov].concat()).to_string(),
        "more than one `moov` box in `file`"
    );
    let fragment = mp4_box(b"moof", &[]);
    assert_eq!(refusal(&[ftyp, fragment].concat()), SourceError::Fragmented(FourCc(*b"moof")));
}

#[test]
fn a_file_without_exactly_one_audio_track_is_refused() {
    let bytes = Recording { other_tracks: vec![*b"soun"], ..Recording::of(3) }.to_bytes();
    assert_eq!(refusal(&bytes), SourceError::SeveralAudioTracks(2));
    let mut bytes = Recording::of(3).to_bytes();
    let handler = bytes.windows(4).position(|four| four == b"soun").unwrap();
    bytes[handler..handler + 4].copy_from_slice(b"vide");
    assert_eq!(refusal(&bytes), SourceError::NoAudioTrack);
}

#[test]
fn codecs_that_are_not_delivered_are_refused_by_name() {
    let with = |entry: Vec<u8>| refusal(&Recording { entry, ..Recording::of(3) }.to_bytes());
    let renamed = |kind: &[u8; 4]| [&aac_entry(2, 2)[..4], kind, &aac_entry(2, 2)[8..]].concat();
    assert_eq!(with(renamed(b"alac")), SourceError::Codec(FourCc(*b"alac")));
    assert_eq!(with(renamed(b"enca")), SourceError::Encrypted);
    assert_eq!(with(aac_entry(4, 2)), SourceError::AacObjectType(4));
    assert_eq!(with(aac_entry(2, 8)), SourceError::Configuration("an unknown AAC channel configuration"));
    let mut quicktime = aac_entry(2, 2);
    quicktime[17] = 1;
    assert_eq!(with(quicktime), SourceError::Configuration("a QuickTime sound description"));
    assert_eq!(with(mp4_box(b"mp4a", &[&aac_entry(2, 2)[8..36]])), SourceError::Configuration("no esds box"));
    let longest =
        |padding: usize| mp4_box(b"mp4a", &[&aac_entry(2, 2)[8..], &mp4_box(b"free", &[&vec![0; padding]])]);
    let room = 16 * 1024 - aac_entry(2, 2).len() - 8;
    assert!(AudioFile::parse(&Recording { entry: longest(room), ..Recording::of(3) }.to_bytes()).is_ok());
    assert_eq!(with(longest(room + 1)), SourceError::Configuration("a sample entry longer than 16 KiB"));
}

#[test]
fn what_a_decoder_needs_is_read_out_of_the_entry() {
    for (object_type, told, channels) in [(2, 1, 1), (2, 2, 2), (5, 6, 6), (29, 7, 8), (2, 0, 2)] {
        let bytes = Recording { entry: aac_entry(object_type, told), ..Recording::of(3) }.to_bytes();
        let file = AudioFile::parse(&bytes).unwrap();
        assert_eq!(file.codec(), Codec::Aac { object_type });
        assert_eq!(file.codec().to_string(), format!("mp4a.40.{object_type}"));
        assert_eq!(file.channels(), channels);
    }
}

#[test]
fn sample_tables_that_contradict_each_other_are_refused() {
    let plain = Recording::of(10);
    let told = |recording: Recording| refusal(&recording.to_bytes());
    let tables = SourceError::Tables;
    assert_eq!(
        told(Recording { durations: vec![(9, 1024)], ..plain.clone() }),
        tables("stts and stsz count different numbers of samples")
    );
    assert_eq!(
        told(Recording { chunk_runs: vec![(1, 11)], ..plain.clone() }),
        tables("chunks hold more samples than there are")
    );
    assert_eq!(
        told(Recording { chunk_runs: vec![(1, 9)], ..plain.clone() }),
        tables("chunks hold fewer samples than there are")
    );
    for runs in [vec![], vec![(2, 10)], vec![(1, 10), (1, 10)], vec![(1, 5), (3, 5), (2, 5)]] {
        let told = told(Recording { chunk_runs: runs, ..plain.clone() });
        assert_eq!(told, tables("stsc does not count chunks up from 1"));
    }
    let empty = Recording { samples: vec![], durations: vec![], chunks: vec![], edits: vec![], ..plain };
    assert_eq!(told(empty), SourceError::NoSamples);
}

#[test]
fn a_table_that_claims_more_than_the_file_holds_takes_no_memory() {
    let fixed = |len: u32, count: u32, padding: usize| {
        let mut bytes = Recording::of(1).to_bytes();
        let stsz = bytes.windows(4).position(|four| four == b"stsz").unwrap();
        bytes[stsz + 8..stsz + 12].copy_from_slice(&len.to_be_bytes());
        bytes[stsz + 12..stsz + 16].copy_from_slice(&count.to_be_bytes());
        [bytes, mp4_box(b"free", &[&vec![0; padding]])].concat()
    };
    let at_limit = fixed(1, SAMPLES_MAX, SAMPLES_MAX as usize);
    assert_eq!(refusal(&at_limit), SourceError::Tables("stts and stsz count different numbers of samples"));
    assert_eq!(
        refusal(&fixed(1, SAMPLES_MAX + 1, 0)),
        SourceError::TooManySamples(u64::from(SAMPLES_MAX) + 1)
    );
    let bytes = fixed(1000, 1000, 0);
    assert_eq!(
        refusal(&bytes),
        SourceError::SamplesOverlap { total: 1_000_000, file_len: bytes.len() as u64 }
    );
    // Samples that share bytes: a small file must not become a large one.
    let mut bytes = Recording { samples: vec![vec![1; 5_000], vec![2]], ..Recording::of(2) }.to_bytes();
    let stsz = bytes.windows(4).position(|four| four == b"stsz").unwrap();
    bytes[stsz + 20..stsz + 24].copy_from_slice(&5_000_u32.to_be_bytes());
    assert_eq!(refusal(&bytes), SourceError::SamplesOverlap { total: 10_000, file_len: bytes.len() as u64 });
    // A listed count that the box does not hold.
    let bytes = fixed(0, 1000, 0);
    assert!(
        matches!(refusal(&bytes), SourceError::Boxes(BoxError::Short { kind: FourCc(kind), .. }) if &kind == b"stsz")
    );
}

#[test]
fn a_sample_is_as_long_as_the_index_can_hold_and_no_longer() {
    let with = |len: usize| Recording { samples: vec![vec![1; len]], ..Recording::of(1) }.to_bytes();
    let bytes = with(SAMPLE_LEN_MAX as usize);
    let template = crate::world::template(&bytes, 1);
    assert_eq!(SampleIndex::from_bytes(&template.index.to_bytes()), Ok(template.index));
    let len = SAMPLE_LEN_MAX + 1;
    assert_eq!(refusal(&with(len as usize)), SourceError::SampleLen { sample: 0, len });
    assert_eq!(refusal(&with(0)), SourceError::SampleLen { sample: 0, len: 0 });
}

#[test]
fn a_sample_lasts_some_time_but_not_for_ever() {
    let with = |units| {
        Recording { durations: vec![(9, 1024), (1, units)], edits: vec![], ..Recording::of(10) }.to_bytes()
    };
    assert!(AudioFile::parse(&with(SAMPLE_DURATION_MAX)).is_ok());
    assert_eq!(refusal(&with(SAMPLE_DURATION_MAX + 1)), SourceError::SampleDuration(SAMPLE_DURATION_MAX + 1));
    assert_eq!(refusal(&with(0)), SourceError::SampleDuration(0));
}

#[test]
fn a_sample_past_the_end_of_the_file_is_refused() {
    let mut bytes = Recording::of(2).to_bytes();
    let stco = bytes.windows(4).position(|four| four == b"stco").unwrap();
    let file_len = bytes.len() as u64;
    bytes[stco + 12..stco + 16].copy_from_slice(&u32::MAX.to_be_bytes());
    let told = refusal(&bytes);
    assert!(
        matches!(told, SourceError::SampleOutside { sample: 0, offset, file_len: told, .. }
            if offset == u64::from(u32::MAX) && told == file_len),
        "{told}"
    );
}

#[test]
fn a_clock_that_no_audio_has_is_refused() {
    let with = |timescale| Recording { timescale, edits: vec![], ..Recording::of(3) }.to_bytes();
    for timescale in [TIMESCALE_MIN, TIMESCALE_MAX] {
        assert!(AudioFile::parse(&with(timescale)).is_ok());
    }
    for timescale in [0, TIMESCALE_MIN - 1, TIMESCALE_MAX + 1] {
        assert_eq!(refusal(&with(timescale)), SourceError::Timescale(timescale));
    }
}

#[test]
fn an_edit_list_may_skip_the_priming_and_no_more() {
    let with = |edits: Vec<(u64, i64)>| Recording { edits, ..Recording::of(10) }.to_bytes();
    let heard = |bytes: &[u8]| AudioFile::parse(bytes).map(|file| (file.priming(), file.play()));
    assert_eq!(heard(&with(vec![])), Ok((0, 10_240)));
    assert_eq!(heard(&with(vec![(5_000, 1024)])), Ok((1024, 5_000)));
    assert_eq!(heard(&with(vec![(99_999, 1024)])), Ok((1024, 9_216)));
    assert_eq!(heard(&with(vec![(0, 1024)])), Ok((1024, 9_216)));
    assert_eq!(heard(&with(vec![(1, 10_239)])), Ok((10_239, 1)));
    let play = |asked, priming, left| Err(SourceError::Play { asked, priming, left });
    assert_eq!(heard(&with(vec![(1, 10_240)])), play(1, 10_240, 0));
    assert_eq!(heard(&with(vec![(5_000, -1)])), Err(SourceError::EditList("an empty edit")));
    assert_eq!(heard(&with(vec![(1, 0), (1, 0)])), Err(SourceError::EditList("more than one edit")));
}

#[test]
fn samples_in_another_file_are_refused() {
    let mut bytes = Recording::of(2).to_bytes();
    let url = bytes.windows(4).position(|four| four == b"url ").unwrap();
    bytes[url + 7] = 0;
    assert_eq!(refusal(&bytes), SourceError::ExternalData);
}

#[test]
fn a_box_that_would_swallow_what_is_put_behind_it_is_refused() {
    let mut open_ended = mp4_box(b"free", &[]);
    open_ended[..4].fill(0);
    let entry = mp4_box(b"mp4a", &[&aac_entry(2, 2)[8..], &open_ended]);
    let told = refusal(&Recording { entry, ..Recording::of(2) }.to_bytes());
    assert!(matches!(told, SourceError::Boxes(BoxError::Small { len: 0, .. })), "{told}");
    let entry = [&1_u32.to_be_bytes()[..], b"mp4a", &[0; 7], &[16 + 60], &[0; 60]].concat();
    let told = refusal(&Recording { entry, ..Recording::of(2) }.to_bytes());
    assert_eq!(told, SourceError::Configuration("a sample entry with a 64-bit size"));
}

#[test]
fn a_file_of_many_boxes_is_refused_in_the_end() {
    let mut dice = Dice::new(1);
    let ftyp = mp4_box(b"ftyp", &[&dice.bytes(4)]);
    let told = refusal(&[ftyp, full_box(b"free", 0, &[]).repeat(5_000)].concat());
    assert!(matches!(told, SourceError::Boxes(BoxError::TooMany { .. })), "{told}");
}

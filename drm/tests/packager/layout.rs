//! Names, layouts, indexes and manifests.

use crate::world::{Recording, kids, template};
use antiphon_core::{AssetId, Epoch, Rendition, Scheme};
use antiphon_drm::content::asset_id;
use antiphon_drm::content::index::{FRAGMENTS_MAX, FragmentShape, IndexError, KIDS_MAX, SampleIndex};
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::{FRAMES_PER_FRAGMENT_MAX, Template, TemplateError};
use antiphon_drm::manifest::{LayoutError, MpdOptions, RenditionFacts, TrackLayout, mpd};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const ASSET: AssetId = AssetId::from_bytes(*b"0123456789abcdef");

fn name_of(recordings: &[(Rendition, &Recording)]) -> AssetId {
    let bytes: Vec<_> =
        recordings.iter().map(|(rendition, recording)| (*rendition, recording.to_bytes())).collect();
    let files: Vec<_> =
        bytes.iter().map(|(rendition, bytes)| (*rendition, AudioFile::parse(bytes).unwrap())).collect();
    asset_id(&files.iter().map(|(rendition, file)| (*rendition, file)).collect::<Vec<_>>())
}

#[test]
fn an_asset_is_named_by_all_that_its_objects_are_made_from() {
    use Rendition::{Aac64, Aac128};
    let (low, high) = (Recording::of(50), Recording::of(60));
    let name = name_of(&[(Aac64, &low), (Aac128, &high)]);
    assert_eq!(name, name_of(&[(Aac128, &high), (Aac64, &low)]), "the order given does not matter");
    let mut flipped = low.clone();
    flipped.samples[49][0] ^= 1;
    let mut moved = low.clone();
    let byte = moved.samples[0].pop().unwrap();
    moved.samples[1].insert(0, byte);
    let others = [
        name_of(&[(Aac64, &low)]),
        name_of(&[(Aac64, &high), (Aac128, &low)]),
        name_of(&[(Aac64, &flipped), (Aac128, &high)]),
        name_of(&[(Aac64, &moved), (Aac128, &high)]),
        name_of(&[
            (Aac64, &Recording { durations: vec![(49, 1024), (1, 1023)], ..low.clone() }),
            (Aac128, &high),
        ]),
        name_of(&[(Aac64, &Recording { edits: vec![(9_999, 1024)], ..low.clone() }), (Aac128, &high)]),
        name_of(&[(Aac64, &Recording { edits: vec![(9_999, 1023)], ..low.clone() }), (Aac128, &high)]),
        name_of(&[(Aac64, &Recording { timescale: 48_000, ..low }), (Aac128, &high)]),
    ];
    let distinct: std::collections::HashSet<_> = others.iter().chain([&name]).collect();
    assert_eq!(distinct.len(), others.len() + 1, "every one of them is another asset");
}

#[test]
fn the_name_of_a_given_recording_never_changes() {
    // Objects are stored and cached under this name: another value here is a new layout rule, see `DOMAIN`.
    let recording = Recording { samples: vec![vec![1, 2, 3]; 4], ..Recording::of(4) };
    assert_eq!(name_of(&[(Rendition::Aac128, &recording)]).to_string(), "8cadcf9bb258e21f8f002f46e79b1ac0");
}

#[test]
fn fragments_last_two_seconds() {
    let frames = |timescale| {
        let bytes = Recording { timescale, edits: vec![], ..Recording::of(3) }.to_bytes();
        AudioFile::parse(&bytes).unwrap().frames_per_fragment()
    };
    assert_eq!((frames(44_100), frames(48_000), frames(22_050)), (86, 94, 43));
}

#[test]
fn an_index_is_read_back_as_it_was_written() {
    let mut recording = Recording::of(500);
    // Around the escape: the longest two-byte length, the shortest three-byte one, and some more.
    for (at, len) in [0xfffe, 0xffff, 0x1_0000, 0x2_3456].into_iter().enumerate() {
        recording.samples[at * 100] = vec![7; len];
    }
    let index = template(&recording.to_bytes(), 4).index;
    let bytes = index.to_bytes();
    assert_eq!(SampleIndex::from_bytes(&bytes), Ok(index));
    assert!(bytes.len() < 500 * 2 + 4 * 3 + 6 * 11 + 160, "{} bytes", bytes.len());
}

#[test]
fn an_index_that_is_not_what_was_written_is_refused() {
    let bytes = template(&Recording::of(100).to_bytes(), 4).index.to_bytes();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x40;
        let told = SampleIndex::from_bytes(&altered).unwrap_err();
        match at {
            0..8 => assert_eq!(told, IndexError::Magic),
            8 => assert_eq!(told, IndexError::Version(0x4001)),
            9 => assert_eq!(told, IndexError::Version(0x41)),
            _ => assert_eq!(told, IndexError::Hash),
        }
        assert!(SampleIndex::from_bytes(&bytes[..at]).is_err(), "cut to {at}");
    }
    assert_eq!(SampleIndex::from_bytes(&[&bytes[..], &[0]].concat()), Err(IndexError::Hash));
}

#[test]
fn an_index_has_one_byte_form() {
    let recording = Recording { samples: vec![vec![7; 0xffff]], ..Recording::of(1) };
    let mut bytes = template(&recording.to_bytes(), 1).index.to_bytes();
    let body = bytes.len() - 16;
    assert_eq!(bytes[body - 5..body], [0xff, 0xff, 0, 0xff, 0xff]);
    bytes[body - 1] = 0xfe;
    let hash = Sha256::digest(&bytes[..body]);
    bytes[body..].copy_from_slice(&hash[..16]);
    let told = IndexError::Inconsistent("a short length in the long form");
    assert_eq!(SampleIndex::from_bytes(&bytes), Err(told));
}

#[test]
fn numbers_that_make_no_layout_are_refused() {
    let index = template(&Recording::of(10).to_bytes(), 1).index;
    let facts = index.facts();
    let shape = FragmentShape { moof_len: 100, payload_len: 30, samples: 3, variant: 0 };
    let kid_offsets = [200, 300];
    let assemble = |kid_offsets: &[u32], shapes: &[FragmentShape], sizes: &[u32]| {
        SampleIndex::assemble(facts.clone(), kid_offsets, shapes, sizes.to_vec())
    };
    let padded = assemble(&kid_offsets, &[shape; 2], &[10, 10, 10, 10, 10, 5]).unwrap();
    assert_eq!(padded.total_len(), u64::from(facts.init_len + facts.sidx_len) + 2 * (100 + 8 + 30));
    for (sizes, shapes) in [
        (&[10, 10][..], &[shape][..]),
        (&[10, 10, 10, 10], &[shape]),
        (&[10, 10, 11], &[shape]),
        (&[], &[]),
        (&[10, 10, 10], &[FragmentShape { variant: 2, ..shape }]),
        (&[10, 10, 10], &[shape, FragmentShape { samples: 0, ..shape }]),
    ] {
        assert!(assemble(&kid_offsets, shapes, sizes).is_err(), "{sizes:?} {shapes:?}");
    }
    let end = facts.init_len - 16;
    assert!(assemble(&[200, end], &[shape], &[10; 3]).is_ok());
    for kid_offsets in [&[200, end + 1][..], &[200, 215], &[300, 200], &[200], &[200, u32::MAX]] {
        assert!(assemble(kid_offsets, &[shape], &[10; 3]).is_err(), "{kid_offsets:?}");
    }
}

#[test]
fn a_template_stays_within_what_its_boxes_can_say() {
    let bytes = Recording::of(10).to_bytes();
    let file = AudioFile::parse(&bytes).unwrap();
    let build = |frames, kids, scheme| Template::build(&file, frames, kids, scheme).err();
    assert_eq!(build(86, 4, Scheme::Cbcs), Some(TemplateError::Scheme(Scheme::Cbcs)));
    for (frames, kids) in [(1, 1), (FRAMES_PER_FRAGMENT_MAX, KIDS_MAX)] {
        assert_eq!(build(frames, kids, Scheme::Cenc), None);
    }
    for frames in [0, FRAMES_PER_FRAGMENT_MAX + 1] {
        assert_eq!(build(frames, 1, Scheme::Cenc), Some(TemplateError::FramesPerFragment(frames)));
    }
    for kids in [0, KIDS_MAX + 1] {
        assert_eq!(build(86, kids, Scheme::Cenc), Some(TemplateError::KidCount(kids)));
    }
    let of = |count| Recording { samples: vec![vec![1]; count], ..Recording::of(count) }.to_bytes();
    let (most, too_many) = (of(FRAGMENTS_MAX), of(FRAGMENTS_MAX + 1));
    let one_each = |bytes| Template::build(&AudioFile::parse(bytes).unwrap(), 1, 1, Scheme::Cenc);
    assert_eq!(one_each(&most).unwrap().index.fragments().len(), FRAGMENTS_MAX);
    assert_eq!(one_each(&too_many).unwrap_err(), TemplateError::Fragments(FRAGMENTS_MAX + 1));
}

fn layout(ladder: &[Rendition]) -> TrackLayout {
    let index = template(&Recording::of(300).to_bytes(), ladder.len()).index;
    let facts: Vec<_> = ladder
        .iter()
        .zip(kids(1, ladder.len()))
        .map(|(rendition, kid)| RenditionFacts { rendition: *rendition, index: &index, kid })
        .collect();
    TrackLayout::new(ASSET, Epoch(692), Scheme::Cenc, &facts).unwrap()
}

#[test]
fn a_layout_is_told_in_the_agreed_json() {
    let layout = layout(&[Rendition::Aac128, Rendition::Aac64]);
    let json = serde_json::to_value(&layout).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut told = keys(&json);
    told.sort();
    assert_eq!(
        told,
        ["asset", "duration_secs", "epoch", "play", "priming", "renditions", "scheme", "timescale"]
    );
    assert_eq!(
        (&json["asset"], &json["epoch"], &json["scheme"]),
        (&ASSET.to_string().into(), &692.into(), &"cenc".into())
    );
    let low = &json["renditions"][0];
    assert_eq!((&low["rendition"], &low["codecs"]), (&"64".into(), &"mp4a.40.2".into()));
    assert_eq!(low["kid"], kids(1, 2)[1].to_string());
    assert_eq!(low["path"], format!("/a/c/692/{ASSET}/64.mp4"));
    assert_eq!(low["index_start"].as_u64().unwrap(), low["init_end"].as_u64().unwrap() + 1);
    assert_eq!(json["renditions"][1]["rendition"], "128");
    assert_eq!(serde_json::from_value::<TrackLayout>(json).unwrap(), layout);
}

#[test]
fn renditions_that_keep_different_time_make_no_track() {
    let (one, two) = (
        template(&Recording::of(300).to_bytes(), 2).index,
        template(&Recording::of(301).to_bytes(), 2).index,
    );
    let facts = |rendition, index, kid| RenditionFacts { rendition, index, kid };
    let kids = kids(1, 2);
    let told = TrackLayout::new(
        ASSET,
        Epoch(1),
        Scheme::Cenc,
        &[facts(Rendition::Aac128, &two, kids[1]), facts(Rendition::Aac64, &one, kids[0])],
    );
    assert_eq!(told, Err(LayoutError::Uneven { asset: ASSET, rendition: Rendition::Aac128 }));
    assert_eq!(TrackLayout::new(ASSET, Epoch(1), Scheme::Cenc, &[]), Err(LayoutError::NoRenditions(ASSET)));
}

#[test]
fn a_manifest_lists_only_what_the_entitlement_covers() {
    let layout = layout(&Rendition::AAC);
    let kids = kids(1, 4);
    let with = |max_kbps| mpd(&layout, &MpdOptions { max_kbps, ..MpdOptions::default() });
    let free = with(Some(128)).unwrap();
    assert_eq!(free.matches("<Representation ").count(), 2);
    assert!(free.contains("<BaseURL>/a/c/692/") && !free.contains("256.mp4") && !free.contains("Laurl>"));
    let start = free.find("<cenc:pssh>").unwrap() + "<cenc:pssh>".len();
    let end = free.find("</cenc:pssh>").unwrap();
    let pssh = BASE64.decode(&free.as_bytes()[start..end]).unwrap();
    assert_eq!(pssh.len(), usize::from(pssh[3]));
    assert_eq!(pssh[28..], [&[0, 0, 0, 2], &kids[0].as_bytes()[..], kids[1].as_bytes(), &[0; 4]].concat());
    assert_eq!(with(None).unwrap().matches("<Representation ").count(), 4);
    assert_eq!(with(Some(63)), None);
}

#[test]
fn text_from_outside_cannot_break_out_of_a_manifest() {
    let layout = layout(&[Rendition::Aac64]);
    let evil = "\"><x a='1'>&]]>\u{0}\n";
    let options = MpdOptions { base_url: evil, query: Some(evil), licence_url: Some(evil), max_kbps: None };
    let text = mpd(&layout, &options).unwrap();
    let escaped = "&quot;&gt;&lt;x a=&apos;1&apos;&gt;&amp;]]&gt;";
    assert!(!text.contains("<x") && text.matches(escaped).count() == 3, "{text}");
}

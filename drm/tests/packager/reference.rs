//! Held against `pack.py`, `manifest.py` and ffmpeg: the same bytes, the same text, the same sound.

use crate::world::{Dice, Recording, Wide, Workshop, kids, put, template};
use antiphon_core::{AssetId, Epoch, Rendition, Scheme, Span};
use antiphon_drm::content::encrypt::Encryptor;
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::keys::{ContentKey, KeyId};
use antiphon_drm::manifest::{MpdOptions, RenditionFacts, TrackLayout, mpd};

const ZERO: &str = "00000000000000000000000000000000";
const KEY: [u8; 16] = *b"sixteen byte key";
const KEY_HEX: &str = "7369787465656e2062797465206b6579";
const ASSET: AssetId = AssetId::from_bytes(*b"0123456789abcdef");

fn hexes(kids: &[KeyId]) -> String {
    kids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(",")
}

/// Packs `name` in both ways and holds file and description against each other.
fn same_template(workshop: &Workshop, name: &str) {
    let bytes = std::fs::read(workshop.path(name)).unwrap();
    let file = AudioFile::parse(&bytes).unwrap();
    let ours = template(&bytes, 4);
    let frames = file.frames_per_fragment().to_string();
    let zeros = [ZERO; 4].join(",");
    let args = ["--template", "--key", ZERO, "--kid", ZERO, "--pssh-kids", &zeros, "--frag-frames", &frames];
    let (theirs, told) = workshop.pack(name, "theirs.mp4", &args);
    assert!(ours.bytes == theirs, "{name}: template differs");
    let (index, facts) = (&ours.index, ours.index.facts());
    assert_eq!(told["size"], index.total_len(), "{name}");
    assert_eq!(told["init"][1], facts.init_len - 1);
    assert_eq!(told["index"][1], facts.init_len + facts.sidx_len - 1);
    assert_eq!(told["timescale"], facts.timescale);
    assert_eq!(told["frame"], facts.frame);
    assert_eq!(told["priming"], facts.priming);
    assert_eq!(told["play"], facts.play);
    assert_eq!(told["bandwidth"], facts.bandwidth);
    assert_eq!(told["max_frag_bps"], facts.max_bandwidth);
    let fragments = told["fragments"].as_array().unwrap();
    assert_eq!(fragments.len(), index.fragments().len());
    for (theirs, ours) in fragments.iter().zip(index.fragments()) {
        assert_eq!(theirs["offset"], ours.moof);
        assert_eq!(theirs["size"], ours.end - ours.moof);
        assert_eq!(theirs["first_sample"], ours.first_sample);
        assert_eq!(theirs["samples"], ours.samples);
    }
}

#[test]
fn a_template_is_the_reference_packagers_to_the_byte() {
    let Some(workshop) = Workshop::open() else { return };
    let aac = |rate| ["-c:a", "aac", "-b:a", rate];
    workshop.record("64.m4a", "9.3", 44_100, &aac("64k"));
    workshop.record("320.m4a", "4.01", 44_100, &aac("320k"));
    workshop.record("48k.m4a", "7.77", 48_000, &aac("128k"));
    workshop.record("22k.m4a", "5", 22_050, &[&aac("48k")[..], &["-ac", "1"]].concat());
    workshop.record("front.m4a", "5.5", 44_100, &[&aac("128k")[..], &["-movflags", "+faststart"]].concat());
    workshop.record("exact.m4a", "4", 44_100, &[&aac("128k")[..], &["-movie_timescale", "44100"]].concat());
    workshop.record("opus.mp4", "5.123", 48_000, &["-c:a", "libopus", "-b:a", "96k"]);
    workshop.record("flac.mp4", "5.123", 44_100, &["-c:a", "flac", "-strict", "-2"]);
    for name in ["64.m4a", "320.m4a", "48k.m4a", "22k.m4a", "front.m4a", "exact.m4a", "opus.mp4", "flac.mp4"]
    {
        same_template(&workshop, name);
    }
}

#[test]
fn odd_but_lawful_files_are_laid_out_as_the_reference_does() {
    let Some(workshop) = Workshop::open() else { return };
    let plain = Recording::of(300);
    let wide = Recording { wide: Wide::Yes, ..plain.clone() };
    let chunked = Recording {
        chunk_runs: vec![(1, 7), (3, 1), (8, 94), (10, 93)],
        chunks: vec![7, 7, 1, 1, 1, 1, 1, 94, 94, 93],
        ..plain.clone()
    };
    let uneven = Recording { durations: vec![(100, 1024), (1, 1000), (198, 1024), (1, 7)], ..plain.clone() };
    let unprimed = Recording { edits: vec![], ..plain.clone() };
    let millis = Recording { movie_timescale: 1000, edits: vec![(5005, 2112)], ..plain };
    let long = {
        let mut long = Recording::of(3);
        long.samples[1] = vec![5; 70_000];
        long
    };
    for (at, recording) in
        [wide, chunked, uneven, unprimed, millis, long, Recording::of(1)].iter().enumerate()
    {
        let name = format!("odd{at}.m4a");
        put(&workshop.path(&name), &recording.to_bytes());
        same_template(&workshop, &name);
    }
}

#[test]
fn an_object_and_any_range_of_it_are_the_reference_packagers_to_the_byte() {
    let Some(workshop) = Workshop::open() else { return };
    let bytes = workshop.record("track.m4a", "30.5", 44_100, &["-c:a", "aac", "-b:a", "256k"]);
    let kids = kids(3, 4);
    let own = kids[2].to_string();
    let args = ["--key", KEY_HEX, "--kid", &own, "--pssh-kids", &hexes(&kids), "--frag-frames", "86"];
    let (theirs, _) = workshop.pack("track.m4a", "track.mp4", &args);
    let template = template(&bytes, 4);
    let object = Encryptor::new(&template.index, &ContentKey::from_bytes(KEY), &kids, 2).unwrap();

    let mut whole = template.bytes.clone();
    object.apply(Span::whole(whole.len() as u64).unwrap(), &mut whole).unwrap();
    assert!(whole == theirs, "the whole object differs");

    let mut dice = Dice::new(20_000);
    for _ in 0..20_000 {
        let start = dice.below(theirs.len() as u64);
        let magnitude = dice.below(17);
        let len = 1 + dice.below(1 << magnitude);
        let span = Span::new(start, (start + len).min(theirs.len() as u64)).unwrap();
        let range = span.start() as usize..span.end() as usize;
        let mut part = template.bytes[range.clone()].to_vec();
        object.apply(span, &mut part).unwrap();
        assert!(part == theirs[range], "{span:?} differs");
    }
}

#[test]
fn ffmpeg_decrypts_an_object_to_the_samples_of_its_source() {
    let Some(workshop) = Workshop::open() else { return };
    for (name, rate) in [("64.m4a", "64k"), ("320.m4a", "320k")] {
        let bytes = workshop.record(name, "6.5", 44_100, &["-c:a", "aac", "-b:a", rate]);
        let template = template(&bytes, 1);
        let mut object = template.bytes;
        let span = Span::whole(object.len() as u64).unwrap();
        let key = ContentKey::from_bytes(KEY);
        Encryptor::new(&template.index, &key, &kids(9, 1), 0).unwrap().apply(span, &mut object).unwrap();
        put(&workshop.path("object.mp4"), &object);

        let heard = workshop.decode("object.mp4", &["-decryption_key", KEY_HEX]);
        let clear = workshop.decode(name, &[]);
        assert!(clear.len() > 6 * 44_100 * 4, "{name}: the source was decoded");
        assert!(heard == clear, "{name}: {} bytes of PCM against {}", heard.len(), clear.len());
    }
}

#[test]
fn a_manifest_says_what_the_reference_manifest_says() {
    let Some(workshop) = Workshop::open() else { return };
    let ladder = [Rendition::Aac64, Rendition::Aac128, Rendition::Aac256, Rendition::Aac320];
    let kids = kids(50, 4);
    let mut templates = Vec::new();
    for (rendition, kid) in ladder.into_iter().zip(&kids) {
        let source = format!("{rendition}.m4a");
        let bytes =
            workshop.record(&source, "10.25", 44_100, &["-c:a", "aac", "-b:a", &format!("{rendition}k")]);
        let args = [
            "--key",
            KEY_HEX,
            "--kid",
            &kid.to_string(),
            "--pssh-kids",
            &hexes(&kids),
            "--frag-frames",
            "86",
        ];
        workshop.pack(&source, &format!("{rendition}.mp4"), &args);
        templates.push(template(&bytes, 4));
    }
    let (query, licence) = ("st=1.k1.abc.def&x=y", "https://control.test/api/v1/drm/license?st=1.k1.a.b");
    let base = format!("https://edge.test/a/c/692/{ASSET}/");
    let env = [("MEDIA_BASE", base.as_str()), ("MEDIA_QUERY", query), ("LICENSE_URL", licence)];
    let theirs = workshop.manifest(&env, &ladder.map(|rendition| format!("{rendition}.mp4")));

    let facts: Vec<_> = ladder
        .into_iter()
        .zip(&templates)
        .zip(&kids)
        .map(|((rendition, template), kid)| RenditionFacts { rendition, index: &template.index, kid: *kid })
        .collect();
    let layout = TrackLayout::new(ASSET, Epoch(692), Scheme::Cenc, &facts).unwrap();
    let options = MpdOptions {
        base_url: "https://edge.test",
        query: Some(query),
        licence_url: Some(licence),
        max_kbps: None,
    };
    // The reference names a representation after its file, we after its rendition.
    assert_eq!(mpd(&layout, &options).unwrap(), theirs.replace("_mp4\" bandwidth", "\" bandwidth"));
}

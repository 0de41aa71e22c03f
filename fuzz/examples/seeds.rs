//! Writes the corpus files that only our own code can make: sealed rings, stored files, sample indexes, what
//! volumes hold.
//!
//! `cargo run -p antiphon-fuzz --example seeds`; the recordings of `corpus/source` are read, not written.

use antiphon_cache::disk::format::{
    Footer, FooterEntry, Geometry, META_NO, PurgeRecord, PurgeScope, RecordHeader, SegmentHeader,
    SnapshotHeader, Stream, SuperBlock, crc,
};
use antiphon_cache::{ObjKey, ObjMeta};
use antiphon_core::{AssetId, Epoch, Rendition, Scheme};
use antiphon_drm::content::asset_id;
use antiphon_drm::content::mezzanine::{DataKey, Identity, Kind, Sealing, seal};
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::Template;
use antiphon_drm::keys::{FileKek, Keyring};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    seed_keyrings(&corpus.join("keyring"))?;
    seed_pages(corpus.as_path())?;
    seed_records(corpus.as_path())?;
    seed_purges(&corpus.join("purge_log"))?;
    seed_metadata(&corpus.join("object_meta"))?;
    for (recording, name) in [("sine.m4a", "sine"), ("two-frames.m4a", "two-frames")] {
        let bytes = std::fs::read(corpus.join("source").join(recording))?;
        let file = AudioFile::parse(&bytes)?;
        let template = Template::build(&file, 2, 2, Scheme::Cenc)?;
        let index = template.index.to_bytes();
        std::fs::write(corpus.join(format!("sample_index/{name}.six")), &index)?;
        // Its hash is put right by the target: damage before it gets further in.
        std::fs::write(corpus.join(format!("sample_index/{name}-without-hash")), &index[..index.len() - 16])?;
        let asset = asset_id(&[(Rendition::Aac64, &file)]);
        let stored = store(asset, Kind::Template, &template.bytes, &template)?;
        std::fs::write(corpus.join(format!("mezzanine_header/{name}.mez")), stored)?;
        let stored = store(asset, Kind::Index, &index, &template)?;
        std::fs::write(corpus.join(format!("mezzanine_header/{name}.six")), stored)?;
    }
    Ok(())
}

fn store(asset: AssetId, kind: Kind, plain: &[u8], template: &Template) -> Result<Vec<u8>, Box<dyn Error>> {
    let identity = Identity { kind, asset, rendition: Rendition::Aac64, scheme: Scheme::Cenc };
    let kid_patches = if kind == Kind::Template { template.index.kid_patches() } else { &[] };
    let sealing = Sealing {
        identity,
        data_key: &DataKey::from_bytes(antiphon_fuzz::DATA_KEY),
        wrapper: "file-000000000000",
        wrapped_key: &[3; 60],
        nonce_prefix: *b"prefix!!",
        kid_patches,
    };
    Ok(seal(plain, &sealing)?)
}

fn seed_keyrings(dir: &Path) -> Result<(), Box<dyn Error>> {
    let kek = FileKek::from_bytes(&antiphon_fuzz::KEK);
    let mut turn = 0_u8;
    let mut fill = |bytes: &mut [u8]| {
        turn = turn.wrapping_add(1);
        bytes.fill(turn);
    };
    std::fs::write(dir.join("no-epochs.json"), Keyring::new().seal(&kek, &mut fill)?)?;
    let mut ring = Keyring::new();
    ring.extend(Epoch(692)..=Epoch(692), &mut fill)?;
    std::fs::write(dir.join("one-epoch.json"), ring.seal(&kek, &mut fill)?)?;
    Ok(())
}

/// Pages without the zeros at their end and so without their sum: the targets put both there.
fn seed_pages(corpus: &Path) -> Result<(), Box<dyn Error>> {
    let geometry = Geometry::new(16, 22)?;
    let (disk_uuid, generation, last_seq) = (*b"the disk of fuzz", 7, 9);
    let block =
        SuperBlock { geometry, disk_uuid, seg_count: 12, hash_seed: 5, generation, clean: true, last_seq };
    let dirty = SuperBlock { clean: false, generation: 8, ..block.clone() };
    let snapshot =
        SnapshotHeader { disk_uuid, generation, last_seq, entries: 3, payload_len: 24, payload_crc: 11 };
    let fresh =
        SegmentHeader { stream: Stream::Fresh, seg_no: 3, disk_uuid, seq: 9, opened_ms: 1_800_000_000_000 };
    let hot = SegmentHeader { stream: Stream::Hot, seq: 10, ..fresh.clone() };
    for (name, page) in [
        ("super_block/clean", block.to_page()),
        ("super_block/dirty", dirty.to_page()),
        ("snapshot_header/of-three", snapshot.to_page()),
        ("snapshot_header/of-none", SnapshotHeader { entries: 0, payload_len: 0, ..snapshot }.to_page()),
        ("segment_header/fresh", fresh.to_page()),
        ("segment_header/hot", hot.to_page()),
    ] {
        std::fs::write(corpus.join(name), cropped(&page[..page.len() - 4]))?;
        let mut other = page;
        other[8] = 2;
        std::fs::write(corpus.join(format!("{name}-of-version-2")), cropped(&other[..other.len() - 4]))?;
    }
    Ok(())
}

fn seed_records(corpus: &Path) -> Result<(), Box<dyn Error>> {
    let geometry = Geometry::new(16, 22)?;
    let payload = b"what was sung";
    let header = RecordHeader {
        seq: 9,
        obj: ObjKey::from_bytes(*b"an object's name"),
        chunk_no: 4,
        len: payload.len() as u32,
        ver: 77,
        payload_crc: crc(payload),
        written_secs: 1_800_000_000,
        generation: 2,
    };
    let meta = RecordHeader { chunk_no: META_NO, ..header.clone() };
    let long = RecordHeader { len: geometry.chunk_len() as u32 + 1, ..header.clone() };
    for (name, header) in [("chunk", &header), ("metadata", &meta), ("longer-than-a-chunk", &long)] {
        std::fs::write(corpus.join("record").join(name), [&header.to_bytes()[..], payload].concat())?;
    }
    let entry = |page, len, chunk_no| FooterEntry {
        obj: header.obj,
        chunk_no,
        page,
        len,
        ver: header.ver,
        crc: header.payload_crc,
        generation: header.generation,
        freq: 1,
    };
    let entries = vec![entry(1, 65_536, 0), entry(18, 13, 1), entry(19, 300, META_NO)];
    let three = Footer { seq: 9, seg_no: 3, used_pages: 20, sealed_ms: 1_800_000_000_000, entries };
    let none = Footer { used_pages: 1, entries: Vec::new(), ..three.clone() };
    for (name, footer) in [("three-records", three), ("none", none)] {
        let mut bytes = vec![0; geometry.footer_len()];
        footer.write(&mut bytes, geometry)?;
        std::fs::write(corpus.join("footer").join(name), cropped(&bytes))?;
        // On top of each other: pages of records must ascend.
        bytes[64 + 44] = 30;
        bytes[12] = bytes[12].max(1);
        std::fs::write(corpus.join("footer").join(format!("{name}-out-of-order")), cropped(&bytes))?;
    }
    Ok(())
}

fn seed_purges(dir: &Path) -> Result<(), Box<dyn Error>> {
    let scopes = [
        PurgeScope::Object(ObjKey::from_bytes(*b"an object's name")),
        PurgeScope::Tag(*b"of some artist's"),
        PurgeScope::TagPrefix { len: 6, hash: *b"some record firm" },
        PurgeScope::Everything,
    ];
    let purge =
        |(at, scope)| PurgeRecord { generation: at as u64 + 1, soft: at == 1, scope, at_secs: 1_800_000_000 };
    let mut log: Vec<u8> =
        scopes.into_iter().enumerate().map(purge).flat_map(|purge| purge.to_bytes()).collect();
    std::fs::write(dir.join("one-of-each"), &log)?;
    log.extend([0; 100]);
    std::fs::write(dir.join("with-a-free-end"), &log)?;
    log[64] = b'?';
    std::fs::write(dir.join("one-lost"), &log)?;
    Ok(())
}

fn seed_metadata(dir: &Path) -> Result<(), Box<dyn Error>> {
    let plain = ObjMeta::new(1_000_000, None);
    std::fs::write(dir.join("plain"), plain.encode()?)?;
    let full = ObjMeta {
        content_type: Some("audio/mp4".into()),
        last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
        cache_control: Some("max-age=60".into()),
        tags: vec!["artist/7".into(), "label/ä".into()],
        ..ObjMeta::new(1_000_000, Some("\"abc\"".into()))
    };
    let bytes = full.encode()?;
    std::fs::write(dir.join("full"), &bytes)?;
    std::fs::write(dir.join("cut-short"), &bytes[..bytes.len() - 1])?;
    Ok(())
}

fn cropped(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

//! The init segment: `ftyp` and `moov` (ISO/IEC 14496-12 §8, 23001-7 §8).

use crate::content::boxes::{put_box, put_full_box, put_u32, put_u32s};
use crate::content::source::AudioFile;
use antiphon_core::Scheme;

/// W3C "common" system of `pssh` boxes: a list of key ids and nothing else.
const COMMON_SYSTEM: [u8; 16] = *b"\x10\x77\xef\xec\xc0\xb2\x4d\x02\xac\xe3\x3c\x1e\x52\xe2\xfb\x4b";
/// Rotation and scale of nothing.
const UNITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Room for a key id, which the encryptor fills.
const NO_KID: [u8; 16] = [0; 16];
/// Language "und", three letters of five bits.
const UNDETERMINED: u32 = 0x55c4;
/// Bytes of the header of a box.
const HEADER_LEN: usize = 8;

/// Appends the init segment and returns where key ids go: own first, then one for each rendition.
pub(super) fn put_init(out: &mut Vec<u8>, file: &AudioFile<'_>, kid_count: usize) -> Vec<u32> {
    let mut kid_offsets = Vec::with_capacity(kid_count + 1);
    put_box(out, b"ftyp", |out| {
        out.extend(b"iso6");
        put_u32(out, 0);
        out.extend(b"iso6cmfcdash");
    });
    put_box(out, b"moov", |out| {
        put_mvhd(out, file.timescale());
        put_box(out, b"mvex", |out| {
            put_full_box(out, b"mehd", 1, 0, |out| out.extend(file.play().to_be_bytes()));
            put_full_box(out, b"trex", 0, 0, |out| put_u32s(out, [1, 1, file.frame(), 0, 0]));
        });
        put_box(out, b"trak", |out| put_trak(out, file, &mut kid_offsets));
        put_pssh(out, kid_count, &mut kid_offsets);
    });
    kid_offsets
}

fn put_mvhd(out: &mut Vec<u8>, timescale: u32) {
    put_full_box(out, b"mvhd", 0, 0, |out| {
        // Created, modified, timescale, duration (told by mehd); rate 1, volume 1, reserved.
        put_u32s(out, [0, 0, timescale, 0, 0x1_0000, 0x100_0000, 0, 0]);
        put_u32s(out, UNITY_MATRIX);
        put_u32s(out, [0; 6]);
        let next_track = 2;
        put_u32(out, next_track);
    });
}

fn put_trak(out: &mut Vec<u8>, file: &AudioFile<'_>, kid_offsets: &mut Vec<u32>) {
    // Enabled, in movie, in preview.
    put_full_box(out, b"tkhd", 0, 7, |out| {
        // Created, modified, track, reserved, duration, reserved twice; layer and group, volume 1.
        put_u32s(out, [0, 0, 1, 0, 0, 0, 0, 1, 0x100_0000]);
        put_u32s(out, UNITY_MATRIX);
        put_u32s(out, [0, 0]);
    });
    if file.priming() > 0 {
        put_box(out, b"edts", |out| {
            put_full_box(out, b"elst", 1, 0, |out| {
                put_u32(out, 1);
                out.extend(file.play().to_be_bytes());
                out.extend(file.priming().to_be_bytes());
                put_u32(out, 0x1_0000);
            });
        });
    }
    put_box(out, b"mdia", |out| {
        put_full_box(out, b"mdhd", 0, 0, |out| {
            put_u32s(out, [0, 0, file.timescale(), 0, UNDETERMINED << 16]);
        });
        put_full_box(out, b"hdlr", 0, 0, |out| {
            out.extend([0; 4]);
            out.extend(b"soun");
            out.extend([0; 12]);
            out.extend(b"audio\0");
        });
        put_box(out, b"minf", |out| put_minf(out, file, kid_offsets));
    });
}

fn put_minf(out: &mut Vec<u8>, file: &AudioFile<'_>, kid_offsets: &mut Vec<u32>) {
    put_full_box(out, b"smhd", 0, 0, |out| put_u32(out, 0));
    put_box(out, b"dinf", |out| {
        put_full_box(out, b"dref", 0, 0, |out| {
            put_u32(out, 1);
            let in_this_file = 1;
            put_full_box(out, b"url ", 0, in_this_file, |_| {});
        });
    });
    put_box(out, b"stbl", |out| {
        put_full_box(out, b"stsd", 0, 0, |out| {
            put_u32(out, 1);
            put_box(out, b"enca", |out| put_entry(out, file, kid_offsets));
        });
        // No samples here: fragments have them.
        put_full_box(out, b"stts", 0, 0, |out| put_u32(out, 0));
        put_full_box(out, b"stsc", 0, 0, |out| put_u32(out, 0));
        put_full_box(out, b"stsz", 0, 0, |out| put_u32s(out, [0, 0]));
        put_full_box(out, b"stco", 0, 0, |out| put_u32(out, 0));
    });
}

/// The original sample entry under its new name, and how it is protected.
fn put_entry(out: &mut Vec<u8>, file: &AudioFile<'_>, kid_offsets: &mut Vec<u32>) {
    let (header, body) = file.entry().split_at(HEADER_LEN);
    out.extend(body);
    put_box(out, b"sinf", |out| {
        put_box(out, b"frma", |out| out.extend(&header[4..]));
        put_full_box(out, b"schm", 0, 0, |out| {
            out.extend(Scheme::Cenc.fourcc().as_bytes());
            put_u32(out, 0x1_0000);
        });
        put_box(out, b"schi", |out| {
            put_full_box(out, b"tenc", 0, 0, |out| {
                // Reserved twice, protected, IVs of eight bytes.
                out.extend([0, 0, 1, 8]);
                put_kid(out, kid_offsets);
            });
        });
    });
}

/// `pssh` version 1: one licence request then covers all renditions of the track (MEDIA.md §2.2).
fn put_pssh(out: &mut Vec<u8>, kid_count: usize, kid_offsets: &mut Vec<u32>) {
    put_full_box(out, b"pssh", 1, 0, |out| {
        out.extend(COMMON_SYSTEM);
        put_u32(out, kid_count as u32);
        (0..kid_count).for_each(|_| put_kid(out, kid_offsets));
        put_u32(out, 0);
    });
}

fn put_kid(out: &mut Vec<u8>, kid_offsets: &mut Vec<u32>) {
    kid_offsets.push(out.len() as u32);
    out.extend(NO_KID);
}

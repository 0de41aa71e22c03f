//! Whether an Ogg file is whole: its length is nowhere written, so only its pages tell.
//!
//! Promises
//! - A file cut inside a page is noticed; reading is one seek a page, bounded by the file's length.
//!
//! Does not know: codecs, checksums (ffmpeg holds each page to its CRC).

use std::io::{self, Read, Seek, SeekFrom};

/// What the pages of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// It does not begin with an Ogg page.
    NotOgg,
    /// Every page is whole, up to the end of the file or to bytes that are no page (tags of other tools).
    Whole,
    /// The file ends inside a page.
    Cut,
}

/// Bytes of a page header up to its segment table (RFC 3533 §6).
const HEADER_LEN: usize = 27;

/// Walks the pages of `file`, which has `len` bytes.
pub(super) fn pages(mut file: impl Read + Seek, len: u64) -> io::Result<Pages> {
    let mut at = 0;
    while at < len {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; HEADER_LEN];
        let got = read_up_to(&mut file, &mut header)?;
        if got < 4 || &header[..4] != b"OggS" {
            // A cut inside the next capture pattern looks like the start of one.
            let cut = at > 0 && got < 4 && b"OggS".starts_with(&header[..got]);
            return Ok(if cut {
                Pages::Cut
            } else if at == 0 {
                Pages::NotOgg
            } else {
                Pages::Whole
            });
        }
        let mut lacing = [0; 255];
        let segments = usize::from(header[HEADER_LEN - 1]);
        if got < HEADER_LEN || read_up_to(&mut file, &mut lacing[..segments])? < segments {
            return Ok(Pages::Cut);
        }
        let body: u64 = lacing[..segments].iter().map(|&part| u64::from(part)).sum();
        at += (HEADER_LEN + segments) as u64 + body;
    }
    Ok(if at == len { Pages::Whole } else { Pages::Cut })
}

/// Fills `buffer` as far as the file goes.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..])? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn page(body: &[u8]) -> Vec<u8> {
        assert!(body.len() < 255);
        let mut page = vec![0; HEADER_LEN];
        page[..4].copy_from_slice(b"OggS");
        page[HEADER_LEN - 1] = 1;
        page.push(body.len() as u8);
        page.extend_from_slice(body);
        page
    }

    fn look(bytes: &[u8]) -> Pages {
        pages(Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_cut_is_noticed_wherever_it_falls() {
        let first = page(b"hello").len();
        let whole = [page(b"hello"), page(b"world")].concat();
        assert_eq!(look(&whole), Pages::Whole);
        for end in first + 1..whole.len() {
            assert_eq!(look(&whole[..end]), Pages::Cut, "cut at {end}");
        }
        assert_eq!(look(&whole[..first]), Pages::Whole);
    }

    #[test]
    fn other_files_are_left_to_others() {
        assert_eq!(look(b"RIFF...."), Pages::NotOgg);
        assert_eq!(look(b""), Pages::Whole);
        assert_eq!(look(&[page(b"hello"), b"TAG of an old tool".to_vec()].concat()), Pages::Whole);
    }
}

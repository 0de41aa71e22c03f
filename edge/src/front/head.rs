//! A watch on the head of an HTTP/1 request, byte by byte, before any parser sees it.
//!
//! HTTP/1 is read differently by different software, and the gaps are where requests are smuggled. So lines
//! end in CR LF, there is at most one empty line before a request (RFC 9112 §2.2), and a head has a length.
//!
//! Promises
//! - One pass, constant memory, and it stops at the first byte after the head: bodies are not looked at.
//!
//! Does not know: what a request means.

/// Follows the bytes of one head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// Bytes seen so far.
    len: usize,
    /// Bytes in the present line.
    line: usize,
    /// Lines that had something in them.
    lines: usize,
    /// Spaces in the request line: two, around the target (RFC 9112 §3). Pingora would escape further ones.
    spaces: usize,
    /// Whether the one empty line that may come first has come.
    empty_before: bool,
    after_cr: bool,
}

/// How a head stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Partial,
    /// It is complete; so many of the bytes looked at last belong to it.
    Complete(usize),
    /// It cannot become a request.
    Wrong(Fault),
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// LF without CR, CR without LF, or a NUL.
    LineEnding,
    /// Empty lines instead of a request, or a first line that is not three words.
    NoRequest,
    /// The request line alone is longer than allowed.
    LineTooLong,
    /// The head is longer than allowed.
    TooLong,
    /// It did not arrive in time.
    TooSlow,
}

impl Head {
    /// Whether any byte of the request has come.
    pub fn has_begun(&self) -> bool {
        self.len > 0
    }

    /// Looks at the next bytes; `max` is the longest head.
    pub fn feed(&mut self, bytes: &[u8], max: usize) -> Progress {
        for (at, &byte) in bytes.iter().enumerate() {
            self.len += 1;
            if self.len > max {
                return Progress::Wrong(if self.lines == 0 { Fault::LineTooLong } else { Fault::TooLong });
            }
            match (self.after_cr, byte) {
                (false, b'\r') => self.after_cr = true,
                (false, b'\n' | 0) => return Progress::Wrong(Fault::LineEnding),
                (false, _) => {
                    self.line += 1;
                    self.spaces += usize::from(byte == b' ' && self.lines == 0);
                }
                (true, b'\n') => match self.end_line() {
                    Progress::Partial => {}
                    Progress::Complete(_) => return Progress::Complete(at + 1),
                    wrong @ Progress::Wrong(_) => return wrong,
                },
                (true, _) => return Progress::Wrong(Fault::LineEnding),
            }
        }
        Progress::Partial
    }

    /// Counts bytes of a head that has a fixed length.
    pub fn count(&mut self, bytes: &[u8], len: usize) -> Progress {
        self.len += bytes.len();
        if self.len >= len { Progress::Complete(bytes.len()) } else { Progress::Partial }
    }

    /// A line has ended; an empty one after others is the end of the head.
    fn end_line(&mut self) -> Progress {
        self.after_cr = false;
        let empty = std::mem::take(&mut self.line) == 0;
        match (empty, self.lines) {
            (false, 0) if self.spaces != 2 => return Progress::Wrong(Fault::NoRequest),
            (false, _) => self.lines += 1,
            (true, 0) if !self.empty_before => self.empty_before = true,
            (true, 0) => return Progress::Wrong(Fault::NoRequest),
            (true, _) => return Progress::Complete(0),
        }
        Progress::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8], max: usize) -> Progress {
        Head::default().feed(bytes, max)
    }

    #[test]
    fn a_head_ends_at_its_empty_line_and_the_body_is_not_looked_at() {
        assert_eq!(whole(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n", 100), Progress::Complete(27));
        assert_eq!(whole(b"\r\nGET / HTTP/1.1\r\n\r\n", 100), Progress::Complete(20));
        assert_eq!(whole(b"GET / HTTP/1.1\r\nHost: a\r\n", 100), Progress::Partial);
    }

    #[test]
    fn odd_line_endings_are_faults() {
        for bytes in [
            &b"GET / HTTP/1.1\n\n"[..],
            b"\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET /\rx HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\r\n",
            b"GET /\0 HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(whole(bytes, 100), Progress::Wrong(Fault::LineEnding), "{bytes:?}");
        }
        for bytes in [&b"\r\n\r\n"[..], b"GET /\r\n", b"GET /?a b HTTP/1.1\r\n"] {
            assert_eq!(whole(bytes, 100), Progress::Wrong(Fault::NoRequest), "{bytes:?}");
        }
    }

    #[test]
    fn a_head_has_a_length() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        assert_eq!(whole(head, head.len()), Progress::Complete(head.len()));
        assert_eq!(whole(head, head.len() - 1), Progress::Wrong(Fault::TooLong));
        assert_eq!(whole(head, 10), Progress::Wrong(Fault::LineTooLong));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(b' '), Just(0)], 0..40),
            cut in 0_usize..40,
        ) {
            let cut = cut.min(bytes.len());
            let mut head = Head::default();
            let pieces = match head.feed(&bytes[..cut], 30) {
                Progress::Partial => match head.feed(&bytes[cut..], 30) {
                    Progress::Complete(end) => Progress::Complete(end + cut),
                    other => other,
                },
                other => other,
            };
            prop_assert_eq!(pieces, whole(&bytes, 30));
        }
    }
}

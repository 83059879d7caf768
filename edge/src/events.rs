//! Server-sent events pass through, but not for ever: a host gives a request so many seconds (Spin: 30). The stream is ended before,
//! between two events, with a hint to come back at once; the browser then resumes with `Last-Event-ID`.

/// When a stream ends, milliseconds after its request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// From then on at the next gap between events.
    pub at_a_gap: u64,
    /// Then anywhere; a browser discards half an event.
    pub at_last: u64,
}

impl Ends {
    /// Well before a host's limit.
    #[must_use]
    pub fn before(limit_seconds: u64) -> Self {
        let limit = limit_seconds * 1000;
        Self { at_a_gap: limit - limit / 6, at_last: limit - limit / 15 }
    }
}

/// What a stream that was ended says last.
pub const COME_BACK: &[u8] = b": until soon\nretry: 250\n\n";

/// Where in an event a stream stands.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// Consecutive line ends that were just seen; an event ends with two. A stream begins in a gap.
    line_ends: u8,
    after_cr: bool,
}

impl Default for Gap {
    fn default() -> Self {
        Self { line_ends: 2, after_cr: false }
    }
}

impl Gap {
    /// Takes note of bytes that passed.
    pub fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                // CR LF is one line end.
                b'\n' if self.after_cr => {}
                b'\n' | b'\r' => self.line_ends = self.line_ends.saturating_add(1),
                _ => self.line_ends = 0,
            }
            self.after_cr = *byte == b'\r';
        }
    }

    /// Is this a place to end?
    #[must_use]
    pub fn between_events(&self) -> bool {
        self.line_ends >= 2
    }

    /// The part of `bytes` that completes the event under way, if its end is in them.
    #[must_use]
    pub fn up_to_gap(self, bytes: &[u8]) -> Option<usize> {
        let mut gap = self;
        for (at, byte) in bytes.iter().enumerate() {
            gap.pass(&[*byte]);
            if gap.between_events() {
                return Some(at + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_end_before_spin_ends_them() {
        assert_eq!(Ends::before(30), Ends { at_a_gap: 25_000, at_last: 28_000 });
    }

    #[test]
    fn gaps_are_found_in_any_cut_and_with_any_line_end() {
        for text in ["id: 1\ndata: x\n\n", "id: 1\r\ndata: x\r\n\r\n", ": ping\r\r"] {
            for cut in 0..=text.len() {
                let mut gap = Gap::default();
                assert!(gap.between_events());
                gap.pass(&text.as_bytes()[..cut]);
                gap.pass(&text.as_bytes()[cut..]);
                assert!(gap.between_events(), "{text:?} cut at {cut}");
            }
            let mut gap = Gap::default();
            gap.pass(&text.as_bytes()[..3]);
            assert!(!gap.between_events());
            let rest = [&text.as_bytes()[3..], b"data: next"].concat();
            let end = gap.up_to_gap(&rest).unwrap();
            assert!((text.len() - 4..=text.len() - 3).contains(&end), "{text:?}: {end}");
        }
    }
}

//! Where a master goes, as dated data. Services change their minds: one row, one place to correct.

use crate::units::{Dbtp, Lufs};
use serde::Serialize;

/// One place a master can go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Destination {
    /// What is typed, e.g. `spotify`.
    pub key: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// What is shown.
    pub name: &'static str,
    /// Level the service plays everything at; `None`: it plays files as they are.
    pub playback: Option<Lufs>,
    /// Loudness to master at; `None`: the style decides.
    pub target: Option<Lufs>,
    /// Highest true peak to deliver.
    pub ceiling: Dbtp,
    /// One sentence for the artist.
    pub note: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// When that was last looked at, `YYYY-MM`.
    pub date: &'static str,
}

/// All destinations, the most asked for first.
#[must_use]
pub fn destinations() -> &'static [Destination] {
    TABLE
}

/// The row with this key or alias, whatever its case.
#[must_use]
pub fn destination(key: &str) -> Option<&'static Destination> {
    let key = key.trim();
    TABLE
        .iter()
        .find(|row| row.key.eq_ignore_ascii_case(key) || row.aliases.iter().any(|a| a.eq_ignore_ascii_case(key)))
}

static TABLE: &[Destination] = &[
    Destination {
        key: "spotify",
        aliases: &[],
        name: "Spotify",
        playback: Some(Lufs(-14.0)),
        target: Some(Lufs(-14.0)),
        ceiling: Dbtp(-1.0),
        note: "Louder masters are turned down to −14 LUFS; quieter ones come up only as far as their peaks allow.",
        source: "support.spotify.com, Loudness normalization",
        date: "2026-11",
    },
    Destination {
        key: "spotify-loud",
        aliases: &["spotify_loud"],
        name: "Spotify, listeners on Loud",
        playback: Some(Lufs(-11.0)),
        target: Some(Lufs(-11.0)),
        ceiling: Dbtp(-2.0),
        note: "The listener's setting Loud plays at −11 LUFS; for masters over −14 Spotify asks for −2 dBTP.",
        source: "support.spotify.com, Loudness normalization",
        date: "2026-11",
    },
    Destination {
        key: "apple",
        aliases: &["apple-music", "itunes"],
        name: "Apple Music",
        playback: Some(Lufs(-16.0)),
        target: Some(Lufs(-16.0)),
        ceiling: Dbtp(-1.0),
        note: "Sound Check plays everything at −16 LUFS.",
        source: "several guides agree; Apple publishes no number",
        date: "2026-11",
    },
    Destination {
        key: "youtube",
        aliases: &["youtube-music", "yt"],
        name: "YouTube",
        playback: Some(Lufs(-14.0)),
        target: Some(Lufs(-14.0)),
        ceiling: Dbtp(-1.0),
        note: "Louder uploads are turned down to −14 LUFS; quieter ones stay quiet.",
        source: "common measurement; guides differ by 1 LU",
        date: "2026-11",
    },
    Destination {
        key: "tidal",
        aliases: &[],
        name: "Tidal",
        playback: Some(Lufs(-14.0)),
        target: Some(Lufs(-14.0)),
        ceiling: Dbtp(-1.0),
        note: "Albums are played at −14 LUFS as a whole.",
        source: "several guides agree",
        date: "2026-11",
    },
    Destination {
        key: "amazon",
        aliases: &["amazon-music"],
        name: "Amazon Music",
        playback: Some(Lufs(-14.0)),
        target: Some(Lufs(-14.0)),
        ceiling: Dbtp(-2.0),
        note: "Plays at −14 LUFS and asks for −2 dBTP.",
        source: "several guides; they differ by 1 LU",
        date: "2026-11",
    },
    Destination {
        key: "deezer",
        aliases: &[],
        name: "Deezer",
        playback: Some(Lufs(-15.0)),
        target: Some(Lufs(-15.0)),
        ceiling: Dbtp(-1.0),
        note: "Plays at −15 LUFS.",
        source: "several guides; they differ by 1 LU",
        date: "2026-11",
    },
    Destination {
        key: "soundcloud",
        aliases: &[],
        name: "SoundCloud",
        playback: None,
        target: None,
        ceiling: Dbtp(-1.0),
        note: "Plays files as they are, after a lossy conversion that needs the room above −1 dBTP.",
        source: "several guides agree",
        date: "2026-11",
    },
    Destination {
        key: "bandcamp",
        aliases: &[],
        name: "Bandcamp",
        playback: None,
        target: None,
        ceiling: Dbtp(-1.0),
        note: "Sells the file you upload and plays it as it is.",
        source: "common practice",
        date: "2026-11",
    },
    Destination {
        key: "cd",
        aliases: &[],
        name: "CD",
        playback: None,
        target: None,
        ceiling: Dbtp(-0.3),
        note: "Nothing is converted: the peaks may go to −0.3 dBTP. Loudness is a matter of taste.",
        source: "common practice",
        date: "2026-11",
    },
    Destination {
        key: "club",
        aliases: &["dj", "beatport"],
        name: "Club and DJ",
        playback: None,
        target: Some(Lufs(-8.5)),
        ceiling: Dbtp(-0.8),
        note: "Club records sit between −6 and −9 LUFS; −8.5 holds its own and keeps the kick.",
        source: "common practice",
        date: "2026-11",
    },
    Destination {
        key: "broadcast",
        aliases: &["ebu", "r128", "ebu-r128"],
        name: "Broadcast, EBU R 128",
        playback: Some(Lufs(-23.0)),
        target: Some(Lufs(-23.0)),
        ceiling: Dbtp(-1.0),
        note: "European radio and television: −23 LUFS, −1 dBTP.",
        source: "EBU R 128 v5",
        date: "2026-11",
    },
    Destination {
        key: "atsc",
        aliases: &["a85", "broadcast-us"],
        name: "Broadcast, ATSC A/85",
        playback: Some(Lufs(-24.0)),
        target: Some(Lufs(-24.0)),
        ceiling: Dbtp(-2.0),
        note: "American television: −24 LKFS, −2 dBTP.",
        source: "ATSC A/85",
        date: "2026-11",
    },
    Destination {
        key: "aes-streaming",
        aliases: &["td1008"],
        name: "AES TD1008 streaming",
        playback: Some(Lufs(-16.0)),
        target: Some(Lufs(-16.0)),
        ceiling: Dbtp(-1.0),
        note: "The AES recommends −16 LUFS for single tracks of music.",
        source: "AES TD1008 (2021)",
        date: "2026-11",
    },
    Destination {
        key: "sync",
        aliases: &["film", "library"],
        name: "Film and music libraries",
        playback: None,
        target: Some(Lufs(-16.0)),
        ceiling: Dbtp(-1.0),
        note: "Editors set the level themselves and want the dynamics left in.",
        source: "common practice",
        date: "2026-11",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_and_aliases_are_unique_and_found_in_any_case() {
        let mut seen = HashSet::new();
        for row in destinations() {
            for key in std::iter::once(&row.key).chain(row.aliases) {
                assert!(seen.insert(key.to_lowercase()), "{key} stands twice");
                assert_eq!(destination(&key.to_uppercase()).unwrap().key, row.key);
            }
            assert!(row.target.is_none_or(|t| (-40.0..=-5.0).contains(&t.0)));
            assert!((-12.0..=0.0).contains(&row.ceiling.0));
            assert_eq!(row.date.len(), 7, "{}: dated YYYY-MM", row.key);
        }
        assert!(destination("myspace").is_none());
    }
}

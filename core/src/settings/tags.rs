//! What the masters are to say about themselves, where that is not what the mix says.

use super::SettingError;
use serde::{Deserialize, Serialize};

/// Most characters of a text.
pub const LONGEST_TAG: usize = 500;
/// Most characters of a comment.
pub const LONGEST_COMMENT: usize = 4_000;
/// Highest number of a track or a disc.
pub const HIGHEST_NUMBER: u32 = 9_999;

/// Tags of the masters. One that is left out travels from the mix; an empty text keeps the mix's own from travelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagWishes {
    /// Title of the track.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Artist of the track.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artist: Option<String>,
    /// Title of the album.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// Artist of the album.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album_artist: Option<String>,
    /// Position on the disc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<u32>,
    /// Tracks of the disc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracks: Option<u32>,
    /// Number of the disc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disc: Option<u32>,
    /// Discs of the album.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discs: Option<u32>,
    /// Release date or year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Genre.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genre: Option<String>,
    /// Composer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer: Option<String>,
    /// Copyright line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copyright: Option<String>,
    /// Publisher or label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// International Standard Recording Code, with or without hyphens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isrc: Option<String>,
    /// Free comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A tag that no file could carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Too long.
    #[error("the tag {tag} has {length} characters; use at most {most}")]
    TooLong {
        /// Which one.
        tag: &'static str,
        /// Its characters.
        length: usize,
        /// The limit.
        most: usize,
    },
    /// A line break, or what is no text at all.
    #[error("the tag {tag} has a line break or another control character in it; write it in one line")]
    Control {
        /// Which one.
        tag: &'static str,
    },
    /// Not ISO 3901.
    #[error("`{value}` is no ISRC; it has two letters, three letters or digits and seven digits, e.g. DE-A12-26-00001")]
    Isrc {
        /// What was given.
        value: String,
    },
    /// No place in an album.
    #[error("{tag} is {value}; use {range}")]
    Number {
        /// Which one.
        tag: &'static str,
        /// What was given.
        value: u32,
        /// What would be right.
        range: String,
    },
}

impl TagError {
    /// `tags.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "tags.too_long",
            Self::Control { .. } => "tags.control_character",
            Self::Isrc { .. } => "tags.isrc",
            Self::Number { .. } => "tags.number",
        }
    }
}

impl TagWishes {
    /// The names of all tags.
    pub const NAMES: [&str; 15] = [
        "title",
        "artist",
        "album",
        "album_artist",
        "track",
        "tracks",
        "disc",
        "discs",
        "date",
        "genre",
        "composer",
        "copyright",
        "publisher",
        "isrc",
        "comment",
    ];

    /// Whether everything travels from the mix.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The title, where there is one to show.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref().map(str::trim).filter(|title| !title.is_empty())
    }

    /// The tags that are texts, with their names.
    #[must_use]
    pub fn texts(&self) -> [(&'static str, &Option<String>); 11] {
        [
            ("title", &self.title),
            ("artist", &self.artist),
            ("album", &self.album),
            ("album_artist", &self.album_artist),
            ("date", &self.date),
            ("genre", &self.genre),
            ("composer", &self.composer),
            ("copyright", &self.copyright),
            ("publisher", &self.publisher),
            ("isrc", &self.isrc),
            ("comment", &self.comment),
        ]
    }

    /// Sets a tag by its name; a number may be followed by how many there are, as in `3/12`. False: there is no such tag.
    ///
    /// # Errors
    ///
    /// A number that is none.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, SettingError> {
        let text = Some(value.to_owned());
        match name {
            "title" => self.title = text,
            "artist" => self.artist = text,
            "album" => self.album = text,
            "album_artist" => self.album_artist = text,
            "track" => numbers("track", value, &mut self.track, &mut self.tracks)?,
            "tracks" => self.tracks = Some(number("tracks", value)?),
            "disc" => numbers("disc", value, &mut self.disc, &mut self.discs)?,
            "discs" => self.discs = Some(number("discs", value)?),
            "date" => self.date = text,
            "genre" => self.genre = text,
            "composer" => self.composer = text,
            "copyright" => self.copyright = text,
            "publisher" => self.publisher = text,
            "isrc" => self.isrc = text,
            "comment" => self.comment = text,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether files can carry them.
    ///
    /// # Errors
    ///
    /// The first tag that is wrong.
    pub fn check(&self) -> Result<(), TagError> {
        for (tag, value) in self.texts() {
            let Some(value) = value else { continue };
            let most = if tag == "comment" { LONGEST_COMMENT } else { LONGEST_TAG };
            let length = value.chars().count();
            if length > most {
                return Err(TagError::TooLong { tag, length, most });
            }
            if value.chars().any(|c| c.is_control() && !(tag == "comment" && matches!(c, '\n' | '\r' | '\t'))) {
                return Err(TagError::Control { tag });
            }
        }
        if let Some(value) = self.isrc.as_ref().filter(|value| !value.trim().is_empty() && isrc(value).is_none()) {
            return Err(TagError::Isrc { value: value.chars().take(40).collect() });
        }
        for (tag, value, most) in [
            ("tracks", self.tracks, HIGHEST_NUMBER),
            ("track", self.track, self.tracks.unwrap_or(HIGHEST_NUMBER)),
            ("discs", self.discs, HIGHEST_NUMBER),
            ("disc", self.disc, self.discs.unwrap_or(HIGHEST_NUMBER)),
        ] {
            if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
                return Err(TagError::Number { tag, value, range: format!("1 to {most}") });
            }
        }
        Ok(())
    }
}

/// An ISRC without its hyphens and in capitals: two letters, three letters or digits, seven digits (ISO 3901). Hyphens stand where the
/// standard writes them, or nowhere.
#[must_use]
pub fn isrc(text: &str) -> Option<String> {
    let text = text.trim();
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() != 1 && parts.iter().map(|part| part.len()).ne([2, 3, 2, 5]) {
        return None;
    }
    let code = parts.concat().to_ascii_uppercase();
    let bytes = code.as_bytes();
    let whole = bytes.len() == 12
        && bytes[..2].iter().all(u8::is_ascii_alphabetic)
        && bytes[2..5].iter().all(u8::is_ascii_alphanumeric)
        && bytes[5..].iter().all(u8::is_ascii_digit);
    whole.then_some(code)
}

fn number(what: &'static str, value: &str) -> Result<u32, SettingError> {
    value.trim().parse().map_err(|_| SettingError {
        what,
        value: value.chars().take(40).collect(),
        expected: format!("a whole number from 1 to {HIGHEST_NUMBER}"),
    })
}

fn numbers(
    what: &'static str,
    value: &str,
    slot: &mut Option<u32>,
    total: &mut Option<u32>,
) -> Result<(), SettingError> {
    if let Some((first, of)) = value.split_once('/') {
        *total = Some(number(what, of)?);
        *slot = Some(number(what, first)?);
    } else {
        *slot = Some(number(what, value)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_isrc_has_twelve_characters_and_hyphens_where_they_belong() {
        for text in ["DE-A12-26-00001", "DEA122600001", "de-a12-26-00001", " DEA122600001 "] {
            assert_eq!(isrc(text).as_deref(), Some("DEA122600001"), "{text}");
        }
        for text in [
            "",
            "DEA12260000",
            "DEA1226000011",
            "D1A122600001",
            "DEA1226O0001",
            "DE-A122600001",
            "DEA-12-26-00001",
            "DE A12 26 00001",
            "DE--A12-26-0001",
            "ÄA122600001",
            "DEÄ22600001",
        ] {
            assert_eq!(isrc(text), None, "{text}");
        }
    }

    #[test]
    fn every_name_can_be_set_and_every_field_has_one() {
        let mut tags = TagWishes::default();
        for name in TagWishes::NAMES {
            assert_eq!(tags.set(name, "7"), Ok(true), "{name}");
        }
        let serde_json::Value::Object(fields) = serde_json::to_value(&tags).unwrap() else { panic!("object") };
        assert_eq!(fields.len(), TagWishes::NAMES.len());
        assert!(TagWishes::NAMES.iter().all(|name| fields.contains_key(*name)));
        assert_eq!(tags.set("heading", "x"), Ok(false));
        assert_eq!(tags.set("track", "3 / 12"), Ok(true));
        assert_eq!((tags.track, tags.tracks), (Some(3), Some(12)));
        assert!(tags.set("track", "first").unwrap_err().to_string().contains("a whole number from 1 to 9999"));
    }

    #[test]
    fn what_no_file_can_carry_is_refused() {
        let code = |tags: TagWishes| tags.check().unwrap_err().code();
        let title = |text: &str| TagWishes { title: Some(text.to_owned()), ..TagWishes::default() };
        assert_eq!(code(title(&"x".repeat(501))), "tags.too_long");
        assert_eq!(code(title("two\nlines")), "tags.control_character");
        assert_eq!(code(TagWishes { isrc: Some("12".to_owned()), ..TagWishes::default() }), "tags.isrc");
        assert_eq!(code(TagWishes { track: Some(0), ..TagWishes::default() }), "tags.number");
        assert_eq!(code(TagWishes { track: Some(13), tracks: Some(12), ..TagWishes::default() }), "tags.number");
        let whole = TagWishes {
            comment: Some("two\nlines".to_owned()),
            isrc: Some(String::new()),
            track: Some(12),
            tracks: Some(12),
            ..title(&"ä".repeat(500))
        };
        assert_eq!(whole.check(), Ok(()));
        assert_eq!(TagWishes::default().check(), Ok(()));
    }
}

//! What stands behind an option, read and held against its range.

use clap::builder::PossibleValuesParser;
use loopmaster_core::settings::{
    Aspect, Fix, Format, Limiting, Loudness, Material, OutputRate, ReferenceAmounts, ReferenceUse, SettingError, Style,
    TagWishes,
};
use loopmaster_core::units::Lufs;
use std::path::{Path, PathBuf};

/// A record to follow, and what for.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceArg {
    /// The file.
    pub path: PathBuf,
    /// Its weight and its aspects.
    pub used: ReferenceUse,
}

pub(super) fn style_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(Style::ALL.map(Style::name))
}

pub(super) fn parse_loudness(text: &str) -> Result<Loudness, String> {
    let typed = text.replace('−', "-");
    if let Ok(lufs) = typed.parse::<f64>() {
        return if (-40.0..=-5.0).contains(&lufs) {
            Ok(Loudness::Lufs(Lufs(lufs)))
        } else {
            Err("use −40 to −5 LUFS".to_owned())
        };
    }
    loopmaster_core::plan::destination(&typed)
        .map(|destination| Loudness::Destination(destination.key.to_owned()))
        .ok_or_else(|| "neither a number of LUFS nor a destination; `loopmaster destinations` lists them".to_owned())
}

pub(super) fn parse_format(text: &str) -> Result<Format, String> {
    text.trim().parse().map_err(|e: SettingError| e.to_string())
}

/// A number of bytes with K, M, G or T, in powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "use a size such as 512M or 2G".to_owned();
    let text = text.trim().to_ascii_uppercase();
    let text = text.strip_suffix("IB").or_else(|| text.strip_suffix('B')).unwrap_or(&text);
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(wrong)
}

pub(super) fn parse_rate(text: &str) -> Result<OutputRate, String> {
    text.parse().map_err(|e: SettingError| e.to_string())
}

/// A file, and behind colons its weight and its aspects. A file of exactly that name is that file.
pub(super) fn parse_reference(text: &str) -> Result<ReferenceArg, String> {
    let mut used = ReferenceUse::default();
    let (mut path, mut weighed) = (text, false);
    while !Path::new(path).exists() {
        let Some((before, last)) = path.rsplit_once(':').filter(|(before, _)| !before.is_empty()) else { break };
        let aspects: Option<Vec<Aspect>> =
            last.split('+').map(|name| Aspect::ALL.into_iter().find(|a| a.name() == name)).collect();
        match (last.parse::<f64>(), aspects) {
            (Ok(weight), _) if !weighed => {
                if !(0.01..=100.0).contains(&weight) {
                    return Err(format!("the weight is {last}; use 0.01 to 100"));
                }
                (used.weight, weighed) = (weight, true);
            }
            (_, Some(aspects)) if used.aspects.is_empty() => used.aspects = aspects,
            _ if Path::new(before).exists() => {
                let known = Aspect::ALL.map(Aspect::name).join(", ");
                return Err(format!(
                    "`{last}` is neither a weight nor an aspect; use a number, or {known}, joined by +"
                ));
            }
            _ => break,
        }
        path = before;
    }
    Ok(ReferenceArg { path: PathBuf::from(path), used })
}

pub(super) fn parse_limiter(text: &str) -> Result<Limiting, String> {
    text.parse().map_err(|e: SettingError| e.to_string())
}

pub(super) fn parse_material(text: &str) -> Result<Material, String> {
    text.parse().map_err(|e: SettingError| e.to_string())
}

pub(super) fn parse_fix(text: &str) -> Result<Fix, String> {
    text.trim().parse().map_err(|e: SettingError| e.to_string())
}

/// Four numbers from 0 to 100 with commas.
///
/// # Errors
/// They are not.
pub fn parse_amounts(text: &str) -> Result<ReferenceAmounts, String> {
    text.parse().map_err(|e: SettingError| e.to_string())
}

/// A tag by its name, held against what files can carry.
pub(super) fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write the name of the tag, =, and its text")?;
    let (name, value) = (name.trim().to_ascii_lowercase().replace('-', "_"), value.trim());
    let mut tags = TagWishes::default();
    match tags.set(&name, value) {
        Ok(true) => tags.check().map_err(|error| error.to_string())?,
        Ok(false) => return Err(format!("there is no tag `{name}`; use {}", TagWishes::NAMES.join(", "))),
        Err(error) => return Err(error.to_string()),
    }
    Ok((name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("512M", 512 << 20), ("2g", 2 << 30), ("1 KiB", 1024), ("3TB", 3 << 40)]
        {
            assert_eq!(parse_size(text).ok(), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1", "2.5G", "1X", "99999999999T", "1MM"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}

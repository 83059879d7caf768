//! Settings and saved plans come from people and from the net: every number is looked at before anything is done with it.

use super::{Goal, PLAN_VERSION, Plan, PlanError};
use crate::bands::BANDS;
use crate::settings::{Aspect, Edit, Loudness, OutputRate, Settings};
use crate::units::{Db, Hz, Seconds};
use std::ops::RangeInclusive;

/// Longest saved plan, bytes: ours have about twenty thousand.
const JSON_BYTES: usize = 1 << 20;
/// Most points of a curve.
const POINTS: usize = 1_024;
/// Most references: more of them have no sound of their own.
const REFERENCES: usize = 16;
/// Most reasons, and bytes of one.
const REASONS: usize = 128;
const TEXT: usize = 4_096;
/// Longest edit: the longest track that is decoded at all, with room.
const EDIT: f64 = 86_400.0;

/// What may be asked for.
pub(super) fn settings(settings: &Settings) -> Result<(), PlanError> {
    let within = |setting: &'static str, value: f64, range: RangeInclusive<f64>, unit: &str| {
        if range.contains(&value) {
            return Ok(());
        }
        Err(PlanError::OutOfRange { setting, value: format!("{value} {unit}"), range: span(&range, unit) })
    };
    if let Loudness::Lufs(lufs) = settings.loudness {
        within("loudness", lufs.0, -40.0..=-5.0, "LUFS")?;
    }
    if let Some(ceiling) = settings.ceiling {
        within("ceiling", ceiling.0, -12.0..=0.0, "dBTP")?;
    }
    let strength = settings.strength;
    within("strength", f64::from(strength.overall), 0.0..=100.0, "")?;
    for (name, own) in [
        ("strength of tone", strength.tone),
        ("strength of dynamics", strength.dynamics),
        ("strength of width", strength.width),
        ("strength of loudness", strength.loudness),
    ] {
        within(name, f64::from(own.unwrap_or(0)), 0.0..=100.0, "")?;
    }
    let amounts = settings.reference;
    for (name, amount) in [
        ("reference tone", amounts.tone),
        ("reference dynamics", amounts.dynamics),
        ("reference width", amounts.width),
        ("reference loudness", amounts.loudness),
    ] {
        within(name, f64::from(amount.unwrap_or(0)), 0.0..=100.0, "")?;
    }
    if settings.references.len() > REFERENCES {
        return Err(PlanError::OutOfRange {
            setting: "references",
            value: settings.references.len().to_string(),
            range: format!("at most {REFERENCES}"),
        });
    }
    for used in &settings.references {
        within("weight of a reference", used.weight, 0.01..=100.0, "")?;
    }
    if let OutputRate::Hz(rate) = settings.rate {
        rate_is_known(rate)?;
    }
    settings.formats.iter().filter_map(|format| format.rate).try_for_each(rate_is_known)?;
    Ok(settings.tags.check()?)
}

fn rate_is_known(rate: u32) -> Result<(), PlanError> {
    if [44_100, 48_000, 88_200, 96_000, 176_400, 192_000].contains(&rate) {
        return Ok(());
    }
    Err(PlanError::OutOfRange {
        setting: "rate",
        value: format!("{rate} Hz"),
        range: "44100, 48000, 88200, 96000, 176400 or 192000".to_owned(),
    })
}

/// Whether cut and fades fit into a track of `length`.
pub(super) fn edit(edit: &Edit, length: Seconds) -> Result<(), PlanError> {
    for (setting, value) in [
        ("trim at the start", edit.trim_start),
        ("trim at the end", edit.trim_end),
        ("fade-in", edit.fade_in),
        ("fade-out", edit.fade_out),
    ] {
        if !(0.0..=EDIT).contains(&value.0) {
            return Err(PlanError::OutOfRange {
                setting,
                value: format!("{} s", value.0),
                range: "0 seconds or more, within the track".to_owned(),
            });
        }
    }
    let taken = edit.trim_start.0 + edit.trim_end.0 + edit.fade_in.0 + edit.fade_out.0;
    // A hundredth of a second is the least that can be heard as anything.
    if taken > 0.0 && taken > length.0 - 0.01 {
        return Err(PlanError::EditTooLong { taken: Seconds(taken).to_string(), length: length.to_string() });
    }
    Ok(())
}

fn span(range: &RangeInclusive<f64>, unit: &str) -> String {
    format!("{} to {} {unit}", range.start(), range.end()).trim_end().to_owned()
}

fn within(field: impl Into<String>, value: f64, range: RangeInclusive<f64>, unit: &str) -> Result<(), PlanError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(PlanError::Invalid { field: field.into(), value: value.to_string(), range: span(&range, unit) })
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), PlanError> {
    if count <= most {
        return Ok(());
    }
    Err(PlanError::Invalid {
        field: field.to_owned(),
        value: format!("{count} long"),
        range: format!("at most {most}"),
    })
}

fn curve(field: &str, points: &[(Hz, Db)], range: RangeInclusive<f64>) -> Result<(), PlanError> {
    at_most(field, points.len(), POINTS)?;
    let mut last = 0.0;
    for (hz, db) in points {
        within(format!("{field} frequency"), hz.0, 1.0..=200_000.0, "Hz")?;
        within(format!("{field} gain"), db.0, range.clone(), "dB")?;
        if hz.0 <= last {
            return Err(PlanError::Invalid {
                field: format!("{field} frequency"),
                value: format!("{} after {last}", hz.0),
                range: "ascending frequencies".to_owned(),
            });
        }
        last = hz.0;
    }
    Ok(())
}

impl Plan {
    /// Reads a saved plan and looks at every number in it.
    ///
    /// # Errors
    ///
    /// [`PlanError::BadJson`], [`PlanError::Version`], or [`PlanError::Invalid`] with the value that is wrong.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        #[derive(serde::Deserialize)]
        struct Version {
            version: u32,
        }
        if text.len() > JSON_BYTES {
            return Err(PlanError::BadJson { detail: format!("{} bytes are more than any plan has", text.len()) });
        }
        let bad = |e: serde_json::Error| PlanError::BadJson { detail: e.to_string().chars().take(300).collect() };
        // The version first: another version's structure may differ.
        let Version { version } = serde_json::from_str(text).map_err(bad)?;
        if version != PLAN_VERSION {
            return Err(PlanError::Version { found: version });
        }
        let plan: Self = serde_json::from_str(text).map_err(bad)?;
        plan.validate()?;
        Ok(plan)
    }

    /// The plan as text for [`from_json`](Self::from_json), to keep and to apply to another file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Every field is a number, a text or a list of those: there is nothing that cannot be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Whether every number is one the renderer knows how to honour.
    ///
    /// # Errors
    ///
    /// [`PlanError::Version`], or [`PlanError::Invalid`] with the first value that is wrong.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.version != PLAN_VERSION {
            return Err(PlanError::Version { found: self.version });
        }
        curve("tone of mid", &self.tone.mid, -24.0..=24.0)?;
        curve("tone of side", &self.tone.side, -24.0..=24.0)?;
        curve("width", &self.tone.width, -24.0..=12.0)?;
        if let Some(corner) = self.tone.subsonic {
            within("subsonic cut", corner.0, 5.0..=60.0, "Hz")?;
        }
        within("tone bound", self.tone.bound.0, 0.0..=60.0, "dB")?;
        within("tone mono_low", self.tone.mono_low.0, 0.0..=6.0, "dB")?;
        if !self.dynamics.is_empty() && self.dynamics.len() != BANDS {
            return Err(PlanError::Invalid {
                field: "dynamics".to_owned(),
                value: format!("{} bands", self.dynamics.len()),
                range: format!("none or {BANDS} bands"),
            });
        }
        for band in &self.dynamics {
            within("dynamics threshold", band.threshold.0, -120.0..=24.0, "dB")?;
            within("dynamics ratio", band.ratio, 1.0..=20.0, "")?;
            within("dynamics knee", band.knee.0, 0.0..=24.0, "dB")?;
            within("dynamics attack", band.attack.0, 0.001..=1.0, "s")?;
            within("dynamics release", band.release.0, 0.01..=5.0, "s")?;
            within("dynamics makeup", band.makeup.0, -12.0..=12.0, "dB")?;
            within("dynamics reduction", band.max_reduction.0, 0.0..=24.0, "dB")?;
        }
        if let Some(saturation) = self.saturation {
            within("saturation odd", saturation.odd, 0.0..=1.0, "")?;
            within("saturation even", saturation.even, 0.0..=1.0, "")?;
            within("saturation reference", saturation.reference.0, -60.0..=24.0, "dB")?;
        }
        if let Some(clipper) = self.clipper {
            within("clipper reduction", clipper.max_reduction.0, 0.0..=3.0, "dB")?;
            within("clipper knee", clipper.knee.0, 0.0..=12.0, "dB")?;
        }
        if let Some(masked) = self.masked {
            within("reduction of the masked clipper", masked.max_reduction.0, 0.0..=24.0, "dB")?;
            within("rounds of the masked clipper", f64::from(masked.rounds), 1.0..=64.0, "")?;
        }
        if let Some(transients) = self.transients {
            within("depth of the transient shaper", transients.depth.0, 0.0..=6.0, "dB")?;
        }
        if let Some(leveler) = self.leveler {
            within("leveler reduction", leveler.max_reduction.0, 0.0..=3.0, "dB")?;
        }
        if let Some(limiter) = self.limiter {
            within("limiter ceiling", limiter.ceiling.0, -12.0..=0.0, "dBTP")?;
            within("limiter look-ahead", limiter.lookahead.0, 0.0005..=0.02, "s")?;
            within("limiter release_min", limiter.release_min.0, 0.001..=1.0, "s")?;
            within("limiter release_max", limiter.release_max.0, limiter.release_min.0..=5.0, "s")?;
        }
        match self.goal {
            Goal::Keep => {}
            Goal::Loudness { target, wished } => {
                within("loudness", target.0, -70.0..=-4.0, "LUFS")?;
                if let Some(wished) = wished {
                    within("wished loudness", wished.0, -70.0..=0.0, "LUFS")?;
                }
            }
            Goal::Peak { target } => within("peak", target.0, -60.0..=0.0, "dBTP")?,
        }
        for (field, value) in [
            ("trim_start", self.edit.trim_start),
            ("trim_end", self.edit.trim_end),
            ("fade_in", self.edit.fade_in),
            ("fade_out", self.edit.fade_out),
        ] {
            within(field, value.0, 0.0..=EDIT, "s")?;
        }
        for gain in self.mend.balance {
            within("balance gain", gain.0, -60.0..=60.0, "dB")?;
        }
        at_most("reasons", self.reasons.len(), REASONS)?;
        for reason in &self.reasons {
            at_most("reason", reason.text.len(), TEXT)?;
            at_most("unit of a reason", reason.unit.as_ref().map_or(0, String::len), 64)?;
            for figure in [reason.before, reason.after].into_iter().flatten() {
                within(format!("figure of a {} reason", Aspect::name(reason.aspect)), figure, -1e6..=1e6, "")?;
            }
        }
        Ok(())
    }

    /// Whether this plan's cuts and fades fit a track of `length`: a saved plan meets another file.
    ///
    /// # Errors
    ///
    /// [`PlanError::EditTooLong`].
    pub fn fits(&self, length: Seconds) -> Result<(), PlanError> {
        edit(&self.edit, length)
    }
}

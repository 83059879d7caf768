//! What a kind of recording asks of its master: values per kind, blended by the weights of the analysis, so that nothing jumps where one
//! kind ends and the next begins.

use super::style::{StyleSpec, spec};
use super::{Reason, reason};
use crate::analyse::{Analysis, MaterialWeights};
use crate::settings::{Aspect, Material, Style};

/// How much of a style's distance from the balanced one counts for kinds with a loudness of their own.
const STYLE_SHARE: f64 = 0.5;
/// Loudness of classical and solo recordings, LUFS: the quieter, the wider the music's own dynamics are.
const CLASSICAL: (f64, f64) = (-18.0, -14.0);
/// Reduction at hits that a classical recording needs at its own loudness, dB.
const CLASSICAL_HITS: f64 = 1.0;
/// From this weight on a kind is named to the reader.
const NAMED: f64 = 0.5;

/// What the kind of recording asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Profile {
    /// Integrated loudness aimed at where nobody asked for one, LUFS.
    pub(super) loudness: f64,
    /// Reduction of the limiter and what helps it at 19 of 20 hits, dB.
    pub(super) hits: f64,
    /// 0–1: how much of the style's clipper and leveler is used.
    pub(super) clipping: f64,
    /// 0–1: how much of the dynamics' strength is used.
    pub(super) dynamics: f64,
    /// 0–1: how much of the tone's strength is used.
    pub(super) tone: f64,
    /// 0–1: how much of a boost below 160 Hz is used.
    pub(super) low_boost: f64,
    /// 0–1: how much of the width's strength is used.
    pub(super) width: f64,
    /// 0–1: how much it has been limited before.
    pub(super) mastered: f64,
    /// The kind, where one is clear.
    pub(super) kind: Option<Material>,
}

impl Profile {
    /// For a mix; `chosen` is the kind that a person named.
    pub(super) fn new(analysis: &Analysis, style: &StyleSpec, chosen: Option<Material>) -> Self {
        let weights = match chosen {
            Some(kind) => MaterialWeights::only(kind),
            None => analysis.material.weights,
        };
        // A limiter that has been at work is a fact, whatever the kind of music.
        let limited = match (chosen, &analysis.clipping.already_limited) {
            (Some(kind), _) => f64::from(u8::from(kind == Material::Mastered)),
            // An analysis of an earlier version knows only whether.
            (None, Some(_)) if weights == MaterialWeights::default() => 1.0,
            (None, _) => weights.mastered,
        };
        let plr = analysis.peaks.plr.map(|plr| plr.0).filter(|plr| plr.is_finite()).unwrap_or(14.0);
        let own = |loudness: f64| loudness + STYLE_SHARE * (style.loudness - spec(Style::Balanced).loudness);
        let classical = (-1.0 - plr + CLASSICAL_HITS).clamp(CLASSICAL.0, CLASSICAL.1);
        let full = Self {
            loudness: style.loudness,
            hits: style.hits,
            clipping: 1.0,
            dynamics: 1.0,
            tone: 1.0,
            low_boost: 1.0,
            width: 1.0,
            mastered: 0.0,
            kind: None,
        };
        // A louder style may limit more, whatever it masters.
        let more = (style.hits / spec(Style::Balanced).hits).clamp(0.5, 1.5);
        let quiet = |loudness: f64, hits: f64, [clipping, dynamics, tone, low_boost, width]: [f64; 5]| Self {
            loudness,
            hits: hits * more,
            clipping,
            dynamics,
            tone,
            low_boost,
            width,
            ..full
        };
        let row = |kind: Material| match kind {
            Material::Speech => quiet(own(-16.0), 1.5, [0.3, 0.2, 0.6, 0.0, 0.0]),
            Material::Classical => quiet(own(classical), CLASSICAL_HITS, [0.0, 0.0, 0.7, 0.0, 0.5]),
            Material::Acoustic => quiet(own(-15.0), 1.4, [0.5, 0.3, 1.0, 0.0, 0.7]),
            Material::Band | Material::Electronic | Material::Mastered => full,
        };
        let sum: f64 = Material::ALL.iter().map(|kind| weights.of(*kind)).sum();
        let blend = |of: fn(&Self) -> f64| {
            let known: f64 = Material::ALL.iter().map(|kind| weights.of(*kind) * of(&row(*kind))).sum();
            // Where too little is known, the style decides.
            known + (1.0 - sum).max(0.0) * of(&full)
        };
        Self {
            loudness: blend(|p| p.loudness),
            hits: blend(|p| p.hits),
            clipping: blend(|p| p.clipping),
            dynamics: blend(|p| p.dynamics),
            tone: blend(|p| p.tone),
            low_boost: blend(|p| p.low_boost),
            width: blend(|p| p.width),
            mastered: limited,
            kind: chosen.or_else(|| weights.best().filter(|(_, weight)| *weight >= NAMED).map(|(kind, _)| kind)),
        }
    }

    /// What the reader is told where the kind changes what is done.
    pub(super) fn reason(&self, chosen: Option<Material>) -> Option<Reason> {
        let kind = self.kind?;
        let what = match kind {
            Material::Speech => "speech: a level for listening to words, and no bass is added",
            Material::Classical => "solo or classical music: its dynamics stay, and the level leaves room for them",
            Material::Acoustic => {
                "acoustic music with open dynamics: the hits stay, and the level leaves room for them"
            }
            Material::Band | Material::Electronic | Material::Mastered => return None,
        };
        let text = if chosen.is_some() {
            format!("Mastered as {what}.")
        } else {
            format!("This is mastered as {what}. If it is something else, name the material.")
        };
        Some(reason(Aspect::Loudness, text))
    }
}

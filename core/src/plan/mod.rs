//! `Analysis` + `Settings` → [`Plan`]. No audio, no clock, no device: decisions are data, each with its reason.

mod album;
mod curve;
mod destinations;
mod dynamics;
mod loudness;
mod matching;
mod material;
mod mend;
mod reference;
mod shape;
mod style;
mod tone;
mod validate;
mod width;

#[cfg(test)]
mod tests;

pub use crate::control::{BandDynamics, Clipper, Leveler, Limiter, MaskedClipper, Saturation, Transients};
pub use album::{Seat, Song, seats};
pub use destinations::{Destination, destination, destinations};
pub use dynamics::reduction;
pub use matching::{Closed, Closing};
pub use mend::{Channel, Mend};
pub use reference::Target;

use crate::analyse::Analysis;
use crate::bands::ULTRASONIC;
use crate::control::Finishing;
use crate::settings::{Aspect, Edit, Loudness, Phase, Settings, Style, TagError};
use crate::units::{Db, Dbtp, Hz, Lufs, Seconds};
use curve::gain_at;
use loudness::Wish;
use serde::{Deserialize, Serialize};

/// Version of [`Plan`]; a saved plan of another version is refused.
pub const PLAN_VERSION: u32 = 1;

/// Level of the last tenth of the band from which it is taken out, dB under the whole: of twelve real mixes
/// only one lies below, and its master reads the same within 0.03 dB on every meter tried.
const ULTRASONIC_MOST: f64 = -55.0;

/// Every decision for one master. `Plan::identity()` leaves the samples untouched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The style it was made for.
    pub style: Style,
    /// Tone filter, width and subsonic cut: one FIR for mid and one for side.
    pub tone: Tone,
    /// Multiband dynamics; empty: off. Otherwise one entry per band of [`BAND_EDGES`](crate::bands::BAND_EDGES).
    pub dynamics: Vec<BandDynamics>,
    /// Harmonic colour; `None`: off.
    pub saturation: Option<Saturation>,
    /// Transient shaper before leveler, clipper and limiter; `None`: off.
    #[serde(default)]
    pub transients: Option<Transients>,
    /// Soft clipper before the limiter; `None`: off.
    pub clipper: Option<Clipper>,
    /// Leveler before the limiter; `None`: off.
    pub leveler: Option<Leveler>,
    /// Masked clipper before the limiter, in the place of clipper and leveler; `None`: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<MaskedClipper>,
    /// True-peak limiter; `None`: off (identity).
    pub limiter: Option<Limiter>,
    /// Where the loudness shall land.
    pub goal: Goal,
    /// Cut and fade.
    pub edit: Edit,
    /// Faults of the mix that are mended first; whoever hands the samples to a renderer does it ([`Mend::applied`]).
    #[serde(default, skip_serializing_if = "Mend::is_none")]
    pub mend: Mend,
    /// Why, in the order a listener would ask.
    pub reasons: Vec<Reason>,
}

/// Tone, width and the subsonic cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tone {
    /// Equalisation of mid: dB at Hz, ascending, interpolated over log frequency, held outside. Empty: flat.
    pub mid: Vec<(Hz, Db)>,
    /// Equalisation of side.
    pub side: Vec<(Hz, Db)>,
    /// Extra gain of side only: width. Empty: none.
    pub width: Vec<(Hz, Db)>,
    /// Subsonic and DC cut: −3 dB corner of a second-order Butterworth high-pass; `None`: off.
    pub subsonic: Option<Hz>,
    /// Take out the last tenth of the band below Nyquist (20 kHz at 44.1 kHz), where true peaks read differently on every converter.
    #[serde(default)]
    pub ultrasonic: bool,
    /// Phase of the filter.
    pub phase: Phase,
    /// Largest |dB| by which the master's long-term third octaves from 40 Hz to 16 kHz may differ from the mix's, levels aligned: tone,
    /// width, dynamics and limiting together. 0: no tone, no width, no dynamics.
    pub bound: Db,
    /// Loss in mono below 120 Hz up to which a record is followed, dB; 0: none is followed that far.
    #[serde(default)]
    pub mono_low: Db,
}

/// Where the loudness shall land.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Goal {
    /// Leave the level as it is.
    Keep,
    /// This integrated loudness, ±0.1 LU.
    Loudness {
        /// What is aimed at, after any announced stop.
        target: Lufs,
        /// What was asked for, where the plan stops short of it.
        wished: Option<Lufs>,
    },
    /// Too short or too quiet to have a loudness: bring the true peak here.
    Peak {
        /// The true peak aimed at.
        target: Dbtp,
    },
}

/// One decision in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What it changes.
    pub aspect: Aspect,
    /// One or two plain sentences.
    pub text: String,
    /// The figure before, where there is one.
    pub before: Option<f64>,
    /// The figure after.
    pub after: Option<f64>,
    /// Unit of both.
    pub unit: Option<String>,
}

impl Tone {
    /// Whether there is no filter at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let curves = [&self.mid, &self.side, &self.width];
        curves.iter().all(|curve| curve.is_empty()) && self.subsonic.is_none() && !self.ultrasonic
    }

    /// Whether mid passes as it is, up to the end of the band.
    pub(crate) fn is_mid_flat(&self) -> bool {
        self.mid.is_empty() && self.subsonic.is_none()
    }

    fn subsonic_at(&self, hz: f64) -> f64 {
        self.subsonic.map_or(0.0, |corner| Db::from_power(1.0 / (1.0 + (corner.0 / hz).powi(4))).0)
    }

    /// What the filters of mid and of side do at `hz`, dB.
    pub(crate) fn gains(&self, hz: f64) -> [f64; 2] {
        let side = gain_at(&self.side, hz) + gain_at(&self.width, hz);
        [gain_at(&self.mid, hz), side].map(|gain| gain + self.subsonic_at(hz))
    }
}

impl Plan {
    /// A plan that changes nothing: rendering it is bit-exact.
    #[must_use]
    pub fn identity() -> Self {
        Self {
            version: PLAN_VERSION,
            style: Style::Balanced,
            tone: Tone::default(),
            dynamics: Vec::new(),
            saturation: None,
            transients: None,
            clipper: None,
            leveler: None,
            masked: None,
            limiter: None,
            goal: Goal::Keep,
            edit: Edit::default(),
            mend: Mend::default(),
            reasons: Vec::new(),
        }
    }
}

/// Whether these settings can be met at all, before there is any audio: what can be said at the time of asking is said then.
///
/// # Errors
///
/// As [`plan`]; cuts and fades are held against the length of the track only there.
pub fn check(settings: &Settings) -> Result<(), PlanError> {
    validate::settings(settings)?;
    validate::edit(&settings.edit, Seconds(f64::INFINITY))?;
    place(&settings.loudness).map(drop)
}

/// The destination that was asked for.
fn place(loudness: &Loudness) -> Result<Option<&'static Destination>, PlanError> {
    let Loudness::Destination(key) = loudness else { return Ok(None) };
    destination(key).map(Some).ok_or_else(|| PlanError::UnknownDestination {
        value: key.chars().take(64).collect(),
        known: destinations().iter().map(|d| d.key).collect::<Vec<_>>().join(", "),
    })
}

/// Decides everything for one master. Deterministic, a few milliseconds, no audio; every decision with its reason.
///
/// `target` is what records have to be followed in, by the amounts of [`Settings::reference`].
///
/// # Errors
///
/// [`PlanError::OutOfRange`], [`PlanError::UnknownDestination`] and [`PlanError::EditTooLong`] for settings that cannot be met.
pub fn plan(analysis: &Analysis, settings: &Settings, target: Option<&Target>) -> Result<Plan, PlanError> {
    plan_on_album(analysis, settings, target, None)
}

/// [`plan`] for a song that has a seat on an album, see [`seats`].
///
/// # Errors
///
/// As [`plan`].
pub fn plan_on_album(
    analysis: &Analysis,
    settings: &Settings,
    target: Option<&Target>,
    seat: Option<&Seat>,
) -> Result<Plan, PlanError> {
    validate::settings(settings)?;
    validate::edit(&settings.edit, analysis.seconds())?;
    let place = place(&settings.loudness)?;
    let ceiling = settings.ceiling.or(place.map(|p| p.ceiling)).unwrap_or(Dbtp(-1.0));
    let spec = style::spec(settings.style);
    let strength = |aspect| settings.strength.of(aspect);

    // A number is a number at any strength, unless the loudness was expressly left alone.
    let number = match (&settings.loudness, place) {
        (Loudness::Lufs(number), _) => Some(*number),
        (_, Some(place)) => place.target,
        _ => None,
    };
    let keep = settings.strength.loudness == Some(0) || (strength(Aspect::Loudness) <= 0.0 && number.is_none());
    let untouched = [Aspect::Tone, Aspect::Dynamics, Aspect::Width].into_iter().all(|aspect| strength(aspect) <= 0.0);
    if keep && untouched {
        return Ok(Plan { style: settings.style, edit: settings.edit, ..Plan::identity() });
    }

    let profile = material::Profile::new(analysis, spec, settings.material);
    let fresh = (1.0 - 2.0 * profile.mastered).clamp(0.0, 1.0);
    let mut tone = match reference::part(settings, target, Aspect::Tone, |t| t.tone.as_ref()) {
        Some((record, amount)) => matching::tone(analysis, record, amount),
        None => tone::for_style(analysis, spec, &profile, strength(Aspect::Tone) * profile.tone),
    };
    if let Some(seat) = seat {
        seat.tune(&mut tone, strength(Aspect::Tone) * profile.tone);
    }
    let spreads = reference::part(settings, target, Aspect::Dynamics, |t| t.dynamics.as_ref());
    // A record that was named says what is wanted; without one, the kind of music has a say.
    let lively = strength(Aspect::Dynamics) * if spreads.is_some() { 1.0 } else { profile.dynamics * fresh };
    let bands = dynamics::decide(analysis, spec, lively, &tone.mid, spreads);
    let (saturation, colour) =
        dynamics::saturate(analysis, spec, strength(Aspect::Dynamics) * profile.dynamics * fresh);
    let (transients, punch) = dynamics::punch(analysis, spec, strength(Aspect::Dynamics) * profile.dynamics * fresh);
    let mut width = match reference::part(settings, target, Aspect::Width, |t| t.width.as_ref()) {
        Some((record, amount)) => matching::width(analysis, record, amount, strength(Aspect::Width)),
        None => width::decide(analysis, spec, strength(Aspect::Width) * profile.width),
    };
    let followed = reference::part(settings, target, Aspect::Width, |t| t.mono_low.as_ref());
    let mono_low = matching::mono_low(analysis, followed);
    if target.is_some() {
        matching::keep_mono(analysis, &tone.mid, &tone.side, &mut width.curve, mono_low);
    }
    let loudness = if keep {
        loudness::Decision {
            goal: Goal::Keep,
            taken: 0.0,
            clipper: None,
            leveler: None,
            masked: None,
            limiter: loudness::limiter(spec, ceiling),
            reasons: vec![reason(
                Aspect::Loudness,
                format!("The level stays as it is; a limiter stands by and only catches peaks over {ceiling}."),
            )],
        }
    } else {
        let own = || Wish::Style { strength: strength(Aspect::Loudness) };
        let wish = number.map_or_else(
            || match reference::part(settings, target, Aspect::Loudness, |t| t.loudness.as_ref()) {
                Some((theirs, amount)) => {
                    Wish::Reference(Lufs(spec.loudness + (theirs.under(ceiling) - spec.loudness) * amount))
                }
                None => own(),
            },
            Wish::Number,
        );
        let wish = match seat.and_then(|seat| Some((seat.loudness?, seat.below))) {
            Some((loudness, below)) => Wish::Album { loudness, below, asked: !matches!(wish, Wish::Style { .. }) },
            None => wish,
        };
        loudness::decide(analysis, spec, &profile, wish, settings, ceiling, place)
    };

    // Where a number or a record decides the loudness, the kind of music does not.
    let own = number.is_none() && target.is_none() && seat.is_none() && !keep;
    let mut reasons: Vec<Reason> = profile.reason(settings.material).filter(|_| own).into_iter().collect();
    reasons.extend(tone.reasons);
    // 0 dB stands in an analysis that does not say.
    let ultrasonic = analysis.condition.ultrasonic.0 > ULTRASONIC_MOST && analysis.condition.ultrasonic.0 < 0.0;
    if ultrasonic {
        let from = ULTRASONIC * f64::from(analysis.rate) / 1000.0;
        let text = format!(
            "What lies above {from:.0} kHz is taken out: nobody hears it, and every converter rebuilds its peaks differently, some over \
             the ceiling."
        );
        reasons.push(reason(Aspect::Loudness, text));
    }
    if analysis.clipping.already_limited.is_some() {
        let careful = if untouched { "" } else { ": no compression on top, and the tone moves 3 dB at most" };
        let text = format!(
            "The mix was limited already{careful}. An export without the limiter on the master channel would give us more room."
        );
        reasons.push(reason(if untouched { Aspect::Loudness } else { Aspect::Dynamics }, text));
    }
    reasons.extend(bands.reasons);
    reasons.extend(colour);
    reasons.extend(punch);
    if analysis.stereo.inverted {
        let text = "Left and right work against each other: one channel's polarity is inverted. It stays as it is unless you have it \
                    flipped (fix: polarity).";
        reasons.push(reason(Aspect::Width, text.to_owned()));
    }
    reasons.extend(width.reasons);
    if mono_low.0 > 0.0 {
        let text = format!(
            "Folded to mono, the bass may lose up to {mono_low}: the reference's does, and this master follows its width."
        );
        reasons.push(reason(Aspect::Width, text));
    }
    reasons.extend(loudness.reasons);
    if let Some(target) = target {
        reasons.extend(target.notes.iter().filter(|note| reference::amount(settings, note.aspect) > 0.0).cloned());
    }
    // A figure that cannot be written (the peak of silence) is left out.
    for reason in &mut reasons {
        if [reason.before, reason.after].into_iter().flatten().any(|figure| !figure.is_finite()) {
            (reason.before, reason.after, reason.unit) = (None, None, None);
        }
    }

    // A cut above what anybody hears leaves everything below where it is; a tone that moves has the phase that was asked for.
    let moves = [&tone.mid, &tone.side, &width.curve].iter().any(|curve| !curve.is_empty()) || tone.subsonic.is_some();
    let tone = Tone {
        bound: Db(0.0),
        mono_low,
        mid: tone.mid,
        side: tone.side,
        width: width.curve,
        subsonic: tone.subsonic,
        ultrasonic,
        phase: if moves || !ultrasonic { settings.phase } else { Phase::Linear },
    };
    let mut plan = Plan {
        version: PLAN_VERSION,
        style: settings.style,
        tone,
        dynamics: bands.bands,
        saturation,
        transients,
        clipper: loudness.clipper,
        leveler: loudness.leveler,
        masked: loudness.masked,
        limiter: Some(loudness.limiter),
        goal: loudness.goal,
        edit: settings.edit,
        mend: Mend::default(),
        reasons,
    };
    plan.tone.bound = plan.third_octave_bound(width.allowance, bands.allowance, loudness.taken);
    Ok(plan)
}

/// A reason without figures.
pub(crate) fn reason(aspect: Aspect, text: String) -> Reason {
    Reason { aspect, text, before: None, after: None, unit: None }
}

impl Plan {
    /// Largest gain of tone and subsonic cut in the third octaves from 40 Hz to 16 kHz, dB, at a twelfth of an octave.
    pub(crate) fn largest_gain(&self) -> f64 {
        let Tone { mid, side, .. } = &self.tone;
        (0..=104)
            .map(|i| 40.0 * 2f64.powf(f64::from(i) / 12.0))
            .flat_map(|hz| [mid, side].map(|curve| (gain_at(curve, hz) + self.tone.subsonic_at(hz)).abs()))
            .fold(0.0, f64::max)
    }

    /// The same plan for a mix whose faults are mended; it was made from the analysis of the mended mix.
    #[must_use]
    pub fn mending(mut self, mend: Mend) -> Self {
        self.reasons.splice(0..0, mend.reasons());
        Self { mend, ..self }
    }

    /// What comes behind the gain.
    #[must_use]
    pub fn finishing(&self) -> Finishing {
        let Self { transients, leveler, clipper, masked, limiter, .. } = *self;
        Finishing { transients, leveler, clipper, masked, limiter }
    }

    /// Says what the render has done where the plan said what it expected.
    pub fn account(&mut self, trace: &crate::control::Trace) {
        loudness::account(&mut self.reasons, trace);
    }

    /// What verify may hold the long-term third octaves against, see [`Tone::bound`].
    fn third_octave_bound(&self, width: f64, dynamics: f64, taken: f64) -> Db {
        let largest = self.largest_gain();
        let changed =
            largest > 0.0 || !self.tone.width.is_empty() || !self.dynamics.is_empty() || self.saturation.is_some();
        // The last decibel is for level alignment; clipper and limiter hold the bands most that make the peaks, by up to half of what
        // they take. By ear and measurement.
        Db(if changed || self.goal != Goal::Keep {
            ((largest + width + 1.5 * dynamics + 0.5 * taken + 1.0) * 10.0).ceil() / 10.0
        } else {
            0.0
        })
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A setting is out of its range.
    #[error("{setting} is {value}; use {range}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        range: String,
    },
    /// No such place.
    #[error("destination `{value}` is not known; use a loudness in LUFS or one of {known}")]
    UnknownDestination {
        /// What was given.
        value: String,
        /// What there is.
        known: String,
    },
    /// A tag that no file can carry.
    #[error(transparent)]
    Tags(#[from] TagError),
    /// Cut and fades leave nothing.
    #[error("the cuts and fades take {taken}, but the track is {length} long; shorten them")]
    EditTooLong {
        /// Their sum.
        taken: String,
        /// The track's.
        length: String,
    },
    /// A saved plan cannot be read.
    #[error("this is not a saved plan: {detail}; save one with the report and leave its structure as it is")]
    BadJson {
        /// What the reader says.
        detail: String,
    },
    /// A saved plan of another version.
    #[error(
        "this plan has version {found}, this program reads version {PLAN_VERSION}; master the track again and save the new plan"
    )]
    Version {
        /// The plan's.
        found: u32,
    },
    /// A saved plan asks for something no plan asks for.
    #[error("the plan's {field} is {value}; use {range}")]
    Invalid {
        /// Which value.
        field: String,
        /// What it is.
        value: String,
        /// What would be right.
        range: String,
    },
}

impl PlanError {
    /// `plan.what`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "plan.out_of_range",
            Self::UnknownDestination { .. } => "plan.unknown_destination",
            Self::Tags(error) => error.code(),
            Self::EditTooLong { .. } => "plan.edit_too_long",
            Self::BadJson { .. } => "plan.bad_json",
            Self::Version { .. } => "plan.version",
            Self::Invalid { .. } => "plan.invalid",
        }
    }
}

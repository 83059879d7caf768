//! What is taken from finished records, and how much of it.

use super::curve::mean;
use super::shape::Shape;
use super::{Reason, reason};
use crate::analyse::Analysis;
use crate::bands::BANDS;
use crate::settings::{Aspect, ReferenceUse, Settings};
use crate::units::{Dbtp, Lufs};

/// A record counts down to this far below its loudest third octave, dB: lossy files are empty below.
const RECORD_RANGE: f64 = 55.0;

/// What a master follows: the aspects of a record, each as the plan compares it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    pub(super) tone: Option<Shape>,
    pub(super) width: Option<Shape>,
    /// Spread per band, dB.
    pub(super) dynamics: Option<[Option<f64>; BANDS]>,
    pub(super) loudness: Option<Level>,
    /// Loss in mono below 120 Hz, dB.
    pub(super) mono_low: Option<f64>,
    /// What of a record cannot be followed.
    pub(super) notes: Vec<Reason>,
}

/// A record that was limited to less than this is followed only as far, dB from peak to loudness.
const LEAST_PLR: f64 = 8.0;
/// Clipped runs per minute from which a record counts as clipped rather than touched.
const CLIPPED: f64 = 10.0;
/// A record whose band ends below this was low-passed, Hz.
const LOW_PASSED: f64 = 17_500.0;
/// Most that the loudness of a record gives way to its peak to loudness ratio, dB.
const GIVE: f64 = 1.5;

/// Loudness of a record, LUFS, and its true peak, dBTP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) loudness: f64,
    pub(super) true_peak: f64,
}

impl Level {
    /// The loudness to aim at under a ceiling: where the record's peaks are higher than may be, half the difference is taken from the
    /// loudness and half from the peaks, so that neither its level nor its dynamics are far.
    pub(super) fn under(&self, ceiling: Dbtp) -> f64 {
        // The limiter aims 0.1 dB lower than its ceiling.
        let higher = self.true_peak - (ceiling.0 - 0.1);
        self.loudness - if higher.is_finite() { (higher / 2.0).clamp(0.0, GIVE) } else { 0.0 }
    }
}

impl From<&Analysis> for Target {
    fn from(record: &Analysis) -> Self {
        let shape = Shape::new(record, RECORD_RANGE);
        let spread = |band: usize| record.bands.get(band).map(|b| b.spread.0).filter(|s| s.is_finite());
        let integrated = record.loudness.integrated.map(|l| l.0).filter(|l| l.is_finite());
        let mut notes = Vec::new();
        let bandwidth = record.condition.bandwidth.0;
        if bandwidth > 0.0 && bandwidth < LOW_PASSED {
            let khz = bandwidth / 1000.0;
            let text = format!(
                "The reference ends at {khz:.1}\u{202f}kHz; above, your mix keeps what the highest band was given."
            );
            notes.push(reason(Aspect::Tone, text));
        }
        if record.stereo.mono {
            notes.push(reason(Aspect::Width, "The reference is mono: the width follows the style instead.".to_owned()));
        }
        let minutes = (record.seconds().0 / 60.0).max(1.0);
        let clipped = record.clipping.clipped_runs as f64 / minutes > CLIPPED;
        // Peaks that a converter would cut off are no dynamics.
        let peak = if clipped { record.peaks.sample.0.min(0.0) } else { record.peaks.true_peak.0 };
        let loudness = integrated.map(|loudness| {
            let healthy = loudness.min(peak.min(0.0) - LEAST_PLR);
            if peak.is_finite() && healthy < loudness - 0.05 {
                let what = if clipped { "is clipped" } else { "was limited hard" };
                let text = format!(
                    "The reference {what} ({:.1} from peak to loudness); it is followed to {}, where {LEAST_PLR:.0}\u{202f}dB are left.",
                    crate::units::Db(peak.min(0.0) - loudness),
                    Lufs(healthy)
                );
                notes.push(reason(Aspect::Loudness, text));
                healthy
            } else {
                loudness
            }
        });
        Self {
            width: shape.sided.contains(&true).then(|| shape.clone()),
            tone: shape.counts.contains(&true).then_some(shape),
            dynamics: (record.bands.len() == BANDS).then(|| std::array::from_fn(spread)),
            loudness: loudness.map(|loudness| Level { loudness: loudness.clamp(-40.0, -5.0), true_peak: peak }),
            mono_low: (!record.stereo.mono).then_some(record.stereo.mono_loss_low.0).filter(|l| l.is_finite()),
            notes,
        }
    }
}

/// The amount of the reference that an aspect takes, 0–1.
///
/// The amount is the one asked for at the default strength; a lower strength takes less, a strength of 0 nothing. Where none was
/// asked for, the strengths above the default lead from the default amount to the whole.
pub(super) fn amount(settings: &Settings, aspect: Aspect) -> f64 {
    let strength = settings.strength.of(aspect);
    let (asked, default) = settings.reference.of(aspect);
    let share = f64::from(asked.unwrap_or(default).min(100)) / 100.0;
    if asked.is_none() && strength > 0.5 {
        share + (1.0 - share) * (2.0 * strength - 1.0).min(1.0)
    } else {
        share * (2.0 * strength).min(1.0)
    }
}

/// What an aspect takes of the target, if anything.
pub(super) fn part<'a, T>(
    settings: &Settings,
    target: Option<&'a Target>,
    aspect: Aspect,
    pick: impl Fn(&'a Target) -> Option<&'a T>,
) -> Option<(&'a T, f64)> {
    let amount = amount(settings, aspect);
    target.filter(|_| amount > 0.0).and_then(pick).map(|part| (part, amount))
}

impl Target {
    /// One target from several records. An aspect that some of them are named for comes from those; any other from those that are named
    /// for nothing in particular. Several that share an aspect are averaged by their weights.
    #[must_use]
    pub fn blend(records: &[(Self, ReferenceUse)]) -> Self {
        let of = |aspect: Aspect| -> Vec<(&Self, f64)> {
            let named = records.iter().any(|(_, used)| used.aspects.contains(&aspect));
            let takes =
                |used: &ReferenceUse| if named { used.aspects.contains(&aspect) } else { used.aspects.is_empty() };
            records.iter().filter(|(_, used)| takes(used)).map(|(target, used)| (target, used.weight)).collect()
        };
        let (tone, dynamics, width, loudness) =
            (of(Aspect::Tone), of(Aspect::Dynamics), of(Aspect::Width), of(Aspect::Loudness));
        let spread =
            |band: usize| mean(dynamics.iter().filter_map(|(t, weight)| Some((t.dynamics.as_ref()?[band]?, *weight))));
        let levels = || loudness.iter().filter_map(|(t, weight)| Some((t.loudness?, *weight)));
        let spreads = std::array::from_fn(spread);
        let mut notes: Vec<Reason> = Vec::new();
        for (aspect, used) in [(Aspect::Tone, &tone), (Aspect::Width, &width), (Aspect::Loudness, &loudness)] {
            let told = used.iter().flat_map(|(target, _)| &target.notes).filter(|note| note.aspect == aspect);
            told.for_each(|note| {
                if !notes.contains(note) {
                    notes.push(note.clone());
                }
            });
        }
        Self {
            tone: Shape::blend(&tone.iter().filter_map(|(t, w)| Some((t.tone.as_ref()?, *w))).collect::<Vec<_>>()),
            width: Shape::blend(&width.iter().filter_map(|(t, w)| Some((t.width.as_ref()?, *w))).collect::<Vec<_>>()),
            dynamics: spreads.iter().any(Option::is_some).then_some(spreads),
            loudness: mean(levels().map(|(level, weight)| (level.loudness, weight))).and_then(|loudness| {
                let true_peak = mean(levels().map(|(level, weight)| (level.true_peak, weight)))?;
                Some(Level { loudness, true_peak })
            }),
            mono_low: mean(width.iter().filter_map(|(t, weight)| Some((t.mono_low?, *weight)))),
            notes,
        }
    }
}

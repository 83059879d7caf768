//! The honest account of one master: [`Report::to_json`] for machines (everything measured, the plan with its reasons) and
//! [`Report::to_html`] for people (one self-contained page that prints on two A4 pages). The drawings are in [`plot`].

use crate::analyse::Analysis;
use crate::decode::Tags;
use crate::encode::Delivered;
use crate::plan::{Goal, Plan};
use crate::render::{BackendInfo, Trace};
use crate::settings::{Format, Settings};
use crate::units::{Db, Dbtp, Lufs, Seconds};
use crate::{Stage, verify::Gate};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod demo;
mod html;
mod json;
pub mod plot;
#[cfg(test)]
mod tests;
pub(crate) mod text;

/// Version of [`Report`].
pub const REPORT_VERSION: u32 = 1;

/// Everything there is to say about one mastered track. A report read back from JSON lacks the waveforms (they are drawn, not
/// written down) and is complete otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Name and version of the engine, e.g. `LoopMastering 0.1.0`.
    pub engine: String,
    /// Name of the mix's file, as it came.
    pub file: String,
    /// What the masters say about themselves: the tags of the mix, and what was wished instead.
    pub tags: Tags,
    /// Who rendered.
    pub backend: BackendInfo,
    /// What was asked for.
    pub settings: Settings,
    /// The mix.
    pub mix: Analysis,
    /// What was decided, and why.
    pub plan: Plan,
    /// The delivered master at its own rate, measured the same way as the mix.
    pub master: Analysis,
    /// What the chain did.
    pub trace: Trace,
    /// The files that were written, each decoded and measured again.
    pub files: Vec<DeliveredFile>,
    /// For a player that compares mix and master.
    pub preview: Preview,
    /// How long each stage took, in the order of the stages; the clock belongs to the caller, who may leave it empty.
    pub speed: Vec<StageTime>,
}

/// One written file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveredFile {
    /// File name.
    pub name: String,
    /// Container and coding.
    pub format: Format,
    /// Frames per second.
    pub rate: u32,
    /// Frames of music.
    pub frames: u64,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Integrated loudness of the decoded file.
    pub lufs: Option<Lufs>,
    /// True peak of the decoded file.
    pub dbtp: Dbtp,
    /// The gates it was held against.
    pub gates: Vec<Gate>,
}

impl From<&DeliveredFile> for Delivered {
    fn from(file: &DeliveredFile) -> Self {
        Self {
            name: file.name.clone(),
            format: file.format,
            rate: file.rate,
            bits: file.format.codec.bits(),
            frames: file.frames,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            lufs: file.lufs,
            dbtp: file.dbtp,
        }
    }
}

/// For a player that compares mix and master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Start of the loudest 30 s, in the master's time.
    pub start: Seconds,
    /// How much louder the master is than the mix: turn the master down by this to compare fairly.
    pub difference: Db,
}

/// How long one stage took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which stage.
    pub stage: Stage,
    /// Wall-clock seconds.
    pub seconds: Seconds,
    /// Seconds of music per second of work.
    pub times_real_time: f64,
}

impl Report {
    /// Every file passed every one of its gates, and there is at least one of both.
    #[must_use]
    pub fn verified(&self) -> bool {
        self.files.iter().all(|file| !file.gates.is_empty() && file.gates.iter().all(|gate| gate.passed))
            && !self.files.is_empty()
    }

    /// Readable JSON: objects indented, rows of figures on one line. Matrices and waveforms are left out.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        json::readable(self)
    }

    /// One self-contained page: no script, no request, no font to load. Light and dark by the reader's system; two A4 pages on paper.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// The drawings a page shows beside its player, each a file of its own: `spectrum`, `loudness`, `reduction`, as far as there is
    /// something to draw. Only a fresh report has them all.
    #[must_use]
    pub fn plots(&self) -> Vec<(&'static str, String)> {
        let (mix, master) = (&self.mix, &self.master);
        let target = match self.plan.goal {
            Goal::Loudness { target, .. } => Some(target),
            Goal::Keep | Goal::Peak { .. } => None,
        };
        let length = mix.seconds();
        let timeline = plot::Timeline { length, master_start: self.plan.edit.trim_start, marks: &[], axis: true };
        let spectrum = plot::spectrum(&mix.spectrum, &master.spectrum, &self.plan.tone);
        let loudness = plot::loudness(&mix.loudness.over_time, &master.loudness.over_time, target, &timeline);
        let reduction = plot::reduction(&self.trace.reduction, &timeline);
        [("spectrum", spectrum, 240), ("loudness", loudness, 132), ("reduction", reduction, 72)]
            .into_iter()
            .filter_map(|(name, fragment, height)| Some((name, plot::standalone(&fragment, height)?)))
            .collect()
    }

    /// The title to print: the tag, else the file name without its extension.
    #[must_use]
    pub fn title(&self) -> &str {
        let tagged = self.tags.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        tagged.unwrap_or_else(|| self.stem())
    }

    /// The file name without folder and extension.
    #[must_use]
    pub fn stem(&self) -> &str {
        let name = self.file.rsplit(['/', '\\']).next().unwrap_or(&self.file);
        match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 => stem,
            _ => name,
        }
    }

    /// The plan changes nothing, so that the master is the mix, sample for sample.
    fn unchanged(&self) -> bool {
        let plan = &self.plan;
        let identity =
            Plan { version: plan.version, style: plan.style, reasons: plan.reasons.clone(), ..Plan::identity() };
        *plan
            == Plan {
                tone: crate::plan::Tone { phase: plan.tone.phase, bound: plan.tone.bound, ..identity.tone.clone() },
                ..identity
            }
            && self.mix.rate == self.master.rate
    }
}

//! One track through all six stages. Everything of a track is written under temporary names, decoded again, verified, and only
//! then given its name: a track is delivered whole or not at all.

use crate::cli::Extras;
use crate::deliver::{self, DeliverError, Draft};
use crate::inputs::Input;
use crate::progress;
use loopmaster_core::analyse::{Analysis, LoudnessFigures, analyse, analyse_audio};
use loopmaster_core::decode::{Tags, Track, decode_file};
use loopmaster_core::encode::{EncodeError, Metadata, encode, file_name, peaks};
use loopmaster_core::meter::{Loudness, loudness::STEREO, true_peak::METERS};
use loopmaster_core::plan::{Limiter, Plan, plan};
use loopmaster_core::render::{Backend, Job, Master, Trace};
use loopmaster_core::report::{DeliveredFile, Preview, Report, StageTime};
use loopmaster_core::settings::{Codec, Format, Limits, Settings};
use loopmaster_core::units::{Db, Dbtp, Seconds};
use loopmaster_core::verify::{Expect, GateFailure, LOSSY_CEILING, verify};
use loopmaster_core::{Audio, Error, Stage};
use rayon::prelude::*;
use serde_json::json;
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Most times a lossy file is taken down at its overs and encoded again …
const LOSSY_ROUNDS: u32 = 4;
/// … and after that, when new overs keep coming up elsewhere, as a whole.
const LOSSY_WHOLE: u32 = 2;

/// What every track of a run has in common.
pub struct Order<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// A saved plan, instead of making one.
    pub saved: Option<&'a Plan>,
    /// The analysed reference.
    pub reference: Option<&'a Analysis>,
    /// What to write beside the masters.
    pub extras: Extras,
    /// Who renders.
    pub backend: &'a dyn Backend,
    /// Bounds on the input.
    pub limits: Limits,
}

/// A track that was delivered.
#[derive(Debug)]
pub struct Outcome {
    /// Length in seconds.
    pub seconds: f64,
    /// The mix.
    pub mix: Analysis,
    /// What was decided.
    pub plan: Plan,
    /// What the chain did.
    pub trace: Trace,
    /// The masters as delivered.
    pub files: Vec<DeliveredFile>,
    /// Everything written, masters first.
    pub paths: Vec<PathBuf>,
}

/// Why a track was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// One of the pure stages failed.
    #[error(transparent)]
    Core(#[from] Error),
    /// The world said no.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

impl TrackError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Core(error) => error.code(),
            Self::Deliver(error) => error.code(),
        }
    }
}

impl From<EncodeError> for TrackError {
    fn from(error: EncodeError) -> Self {
        Self::Core(error.into())
    }
}

/// `decode` → `analyse` → `plan` of one file.
pub fn decide(
    input: &Path,
    order: &Order<'_>,
    line: &mut progress::Track<'_>,
) -> Result<(Track, Analysis, Plan), Error> {
    line.stage(Stage::Decode, "");
    let track = decode_file(input, &order.limits)?;
    line.length(track.audio.seconds());
    line.stage(Stage::Analyse, "");
    let mix = analyse(&track);
    line.stage(Stage::Plan, "");
    let plan = match order.saved {
        Some(saved) => {
            saved.fits(mix.seconds())?;
            saved.clone()
        }
        None => plan(&mix, order.settings, order.reference)?,
    };
    Ok((track, mix, plan))
}

/// One track from its mix to its delivered files in `folder`.
pub fn master(
    input: &Input,
    folder: &Path,
    order: &Order<'_>,
    line: &mut progress::Track<'_>,
) -> Result<Outcome, TrackError> {
    let (track, mix, plan) = decide(&input.path, order, line)?;
    let Track { audio, source: _, tags } = track;
    let native = audio.rate;
    let seconds = audio.seconds();
    let work = Work { order, input: &input.path, folder, mix: &mix, plan: &plan, tags: &tags };
    let formats = work.formats(native);
    let targets: Vec<PathBuf> = formats.iter().map(|(format, rate)| work.master_path(*format, *rate)).collect();
    deliver::check_targets(targets.iter().chain(&work.extra_paths()), order.extras.force)?;

    // Rendering consumes the samples of the mix: what its preview needs is put aside.
    let Extras { report, preview, .. } = order.extras;
    let before = preview.then(|| work.for_preview(&audio).into_owned());

    line.stage(Stage::Render, "");
    let mut rates: Vec<u32> = formats.iter().map(|(_, rate)| *rate).collect();
    rates.sort_unstable_by_key(|rate| (*rate != native, *rate));
    rates.dedup();
    let job = Job { audio, plan: &plan, rates: &rates, solved: None };
    let masters = order.backend.render(vec![job]).remove(0).map_err(Error::from)?;

    let names: Vec<String> = formats.iter().map(|(format, _)| format.to_string()).collect();
    line.stage(Stage::Encode, &names.join(", "));
    // MP3 and Opus know only one thread each: all files are made side by side.
    let metas: Vec<Metadata> = masters.iter().map(|master| work.metadata_of(master)).collect();
    let (made, told) = rayon::join(
        || -> Result<Vec<(Draft, DeliveredFile)>, TrackError> {
            let of = |rate: u32| masters.iter().zip(&metas).find(move |(master, _)| master.audio.rate == rate);
            let wanted = formats.par_iter().zip(&targets);
            wanted
                .filter_map(|((format, rate), target)| Some((format, target, of(*rate)?)))
                .map(|(format, target, (master, meta))| work.encode_verified(&master.audio, *format, meta, target))
                .collect()
        },
        || work.tell(before, masters.first().filter(|_| report || preview)),
    );
    let (made, (mut extras, analysis)) = (made?, told?);
    let (mut drafts, files): (Vec<Draft>, Vec<DeliveredFile>) = made.into_iter().unzip();

    let Some(Master { trace, .. }) = masters.into_iter().next() else {
        return Err(Error::from(EncodeError::Empty).into());
    };
    if let Some(analysis) = analysis.filter(|_| report) {
        line.stage(Stage::Encode, "report");
        extras.extend(work.report(analysis, &trace, &files, line)?);
    }

    line.stage(Stage::Deliver, "");
    drafts.extend(extras);
    let paths = deliver::deliver(drafts, order.extras.force)?;
    Ok(Outcome { seconds, mix, plan, trace, files, paths })
}

/// What the steps of one track share.
struct Work<'a> {
    order: &'a Order<'a>,
    input: &'a Path,
    folder: &'a Path,
    mix: &'a Analysis,
    plan: &'a Plan,
    tags: &'a Tags,
}

impl Work<'_> {
    /// Each format with the rate it is made at.
    fn formats(&self, native: u32) -> Vec<(Format, u32)> {
        let settings = self.order.settings;
        settings.formats.iter().map(|format| (*format, format.rate_for(native, settings.rate))).collect()
    }

    fn stem(&self) -> Cow<'_, str> {
        self.input.file_stem().unwrap_or(self.input.as_os_str()).to_string_lossy()
    }

    fn master_path(&self, format: Format, rate: u32) -> PathBuf {
        self.folder.join(file_name(&self.stem(), format, rate, self.order.extras.clean))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        // The encoder's names are safe on every system; the extras follow them.
        let name = file_name(&self.stem(), Format::WAV24, self.mix.rate, false);
        let stem = name.rsplit_once(" (master)").map_or(name.as_str(), |(stem, _)| stem);
        self.folder.join(format!("{stem} {suffix}"))
    }

    fn extra_paths(&self) -> Vec<PathBuf> {
        let Extras { report, preview, .. } = self.order.extras;
        let mut suffixes: Vec<&str> = Vec::new();
        if report {
            suffixes.extend(["(report).html", "(report).json"]);
        }
        if preview {
            suffixes.extend([
                "(preview of the mix).opus",
                "(preview).opus",
                "(waveform of the mix).dat",
                "(waveform).dat",
                "(preview).json",
            ]);
        }
        suffixes.into_iter().map(|suffix| self.beside(suffix)).collect()
    }

    fn metadata(&self, loudness: LoudnessFigures, true_peak: Option<Dbtp>) -> Metadata {
        let clean = self.order.extras.clean;
        Metadata { tags: self.tags.clone(), loudness, true_peak, clean, ..Metadata::default() }
    }

    fn metadata_of(&self, Master { audio, trace }: &Master) -> Metadata {
        let [left, right] = &audio.channels;
        self.metadata(Loudness::measure(&[left, right], &STEREO, audio.rate), trace.true_peak)
    }

    /// Encodes, decodes again and holds the result against the plan. Lossy files that decode too hot are taken down there and encoded
    /// again.
    fn encode_verified(
        &self,
        master: &Audio,
        format: Format,
        meta: &Metadata,
        target: &Path,
    ) -> Result<(Draft, DeliveredFile), TrackError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut audio = Cow::Borrowed(master);
        let mut round = 0;
        loop {
            let (draft, mut file) = Draft::create(target)?;
            let encoded = encode(&audio, format.codec, meta, &mut file)?;
            drop(file);
            let decoded = decode_file(draft.path(), &Limits::default()).map_err(Error::from)?;
            let expect = Expect { codec: format.codec, master: &audio, mix: self.mix, plan: self.plan };
            let verified = verify(&decoded.audio, &expect);
            if let Some(limiter) = self.plan.limiter
                && format.codec.lossy()
                && verified.true_peak.0 > LOSSY_CEILING.0 - METERS.0
                && round < LOSSY_ROUNDS + LOSSY_WHOLE
            {
                round += 1;
                if round <= LOSSY_ROUNDS {
                    // A little lower each time, because the codec adds to the new samples differently.
                    let ceiling = Dbtp(LOSSY_CEILING.0 - 0.15 * f64::from(round));
                    self.order.backend.tame(audio.to_mut(), &decoded.audio, &Limiter { ceiling, ..limiter });
                } else {
                    let gain = Db(LOSSY_CEILING.0 - verified.true_peak.0 - 0.1).amplitude() as f32;
                    audio.to_mut().channels.iter_mut().flatten().for_each(|x| *x *= gain);
                }
                continue;
            }
            drop(decoded);
            if let Some(gate) = verified.failed() {
                return Err(Error::from(GateFailure { file: name, gate: gate.clone() }).into());
            }
            let file = DeliveredFile {
                name,
                format,
                rate: master.rate,
                frames: audio.frames() as u64,
                bytes: encoded.bytes,
                sha256: encoded.sha256,
                lufs: verified.integrated,
                dbtp: verified.true_peak,
                gates: verified.gates,
            };
            return Ok((draft, file));
        }
    }

    /// Audio at the rate of previews.
    fn for_preview<'b>(&self, audio: &'b Audio) -> Cow<'b, Audio> {
        let rate = Format { codec: Codec::Opus, rate: None }.rate_for(audio.rate, self.order.settings.rate);
        if audio.rate == rate {
            Cow::Borrowed(audio)
        } else {
            Cow::Owned(loopmaster_core::resample::resample(audio, rate))
        }
    }

    /// The preview of the mix, and what lies beside the master with its analysis, as far as they are wanted.
    fn tell(
        &self,
        before: Option<Audio>,
        master: Option<&Master>,
    ) -> Result<(Vec<Draft>, Option<Analysis>), TrackError> {
        let (mix, told) = rayon::join(
            || before.map(|audio| self.preview_of_mix(&audio)).transpose(),
            || -> Result<(Vec<Draft>, Option<Analysis>), TrackError> {
                let Some(master) = master else { return Ok((Vec::new(), None)) };
                let analysis = analyse_audio(&master.audio, self.mix.source.clone());
                let drafts =
                    if self.order.extras.preview { self.preview_of_master(master, &analysis)? } else { Vec::new() };
                Ok((drafts, Some(analysis)))
            },
        );
        let (mix, (mut drafts, analysis)) = (mix?, told?);
        drafts.extend(mix);
        Ok((drafts, analysis))
    }

    /// `audio` is at the rate of previews.
    fn preview_of_mix(&self, audio: &Audio) -> Result<Draft, TrackError> {
        let (draft, mut file) = Draft::create(&self.beside("(preview of the mix).opus"))?;
        let meta = self.metadata(self.mix.loudness.clone(), Some(self.mix.peaks.true_peak));
        encode(audio, Codec::Opus, &meta, &mut file)?;
        Ok(draft)
    }

    fn preview_of_master(&self, master: &Master, analysis: &Analysis) -> Result<Vec<Draft>, TrackError> {
        let (audio, mut file) = Draft::create(&self.beside("(preview).opus"))?;
        let meta = self.metadata(analysis.loudness.clone(), Some(analysis.peaks.true_peak));
        encode(&self.for_preview(&master.audio), Codec::Opus, &meta, &mut file)?;
        let mix_waveform = write_draft(&self.beside("(waveform of the mix).dat"), &peaks::dat(&self.mix.waveform))?;
        let waveform = write_draft(&self.beside("(waveform).dat"), &peaks::dat(&analysis.waveform))?;
        let preview = self.preview(analysis);
        let text = json!({
            "start": preview.start,
            "seconds": 30.0_f64.min(analysis.seconds().0),
            "master_louder_by": preview.difference,
        });
        let player = write_draft(&self.beside("(preview).json"), text.to_string().as_bytes())?;
        Ok(vec![audio, mix_waveform, waveform, player])
    }

    fn preview(&self, master: &Analysis) -> Preview {
        let difference = match (master.loudness.integrated, self.mix.loudness.integrated) {
            (Some(after), Some(before)) => after - before,
            _ => Db(master.peaks.true_peak.0 - self.mix.peaks.true_peak.0),
        };
        Preview { start: master.loudest, difference }
    }

    fn report(
        &self,
        master: Analysis,
        trace: &Trace,
        files: &[DeliveredFile],
        line: &progress::Track<'_>,
    ) -> Result<Vec<Draft>, TrackError> {
        let preview = self.preview(&master);
        let seconds = self.mix.seconds().0;
        let report = Report {
            version: loopmaster_core::report::REPORT_VERSION,
            engine: loopmaster_core::encode::ENCODER.to_owned(),
            file: self.input.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            tags: self.tags.clone(),
            backend: self.order.backend.info(),
            settings: self.order.settings.clone(),
            mix: self.mix.clone(),
            plan: self.plan.clone(),
            master,
            trace: trace.clone(),
            files: files.to_vec(),
            preview,
            speed: line
                .times()
                .into_iter()
                .map(|(stage, spent)| StageTime {
                    stage,
                    seconds: Seconds(spent),
                    times_real_time: seconds / spent.max(1e-9),
                })
                .collect(),
        };
        let json = report.to_json().map_err(|error| EncodeError::Write(error.into()))?;
        Ok(vec![
            write_draft(&self.beside("(report).html"), report.to_html().as_bytes())?,
            write_draft(&self.beside("(report).json"), json.as_bytes())?,
        ])
    }
}

/// Writes a whole small file under a temporary name.
pub fn write_draft(target: &Path, bytes: &[u8]) -> Result<Draft, TrackError> {
    let (draft, mut file) = Draft::create(target)?;
    file.write_all(bytes).map_err(EncodeError::from)?;
    Ok(draft)
}

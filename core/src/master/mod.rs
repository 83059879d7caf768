//! One track through all six stages. Everything of a track is written under temporary names, decoded again, verified, and only
//! then given its name: a track is delivered whole or not at all.
//!
//! [`master`] takes a track through in one go; a caller that decodes apart and renders in batches does the same between [`PlannedTrack::new`]
//! and [`PlannedTrack::complete`].

mod excerpt;
mod watch;

pub use excerpt::Excerpt;
pub use watch::{Clock, Watch};

use crate::analyse::{Analysis, LoudnessFigures, analyse, analyse_audio};
use crate::decode::{Tags, Track, decode_file_in};
use crate::deliver::{self, DeliverError, Draft};
use crate::encode::{EncodeError, Metadata, encode, file_name, peaks};
use crate::meter::Spectra;
use crate::meter::{Loudness, loudness::STEREO, true_peak::METER_TOLERANCE};
use crate::plan::{Closed, Closing, Limiter, Mend, Plan, Seat, Target, plan_on_album};
use crate::render::{Backend, BackendInfo, Job, Master, RenderError, Tell, Trace, chain};
use crate::report::{DeliveredFile, Preview, Report, StageTime};
use crate::samples::Pool;
use crate::settings::{Codec, Format, Limits, Settings};
use crate::units::{Db, Dbtp, Lufs, Seconds};
use crate::verify::{Expect, GateFailure, LOSSY_CEILING, StepBack, settle, verify};
use crate::{Audio, Error, Stage};
use rayon::prelude::*;
use serde_json::json;
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most times a lossy file is taken down at its overs and encoded again …
const LOSSY_ROUNDS: u32 = 4;
/// … and after that, when new overs keep coming up elsewhere, as a whole.
const LOSSY_WHOLE: u32 = 2;

/// What to write beside the masters, and how.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Extras {
    /// HTML and JSON report.
    pub report: bool,
    /// Previews and waveforms.
    pub preview: bool,
    /// No tags.
    pub clean: bool,
    /// Replace existing files.
    pub force: bool,
}

/// What every track of a run has in common.
#[derive(Clone, Copy)]
pub struct MasterRequest<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// A saved plan, instead of making one.
    pub saved: Option<&'a Plan>,
    /// What is followed of a reference.
    pub reference: Option<&'a Target>,
    /// Where the song stands on an album.
    pub seat: Option<&'a Seat>,
    /// What to write beside the masters.
    pub extras: Extras,
    /// Who renders.
    pub backend: &'a dyn Backend,
    /// Bounds on the input.
    pub limits: Limits,
    /// Where samples lie.
    pub pool: &'a Pool,
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
    /// What the plan took back because a file broke a gate; empty for nearly every track.
    pub steps: Vec<String>,
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
pub fn decide(input: &Path, order: &MasterRequest<'_>, line: &mut dyn Watch) -> Result<(Track, Analysis, Plan), Error> {
    line.stage(Stage::Decode, "");
    let track = decode_file_in(input, &order.limits, order.pool)?;
    line.length(track.audio.seconds());
    line.stage(Stage::Analyse, "");
    let (mix, plan) = judge(&track, analyse(&track), order, line)?;
    Ok((track, mix, plan))
}

/// `plan`, with what is mended before it.
fn judge(
    track: &Track,
    mut mix: Analysis,
    order: &MasterRequest<'_>,
    line: &mut dyn Watch,
) -> Result<(Analysis, Plan), Error> {
    let mend = order.saved.map_or_else(|| Mend::decide(&mix, &order.settings.fix), |saved| saved.mend);
    if !mend.is_none() {
        // Everything is decided about, and held against, the mended mix; its samples are mended again when they are rendered.
        let mended = mend.applied(track.audio.try_clone().map_err(no_room)?);
        mix = mend.told(analyse_audio(&mended, track.source.clone()), &mix);
    }
    line.stage(Stage::Plan, "");
    let plan = match order.saved {
        Some(saved) => {
            saved.fits(mix.seconds())?;
            saved.clone()
        }
        None => plan_on_album(&mix, order.settings, order.reference, order.seat)?.mending(mend),
    };
    Ok((mix, plan))
}

/// One track from its mix to its delivered files in `folder`.
pub fn master(
    input: &Path,
    folder: &Path,
    order: &MasterRequest<'_>,
    line: &mut dyn Watch,
) -> Result<Outcome, TrackError> {
    let (track, mix, plan) = decide(input, order, line)?;
    let seconds = track.audio.seconds();
    let (mut ready, mut audio) = PlannedTrack::assemble(track, mix, plan, order)?;
    let place = Paths { input, folder };
    deliver::check_targets(&ready.targets(&place, order), order.extras.force)?;

    // Rendering consumes the samples; a step back reads the file again, or what a pipe gave once.
    let once = !std::fs::metadata(input).is_ok_and(|file| file.is_file());
    let spare = once.then(|| audio.try_clone()).transpose().map_err(no_room)?;
    let Completed { pieces, files, trace, plan, .. } = loop {
        line.stage(Stage::Render, "");
        let masters = order.backend.render(vec![ready.job(audio, None)]).remove(0).map_err(Error::from)?;
        match ready.complete(masters, &place, order, line)? {
            Attempt::Completed(made) => break *made,
            Attempt::Again(next) => ready = *next,
        }
        audio = match &spare {
            Some(spare) => spare.try_clone().map_err(no_room)?,
            None => decode_file_in(input, &order.limits, order.pool).map_err(Error::from)?.audio,
        };
    };

    line.stage(Stage::Deliver, "");
    let drafts = pieces.into_iter().map(|piece| piece.draft).collect();
    let paths = deliver::deliver(drafts, order.extras.force)?;
    let steps = ready.steps();
    let PlannedTrack { mix, .. } = ready;
    Ok(Outcome { seconds, mix, plan, trace, files, paths, steps })
}

/// What a written file is to those who get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the customer came for; the role is its format.
    Master,
    /// The account: `html`, `json`.
    Report,
    /// To listen to: `mix`, `master`.
    Preview,
    /// To draw: `mix`, `master`.
    Waveform,
    /// A drawing: `spectrum`, `loudness`, `reduction`.
    Plot,
    /// For programs.
    Data,
}

impl Kind {
    /// As it is kept and told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Report => "report",
            Self::Preview => "preview",
            Self::Waveform => "waveform",
            Self::Plot => "plot",
            Self::Data => "data",
        }
    }
}

/// A written file, still under its temporary name.
#[derive(Debug)]
pub struct OutputFile {
    /// The file.
    pub draft: Draft,
    /// What it is …
    pub kind: Kind,
    /// … and which of its kind.
    pub role: String,
}

/// Where a track comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// The mix's file; its name becomes the stem of all others.
    pub input: &'a Path,
    /// Where the files go.
    pub folder: &'a Path,
}

/// A track that is decided about, without its samples.
#[derive(Clone, Debug)]
pub struct PlannedTrack {
    /// The mix.
    pub mix: Analysis,
    /// What was decided.
    pub plan: Plan,
    /// What was taken back so far.
    back: StepBack,
    /// What is still to be compared with a reference.
    closing: Option<Closing>,
    tags: Tags,
    formats: Vec<(Format, u32)>,
    rates: Vec<u32>,
    /// The mix for its preview: rendering consumes the samples. At its own rate until the preview is made, because the master is waited for.
    before: Option<Arc<Mutex<Audio>>>,
}

/// How [`PlannedTrack::complete`] ended.
#[derive(Debug)]
pub enum Attempt {
    /// Every file holds its gates.
    Completed(Box<Completed>),
    /// This is to be rendered instead: a file broke a gate and a step was taken back, or it can come nearer to the reference.
    Again(Box<PlannedTrack>),
}

/// What [`PlannedTrack::complete`] has made.
#[derive(Debug)]
pub struct Completed {
    /// Everything written, masters first.
    pub pieces: Vec<OutputFile>,
    /// The masters as they will be delivered.
    pub files: Vec<DeliveredFile>,
    /// What the chain did.
    pub trace: Trace,
    /// The plan, with the loudness that was reached where no gain meets the number.
    pub plan: Plan,
    /// The account, if it was wanted.
    pub report: Option<Report>,
}

impl PlannedTrack {
    /// `plan` of a decoded track with its analysis; the samples come back for the render.
    pub fn new(
        track: Track,
        mix: Analysis,
        order: &MasterRequest<'_>,
        line: &mut dyn Watch,
    ) -> Result<(Self, Audio), Error> {
        let (mix, plan) = judge(&track, mix, order, line)?;
        Self::assemble(track, mix, plan, order)
    }

    /// The same song, planned for the seat that the order gives it.
    pub fn seated(self, order: &MasterRequest<'_>) -> Result<Self, Error> {
        let plan = plan_on_album(&self.mix, order.settings, order.reference, order.seat)?.mending(self.plan.mend);
        let closing = Closing::new(&self.mix, &plan, order.settings, order.reference);
        Ok(Self { plan, closing, tags: numbered(self.tags, order.seat).with(&order.settings.tags), ..self })
    }

    fn assemble(track: Track, mix: Analysis, plan: Plan, order: &MasterRequest<'_>) -> Result<(Self, Audio), Error> {
        let Track { audio, source: _, tags } = track;
        let settings = order.settings;
        let tags = numbered(tags, order.seat).with(&settings.tags);
        let native = audio.rate;
        let formats: Vec<(Format, u32)> =
            settings.formats.iter().map(|format| (*format, format.rate_for(native, settings.rate))).collect();
        let mut rates: Vec<u32> = formats.iter().map(|(_, rate)| *rate).collect();
        rates.sort_unstable_by_key(|rate| (*rate != native, *rate));
        rates.dedup();
        let before = order.extras.preview.then(|| audio.try_clone()).transpose().map_err(no_room)?;
        // Beside the master it is heard from the same place on.
        let before = before.map(|audio| Arc::new(Mutex::new(chain::trim(audio, &plan.edit))));
        let back = StepBack::default();
        let closing = Closing::new(&mix, &plan, settings, order.reference.filter(|_| order.saved.is_none()));
        Ok((Self { mix, plan, back, closing, tags, formats, rates, before }, audio))
    }

    /// What to render instead after a file broke a gate; its error where nothing is left to take back.
    fn step_back(&self, failure: GateFailure, masters: &[Master]) -> Result<Attempt, TrackError> {
        let trace = masters.first().map(|master| master.trace.clone()).unwrap_or_default();
        let mut back = self.back.clone();
        match back.next(&self.plan, &self.mix, &trace, &failure.gate) {
            Some(plan) => Ok(Attempt::Again(Box::new(Self { plan, back, closing: None, ..self.clone() }))),
            None => Err(Error::from(failure).into()),
        }
    }

    /// What was taken back so far.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        self.back.steps()
    }

    /// What to render; `tell` is for those who wait, see [`sketched`](Self::sketched).
    #[must_use]
    pub fn job<'a>(&'a self, audio: Audio, tell: Option<&'a Tell<'a>>) -> Job<'a> {
        let audio = self.plan.mend.applied(audio);
        Job { audio, plan: &self.plan, rates: &self.rates, solved: None, early: tell.and_then(|tell| self.early(tell)) }
    }

    fn targets(&self, place: &Paths<'_>, order: &MasterRequest<'_>) -> Vec<PathBuf> {
        let work = Work { order, place: *place, ready: self, plan: &self.plan };
        let masters = self.formats.iter().map(|(format, rate)| work.master_path(*format, *rate));
        masters.chain(work.extra_paths()).collect()
    }

    /// `encode`, with everything that is wanted beside the masters.
    pub fn complete(
        &self,
        masters: Vec<Master>,
        place: &Paths<'_>,
        order: &MasterRequest<'_>,
        line: &mut dyn Watch,
    ) -> Result<Attempt, TrackError> {
        if let (Some(mut closing), Some(master)) = (self.closing.clone(), masters.first()) {
            let closed = closing.next(&self.plan, &self.mix, &Spectra::tone(&master.audio).average);
            let with = |plan: Box<Plan>, closing| Self { plan: *plan, closing, ..self.clone() };
            return match closed {
                Closed::Again(plan) => Ok(Attempt::Again(Box::new(with(plan, Some(closing))))),
                Closed::Back(plan) => Ok(Attempt::Again(Box::new(with(plan, None)))),
                Closed::Done(plan) => with(plan, None).complete(masters, place, order, line),
            };
        }
        let work = Work { order, place: *place, ready: self, plan: &self.plan };
        let Extras { report, preview, .. } = order.extras;
        let metas: Vec<Metadata> = masters.iter().map(|master| work.metadata_of(master)).collect();
        if let (true, Some(master), Some(meta)) = (line.waits(), masters.first(), metas.first()) {
            line.audible(work.excerpt(&self.heard(&master.audio, meta))?);
        }
        let names: Vec<String> = self.formats.iter().map(|(format, _)| format.to_string()).collect();
        line.stage(Stage::Encode, &names.join(", "));
        // MP3 and Opus know only one thread each: all files are made side by side.
        // Where no gain meets the number, the files are held against what was reached, and the account says so.
        let settled = settle(&self.plan, metas.first().and_then(|meta| meta.loudness.integrated));
        let mut told = settled.unwrap_or_else(|| self.plan.clone());
        if let Some(master) = masters.first() {
            told.account(&master.trace);
        }
        let work = Work { plan: &told, ..work };
        let (made, beside) = rayon::join(
            || -> Result<Vec<(OutputFile, DeliveredFile)>, TrackError> {
                let of = |rate: u32| masters.iter().zip(&metas).find(move |(master, _)| master.audio.rate == rate);
                let wanted = self.formats.par_iter();
                wanted
                    .filter_map(|(format, rate)| Some((format, work.master_path(*format, *rate), of(*rate)?)))
                    .map(|(format, target, (master, meta))| {
                        let (draft, file) = work.encode_verified(&master.audio, *format, meta, &target)?;
                        Ok((OutputFile { draft, kind: Kind::Master, role: format.to_string() }, file))
                    })
                    .collect()
            },
            || work.tell(masters.first().filter(|_| report || preview)),
        );
        let made = match made {
            Err(TrackError::Core(Error::Verify(failure))) => return self.step_back(failure, &masters),
            made => made?,
        };
        let (mut extras, analysis) = beside?;
        let (mut pieces, files): (Vec<OutputFile>, Vec<DeliveredFile>) = made.into_iter().unzip();

        let Some(Master { trace, backend, .. }) = masters.into_iter().next() else {
            return Err(Error::from(EncodeError::Empty).into());
        };
        let report = match analysis.filter(|_| report) {
            Some(analysis) => {
                line.stage(Stage::Encode, "report");
                let report = work.report(analysis, &trace, backend, &files, line);
                extras.extend(work.written(&report)?);
                Some(report)
            }
            None => None,
        };
        pieces.extend(extras);
        Ok(Attempt::Completed(Box::new(Completed { pieces, files, trace, plan: work.plan.clone(), report })))
    }
}

/// What the files of an input are named after.
#[must_use]
pub fn stem(input: &Path) -> Cow<'_, str> {
    if input.as_os_str() == crate::decode::STANDARD_INPUT {
        return "stdin".into();
    }
    input.file_stem().unwrap_or(input.as_os_str()).to_string_lossy()
}

/// What the steps of one track share.
struct Work<'a> {
    order: &'a MasterRequest<'a>,
    place: Paths<'a>,
    ready: &'a PlannedTrack,
    /// The plan that the files are held against.
    plan: &'a Plan,
}

impl Work<'_> {
    fn stem(&self) -> Cow<'_, str> {
        stem(self.place.input)
    }

    fn master_path(&self, format: Format, rate: u32) -> PathBuf {
        self.place.folder.join(file_name(&self.stem(), format, rate, self.order.extras.clean))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        // The encoder's names are safe on every system; the extras follow them.
        let name = file_name(&self.stem(), Format::WAV24, self.ready.mix.rate, false);
        let stem = name.rsplit_once(" (master)").map_or(name.as_str(), |(stem, _)| stem);
        self.place.folder.join(format!("{stem} {suffix}"))
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

    /// A whole small file.
    fn piece(&self, kind: Kind, role: &str, suffix: &str, bytes: &[u8]) -> Result<OutputFile, TrackError> {
        Ok(OutputFile { draft: write_draft(&self.beside(suffix), bytes)?, kind, role: role.to_owned() })
    }

    fn metadata(&self, loudness: LoudnessFigures, true_peak: Option<Dbtp>) -> Metadata {
        let clean = self.order.extras.clean;
        let trim_start = self.plan.edit.trim_start;
        Metadata { tags: self.ready.tags.clone(), loudness, true_peak, clean, trim_start, ..Metadata::default() }
    }

    fn metadata_of(&self, Master { audio, trace, .. }: &Master) -> Metadata {
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
        let mut tamed: Option<Audio> = None;
        let mut round = 0;
        loop {
            let (draft, mut file) = Draft::create(target)?;
            let audio = tamed.as_ref().unwrap_or(master);
            let encoded = encode(audio, format.codec, meta, &mut file)?;
            drop(file);
            let decoded = decode_file_in(draft.path(), &Limits::default(), master.pool()).map_err(Error::from)?;
            let expect = Expect { codec: format.codec, master: audio, mix: &self.ready.mix, plan: self.plan };
            let verified = verify(&decoded.audio, &expect);
            if let Some(limiter) = self.plan.limiter
                && format.codec.lossy()
                && verified.true_peak.0 > LOSSY_CEILING.0 - METER_TOLERANCE.0
                && round < LOSSY_ROUNDS + LOSSY_WHOLE
            {
                round += 1;
                let mut audio = match tamed.take() {
                    Some(audio) => audio,
                    None => master.try_clone().map_err(no_room)?,
                };
                if round <= LOSSY_ROUNDS {
                    // A little lower each time, because the codec adds to the new samples differently.
                    let ceiling = Dbtp(LOSSY_CEILING.0 - 0.3 - 0.3 * f64::from(round));
                    self.order.backend.reduce_overs(&mut audio, &decoded.audio, &Limiter { ceiling, ..limiter });
                } else {
                    let gain = Db(LOSSY_CEILING.0 - verified.true_peak.0 - 0.1).amplitude() as f32;
                    audio.channels.iter_mut().flatten().for_each(|x| *x *= gain);
                }
                tamed = Some(audio);
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

    /// The preview of the mix, and what lies beside the master with its analysis, as far as they are wanted.
    fn tell(&self, master: Option<&Master>) -> Result<(Vec<OutputFile>, Option<Analysis>), TrackError> {
        let (mix, told) = rayon::join(
            || self.ready.before.as_deref().map(|audio| self.preview_of_mix(&mut locked(audio))).transpose(),
            || -> Result<(Vec<OutputFile>, Option<Analysis>), TrackError> {
                let Some(master) = master else { return Ok((Vec::new(), None)) };
                let analysis = analyse_audio(&master.audio, self.ready.mix.source.clone());
                let pieces =
                    if self.order.extras.preview { self.preview_of_master(master, &analysis)? } else { Vec::new() };
                Ok((pieces, Some(analysis)))
            },
        );
        let (mix, (mut pieces, analysis)) = (mix?, told?);
        pieces.extend(mix);
        Ok((pieces, analysis))
    }

    /// Brings `audio` to the rate of previews.
    fn preview_of_mix(&self, audio: &mut Audio) -> Result<OutputFile, TrackError> {
        if let Cow::Owned(at_rate) = for_preview(audio, self.order)? {
            *audio = at_rate;
        }
        let (draft, mut file) = Draft::create(&self.beside("(preview of the mix).opus"))?;
        let mix = &self.ready.mix;
        let meta = self.metadata(mix.loudness.clone(), Some(mix.peaks.true_peak));
        encode(audio, Codec::Opus, &meta, &mut file)?;
        Ok(OutputFile { draft, kind: Kind::Preview, role: "mix".to_owned() })
    }

    fn preview_of_master(&self, master: &Master, analysis: &Analysis) -> Result<Vec<OutputFile>, TrackError> {
        let (draft, mut file) = Draft::create(&self.beside("(preview).opus"))?;
        let meta = self.metadata(analysis.loudness.clone(), Some(analysis.peaks.true_peak));
        encode(&*for_preview(&master.audio, self.order)?, Codec::Opus, &meta, &mut file)?;
        let preview = self.preview(analysis);
        let text = json!({
            "start": preview.start,
            "seconds": 30.0_f64.min(analysis.seconds().0),
            "master_louder_by": preview.difference,
        });
        let before = peaks::dat(&self.ready.waveform_of_mix());
        Ok(vec![
            OutputFile { draft, kind: Kind::Preview, role: "master".to_owned() },
            self.piece(Kind::Waveform, "mix", "(waveform of the mix).dat", &before)?,
            self.piece(Kind::Waveform, "master", "(waveform).dat", &peaks::dat(&analysis.waveform))?,
            self.piece(Kind::Data, "preview", "(preview).json", text.to_string().as_bytes())?,
        ])
    }

    fn preview(&self, master: &Analysis) -> Preview {
        let difference = self.difference(master.loudness.integrated, master.peaks.true_peak);
        Preview { start: master.loudest, difference }
    }

    /// How much louder the master is than the mix: by its peaks, where one of them is too short or too quiet to have a loudness.
    fn difference(&self, master: Option<Lufs>, true_peak: Dbtp) -> Db {
        let mix = &self.ready.mix;
        match (master, mix.loudness.integrated) {
            (Some(after), Some(before)) => after - before,
            _ => Db(true_peak.0 - mix.peaks.true_peak.0),
        }
    }

    fn report(
        &self,
        master: Analysis,
        trace: &Trace,
        backend: BackendInfo,
        files: &[DeliveredFile],
        line: &dyn Watch,
    ) -> Report {
        let preview = self.preview(&master);
        let PlannedTrack { mix, tags, .. } = self.ready;
        let seconds = mix.seconds().0;
        let spent = line.times().into_iter();
        Report {
            version: crate::report::REPORT_VERSION,
            engine: crate::encode::ENCODER.to_owned(),
            file: self.place.input.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            tags: tags.clone(),
            backend,
            settings: self.order.settings.clone(),
            mix: mix.clone(),
            plan: self.plan.clone(),
            master,
            trace: trace.clone(),
            files: files.to_vec(),
            preview,
            speed: spent
                .map(|(stage, spent)| StageTime {
                    stage,
                    seconds: Seconds(spent),
                    times_real_time: seconds / spent.max(1e-9),
                })
                .collect(),
        }
    }

    fn written(&self, report: &Report) -> Result<[OutputFile; 2], TrackError> {
        let json = report.to_json().map_err(|error| EncodeError::Write(error.into()))?;
        Ok([
            self.piece(Kind::Report, "html", "(report).html", report.to_html().as_bytes())?,
            self.piece(Kind::Report, "json", "(report).json", json.as_bytes())?,
        ])
    }
}

/// The order on an album is what counts, unless it has several discs.
fn numbered(tags: Tags, seat: Option<&Seat>) -> Tags {
    match (seat, tags.disc) {
        (Some(seat), None | Some((1, None | Some(1)))) => {
            Tags { track: Some((seat.number as u32, Some(seat.of as u32))), ..tags }
        }
        _ => tags,
    }
}

fn locked(audio: &Mutex<Audio>) -> MutexGuard<'_, Audio> {
    audio.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Audio at the rate of previews.
fn for_preview<'b>(audio: &'b Audio, order: &MasterRequest<'_>) -> Result<Cow<'b, Audio>, Error> {
    let rate = Format { codec: Codec::Opus, rate: None }.rate_for(audio.rate, order.settings.rate);
    if audio.rate == rate {
        return Ok(Cow::Borrowed(audio));
    }
    Ok(Cow::Owned(crate::resample::resample(audio, rate).map_err(no_room)?))
}

/// A copy of the track has no room.
fn no_room(error: std::io::Error) -> Error {
    RenderError::Room(error).into()
}

/// Writes a whole small file in one go; with `force` over the one that is there.
pub fn write_file(target: &Path, bytes: &[u8], force: bool) -> Result<(), TrackError> {
    deliver::deliver(vec![write_draft(target, bytes)?], force)?;
    Ok(())
}

/// Writes a whole small file under a temporary name.
pub fn write_draft(target: &Path, bytes: &[u8]) -> Result<Draft, TrackError> {
    let (draft, mut file) = Draft::create(target)?;
    file.write_all(bytes).map_err(EncodeError::from)?;
    Ok(draft)
}

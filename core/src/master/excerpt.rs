//! What can be heard of a master before its files are ready: first as a sketch, from a render under way.

use super::{Kind, MasterRequest, OutputFile, Paths, PlannedTrack, TrackError, Work, for_preview, locked};
use crate::Audio;
use crate::analyse::Waveform;
use crate::deliver::Draft;
use crate::encode::{Metadata, encode, peaks};
use crate::render::{Early, Sketch, Tell};
use crate::settings::Codec;
use crate::units::{Db, Dbtp, Lufs, Seconds};
use rayon::prelude::*;

/// Mix and master around the loudest place of the mix.
#[derive(Debug)]
pub struct Excerpt {
    /// Previews `mix-excerpt` and `master-excerpt`, and the waveforms of the whole.
    pub pieces: Vec<OutputFile>,
    /// Where in the song the previews begin: a multiple of [`Excerpt::GRID`].
    pub start: Seconds,
    /// Their length.
    pub seconds: Seconds,
    /// The loudest place.
    pub loudest: Seconds,
    /// Length of the song.
    pub song: Seconds,
    /// Loudness of the mix.
    pub mix: Option<Lufs>,
    /// Loudness of the master.
    pub master: Option<Lufs>,
    /// How much louder the master is.
    pub difference: Db,
}

impl Excerpt {
    /// Players fetch music in stretches of so many seconds.
    pub const GRID: f64 = 10.0;
    /// Most seconds of it.
    pub const LENGTH: f64 = 40.0;
}

/// The master's side of an excerpt.
pub(super) struct Heard<'a> {
    /// The master, or the part of it around the excerpt.
    audio: &'a Audio,
    /// Where `audio` begins in the master, seconds.
    from: f64,
    /// Of the whole master.
    waveform: Waveform,
    loudness: Option<Lufs>,
    true_peak: Option<Dbtp>,
}

impl PlannedTrack {
    /// What a render hands out as soon as it can; nothing where the plan may still change by what comes out.
    pub(super) fn early<'a>(&self, tell: &'a Tell<'a>) -> Option<Early<'a>> {
        let (start, length) = self.excerpt();
        let wanted = self.closing.is_none() && self.before.is_some();
        wanted.then_some(Early { start: Seconds(start), length: Seconds(length), tell })
    }

    /// The excerpt of what a render handed out.
    pub fn sketched(
        &self,
        sketch: &Sketch<'_>,
        place: &Paths<'_>,
        order: &MasterRequest<'_>,
    ) -> Result<Excerpt, TrackError> {
        let Sketch { part, from, shaped, gain, predicted } = sketch;
        // The limiter will not let more through than this.
        let ceiling = self.plan.limiter.map_or(f32::INFINITY, |limiter| limiter.ceiling.amplitude() as f32);
        let gain = gain.amplitude() as f32;
        let mut waveform = peaks::waveform(shaped, self.mix.waveform.frames_per_point);
        for (low, high) in &mut waveform.points {
            (*low, *high) = ((*low * gain).max(-ceiling), (*high * gain).min(ceiling));
        }
        let true_peak = self.plan.limiter.map(|limiter| limiter.ceiling);
        let heard = Heard { audio: part, from: from.0, waveform, loudness: *predicted, true_peak };
        Work { order, place: *place, ready: self, plan: &self.plan }.excerpt(&heard)
    }

    pub(super) fn heard<'a>(&self, audio: &'a Audio, meta: &Metadata) -> Heard<'a> {
        let waveform = peaks::waveform(audio, self.mix.waveform.frames_per_point);
        Heard { audio, from: 0.0, waveform, loudness: meta.loudness.integrated, true_peak: meta.true_peak }
    }

    /// Seconds that the master lasts.
    fn song(&self) -> f64 {
        let edit = &self.plan.edit;
        (self.mix.seconds().0 - edit.trim_start.0 - edit.trim_end.0).max(0.0)
    }

    /// The loudest place of the mix, in the master.
    fn loudest(&self) -> f64 {
        (self.mix.loudest.0 - self.plan.edit.trim_start.0).clamp(0.0, self.song())
    }

    /// Where the excerpt begins in the master, and its length, seconds.
    fn excerpt(&self) -> (f64, f64) {
        let start = (self.loudest() / Excerpt::GRID).floor() * Excerpt::GRID;
        (start, Excerpt::LENGTH.min(self.song() - start))
    }

    /// The waveform of what the master is compared with.
    pub(super) fn waveform_of_mix(&self) -> Waveform {
        let Waveform { frames_per_point, rate, points } = &self.mix.waveform;
        let edit = &self.plan.edit;
        let count = |trim: Seconds| trim.frames(*rate) / (*frames_per_point).max(1) as usize;
        let end = points.len().saturating_sub(count(edit.trim_end));
        let points = points[count(edit.trim_start).min(end)..end].to_vec();
        Waveform { frames_per_point: *frames_per_point, rate: *rate, points }
    }
}

impl Work<'_> {
    pub(super) fn excerpt(&self, heard: &Heard<'_>) -> Result<Excerpt, TrackError> {
        let ready = self.ready;
        let (start, seconds) = ready.excerpt();
        let before = ready.before.as_deref().map(locked);
        let of_mix = before.as_deref().map(|mix| (mix, start, "mix"));
        let of_master = (heard.audio, start - heard.from, "master");
        let made = [of_mix, Some(of_master)]
            .into_par_iter()
            .flatten()
            .map(|(audio, start, side)| self.excerpt_of(audio, start, seconds, side));
        let mut pieces = made.collect::<Result<Vec<OutputFile>, TrackError>>()?;
        for (side, suffix, waveform) in [
            ("mix", "(waveform of the mix).dat", &ready.waveform_of_mix()),
            ("master", "(waveform).dat", &heard.waveform),
        ] {
            pieces.push(self.piece(Kind::Waveform, side, suffix, &peaks::dat(waveform))?);
        }
        let (mix, master) = (ready.mix.loudness.integrated, heard.loudness);
        let difference = self.difference(master, heard.true_peak.unwrap_or(ready.mix.peaks.true_peak));
        let (loudest, song) = (Seconds(ready.loudest()), Seconds(ready.song()));
        let (start, seconds) = (Seconds(start), Seconds(seconds));
        Ok(Excerpt { pieces, start, seconds, loudest, song, mix, master, difference })
    }

    /// `start` is counted in `audio`.
    fn excerpt_of(&self, audio: &Audio, start: f64, seconds: f64, side: &str) -> Result<OutputFile, TrackError> {
        // Rates are converted with some music on both sides, which is cut off again.
        const MARGIN: f64 = 1.0;
        let lead = MARGIN.min(start);
        let cut = slice(audio, start - lead, seconds + lead + MARGIN);
        let at_rate = for_preview(&cut, self.order)?;
        let excerpt = slice(&at_rate, lead, seconds);
        let (draft, mut file) = Draft::create(&self.beside(&format!("({side} excerpt).opus")))?;
        encode(&excerpt, Codec::Opus, &Metadata { clean: true, ..Metadata::default() }, &mut file)?;
        Ok(OutputFile { draft, kind: Kind::Preview, role: format!("{side}-excerpt") })
    }
}

/// A part of the audio, as far as there is music.
fn slice(audio: &Audio, start: f64, seconds: f64) -> Audio {
    let at = |seconds: f64| ((seconds * f64::from(audio.rate)).round() as usize).min(audio.frames());
    let range = at(start)..at(start + seconds);
    Audio::new(audio.rate, [audio.channels[0][range.clone()].to_vec(), audio.channels[1][range].to_vec()])
}

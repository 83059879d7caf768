//! What the artist should know, in plain words: what it is, what it means, what to do.

use super::condition::Noise;
use super::{Analysis, Finding, Severity};
use crate::units::{Db, Hz, Seconds};

/// `once`, `twice`, `214 times`.
fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// `16.0 kHz`.
fn kilohertz(hz: Hz) -> String {
    format!("{:.1}\u{202f}kHz", hz.0 / 1_000.0)
}

/// Leaning from which a mix is told to lean, and centred on request, dB.
pub(crate) const LEANS: f64 = 1.5;
/// Difference from which the weaker channel is silent, dB.
pub(crate) const SILENT: f64 = 60.0;
/// Mean from which a waveform is off centre, full scale = 1.
pub(crate) const OFF_CENTRE: f64 = 0.003;

/// Damaged places of the file that are told one by one.
const LOSSES: usize = 8;

/// All findings, gravest first, in a fixed order among equals.
pub(super) fn findings(a: &Analysis, cliff: bool, noise: Option<Noise>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |code: &str, severity: Severity, at: Option<Seconds>, text: String| {
        found.push(Finding { code: code.to_owned(), severity, at, text });
    };
    let length = a.seconds();
    let minutes = (length.0 / 60.0).max(1.0 / 6.0);
    let (clipping, condition, source) = (&a.clipping, &a.condition, &a.source);

    for loss in source.losses.iter().take(LOSSES) {
        let long = if loss.seconds.0 > 0.0 { format!(" ({:.2}\u{202f}s)", loss.seconds.0) } else { String::new() };
        say(
            "source_damaged",
            Severity::Problem,
            Some(loss.at),
            format!("The file is damaged at {}{long}: {}. Export it again.", loss.at.clock(), loss.what),
        );
    }
    if let Some(loss) = source.losses.get(LOSSES) {
        let more = source.losses.len() - LOSSES;
        say(
            "source_damaged",
            Severity::Problem,
            Some(loss.at),
            format!("The file is damaged at {more} more places, from {} on. Export it again.", loss.at.clock()),
        );
    }

    if clipping.clipped_runs > 0 {
        let per_minute = clipping.clipped_runs as f64 / minutes;
        let severity = match clipping.clipped_runs {
            _ if per_minute >= 30.0 => Severity::Problem,
            1 | 2 => Severity::Note,
            _ => Severity::Advice,
        };
        let first = clipping.first.unwrap_or_default().clock();
        let place = if clipping.clipped_runs == 1 { format!("at {first}") } else { format!("first at {first}") };
        // A hotter mix loses more than a stray peak does.
        let down = if per_minute >= 30.0 { 6 } else { 3 };
        let times = times(clipping.clipped_runs);
        say(
            "clipped",
            severity,
            clipping.first,
            format!("The mix clips {times}, {place}. Turn the master fader down {down}\u{202f}dB and export again."),
        );
    }
    if let Some(why) = &clipping.already_limited {
        say(
            "already_limited",
            Severity::Advice,
            None,
            format!(
                "The mix has been limited already: {why}. We keep its dynamics as they are. For a better master, export it without the \
                 limiter or clipper on the master channel."
            ),
        );
    }
    if clipping.over_samples > 0 {
        let over = format!("{:+.1}", a.peaks.sample);
        let text = if source.float {
            format!(
                "The mix goes over full scale, up to {over}FS. Nothing is lost: the file is floating point and the master brings it down."
            )
        } else {
            format!("The decoded mix goes over full scale, up to {over}FS. The master brings it down; nothing to do.")
        };
        say("over_full_scale", Severity::Note, None, text);
    }
    // A clipped or floating-point mix is told about its overs already.
    if a.peaks.true_peak.0 > 0.05 && clipping.clipped_runs == 0 && clipping.over_samples == 0 {
        say(
            "intersample",
            Severity::Note,
            Some(a.peaks.at),
            format!(
                "Between its samples the mix peaks at {:+.1}. The master stays under its ceiling; nothing to do.",
                a.peaks.true_peak
            ),
        );
    }

    let dc = condition.dc[0].abs().max(condition.dc[1].abs());
    // A second at least: shorter than that, every sound has a mean.
    if dc >= OFF_CENTRE && length.0 >= 1.0 {
        let severity = if dc >= 0.03 { Severity::Advice } else { Severity::Note };
        say(
            "dc_offset",
            severity,
            None,
            format!(
                "The waveform is off centre by {:.1}\u{202f}% of full scale, which costs headroom and clicks at cuts. Look for a plugin that \
                 causes it, or have it mended (fix: dc).",
                100.0 * dc
            ),
        );
    }

    if source.lossy {
        say(
            "lossy_source",
            Severity::Advice,
            None,
            format!(
                "The file is a lossy {}. What the codec removed cannot come back: send WAV or FLAC if you have it.",
                codec(&source.codec)
            ),
        );
    } else if cliff && condition.bandwidth.0 < 0.45 * f64::from(source.rate.max(1)) {
        say(
            "bandwidth",
            Severity::Advice,
            None,
            format!(
                "Above {} there is nothing, cut off like an MP3 or a stream. If this was made from a lossy file or at a lower rate, go back to the \
                 original.",
                kilohertz(condition.bandwidth)
            ),
        );
    }
    if source.rate > 0 && source.rate < 44_100 {
        say(
            "low_rate",
            Severity::Advice,
            None,
            format!(
                "The file runs at {} and holds nothing above {}. Export at 44.1\u{202f}kHz or more.",
                kilohertz(Hz(f64::from(source.rate))),
                kilohertz(Hz(f64::from(source.rate) / 2.0))
            ),
        );
    }
    if let (Some(bits), Some(used)) = (source.bits, condition.effective_bits)
        && bits > 16
        && (8..=16).contains(&used)
        && length.0 >= 1.0
    {
        say(
            "bit_depth",
            Severity::Note,
            None,
            format!(
                "The file has {bits} bits but uses {used}: it was {used}-bit once. Export {bits}-bit from the session if you can."
            ),
        );
    }
    if let (Some(Severity::Advice), bits) = quiet(a) {
        say(
            "quiet_peak",
            Severity::Advice,
            None,
            format!(
                "The mix peaks at only {:.1}FS in {bits} bits, so its quiet parts are coarse. Export at 24 bits, or some decibels louder.",
                a.peaks.sample
            ),
        );
    }

    sides(a, &mut say);

    if condition.head_silence.0 > 1.0 && condition.head_silence.0 < length.0 {
        say(
            "head_silence",
            Severity::Note,
            Some(Seconds(0.0)),
            format!("The music begins after {:.1} of silence. Trim it if that is not meant.", condition.head_silence),
        );
    }
    if condition.tail_silence.0 > 5.0 && condition.tail_silence.0 < length.0 {
        say(
            "tail_silence",
            Severity::Note,
            Some(Seconds(length.0 - condition.tail_silence.0)),
            format!(
                "After the music there are {:.1} of silence. Trim them if that is not meant.",
                condition.tail_silence
            ),
        );
    }
    if let (Some(noise), Some(loudness)) = (noise, a.loudness.integrated)
        && noise.hiss
        && noise.level > loudness.0 - 50.0
        && noise.level < loudness.0 - 25.0
    {
        say(
            "noise",
            Severity::Note,
            Some(Seconds(noise.cell as f64 * 0.4)),
            format!(
                "Between the notes there is a steady noise at {:.0}FS. Mastering lifts it along with the music; mute what is not playing.",
                Db(noise.level)
            ),
        );
    }
    if length.0 < 0.4 {
        say(
            "short",
            Severity::Note,
            None,
            format!(
                "At {:.0}\u{202f}ms the file is too short to have a loudness. The master aims for a peak instead.",
                1_000.0 * length.0
            ),
        );
    } else if length.0 < 3.0 {
        say(
            "short",
            Severity::Note,
            None,
            format!("With {length:.1} there is little to judge the sound by; the master stays careful."),
        );
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// A mix so quiet that a word length of 16 bits or less shows.
fn quiet(a: &Analysis) -> (Option<Severity>, u32) {
    let bits = a.condition.effective_bits.or(a.source.bits).unwrap_or(24);
    let coarse = !a.source.float && !a.source.lossy && bits <= 16 && a.peaks.sample.0 < -20.0;
    (coarse.then_some(Severity::Advice), bits)
}

/// `mp3` as people write it.
fn codec(name: &str) -> String {
    match name {
        "" => "recording".to_owned(),
        "vorbis" => "Ogg Vorbis".to_owned(),
        "opus" => "Opus".to_owned(),
        other => other.to_uppercase(),
    }
}

/// Findings about left and right.
fn sides(a: &Analysis, say: &mut impl FnMut(&str, Severity, Option<Seconds>, String)) {
    let stereo = &a.stereo;
    if stereo.balance.0.abs() > SILENT {
        let (heard, silent) = if stereo.balance.0 > 0.0 { ("left", "right") } else { ("right", "left") };
        say(
            "balance",
            Severity::Problem,
            None,
            format!(
                "Only the {heard} channel has sound; the {silent} one is silent. Check the routing of your export, or \
                 have it heard on both sides (fix: balance)."
            ),
        );
        return;
    }
    if stereo.mono {
        let text = if a.source.channels == 1 {
            "The file is mono. The master has the same sound on both sides."
        } else {
            "Left and right are the same: the mix is mono. If it was meant to be stereo, check the export."
        };
        say("mono", Severity::Note, None, text.to_owned());
        return;
    }
    if stereo.balance.0.abs() >= LEANS {
        let side = if stereo.balance.0 > 0.0 { "left" } else { "right" };
        let severity = if stereo.balance.0.abs() >= 4.0 { Severity::Advice } else { Severity::Note };
        say(
            "balance",
            severity,
            None,
            format!(
                "The mix leans to the {side} by {:.1}. If that is not meant, centre bass, drums and voice, or have it \
                 centred (fix: balance).",
                Db(stereo.balance.0.abs())
            ),
        );
    }
    if stereo.inverted {
        say(
            "inverted",
            Severity::Problem,
            None,
            format!(
                "Left and right work against each other (correlation {:.2}): on a phone or a mono speaker {}. One channel's \
                 polarity is inverted: flip it and export again, or have it flipped (fix: polarity).",
                stereo.correlation,
                if stereo.mono_loss.0 > 20.0 {
                    "nearly everything vanishes".to_owned()
                } else {
                    format!("{:.0} are lost", stereo.mono_loss)
                }
            ),
        );
    } else if stereo.correlation_low < 0.2 && stereo.mono_loss_low.0 > 2.0 && bass_matters(a) {
        say(
            "phase_low",
            Severity::Advice,
            None,
            format!(
                "Left and right disagree about the bass (correlation {:.1}): in mono, {:.1} of it are lost below 120\u{202f}Hz. Make bass and \
                 kick mono, or take stereo effects off them.",
                stereo.correlation_low, stereo.mono_loss_low
            ),
        );
    }
}

/// Whether there is a bass worth a word: within 20 dB of the loudest band.
fn bass_matters(a: &Analysis) -> bool {
    let band = |b: &super::BandFigures| b.mid.power() + b.side.power();
    let loudest = a.bands.iter().map(band).fold(0.0, f64::max);
    a.bands.first().is_some_and(|low| band(low) > 0.01 * loudest)
}

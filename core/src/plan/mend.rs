//! Faults of a mix that are mended before anything else is decided: by request only, because a mixing engineer may have meant them.

use super::{Reason, reason};
use crate::Audio;
use crate::analyse::{Analysis, Finding, LEANS, OFF_CENTRE, SILENT, Severity};
use crate::settings::{Aspect, Fix};
use crate::units::Db;
use serde::{Deserialize, Serialize};

/// Left or right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Left.
    Left,
    /// Right.
    Right,
}

impl Channel {
    fn index(self) -> usize {
        usize::from(self == Self::Right)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// What is mended, in the order in which it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mend {
    /// The mean of each channel is taken out.
    pub dc: bool,
    /// The right channel's polarity is flipped.
    pub polarity: bool,
    /// Gain of left and right.
    pub balance: [Db; 2],
    /// The only channel with sound; it is heard on both sides.
    pub only: Option<Channel>,
}

impl Mend {
    /// What of the faults that were asked for this mix has.
    #[must_use]
    pub fn decide(mix: &Analysis, wanted: &[Fix]) -> Self {
        let mut mend = Self::default();
        let lean = mix.stereo.balance.0;
        for fix in wanted {
            match fix {
                Fix::Dc => mend.dc = mix.condition.dc.iter().any(|mean| mean.abs() >= OFF_CENTRE),
                Fix::Polarity => mend.polarity = mix.stereo.inverted,
                Fix::Balance if lean.abs() > SILENT => {
                    mend.only = Some(if lean > 0.0 { Channel::Left } else { Channel::Right });
                }
                Fix::Balance if lean.abs() >= LEANS => {
                    let weaker = usize::from(lean > 0.0);
                    mend.balance[weaker] = Db((lean.abs() * 100.0).round() / 100.0);
                }
                Fix::Balance => {}
            }
        }
        mend
    }

    /// Whether there is nothing to mend.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The mended samples.
    #[must_use]
    pub fn applied(&self, mut audio: Audio) -> Audio {
        if self.dc {
            for channel in &mut audio.channels {
                let sum: f64 =
                    channel.chunks(1 << 16).map(|part| part.iter().map(|v| f64::from(*v)).sum::<f64>()).sum();
                let mean = (sum / channel.len().max(1) as f64) as f32;
                channel.iter_mut().for_each(|v| *v -= mean);
            }
        }
        if self.polarity {
            audio.channels[1].iter_mut().for_each(|v| *v = -*v);
        }
        for (channel, gain) in audio.channels.iter_mut().zip(self.balance) {
            if gain.0 != 0.0 {
                let gain = gain.amplitude() as f32;
                channel.iter_mut().for_each(|v| *v *= gain);
            }
        }
        if let Some(only) = self.only {
            let [left, right] = &mut audio.channels;
            let (from, to) = if only.index() == 0 { (left, right) } else { (right, left) };
            to.iter_mut().zip(from.iter()).for_each(|(to, from)| *to = *from);
        }
        audio
    }

    /// The codes of the findings that no longer hold.
    fn settles(&self) -> Vec<&'static str> {
        let mut codes = Vec::new();
        if self.dc {
            codes.push("dc_offset");
        }
        if self.polarity {
            codes.extend(["inverted", "phase_low"]);
        }
        if self.only.is_some() || self.balance.iter().any(|gain| gain.0 != 0.0) {
            codes.push("balance");
        }
        codes
    }

    /// What was done, one sentence each.
    fn sentences(&self) -> Vec<String> {
        let mut done = Vec::new();
        if self.dc {
            done.push("The waveform was off centre; the offset is taken out.".to_owned());
        }
        if self.polarity {
            done.push("One channel was inverted; the right one's polarity is flipped.".to_owned());
        }
        if let Some(only) = self.only {
            done.push(format!("Only the {} channel had sound; it is now heard on both sides.", only.name()));
        }
        for (channel, gain) in [Channel::Left, Channel::Right].into_iter().zip(self.balance) {
            if gain.0 != 0.0 {
                done.push(format!("The {} channel was weaker; it is raised by {gain}.", channel.name()));
            }
        }
        done
    }

    /// The analysis of the mended mix, with what the file itself is known by: `found` is the analysis of the mix as it came.
    #[must_use]
    pub fn told(&self, mut mended: Analysis, found: &Analysis) -> Analysis {
        let settled = self.settles();
        mended.condition.effective_bits = found.condition.effective_bits;
        mended.findings = found.findings.iter().filter(|f| !settled.contains(&f.code.as_str())).cloned().collect();
        mended.findings.extend(self.sentences().into_iter().map(|text| Finding {
            code: "mended".to_owned(),
            severity: Severity::Note,
            at: None,
            text,
        }));
        mended
    }

    /// The same for the account of the master.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        self.sentences().into_iter().map(|text| reason(Aspect::Width, text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::analyse_audio;
    use crate::decode::Source;

    fn noise(frames: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        (0..frames)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                0.3 * ((s >> 8) as f32 / 8_388_608.0 - 1.0)
            })
            .collect()
    }

    /// Centre and sides of independent noise.
    fn mix() -> Audio {
        let (mid, side) = (noise(4 * 44_100, 1), noise(4 * 44_100, 2));
        let channel = |sign: f32| mid.iter().zip(&side).map(|(m, s)| m + 0.5 * sign * s).collect::<Vec<f32>>();
        Audio::new(44_100, [channel(1.0), channel(-1.0)])
    }

    fn mended(audio: Audio) -> (Mend, Analysis, Analysis) {
        let found = analyse_audio(&audio, Source::default());
        let mend = Mend::decide(&found, &Fix::ALL);
        let after = mend.told(analyse_audio(&mend.applied(audio), Source::default()), &found);
        (mend, found, after)
    }

    fn has(analysis: &Analysis, code: &str) -> bool {
        analysis.findings.iter().any(|finding| finding.code == code)
    }

    #[test]
    fn a_sound_mix_is_left_alone() {
        assert!(mended(mix()).0.is_none());
    }

    #[test]
    fn an_inverted_channel_is_found_and_flipped() {
        let mut audio = mix();
        audio.channels[0].iter_mut().for_each(|v| *v = -*v);
        let (mend, found, after) = mended(audio);
        assert!(mend.polarity && has(&found, "inverted") && !has(&after, "inverted") && has(&after, "mended"));
        assert!(after.stereo.correlation > 0.4, "{}", after.stereo.correlation);
    }

    #[test]
    fn a_silent_and_a_weak_channel_are_found_and_raised() {
        let mut audio = mix();
        audio.channels[1].iter_mut().for_each(|v| *v = 0.0);
        let (mend, found, after) = mended(audio);
        assert!(
            mend.only == Some(Channel::Left) && has(&found, "balance") && after.stereo.mono && !has(&after, "balance")
        );
        let mut audio = mix();
        audio.channels[0].iter_mut().for_each(|v| *v *= 0.3);
        let (mend, found, after) = mended(audio);
        assert!(mend.balance[0].0 > 10.0 && has(&found, "balance") && after.stereo.balance.0.abs() < 0.02);
    }

    #[test]
    fn an_offset_is_found_and_taken_out() {
        let mut audio = mix();
        audio.channels[0].iter_mut().for_each(|v| *v += 0.02);
        let (mend, found, after) = mended(audio);
        assert!(mend.dc && has(&found, "dc_offset") && !has(&after, "dc_offset"));
        assert!(after.condition.dc[0].abs() < 1e-5);
    }

    #[test]
    fn only_what_was_asked_for_is_mended() {
        let mut audio = mix();
        audio.channels[0].iter_mut().for_each(|v| *v = 0.3 * -*v + 0.02);
        let found = analyse_audio(&audio, Source::default());
        assert!(Mend::decide(&found, &[]).is_none());
        let dc = Mend::decide(&found, &[Fix::Dc]);
        assert!(dc.dc && !dc.polarity && dc.balance == [Db(0.0); 2]);
    }
}

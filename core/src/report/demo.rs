//! A made-up track for the tests: a song with intro, verses, choruses and a break, its master, and the odd cases.

use super::{DeliveredFile, Preview, REPORT_VERSION, Report, StageTime};
use crate::Stage;
use crate::analyse::{
    Analysis, BandFigures, Clipping, Condition, Finding, LoudnessFigures, Peaks, Severity, Spectrum, Stereo, Waveform,
};
use crate::bands::{BAND_EDGES, BANDS};
use crate::decode::{Source, Tags};
use crate::plan::{BandDynamics, Clipper, Goal, Leveler, Limiter, Plan, Reason, Saturation, Tone};
use crate::render::{BackendInfo, Trace};
use crate::settings::{Aspect, Settings, Style};
use crate::units::{Db, Dbtp, Hz, Lufs, Seconds};
use crate::verify::Gate;

/// A small congruential generator: the demo must be the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }
}

/// Loudness of the song against its chorus, dB, at a second of its 243.
fn song(time: f64) -> f64 {
    const PARTS: [(f64, f64); 9] = [
        (0.0, -14.0),
        (16.0, -6.5),
        (48.0, -1.0),
        (80.0, -5.5),
        (112.0, -0.5),
        (144.0, -13.0),
        (168.0, -3.0),
        (184.0, 0.0),
        (228.0, -4.0),
    ];
    let level = PARTS.iter().rev().find(|(start, _)| time >= *start).map_or(-14.0, |(_, level)| *level);
    let fade = if time > 232.0 { -(time - 232.0) * 2.6 } else { 0.0 };
    level + fade + 0.7 * (time * 0.9).sin() + 0.5 * (time * 2.3).sin()
}

fn spectrum(shape: impl Fn(f64) -> f64) -> Spectrum {
    let mut noise = Noise(3);
    let hz: Vec<f32> = (0..125).map(|i| 16.35 * 2f32.powf(i as f32 / 12.0)).collect();
    let mid = hz
        .iter()
        .map(|&hz| {
            let f = f64::from(hz);
            let bump = |at: f64, gain: f64, octaves: f64| gain * (-((f / at).log2() / octaves).powi(2)).exp();
            let body = -25.0 - 3.2 * (f / 80.0).log2().abs().powf(1.15)
                + bump(62.0, 5.0, 0.5)
                + bump(250.0, 3.0, 0.6)
                + bump(3_200.0, 3.0, 0.8);
            let ends = -10.0 * (1.0 + (34.0 / f).powi(6)).log10() - 10.0 * (1.0 + (f / 17_500.0).powi(18)).log10();
            (body + ends + 2.2 * (noise.next() - 0.5) + shape(f)) as f32
        })
        .collect::<Vec<_>>();
    let side = mid.iter().map(|level| level - 9.0).collect();
    Spectrum { hz, mid, side }
}

fn bands(width: [f64; BANDS], correlation: [f64; BANDS], levels: [[f64; 3]; BANDS]) -> Vec<BandFigures> {
    (0..BANDS)
        .map(|i| BandFigures {
            low: Hz(if i == 0 { 0.0 } else { BAND_EDGES[i - 1] }),
            high: Hz(BAND_EDGES.get(i).copied().unwrap_or(22_050.0)),
            mid: Db(levels[i][1]),
            side: Db(levels[i][1] + width[i]),
            correlation: correlation[i],
            spread: Db(levels[i][2] - levels[i][1]),
            percentiles: levels[i].map(Db),
            crest: Db(9.0),
        })
        .collect()
}

fn waveform(gain: f64, limit: f64, seconds: f64) -> Waveform {
    let mut noise = Noise(7);
    let points = (0..(seconds * 20.0) as usize)
        .map(|i| {
            let time = i as f64 / 20.0;
            let body = Db(song(time) - 7.5 + gain).amplitude();
            let mut peak = || {
                let beat = if i % 10 == 0 { 1.75 } else { 1.0 };
                (body * beat * (0.62 + 0.55 * noise.next())).min(limit) as f32
            };
            (-peak(), peak())
        })
        .collect();
    Waveform { frames_per_point: 2_205, rate: 44_100, points }
}

fn over_time(chorus: f64, squeeze: f64, seconds: f64) -> Vec<f32> {
    (0..(seconds * 10.0) as usize)
        .map(|i| {
            let end = (i + 1) as f64 * 0.1;
            let mean = (0..30).map(|j| song((end - 0.1 * f64::from(j)).max(0.0))).sum::<f64>() / 30.0;
            (chorus + mean * squeeze).max(-70.0) as f32
        })
        .collect()
}

fn analysis(loudness: LoudnessFigures, peaks: Peaks, seconds: f64) -> Analysis {
    Analysis {
        version: 1,
        source: Source {
            container: "wav".to_owned(),
            codec: "pcm_s24le".to_owned(),
            lossy: false,
            bits: Some(24),
            float: false,
            rate: 44_100,
            channels: 2,
            frames: (seconds * 44_100.0) as u64,
            bytes: (seconds * 44_100.0 * 6.0) as u64 + 44,
            losses: Vec::new(),
        },
        rate: 44_100,
        frames: (seconds * 44_100.0) as u64,
        loudness,
        peaks,
        clipping: Clipping::default(),
        condition: Condition {
            head_silence: Seconds(0.2),
            tail_silence: Seconds(1.1),
            noise_floor: Some(Db(-78.4)),
            noise_thirds: None,
            bandwidth: Hz(20_300.0),
            ultrasonic: Db(-71.0),
            effective_bits: Some(24),
            dc: [0.0, 0.0],
        },
        stereo: Stereo {
            balance: Db(0.2),
            correlation: 0.71,
            correlation_low: 0.94,
            side_mid: Db(-9.1),
            mono_loss: Db(0.8),
            mono_loss_low: Db(0.1),
            mono: false,
            inverted: false,
        },
        loudest: Seconds(186.3),
        ..Analysis::default()
    }
}

/// A finished ordinary job.
pub(super) fn report() -> Report {
    let seconds = 243.2;
    let mut mix = analysis(
        LoudnessFigures {
            integrated: Some(Lufs(-17.34)),
            max_momentary: Some(Lufs(-13.1)),
            max_short_term: Some(Lufs(-14.2)),
            range: Some(Db(8.4)),
            p95_short_term: Some(Lufs(-14.6)),
            over_time: over_time(-15.0, 1.0, seconds),
        },
        Peaks { sample: Db(0.0), true_peak: Dbtp(0.63), at: Seconds(191.4), plr: Some(Db(17.97)), crest: Db(18.3) },
        seconds,
    );
    mix.clipping = Clipping { clipped_runs: 214, first: Some(Seconds(41.2)), ..Clipping::default() };
    mix.spectrum = spectrum(|_| 0.0);
    mix.bands = bands(
        [-26.0, -13.0, -9.5, -7.0, -4.8],
        [0.93, 0.78, 0.66, 0.52, 0.31],
        [
            [-38.0, -24.5, -17.0],
            [-40.0, -27.0, -20.5],
            [-42.0, -30.0, -23.0],
            [-49.0, -37.5, -29.0],
            [-58.0, -46.0, -37.0],
        ],
    );
    mix.waveform = waveform(0.0, 1.0, seconds);
    let finding = |code: &str, severity, at: Option<f64>, text: &str| Finding {
        code: code.to_owned(),
        severity,
        at: at.map(Seconds),
        text: text.to_owned(),
    };
    mix.findings = vec![
        finding(
            "clipped",
            Severity::Problem,
            Some(41.2),
            "The mix clips 214 times, first at 0:41.2. Turn the master fader down 3 dB and export again; we mastered it gently meanwhile.",
        ),
        finding(
            "sibilance",
            Severity::Advice,
            Some(114.8),
            "The voice hisses around 7 kHz in the second chorus. A de-esser on the voice reaches it better than we can.",
        ),
        finding("subsonic", Severity::Note, None, "Rumble below 25 Hz was 14 dB under the kick. We removed it."),
    ];
    let mut master = analysis(
        LoudnessFigures {
            integrated: Some(Lufs(-11.02)),
            max_momentary: Some(Lufs(-7.9)),
            max_short_term: Some(Lufs(-8.9)),
            range: Some(Db(6.9)),
            p95_short_term: Some(Lufs(-9.1)),
            over_time: over_time(-9.1, 0.87, seconds),
        },
        Peaks { sample: Db(-1.21), true_peak: Dbtp(-1.03), at: Seconds(191.4), plr: Some(Db(9.99)), crest: Db(11.4) },
        seconds,
    );
    let points = [
        (20.0, 0.4),
        (40.0, 0.6),
        (80.0, 0.8),
        (140.0, -0.4),
        (250.0, -1.6),
        (420.0, -1.1),
        (800.0, 0.0),
        (2_500.0, -0.3),
        (5_000.0, 0.6),
        (9_500.0, 2.1),
        (14_000.0, 1.9),
        (18_000.0, 1.2),
    ];
    let tone: Vec<(Hz, Db)> = points.iter().map(|(hz, gain)| (Hz(*hz), Db(*gain))).collect();
    let equaliser = |f: f64| {
        points.windows(2).find(|pair| f < pair[1].0).map_or(1.2, |pair| {
            pair[0].1 + (pair[1].1 - pair[0].1) * ((f / pair[0].0).ln() / (pair[1].0 / pair[0].0).ln()).max(0.0)
        })
    };
    master.spectrum = spectrum(|f| {
        6.1 + equaliser(f)
            - 0.5 * (-((f / 90.0).log2() / 0.8).powi(2)).exp()
            - 10.0 * (1.0 + (25.0 / f).powi(4)).log10()
    });
    master.bands = bands(
        [-34.0, -13.0, -8.9, -5.9, -3.4],
        [0.99, 0.78, 0.64, 0.46, 0.24],
        [
            [-31.0, -18.6, -12.6],
            [-33.8, -22.0, -16.4],
            [-35.0, -23.6, -17.5],
            [-42.0, -30.8, -23.3],
            [-49.6, -38.0, -29.9],
        ],
    );
    master.waveform = waveform(6.3, 0.87, seconds);
    master.clipping = Clipping::default();
    let mut noise = Noise(11);
    let reduction = (0..(seconds * 10.0) as usize)
        .map(|i| {
            let over = song(i as f64 / 10.0) + 4.2 + 4.0 * (noise.next() - 0.55) - if i % 5 == 0 { 0.0 } else { 1.6 };
            (over * 0.62).clamp(0.0, 4.6) as f32
        })
        .collect();
    let reason = |aspect, text: &str, before: Option<f64>, after: Option<f64>, unit: Option<&str>| Reason {
        aspect,
        text: text.to_owned(),
        before,
        after,
        unit: unit.map(str::to_owned),
    };
    let band = |threshold: f64, ratio: f64, attack: f64, release: f64, makeup: f64| BandDynamics {
        threshold: Db(threshold),
        ratio,
        knee: Db(6.0),
        attack: Seconds(attack),
        release: Seconds(release),
        makeup: Db(makeup),
        max_reduction: Db(4.0),
    };
    let plan = Plan {
        style: Style::Balanced,
        tone: Tone {
            side: tone.iter().map(|(hz, gain)| (*hz, if hz.0 > 3_000.0 { Db(gain.0 + 0.4) } else { *gain })).collect(),
            mid: tone,
            width: vec![(Hz(90.0), Db(-6.0)), (Hz(300.0), Db(0.0)), (Hz(4_000.0), Db(1.1)), (Hz(10_000.0), Db(1.4))],
            subsonic: Some(Hz(25.0)),
            bound: Db(3.0),
            ..Tone::default()
        },
        dynamics: vec![
            band(-18.0, 1.9, 0.020, 0.180, 0.9),
            band(-21.5, 1.6, 0.018, 0.150, 0.4),
            band(-24.0, 1.4, 0.012, 0.120, 0.3),
            band(-31.0, 1.5, 0.006, 0.090, 0.5),
            band(-40.0, 1.0, 0.004, 0.080, 0.0),
        ],
        saturation: Some(Saturation { odd: 0.012, even: 0.006, reference: Db(-6.0) }),
        transients: None,
        clipper: Some(Clipper { max_reduction: Db(2.0), knee: Db(1.0) }),
        leveler: Some(Leveler { max_reduction: Db(1.5) }),
        masked: None,
        limiter: Some(Limiter {
            ceiling: Dbtp(-1.0),
            lookahead: Seconds(0.002),
            release_min: Seconds(0.03),
            release_max: Seconds(0.3),
        }),
        goal: Goal::Loudness { target: Lufs(-11.0), wished: None },
        reasons: vec![
            reason(Aspect::Tone, "Less around 250 Hz: it hid the voice.", Some(0.0), Some(-1.6), Some("dB")),
            reason(
                Aspect::Tone,
                "More air from 8 kHz up. The mix is darker than records of this style.",
                Some(0.0),
                Some(2.1),
                Some("dB"),
            ),
            reason(
                Aspect::Tone,
                "Rumble below 25 Hz is gone. Nobody hears it, every limiter does.",
                None,
                Some(25.0),
                Some("Hz"),
            ),
            reason(
                Aspect::Dynamics,
                "The bass is steadier: the kick no longer jumps ahead of the bass line.",
                Some(7.5),
                Some(6.0),
                Some("dB"),
            ),
            reason(
                Aspect::Dynamics,
                "A touch of saturation, so that the bass speaks on small speakers.",
                None,
                None,
                None,
            ),
            reason(Aspect::Width, "A little wider above 4 kHz.", Some(-7.0), Some(-5.9), Some("dB")),
            reason(
                Aspect::Width,
                "The bass moved to the middle. In mono it loses nothing now.",
                Some(0.1),
                Some(0.0),
                Some("dB"),
            ),
            reason(
                Aspect::Loudness,
                "Balanced aims at −11 LUFS and got there inside its limiting budget. Spotify will turn it down by 3 dB.",
                Some(-17.3),
                Some(-11.0),
                Some("LUFS"),
            ),
            reason(
                Aspect::Loudness,
                "Peaks stop at −1 dBTP, so that MP3 and AAC do not clip.",
                Some(0.6),
                Some(-1.0),
                Some("dBTP"),
            ),
        ],
        ..Plan::identity()
    };
    Report {
        version: REPORT_VERSION,
        engine: "LoopMastering 0.1.0".to_owned(),
        file: "night-drive.wav".to_owned(),
        tags: Tags {
            title: Some("Night Drive".to_owned()),
            artist: Some("The Harbour Lights".to_owned()),
            ..Tags::default()
        },
        backend: BackendInfo { name: "cpu".to_owned(), device: "x86-64 with AVX2 and FMA".to_owned() },
        settings: Settings::default(),
        preview: Preview { start: master.loudest, difference: Db(6.32) },
        mix,
        plan,
        master,
        trace: Trace {
            gain: Db(6.84),
            predicted: Some(Lufs(-11.03)),
            reached: Some(Lufs(-11.02)),
            true_peak: Some(Dbtp(-1.03)),
            passes: 1,
            reduction,
            reduction_median: Db(0.74),
            reduction_p95: Db(2.63),
            clipped: 0.0031,
            limiting_error: Some(Db(-14.2)),
            bands: vec![Db(1.24), Db(0.62), Db(0.38), Db(0.51), Db(0.0)],
        },
        files: vec![
            file("The Harbour Lights - Night Drive.wav", "wav24", 44_100, 64_353_144, -11.02, -1.03, -1.0),
            file(
                "The Harbour Lights - Night Drive (16-bit).wav",
                "wav16@44100",
                44_100,
                42_902_110,
                -11.02,
                -1.03,
                -1.0,
            ),
            file("The Harbour Lights - Night Drive.mp3", "mp3-320", 44_100, 9_745_212, -11.04, -0.42, -0.1),
        ],
        speed: [
            (Stage::Decode, 0.09),
            (Stage::Analyse, 0.31),
            (Stage::Plan, 0.0002),
            (Stage::Render, 0.72),
            (Stage::Encode, 1.91),
        ]
        .map(|(stage, time)| StageTime { stage, seconds: Seconds(time), times_real_time: seconds / time })
        .to_vec(),
    }
}

fn file(name: &str, format: &str, rate: u32, bytes: u64, lufs: f64, dbtp: f64, ceiling: f64) -> DeliveredFile {
    let mut noise = Noise(bytes);
    let gate = |name: &str, measured: f64, bound: f64, text: &str| Gate {
        name: name.to_owned(),
        passed: true,
        measured,
        bound,
        text: text.to_owned(),
    };
    DeliveredFile {
        name: name.to_owned(),
        format: format.parse().unwrap(),
        rate,
        frames: u64::from(rate) * 243,
        bytes,
        sha256: (0..64).map(|_| char::from_digit((noise.next() * 16.0) as u32, 16).unwrap()).collect(),
        lufs: Some(Lufs(lufs)),
        dbtp: Dbtp(dbtp),
        gates: vec![
            gate("loudness", lufs, -11.0, "loudness against the target, ±0.1 LU"),
            gate("true_peak", dbtp, ceiling, "true peak against the ceiling"),
            gate("length", 10_725_120.0, 10_725_120.0, "as long as the mix"),
            gate("finite", 0.0, 0.0, "0 samples are not numbers"),
            if ceiling < -0.5 {
                gate("alignment", 0.5, 1.5, "every sample within 0.50 LSB of the master's")
            } else {
                gate("alignment", 0.0, 0.0, "in place")
            },
            gate("clipped", 0.0, 214.0, "0 clipped runs, 214 in the mix"),
            gate("tone", 2.2, 3.0, "largest move of a third octave, level-aligned"),
            gate("mono_low", 0.0, 1.0, "lost below 120 Hz when folded to mono"),
            gate("mono", 0.9, 3.0, "lost when folded to mono"),
        ],
    }
}

/// The plan changed nothing.
pub(super) fn untouched() -> Report {
    let mut report = report();
    report.plan = Plan::identity();
    report.master = report.mix.clone();
    report.trace = Trace::default();
    report.preview.difference = Db(0.0);
    report
}

/// 0.3 s of a click: no loudness, no spectrum, mono.
pub(super) fn short() -> Report {
    let mut report = report();
    for (analysis, gain) in [(&mut report.mix, 0.25f32), (&mut report.master, 0.89)] {
        analysis.frames = 13_230;
        analysis.source.frames = 13_230;
        analysis.source.channels = 1;
        analysis.loudness = LoudnessFigures::default();
        analysis.peaks.plr = None;
        analysis.peaks.true_peak = Dbtp::from_amplitude(f64::from(gain));
        analysis.spectrum = Spectrum::default();
        analysis.bands = Vec::new();
        analysis.findings = Vec::new();
        analysis.stereo =
            Stereo { mono: true, correlation: 1.0, correlation_low: 1.0, side_mid: Db(-150.0), ..Stereo::default() };
        analysis.waveform.frames_per_point = 64;
        analysis.waveform.points =
            (0..206u16).map(|i| gain * (-f32::from(i) / 40.0).exp()).map(|peak| (-peak, peak * 0.9)).collect();
    }
    report.plan = Plan {
        goal: Goal::Peak { target: Dbtp(-1.0) },
        limiter: report.plan.limiter,
        reasons: vec![Reason {
            aspect: Aspect::Loudness,
            text: "Too short for a loudness: we brought the true peak to −1 dBTP instead.".to_owned(),
            before: Some(-12.0),
            after: Some(-1.0),
            unit: Some("dBTP".to_owned()),
        }],
        ..Plan::identity()
    };
    report.trace = Trace { reduction: vec![0.0; 3], passes: 1, gain: Db(11.0), ..Trace::default() };
    report.tags = Tags::default();
    report.file = "click.wav".to_owned();
    report
}

/// Everything that could break a page: markup in every text, right-to-left script, a title without an end, many findings, a failed gate.
pub(super) fn hostile() -> Report {
    let mut report = report();
    let evil = "</style><script>alert(1)</script><img src=x onerror=\"alert('2')\">&amp;";
    report.tags.title = Some(format!("{evil} {}", "ليل طويل جدا على الطريق ".repeat(12)));
    report.tags.artist = Some("שירה & <b>בנות</b>".to_owned());
    report.file = format!("../{evil}.wav");
    report.engine = evil.to_owned();
    report.backend.device = evil.to_owned();
    report.plan.reasons[0].text = evil.to_owned();
    report.plan.reasons[0].unit = Some(evil.to_owned());
    let first = report.mix.findings[0].clone();
    report.mix.findings = (0..30)
        .map(|i| Finding { at: Some(Seconds(f64::from(i) * 9.0)), text: format!("{i}: {evil}"), ..first.clone() })
        .collect();
    report.files[0].name = format!("{evil}{}", "x".repeat(300));
    report.files[0].sha256 = evil.to_owned();
    report.files[0].gates[1].passed = false;
    report.files[0].gates[1].text = evil.to_owned();
    report.files[0].gates[2].name = evil.to_owned();
    report
}

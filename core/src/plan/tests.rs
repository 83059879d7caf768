//! Rules of the plan as data in, decisions out.

use super::curve::{gain_at, interpolate};
use super::style::{REGIONS, spec};
use super::*;
use crate::analyse::{BandFigures, BandMatrix, Rung, Spectrum};
use crate::analyse::{Hits, MaterialWeights};
use crate::bands::{BAND_EDGES, BANDS};
use crate::control::Trace;
use crate::settings::{Limiting, Material, ReferenceAmounts, Strength};
use proptest::prelude::*;

/// The grid of the analysis: 12 points per octave from 20 Hz to 20 kHz.
fn grid() -> Vec<f64> {
    (0..120).map(|i| 20.0 * 2f64.powf(f64::from(i) / 12.0)).collect()
}

/// A spectrum with the middle of the balanced corridor plus `shape`, side 9 dB under mid.
fn spectrum(shape: impl Fn(f64) -> f64) -> Spectrum {
    let level = |hz: f64| {
        // Below the music there is nothing.
        let middle = if hz < 35.0 { -30.0 } else { spec(Style::Balanced).corridor(hz).middle };
        middle - 30.0 + shape(hz)
    };
    let hz = grid();
    Spectrum {
        mid: hz.iter().map(|f| level(*f) as f32).collect(),
        side: hz.iter().map(|f| level(*f) as f32 - 9.0).collect(),
        hz: hz.iter().map(|f| *f as f32).collect(),
    }
}

/// A limiter ladder: transparent up to `touch` dB of gain, then every further decibel costs 0.9 dB at the 95th percentile.
fn ladder(loudness: f64, touch: f64) -> Vec<Rung> {
    (-6..=24)
        .map(|gain| {
            let gain = f64::from(gain);
            let over = (gain - touch).max(0.0);
            Rung {
                gain: Db(gain),
                loudness: Lufs(loudness + gain - 0.15 * over),
                median: Db(0.45 * over),
                p95: Db(0.9 * over),
                hits: None,
            }
        })
        .collect()
}

/// A healthy mix in the middle of everything: −18 LUFS, −4 dBTP, 14 dB PLR.
fn mix() -> Analysis {
    let spreads = [8.0, 5.0, 6.0, 9.0, 12.0];
    let medians = [-24.0, -26.0, -28.0, -38.0, -46.0];
    let edges = |band: usize| {
        let low = if band == 0 { 0.0 } else { BAND_EDGES[band - 1] };
        (Hz(low), Hz(BAND_EDGES.get(band).copied().unwrap_or(22_050.0)))
    };
    let mut analysis = Analysis {
        version: 1,
        rate: 44_100,
        frames: 44_100 * 180,
        bands: (0..BANDS)
            .map(|band| BandFigures {
                low: edges(band).0,
                high: edges(band).1,
                mid: Db(medians[band] + 1.0),
                side: Db(medians[band] + 1.0 - [20.0, 8.0, 6.0, 6.0, 8.0][band]),
                correlation: 0.7,
                spread: Db(spreads[band]),
                percentiles: [Db(medians[band] - 8.0), Db(medians[band]), Db(medians[band] + spreads[band])],
                crest: Db(12.0),
            })
            .collect(),
        spectrum: spectrum(|_| 0.0),
        ladder: ladder(-18.0, 3.0),
        ..Analysis::default()
    };
    analysis.loudness.integrated = Some(Lufs(-18.0));
    analysis.peaks.sample = Db(-4.1);
    analysis.peaks.true_peak = Dbtp(-4.0);
    analysis.peaks.plr = Some(Db(14.0));
    analysis.condition.bandwidth = Hz(20_000.0);
    analysis.condition.noise_floor = Some(Db(-90.0));
    analysis.stereo.correlation = 0.7;
    analysis.stereo.correlation_low = 0.95;
    analysis.stereo.mono_loss = Db(0.7);
    analysis.matrix = matrix(&analysis.bands);
    analysis
}

/// 20 ms blocks whose levels follow the percentiles, in a fixed shuffled order of slow swells.
fn matrix(bands: &[BandFigures]) -> BandMatrix {
    let blocks = 1_000;
    let energy = |figures: &BandFigures, side: f64| {
        let [p10, p50, p95] = figures.percentiles.map(|p| p.0);
        let points = [(0.1, p10), (0.5, p50), (0.95, p95)];
        (0..blocks)
            .map(|i| {
                let turn = f64::from(i) / 50.0 * std::f64::consts::TAU;
                let share = (0.5 + 0.5 * turn.sin()).clamp(0.01, 0.99);
                (Db(interpolate(&points, share)).power() * side) as f32
            })
            .collect::<Vec<f32>>()
    };
    let mut matrix = BandMatrix { hop: 0.02, ..BandMatrix::default() };
    matrix.mid = bands.iter().map(|b| energy(b, 0.9)).collect();
    matrix.side = bands.iter().map(|b| energy(b, 0.1)).collect();
    matrix
}

fn limited(mut analysis: Analysis) -> Analysis {
    analysis.clipping.already_limited = Some("a peak to loudness ratio of 7 dB".to_owned());
    analysis.loudness.integrated = Some(Lufs(-8.0));
    analysis.peaks.true_peak = Dbtp(0.0);
    analysis.peaks.plr = Some(Db(8.0));
    analysis.ladder = ladder(-8.0, -1.0);
    analysis
}

fn styled(style: Style) -> Settings {
    Settings { style, ..Settings::default() }
}

fn wish(lufs: f64) -> Settings {
    Settings { loudness: Loudness::Lufs(Lufs(lufs)), ..Settings::default() }
}

fn at(strength: u8) -> Settings {
    Settings { strength: Strength::all(strength), ..Settings::default() }
}

fn target(plan: &Plan) -> f64 {
    match plan.goal {
        Goal::Loudness { target, .. } => target.0,
        ref other => panic!("no loudness goal but {other:?}"),
    }
}

/// Largest minus smallest value: moves without the level.
fn travel(curve: &[(Hz, Db)]) -> f64 {
    let (low, high) = curve.iter().fold((0.0f64, 0.0f64), |(a, b), p| (a.min(p.1.0), b.max(p.1.0)));
    high - low
}

/// A hump of `db` at `hz`, an octave wide.
fn hump(hz: f64, db: f64) -> impl Fn(f64) -> f64 {
    move |f| db * (-(f / hz).log2().powi(2) / 0.5).exp()
}

fn with_spectrum(shape: impl Fn(f64) -> f64) -> Analysis {
    Analysis { spectrum: spectrum(shape), ..mix() }
}

fn texts(plan: &Plan, aspect: Aspect) -> String {
    plan.reasons.iter().filter(|r| r.aspect == aspect).map(|r| r.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_mix_that_is_right_is_only_made_louder() {
    let plan = plan(&mix(), &Settings::default(), None).unwrap();
    assert!(plan.tone.mid.is_empty(), "{:?}", plan.tone.mid);
    assert!(plan.tone.width.is_empty() && plan.dynamics.is_empty() && plan.saturation.is_none());
    assert!(target(&plan) > -14.0 && target(&plan) <= -11.0);
    plan.validate().unwrap();
}

#[test]
fn nothing_asked_is_the_identity() {
    let plan = plan(&with_spectrum(hump(250.0, 9.0)), &at(0), None).unwrap();
    assert_eq!(plan, Plan::identity());
}

#[test]
fn a_number_is_met_at_strength_zero_and_the_loudness_left_alone_at_zero() {
    let quiet = plan(&mix(), &Settings { strength: Strength::all(0), ..wish(-14.0) }, None).unwrap();
    assert_eq!(target(&quiet), -14.0);
    assert!(quiet.tone.mid.is_empty() && quiet.dynamics.is_empty());
    let strength = Strength::all(50).only(Aspect::Tone);
    let keep = plan(&with_spectrum(hump(250.0, 9.0)), &Settings { strength, ..wish(-14.0) }, None).unwrap();
    assert_eq!(keep.goal, Goal::Keep);
    assert!(keep.limiter.is_some() && keep.clipper.is_none() && !keep.tone.mid.is_empty());
    assert!(keep.dynamics.is_empty() && keep.tone.width.is_empty());
}

#[test]
fn the_same_analysis_gives_the_same_plan() {
    let analysis = with_spectrum(hump(3_000.0, 7.0));
    for style in Style::ALL {
        assert_eq!(plan(&analysis, &styled(style), None).unwrap(), plan(&analysis, &styled(style), None).unwrap());
    }
}

#[test]
fn a_hump_is_lowered_towards_the_corridor_and_the_rest_is_left() {
    let plan = plan(&with_spectrum(hump(250.0, 7.0)), &Settings::default(), None).unwrap();
    let gain = |hz| gain_at(&plan.tone.mid, hz);
    let elsewhere = gain(4_000.0);
    println!("250 Hz {:.2} dB, 4 kHz {elsewhere:.2} dB, 8 kHz {:.3} dB", gain(250.0), gain(8_000.0));
    assert!(gain(250.0) - elsewhere < -1.0 && gain(250.0) >= -3.0);
    assert!(
        elsewhere.abs() < 1.2 && (gain(8_000.0) - elsewhere).abs() < 0.03,
        "untouched regions only share the level"
    );
    let text = texts(&plan, Aspect::Tone);
    assert!(text.contains("around 2") && text.contains("low mids are stronger than on most records"), "{text}");
    assert_eq!(plan.reasons.iter().filter(|r| r.aspect == Aspect::Tone).count(), 1, "one hump, one reason: {text}");
    let figures = plan.reasons.iter().find(|r| r.aspect == Aspect::Tone).unwrap();
    // What is told is what is done: the largest cut of the curve.
    let deepest = plan.tone.mid.iter().map(|point| point.1.0).fold(0.0, f64::min);
    assert!(figures.before.is_none() && (figures.after.unwrap() - deepest).abs() < 0.06);
    assert!(text.contains(&format!("took {}", Db(-deepest))), "{text}, {deepest}");
}

#[test]
fn tone_keeps_the_loudness() {
    let analysis = with_spectrum(hump(1_000.0, 9.0));
    let plan = plan(&analysis, &at(100), None).unwrap();
    let (mut before, mut after) = (0.0, 0.0);
    for (hz, (mid, side)) in analysis.spectrum.hz.iter().zip(analysis.spectrum.mid.iter().zip(&analysis.spectrum.side))
    {
        let heard = if *hz > 60.0 { 1.0 } else { 0.0 } * if *hz > 1_500.0 { 2.0 } else { 1.0 };
        let power = heard * (Db(f64::from(*mid)).power() + Db(f64::from(*side)).power());
        before += power;
        after += power * Db(gain_at(&plan.tone.mid, f64::from(*hz))).power();
    }
    let change = Db::from_power(after / before).0;
    println!("a hump of 9 dB at 1 kHz removed changes the level by {change:.2} dB");
    // The cruder weighting of this test (60 Hz and 1.5 kHz steps) and the smoothing differ by that much.
    assert!(change.abs() < 0.5);
}

#[test]
fn bounds_slopes_and_the_agreement_of_mid_and_side_hold_at_every_strength() {
    let wild = [hump(120.0, 25.0), hump(2_000.0, -30.0), hump(6_000.0, 30.0), hump(60.0, -25.0)];
    for shape in wild {
        let analysis = with_spectrum(shape);
        let mut last = 0.0;
        for strength in [0, 10, 25, 50, 75, 100] {
            let plan = plan(&analysis, &at(strength), None).unwrap();
            // 8 dB are never reached: the correction bends with the deviation.
            let bound = 8.0 * f64::from(strength) / 100.0;
            for (curve, other) in [(&plan.tone.mid, &plan.tone.side), (&plan.tone.side, &plan.tone.mid)] {
                for (a, b) in curve.iter().zip(curve.iter().skip(1)) {
                    // Curve values are rounded to 0.01 dB.
                    assert!((b.1.0 - a.1.0).abs() <= 6.0 * (b.0.0 / a.0.0).log2() + 0.021, "steep at {}", a.0);
                }
                assert!(curve.iter().all(|p| p.1.0.abs() <= bound + 0.01), "strength {strength}");
                assert!(curve.iter().zip(other.iter()).all(|(a, b)| (a.1.0 - b.1.0).abs() <= 2.0));
            }
            assert!(plan.tone.mid.iter().all(|p| p.1.0.abs() <= plan.tone.bound.0));
            let moved = travel(&plan.tone.mid);
            assert!(moved >= last - 0.05, "strength {strength} moves {moved}, less than before {last}");
            last = moved;
        }
    }
}

#[test]
fn a_limited_mix_is_touched_with_one_finger() {
    for style in Style::ALL {
        let analysis = limited(with_spectrum(hump(250.0, 12.0)));
        let plan = plan(&analysis, &Settings { strength: Strength::all(100), ..styled(style) }, None).unwrap();
        assert!(
            plan.dynamics.is_empty() && plan.saturation.is_none() && plan.clipper.is_none() && plan.leveler.is_none()
        );
        assert!(plan.tone.mid.iter().all(|p| p.1.0.abs() <= 3.0), "{style}");
        // Peaks at 0 dBTP, ceiling −1: −9 LUFS costs nothing, and a decibel of limiting makes −8.
        assert!(target(&plan) <= -8.0 && target(&plan) >= -9.1, "{style}: {}", target(&plan));
        assert!(plan.reasons.iter().any(|r| r.text.contains("export")), "the request for an unlimited export");
    }
    let stopped = plan(&limited(mix()), &wish(-6.0), None).unwrap();
    assert!(matches!(stopped.goal, Goal::Loudness { wished: Some(Lufs(-6.0)), target: Lufs(t) } if t <= -7.9));
    let insisted = plan(&limited(mix()), &Settings { insist: true, ..wish(-6.0) }, None).unwrap();
    assert_eq!(target(&insisted), -6.0);
}

#[test]
fn nothing_is_boosted_beyond_the_bandwidth_or_into_the_noise() {
    let dull = |hz: f64| if hz > 8_000.0 { -11.0 } else { 0.0 };
    let top = |analysis: &Analysis| {
        let plan = plan(analysis, &at(100), None).unwrap();
        gain_at(&plan.tone.mid, 13_000.0) - gain_at(&plan.tone.mid, 1_000.0)
    };
    let open = with_spectrum(dull);
    let mut narrow = open.clone();
    narrow.condition.bandwidth = Hz(11_000.0);
    let mut noisy = open.clone();
    noisy.condition.noise_floor = Some(Db(-49.0));
    println!("boost at 13 kHz: open {:.2}, narrow {:.2}, noisy {:.2} dB", top(&open), top(&narrow), top(&noisy));
    assert!(top(&open) > 1.0);
    assert!(top(&narrow) < 0.01 && top(&noisy) < 0.01);
    // A region that is not there at all is not "too quiet".
    let absent = with_spectrum(|hz| if hz < 150.0 { -40.0 } else { 0.0 });
    let plan = plan(&absent, &at(100), None).unwrap();
    let gain = |hz| gain_at(&plan.tone.mid, hz);
    println!("bass that is not there: {:.2} dB at 60 Hz, {:.2} dB at the edge", gain(60.0), gain(140.0));
    assert!((gain(60.0) - gain(3_000.0)).abs() < 0.5 && gain(140.0) < 2.5, "no bass is made from nothing");
}

#[test]
fn rumble_and_dc_are_cut_below_the_music() {
    let subsonic = |analysis: &Analysis| plan(analysis, &Settings::default(), None).unwrap().tone.subsonic;
    assert_eq!(subsonic(&mix()), None);
    let rumble = with_spectrum(|hz| if hz < 22.0 { 40.0 } else { 0.0 });
    assert!(subsonic(&rumble).is_some_and(|c| (20.0..=25.0).contains(&c.0)));
    let mut dc = mix();
    dc.condition.dc = [0.02, 0.0];
    assert_eq!(subsonic(&dc), Some(Hz(20.0)));
}

#[test]
fn the_end_of_the_band_is_taken_out_where_there_is_something() {
    let cut = |level: f64| {
        let mut analysis = mix();
        analysis.condition.ultrasonic = Db(level);
        let plan = plan(&analysis, &Settings::default(), None).unwrap();
        (plan.tone.ultrasonic, plan.reasons.iter().any(|reason| reason.text.contains("above 20 kHz")))
    };
    assert_eq!([cut(-70.0), cut(-40.0), cut(0.0)], [(false, false), (true, true), (false, false)]);

    // Where nothing else is filtered, the music below stays where it is.
    let mut analysis = mix();
    analysis.condition.ultrasonic = Db(-40.0);
    let warm = |strength: Strength| Settings { strength, style: Style::Warm, ..Settings::default() };
    let only = |strength: Strength| plan(&analysis, &warm(strength), None).unwrap().tone;
    let level = Strength { tone: Some(0), dynamics: Some(0), width: Some(0), ..Strength::all(50) };
    let (level, all) = (only(level), only(Strength::all(100)));
    assert!(level.mid.is_empty() && level.ultrasonic && level.phase == Phase::Linear);
    assert!(!all.is_mid_flat() && all.phase == Phase::Minimum);
}

#[test]
fn an_uneven_band_is_held_and_keeps_its_average() {
    let mut analysis = mix();
    let figures = &mut analysis.bands[0];
    figures.spread = Db(16.0);
    figures.percentiles = [Db(-40.0), Db(-30.0), Db(-14.0)];
    analysis.matrix = matrix(&analysis.bands);
    let mut last = 0.0;
    for strength in [40, 60, 80, 100] {
        let plan = plan(&analysis, &at(strength), None).unwrap();
        let band = plan.dynamics[0];
        println!("strength {strength}: {band:?}");
        assert_eq!(plan.dynamics.len(), BANDS);
        assert!(plan.dynamics[1..].iter().all(|b| b.ratio == 1.0 && b.makeup.0 == 0.0), "even bands stay off");
        assert!((1.05..=2.5).contains(&band.ratio) && band.attack.0 >= 0.020 && band.release.0 >= 0.150);
        assert!(band.threshold.0 > -30.0 && band.threshold.0 < -14.0, "between the median and the loud moments");
        assert!(band.max_reduction.0 >= last);
        last = band.max_reduction.0;
        // Makeup from a simulation of our own, without attack and release: the average loudness stays within half a decibel.
        let (mut before, mut after) = (0.0, 0.0);
        for (m, s) in analysis.matrix.mid[0].iter().zip(&analysis.matrix.side[0]) {
            let level = Db::from_power(f64::from(m + s)).0;
            before += 10f64.powf(0.03 * level);
            after += 10f64.powf(0.03 * (level + band.makeup.0 - reduction(&band, level)));
        }
        let change = (after / before).log10() / 0.03;
        println!("  average moves by {change:+.2} dB");
        assert!(change.abs() < 0.5 || band.makeup.0 == 2.0);
        assert!(texts(&plan, Aspect::Dynamics).contains("low end was uneven"));
    }
    assert!(plan(&analysis, &styled(Style::Gentle), None).unwrap().dynamics.iter().all(|b| b.max_reduction.0 <= 2.0));
}

#[test]
fn the_knee_is_continuous() {
    let band = BandDynamics {
        threshold: Db(-20.0),
        ratio: 2.0,
        knee: Db(6.0),
        attack: Seconds(0.02),
        release: Seconds(0.2),
        makeup: Db(0.0),
        max_reduction: Db(4.0),
    };
    assert_eq!(reduction(&band, -23.1), 0.0);
    assert!((reduction(&band, -17.0) - 1.5).abs() < 1e-9);
    assert_eq!(reduction(&band, 10.0), 4.0);
    for i in 0..4_000 {
        let level = -30.0 + f64::from(i) * 0.01;
        assert!(reduction(&band, level + 0.01) - reduction(&band, level) <= 0.005 + 1e-9);
    }
}

#[test]
fn saturation_belongs_to_the_styles_that_want_it() {
    let of = |style| plan(&mix(), &styled(style), None).unwrap().saturation;
    assert!(of(Style::Warm).is_some_and(|s| s.even > s.odd && (s.reference.0 + 4.1).abs() < 0.01));
    assert!(of(Style::Balanced).is_none() && of(Style::Gentle).is_none() && of(Style::Open).is_none());
}

#[test]
fn width_opens_what_is_narrow_and_never_mono() {
    let mut narrow = mix();
    for band in &mut narrow.bands[1..] {
        band.side = Db(band.mid.0 - 18.0);
    }
    let wider = plan(&narrow, &styled(Style::Open), None).unwrap();
    let side = |plan: &Plan, hz| gain_at(&plan.tone.width, hz);
    assert!(side(&wider, 4_000.0) > 0.5 && side(&wider, 4_000.0) <= 2.0);
    assert_eq!(side(&wider, 60.0), 0.0, "the low end is never widened");
    assert!(texts(&wider, Aspect::Width).contains("more side"));

    let mut nearly_mono = narrow.clone();
    for band in &mut nearly_mono.bands {
        band.side = Db(band.mid.0 - 41.0);
    }
    assert!(plan(&nearly_mono, &styled(Style::Open), None).unwrap().tone.width.is_empty());
    let mut mono = narrow.clone();
    mono.stereo.mono = true;
    assert!(plan(&mono, &styled(Style::Open), None).unwrap().tone.width.is_empty());
    let mut fragile = narrow;
    fragile.stereo.mono_loss = Db(2.6);
    assert!(plan(&fragile, &styled(Style::Open), None).unwrap().tone.width.is_empty());
}

#[test]
fn a_silent_channel_stays_silent() {
    let mut single = mix();
    // Left alone: side is as strong as mid, which any style would call too wide.
    for band in &mut single.bands {
        band.side = band.mid;
    }
    single.stereo.balance = Db(120.0);
    for style in Style::ALL {
        let plan = plan(&single, &styled(style), None).unwrap();
        assert!(plan.tone.width.is_empty() && plan.tone.mid == plan.tone.side, "{style}");
    }
    single.stereo.balance = Db(10.0);
    assert!(!plan(&single, &styled(Style::Balanced), None).unwrap().tone.width.is_empty(), "the control");
}

#[test]
fn a_torn_low_end_is_pulled_together() {
    let mut torn = mix();
    torn.bands[0].side = Db(torn.bands[0].mid.0 - 1.0);
    torn.stereo.correlation_low = 0.29;
    let plan_ = plan(&torn, &Settings::default(), None).unwrap();
    let cut = gain_at(&plan_.tone.width, 50.0);
    assert!((-6.0..=-5.0).contains(&cut), "{cut}");
    torn.stereo.correlation_low = 0.31;
    assert!(plan(&torn, &Settings::default(), None).unwrap().tone.width.first().is_none_or(|p| p.1.0 == 0.0));
}

#[test]
fn styles_stand_in_their_order_of_loudness_and_within_their_budgets() {
    let targets: Vec<f64> = Style::ALL.iter().map(|s| target(&plan(&mix(), &styled(*s), None).unwrap())).collect();
    println!("gentle … loud: {targets:?}");
    assert!(targets[0] < targets[1] && targets[5] > targets[1]);
    // A mix with huge peaks: the budget, not the nominal loudness, decides.
    let mut spiky = mix();
    spiky.ladder = ladder(-18.0, -2.0);
    spiky.peaks.true_peak = Dbtp(1.0);
    spiky.peaks.plr = Some(Db(19.0));
    for style in Style::ALL {
        assert!(
            target(&plan(&spiky, &styled(style), None).unwrap())
                <= targets[Style::ALL.iter().position(|s| *s == style).unwrap()]
        );
    }
}

#[test]
fn the_peak_to_loudness_ratio_has_a_floor() {
    let mut dense = mix();
    dense.ladder = (-6..=24)
        .map(|g| Rung { gain: Db(f64::from(g)), loudness: Lufs(-18.0 + f64::from(g)), ..Rung::default() })
        .collect();
    for style in Style::ALL {
        let plan = plan(&dense, &styled(style), None).unwrap();
        assert!(-1.0 - target(&plan) >= spec(style).plr.min(13.5) - 0.01, "{style}");
    }
    let squashed =
        Analysis { peaks: crate::analyse::Peaks { plr: Some(Db(9.2)), true_peak: Dbtp(-9.2), ..dense.peaks }, ..dense };
    assert!(target(&plan(&squashed, &styled(Style::Open), None).unwrap()) <= -1.0 - 8.7 + 0.01);
}

#[test]
fn a_mix_louder_than_the_style_is_not_turned_down() {
    let mut loud = mix();
    loud.loudness.integrated = Some(Lufs(-12.0));
    loud.peaks.true_peak = Dbtp(-1.0);
    loud.peaks.plr = Some(Db(11.0));
    loud.ladder = ladder(-12.0, 0.0);
    assert_eq!(target(&plan(&loud, &styled(Style::Gentle), None).unwrap()), -12.0);
}

#[test]
fn numbers_are_met_or_the_stop_is_announced() {
    for lufs in [-30.0, -23.0, -16.25, -14.0] {
        let plan = plan(&mix(), &wish(lufs), None).unwrap();
        assert_eq!(plan.goal, Goal::Loudness { target: Lufs(lufs), wished: None });
    }
    let quiet = plan(&mix(), &wish(-23.0), None).unwrap();
    assert!(quiet.clipper.is_none() && quiet.leveler.is_none());
    assert!(texts(&quiet, Aspect::Loudness).contains("nothing to do"));
    // What the masked clipper takes is heard less, but not without end.
    let mut dynamic = mix();
    dynamic.loudness.integrated = Some(Lufs(-22.0));
    dynamic.ladder = ladder(-22.0, -1.0);
    let stopped = plan(&dynamic, &wish(-5.0), None).unwrap();
    let Goal::Loudness { target: reached, wished } = stopped.goal else { panic!() };
    assert_eq!(wished, Some(Lufs(-5.0)));
    println!("−5 LUFS wished, {reached} reached");
    assert!(reached.0 < -5.5);
    assert!(texts(&stopped, Aspect::Loudness).contains("we stop at"));
    assert!(stopped.masked.is_some() && stopped.clipper.is_none());
    let fast = plan(&dynamic, &Settings { limiter: Limiting::Fast, ..wish(-5.0) }, None).unwrap();
    assert!(fast.clipper.is_some_and(|c| c.max_reduction.0 <= 3.0) && fast.masked.is_none());
    assert!(target(&fast) <= reached.0, "more is asked of the chain that takes less");
    let insisted = plan(&dynamic, &Settings { insist: true, ..wish(-5.0) }, None).unwrap();
    assert_eq!(insisted.goal, Goal::Loudness { target: Lufs(-5.0), wished: None });
    // Asking for more never gives less.
    let mut last = -100.0;
    for tenths in -300..-50 {
        let reached = target(&plan(&mix(), &wish(f64::from(tenths) / 10.0), None).unwrap());
        assert!(reached >= last - 1e-9);
        last = reached;
    }
}

#[test]
fn a_lower_ceiling_costs_loudness() {
    let at = |ceiling| {
        target(&plan(&mix(), &Settings { ceiling: Some(Dbtp(ceiling)), ..styled(Style::Loud) }, None).unwrap())
    };
    assert!(at(-3.0) < at(-1.0));
    let given = plan(&mix(), &Settings { ceiling: Some(Dbtp(-2.5)), ..Settings::default() }, None).unwrap();
    assert_eq!(given.limiter.unwrap().ceiling, Dbtp(-2.5));
}

#[test]
fn destinations_set_number_and_ceiling_and_say_what_happens_there() {
    let to = |key: &str| {
        plan(&mix(), &Settings { loudness: Loudness::Destination(key.to_owned()), ..Settings::default() }, None)
    };
    for place in destinations() {
        let plan = to(place.key).unwrap();
        assert_eq!(plan.limiter.unwrap().ceiling, place.ceiling);
        if let (Some(wanted), Goal::Loudness { target, wished }) = (place.target, plan.goal) {
            assert!(target == wanted || wished == Some(wanted), "{}", place.key);
        }
        assert!(texts(&plan, Aspect::Loudness).contains(place.note), "{}", place.key);
    }
    let error = to("myspace").unwrap_err();
    assert_eq!(error.code(), "plan.unknown_destination");
    assert!(error.to_string().contains("spotify"));
    let louder = plan(&mix(), &wish(-11.0), None).unwrap();
    assert!(texts(&louder, Aspect::Loudness).contains("turn it down by 3.0"));
}

#[test]
fn without_a_loudness_the_peak_is_the_goal() {
    let mut short = mix();
    short.loudness.integrated = None;
    short.peaks.plr = None;
    assert_eq!(plan(&short, &wish(-14.0), None).unwrap().goal, Goal::Peak { target: Dbtp(-1.0) });
}

#[test]
fn a_reference_is_followed_by_its_amounts() {
    let bright = |db: f64| move |hz: f64| db * ((hz / 1_000.0).log2() / 4.0).clamp(-1.0, 1.0);
    let mut record = with_spectrum(bright(6.0));
    record.loudness.integrated = Some(Lufs(-10.0));
    record.peaks.true_peak = Dbtp(0.0);
    for band in &mut record.bands[1..] {
        band.side = Db(band.mid.0 - 3.0);
    }
    // 6 dB wider than the mix, above the bass.
    let Spectrum { hz, side, .. } = &mut record.spectrum;
    for (_, side) in hz.iter().zip(side).filter(|(hz, _)| **hz > 120.0) {
        *side += 6.0;
    }
    let with = |amounts: ReferenceAmounts| {
        plan(&mix(), &Settings { reference: amounts, ..Settings::default() }, Some(&Target::from(&record))).unwrap()
    };
    let none = with(ReferenceAmounts::all(0, 0, 0, 0));
    assert_eq!(none, plan(&mix(), &Settings::default(), None).unwrap());
    let mut last = 0.0;
    for amount in [25, 50, 75, 100] {
        let plan = with(ReferenceAmounts::all(amount, 0, 0, 0));
        let tilt = gain_at(&plan.tone.mid, 10_000.0) - gain_at(&plan.tone.mid, 100.0);
        println!("amount {amount}: 100 Hz to 10 kHz {tilt:+.2} dB (the record has +10)");
        assert!(tilt > last && tilt < 10.5);
        last = tilt;
        // Up to 50 the limits are those of ten and six decibels per whole amount; from there on they widen.
        let bound = if amount <= 50 { f64::from(amount) / 100.0 * 10.0 } else { 24.0 };
        assert!(plan.tone.mid.iter().all(|(_, db)| db.0.abs() <= bound));
    }
    assert!(last > 6.0);
    let whole = with(ReferenceAmounts::all(100, 100, 100, 100));
    // Its peaks are 1.1 dB higher than ours may be: half of that is taken from the loudness.
    assert_eq!(target(&whole), -10.6);
    assert!(gain_at(&whole.tone.width, 1_000.0) > 0.5);
    let asked = Settings { loudness: Loudness::Lufs(Lufs(-14.0)), ..Settings::default() };
    assert_eq!(target(&plan(&mix(), &asked, Some(&Target::from(&record))).unwrap()), -14.0);
}

#[test]
fn what_is_left_of_a_cut_song_is_not_held_against_a_record() {
    let target = Target::from(&with_spectrum(hump(250.0, 9.0)));
    let closing = |seconds: f64| {
        let edit = Edit { trim_start: Seconds(seconds), ..Edit::default() };
        let settings = Settings { edit, ..Settings::default() };
        let plan = plan(&mix(), &settings, Some(&target)).unwrap();
        Closing::new(&mix(), &plan, &settings, Some(&target))
    };
    assert!(closing(0.0).is_some() && closing(10.0).is_some());
    assert_eq!(closing(60.0), None);
}

#[test]
fn a_record_that_is_the_mix_changes_nothing() {
    let plan = plan(&mix(), &Settings::default(), Some(&Target::from(&mix()))).unwrap();
    assert!(plan.tone.mid.is_empty() && plan.tone.width.is_empty() && plan.dynamics.is_empty());
}

#[test]
fn the_empty_top_of_a_lossy_reference_is_not_copied() {
    let mut record = with_spectrum(|hz| if hz > 9_000.0 { -80.0 } else { 0.0 });
    record.condition.bandwidth = Hz(9_000.0);
    let plan = plan(&mix(), &Settings::default(), Some(&Target::from(&record))).unwrap();
    assert!(plan.tone.mid.iter().all(|p| p.1.0.abs() < 0.1), "{:?}", plan.tone.mid);
}

#[test]
fn settings_out_of_range_are_refused_with_the_range() {
    let code = |settings: Settings| plan(&mix(), &settings, None).unwrap_err().code();
    assert_eq!(code(wish(-3.0)), "plan.out_of_range");
    assert_eq!(code(wish(f64::NAN)), "plan.out_of_range");
    assert_eq!(code(Settings { ceiling: Some(Dbtp(0.5)), ..Settings::default() }), "plan.out_of_range");
    assert_eq!(code(at(101)), "plan.out_of_range");
    let cut =
        |start: f64| Settings { edit: Edit { trim_start: Seconds(start), ..Edit::default() }, ..Settings::default() };
    assert_eq!(code(cut(-1.0)), "plan.out_of_range");
    assert_eq!(code(cut(180.0)), "plan.edit_too_long");
    assert!(plan(&mix(), &cut(170.0), None).is_ok());
    let error = plan(&mix(), &wish(-3.0), None).unwrap_err().to_string();
    assert!(error.contains("-3 LUFS") && error.contains("-40 to -5"), "{error}");
}

#[test]
fn a_saved_plan_comes_back_and_a_hostile_one_does_not() {
    let mut analysis = with_spectrum(hump(250.0, 9.0));
    analysis.bands[0].percentiles = [Db(-40.0), Db(-30.0), Db(-14.0)];
    analysis.matrix = matrix(&analysis.bands);
    let fast = Settings { strength: Strength::all(90), limiter: Limiting::Fast, ..styled(Style::Loud) };
    let plan = plan(&analysis, &fast, None).unwrap();
    let text = plan.to_json();
    assert_eq!(Plan::from_json(&text).unwrap(), plan);
    assert_eq!(Plan::from_json(&Plan::identity().to_json()).unwrap(), Plan::identity());

    let code = |text: &str| Plan::from_json(text).unwrap_err().code();
    assert_eq!(code("{"), "plan.bad_json");
    assert_eq!(code(&" ".repeat(2 << 20)), "plan.bad_json");
    assert_eq!(code(r#"{"version":99}"#), "plan.version");
    let edit = |pointer: &str, value: serde_json::Value| {
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        code(&json.to_string())
    };
    for (pointer, value) in [
        ("/tone/mid/3/1", serde_json::json!(400.0)),
        ("/tone/mid/3/0", serde_json::json!(1.5)),
        ("/tone/bound", serde_json::json!(-1.0)),
        ("/dynamics/0/ratio", serde_json::json!(0.0)),
        ("/dynamics/0/attack", serde_json::json!(0.0)),
        ("/dynamics/0/release", serde_json::json!(1e9)),
        ("/clipper/max_reduction", serde_json::json!(9.0)),
        ("/limiter/lookahead", serde_json::json!(3600.0)),
        ("/limiter/ceiling", serde_json::json!(6.0)),
        ("/goal/loudness/target", serde_json::json!(12.0)),
        ("/edit/trim_start", serde_json::json!(-1.0)),
    ] {
        assert_eq!(edit(pointer, value), "plan.invalid", "{pointer}");
    }
    assert_eq!(edit("/tone/mid/3/1", serde_json::json!(null)), "plan.bad_json");
    assert_eq!(edit("/style", serde_json::json!("vinyl")), "plan.bad_json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut many = json.clone();
    many["tone"]["mid"] = (0..5_000).map(|i| serde_json::json!([20.0 + f64::from(i), 0.0])).collect();
    assert_eq!(code(&many.to_string()), "plan.invalid");
    assert!(plan.fits(Seconds(1.0)).is_ok());
}

#[test]
fn reasons_are_sentences_with_units() {
    let mut analysis = with_spectrum(|hz| hump(90.0, 8.0)(hz) + hump(3_000.0, 8.0)(hz) - hump(12_000.0, 12.0)(hz));
    analysis.bands[0].percentiles = [Db(-40.0), Db(-30.0), Db(-14.0)];
    analysis.matrix = matrix(&analysis.bands);
    for style in Style::ALL {
        let plan = plan(&analysis, &Settings { strength: Strength::all(80), ..styled(style) }, None).unwrap();
        println!("{style}");
        for reason in &plan.reasons {
            println!(
                "  {:<9} {}  [{:?} → {:?} {:?}]",
                reason.aspect.name(),
                reason.text,
                reason.before,
                reason.after,
                reason.unit
            );
            assert!(
                reason.text.ends_with('.') && !reason.text.contains('!') && !reason.text.contains("  "),
                "{}",
                reason.text
            );
            assert!(!reason.text.contains("NaN") && !reason.text.contains("inf"), "{}", reason.text);
            assert_eq!(reason.before.or(reason.after).is_some(), reason.unit.is_some());
        }
        assert!(plan.reasons.iter().filter(|r| r.aspect == Aspect::Tone).count() <= 6);
    }
    assert!(REGIONS.windows(2).all(|pair| pair[0].high < pair[1].high));
}

fn made_of(kind: Material) -> Analysis {
    let mut analysis = mix();
    analysis.material.weights = MaterialWeights::only(kind);
    analysis
}

#[test]
fn the_kind_of_music_decides_the_default_loudness() {
    let of = |kind| target(&plan(&made_of(kind), &Settings::default(), None).unwrap());
    let plain = target(&plan(&mix(), &Settings::default(), None).unwrap());
    println!("{:?}, unknown {plain}", Material::ALL.map(|kind| (kind, of(kind))));
    assert_eq!([of(Material::Speech), of(Material::Acoustic)], [-16.0, -15.0]);
    assert!((-14.6..=-14.0).contains(&of(Material::Classical)));
    assert_eq!([of(Material::Band), of(Material::Electronic)], [plain; 2]);
    // Wide dynamics of a classical recording go down to −18.
    let mut wide = made_of(Material::Classical);
    (wide.peaks.true_peak, wide.peaks.plr) = (Dbtp(-1.0), Some(Db(19.0)));
    wide.loudness.integrated = Some(Lufs(-20.0));
    wide.ladder = ladder(-20.0, 0.0);
    let quiet = target(&plan(&wide, &Settings::default(), None).unwrap());
    assert!((-19.6..=-18.0).contains(&quiet), "{quiet}");
    // A kind that was named is the kind; a number that was named is the number; a style that was named counts.
    let named = Settings { material: Some(Material::Electronic), ..Settings::default() };
    assert_eq!(target(&plan(&made_of(Material::Speech), &named, None).unwrap()), plain);
    assert_eq!(target(&plan(&made_of(Material::Speech), &wish(-12.0), None).unwrap()), -12.0);
    let loud = target(&plan(&made_of(Material::Speech), &styled(Style::Loud), None).unwrap());
    assert!(loud > -15.5, "{loud}");
}

#[test]
fn what_the_kind_of_music_asks_for_never_jumps() {
    // From each kind to each other, everything else equal.
    for from in Material::ALL {
        for to in Material::ALL {
            let mut last: Option<f64> = None;
            for step in 0..=100 {
                let t = f64::from(step) / 100.0;
                let mut analysis = with_spectrum(hump(250.0, 9.0));
                let blend =
                    |kind| (1.0 - t) * MaterialWeights::only(from).of(kind) + t * MaterialWeights::only(to).of(kind);
                analysis.material.weights = MaterialWeights {
                    speech: blend(Material::Speech),
                    classical: blend(Material::Classical),
                    acoustic: blend(Material::Acoustic),
                    band: blend(Material::Band),
                    electronic: blend(Material::Electronic),
                    mastered: blend(Material::Mastered),
                };
                let plan = plan(&analysis, &Settings::default(), None).unwrap();
                let (loudness, tone) = (target(&plan), gain_at(&plan.tone.mid, 250.0));
                if let Some((before, curve)) = last.map(|v| (v, tone)) {
                    // Targets are rounded to 0.1 LU.
                    assert!((loudness - before).abs() <= 0.21, "{from} to {to} at {step}: {before} to {loudness}");
                    assert!(curve.is_finite());
                }
                last = Some(loudness);
            }
        }
    }
}

#[test]
fn the_budget_is_what_the_hits_lose() {
    // Sparse hits: in 95 of 100 blocks nothing happens, and every hit loses what it is over.
    let sparse = |kind| {
        let mut analysis = made_of(kind);
        for rung in &mut analysis.ladder {
            let over = Db((rung.gain.0 - 3.0).max(0.0));
            rung.loudness = Lufs(-18.0 + rung.gain.0 - 0.02 * over.0);
            (rung.median, rung.p95) = (Db(0.0), Db(0.0));
            rung.hits = Some(Hits { median: over, p90: over, p95: over, most: over, over_3: 0.02, steady: over });
        }
        analysis.peaks.plr = Some(Db(20.0));
        (target(&plan(&analysis, &Settings::default(), None).unwrap()), analysis)
    };
    let (acoustic, mut analysis) = sparse(Material::Acoustic);
    assert!(acoustic <= -15.0 + 1.5, "{acoustic}");
    analysis.material.weights = MaterialWeights::default();
    let spiky = plan(&analysis, &styled(Style::Loud), None).unwrap();
    assert!(target(&spiky) > acoustic + 3.0, "the control: a style named for dense music");
    let told = texts(&spiky, Aspect::Loudness);
    assert!(
        told.contains("off the loud hits") && told.contains("half of all hits") && told.contains("the largest"),
        "{told}"
    );
}

#[test]
fn what_was_done_takes_the_place_of_what_was_planned() {
    let mut plan = plan(&mix(), &styled(Style::Loud), None).unwrap();
    let count = plan.reasons.len();
    let reduction: Vec<f32> = (0..1_000).map(|i| if i % 4 == 0 { (i % 100) as f32 / 20.0 } else { 0.0 }).collect();
    plan.account(&Trace { reduction: reduction.clone(), ..Trace::default() });
    let hits = Hits::of(&reduction);
    let told = texts(&plan, Aspect::Loudness);
    assert!(told.contains(&format!("takes about {} off the loud hits", hits.p90)), "{told}");
    assert!(told.contains(&format!("the largest {}", hits.most)) && plan.reasons.len() == count);
    plan.validate().unwrap();
    plan.account(&Trace::default());
    assert!(texts(&plan, Aspect::Loudness).contains("nothing to do"));
}

#[test]
fn an_inverted_channel_is_named_in_the_account() {
    let mut analysis = mix();
    assert!(!texts(&plan(&analysis, &Settings::default(), None).unwrap(), Aspect::Width).contains("polarity"));
    analysis.stereo.inverted = true;
    let told = texts(&plan(&analysis, &Settings::default(), None).unwrap(), Aspect::Width);
    assert!(told.contains("polarity is inverted") && told.contains("fix: polarity"), "{told}");
}

#[test]
fn no_bass_is_added_to_speech_or_a_trio() {
    let light = |hz: f64| if hz < 200.0 { -14.0 * (200.0 / hz).log2().min(1.0) } else { 0.0 };
    let boost = |kind| {
        let mut analysis = with_spectrum(light);
        analysis.material.weights = MaterialWeights::only(kind);
        let plan = plan(&analysis, &Settings::default(), None).unwrap();
        [45.0, 60.0, 80.0].map(|hz| gain_at(&plan.tone.mid, hz) - gain_at(&plan.tone.mid, 1_000.0))
    };
    println!("electronic {:?}, speech {:?}", boost(Material::Electronic), boost(Material::Speech));
    assert!(boost(Material::Electronic).iter().any(|db| *db > 0.3), "the control");
    for kind in [Material::Speech, Material::Classical, Material::Acoustic] {
        assert!(boost(kind).iter().all(|db| *db < 0.1), "{kind}: {:?}", boost(kind));
    }
}

#[test]
fn a_duller_mix_never_gets_less_treble() {
    let tilted = |slope: f64| move |hz: f64| slope * (hz / 1_000.0).log2();
    for strength in [25, 50] {
        for noise in [None, Some(Db(-60.0))] {
            let mut last = f64::INFINITY;
            // From dull to bright.
            for step in -12..=12 {
                let mut analysis = with_spectrum(tilted(f64::from(step) / 2.0));
                analysis.condition.noise_floor = noise;
                analysis.condition.noise_thirds = noise.map(|level| {
                    // Noise tilts with the mix.
                    std::array::from_fn(|n| {
                        let hz = crate::meter::third_octave(n);
                        (level.0 - 15.0 + f64::from(step) / 2.0 * (hz / 1_000.0).log2()) as f32
                    })
                });
                let plan = plan(&analysis, &at(strength), None).unwrap();
                let mids = gain_at(&plan.tone.mid, 1_000.0);
                let points = [3_000.0, 4_000.0, 6_000.0, 8_000.0, 12_000.0];
                let treble = points.iter().map(|hz| gain_at(&plan.tone.mid, *hz) - mids).sum::<f64>() / 5.0;
                let slope = f64::from(step) / 2.0;
                assert!(treble <= last + 0.1, "strength {strength}, slope {slope}: {treble:.2} after {last:.2}");
                last = treble;
            }
        }
    }
}

#[test]
fn different_mixes_get_different_corrections() {
    // Five mixes that all got 3.0 dB at strength 50.
    let shapes: [(&str, f64); 5] =
        [("a little", 5.0), ("some", 8.0), ("more", 11.0), ("much", 14.0), ("very much", 18.0)];
    let moved: Vec<f64> = shapes
        .iter()
        .map(|(_, db)| {
            let plan = plan(&with_spectrum(hump(3_000.0, *db)), &Settings::default(), None).unwrap();
            gain_at(&plan.tone.mid, 3_000.0) - gain_at(&plan.tone.mid, 300.0)
        })
        .collect();
    println!("{moved:?}");
    assert!(moved.windows(2).all(|pair| pair[1] < pair[0] - 0.1), "{moved:?}");
}

fn any_db() -> impl Strategy<Value = f64> {
    prop_oneof![6 => -140.0..20.0f64, 1 => Just(f64::NEG_INFINITY), 1 => Just(f64::NAN), 1 => Just(-150.0)]
}

prop_compose! {
    /// Any analysis a strange file, or a broken meter, might give.
    fn any_analysis()(
        levels in prop::collection::vec((any_db(), any_db()), 0..140),
        figures in prop::collection::vec((any_db(), any_db(), any_db(), any_db(), any_db(), -1.0..1.0f64), 0..8),
        rungs in prop::collection::vec((-30.0..40.0f64, any_db(), any_db(), any_db()), 0..20),
        loudness in prop::option::of(-70.0..5.0f64),
        (sample, peak) in (any_db(), any_db()),
        (noise, bandwidth) in (prop::option::of(any_db()), 0.0..96_000.0f64),
        (correlation, low, loss) in (-1.0..1.0f64, -1.0..1.0f64, 0.0..20.0f64),
        limited in any::<bool>(),
        blocks in prop::collection::vec(prop::collection::vec(0.0..2.0f32, 0..60), 0..6),
    ) -> Analysis {
        let mut analysis = Analysis { rate: 48_000, frames: 480_000, ..Analysis::default() };
        analysis.spectrum = Spectrum {
            hz: (0..levels.len()).map(|i| 15.0 * 2f32.powf(i as f32 / 12.0)).collect(),
            mid: levels.iter().map(|l| l.0 as f32).collect(),
            side: levels.iter().map(|l| l.1 as f32).collect(),
        };
        analysis.bands = figures
            .into_iter()
            .map(|(mid, side, a, b, c, correlation)| BandFigures {
                mid: Db(mid), side: Db(side), correlation, spread: Db(c - b), percentiles: [Db(a), Db(b), Db(c)], ..BandFigures::default()
            })
            .collect();
        analysis.ladder =
            rungs.into_iter().map(|(g, l, m, p)| Rung { gain: Db(g), loudness: Lufs(l), median: Db(m), p95: Db(p), hits: None }).collect();
        analysis.loudness.integrated = loudness.map(Lufs);
        analysis.peaks.sample = Db(sample);
        analysis.peaks.true_peak = Dbtp(peak);
        analysis.peaks.plr = loudness.map(|l| Db(peak - l));
        analysis.condition.noise_floor = noise.map(Db);
        analysis.condition.bandwidth = Hz(bandwidth);
        analysis.stereo.correlation = correlation;
        analysis.stereo.correlation_low = low;
        analysis.stereo.mono_loss = Db(loss);
        analysis.clipping.already_limited = limited.then(|| "flat tops".to_owned());
        analysis.matrix.hop = 0.02;
        analysis.matrix.mid = blocks.clone();
        analysis.matrix.side = blocks;
        analysis
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_analysis_gives_a_valid_plan(
        analysis in any_analysis(),
        record in prop::option::of(any_analysis()),
        style in prop::sample::select(Style::ALL.to_vec()),
        strength in 0..=100u8,
        loudness in prop_oneof![
            Just(Loudness::Style),
            (-40.0..-5.0f64).prop_map(|l| Loudness::Lufs(Lufs(l))),
            prop::sample::select(destinations().to_vec()).prop_map(|d| Loudness::Destination(d.key.to_owned())),
        ],
        insist in any::<bool>(),
    ) {
        let settings = Settings { style, strength: Strength::all(strength), loudness, insist, ..Settings::default() };
        let target = record.as_ref().map(Target::from);
        let plan = plan(&analysis, &settings, target.as_ref()).unwrap();
        prop_assert!(plan.validate().is_ok(), "{:?}", plan.validate());
        prop_assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan.clone());
        // Towards a record the limits widen with the amount, and with them those for a mix that was limited already.
        let limited = analysis.clipping.already_limited.is_some();
        let bound = match (&record, limited) {
            (Some(_), true) if strength <= 50 => 5.0,
            (Some(_), _) if strength <= 50 => 10.0,
            (Some(_), _) => 24.0,
            (None, true) => 3.0,
            (None, false) => {
                let strength = f64::from(strength) / 100.0;
                8.0 * strength + (1.4 * strength).min(1.0) * spec(style).strongest()
            }
        };
        prop_assert!(plan.tone.mid.iter().chain(&plan.tone.side).all(|p| p.1.0.abs() <= bound + 0.01));
        // Down to -24: what the tone would lose in mono is taken back as width.
        let width = if record.is_some() { -24.0..=12.0 } else { -6.0..=4.0 };
        prop_assert!(plan.tone.width.iter().all(|p| width.contains(&p.1.0)));
        // Whatever a master turns out to be, what it is corrected to can be rendered, and it ends.
        if let Some(mut closing) = Closing::new(&analysis, &plan, &settings, target.as_ref()) {
            let (mut corrected, mut rounds) = (plan.clone(), 0);
            while let Closed::Again(next) = closing.next(&corrected, &analysis, &record.as_ref().unwrap().spectrum) {
                prop_assert!(next.validate().is_ok(), "{:?}", next.validate());
                (corrected, rounds) = (*next, rounds + 1);
                prop_assert!(rounds <= 2);
            }
        }
        prop_assert!(plan.dynamics.iter().all(|b| (1.0..=2.5).contains(&b.ratio)));
        prop_assert!(analysis.clipping.already_limited.is_none() || plan.dynamics.is_empty());
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        prop_assert!(Plan::from_json(&text).is_err());
    }
}

/// Third octaves from 40 Hz to 16 kHz of a plan's tone.
fn thirds(plan: &Plan) -> Vec<(f64, f64)> {
    let hz = (0..27).map(|i| 40.0 * 2f64.powf(f64::from(i) / 3.0));
    hz.map(|hz| (hz, gain_at(&plan.tone.mid, hz))).collect()
}

/// Mean move of a region of a plan's tone, dB.
fn moved(plan: &Plan, region: usize) -> f64 {
    let low = if region == 0 { 0.0 } else { REGIONS[region - 1].high };
    let inside: Vec<f64> = thirds(plan)
        .into_iter()
        .filter(|(hz, _)| (low..REGIONS[region].high).contains(hz))
        .map(|(_, gain)| gain)
        .collect();
    inside.iter().sum::<f64>() / inside.len() as f64
}

/// Mixes that lie elsewhere than records do: tilted both ways, hollow, with a hump.
fn elsewhere() -> Vec<Analysis> {
    let tilt = |per_octave: f64| move |hz: f64| per_octave * (hz / 800.0).log2();
    let mut mixes: Vec<Analysis> = [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0].map(|slope| with_spectrum(tilt(slope))).to_vec();
    mixes.push(with_spectrum(hump(250.0, 8.0)));
    mixes.push(with_spectrum(hump(900.0, -7.0)));
    mixes.push(mix());
    mixes
}

#[test]
fn any_two_styles_can_be_told_apart() {
    let mixes = elsewhere();
    let rms = |one: &Plan, other: &Plan| {
        let apart: Vec<f64> = thirds(one).iter().zip(thirds(other)).map(|(a, b)| a.1 - b.1).collect();
        let mean = apart.iter().sum::<f64>() / apart.len() as f64;
        (apart.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / apart.len() as f64).sqrt()
    };
    for (i, one) in Style::ALL.into_iter().enumerate() {
        for other in &Style::ALL[..i] {
            let apart = mixes.iter().map(|mix| {
                let made = |style| plan(mix, &Settings { strength: Strength::all(60), ..styled(style) }, None).unwrap();
                rms(&made(one), &made(*other))
            });
            let apart: Vec<f64> = apart.collect();
            let clear = apart.iter().filter(|rms| **rms >= 1.3).count();
            // Gentle leaves alone what lies where records lie, and balanced has little to do there.
            let enough = if (*other, one) == (Style::Gentle, Style::Balanced) { 1 } else { 7 };
            assert!(clear >= enough, "{one} and {other}: {apart:.2?}");
        }
    }
}

#[test]
fn warm_never_gives_air_and_never_takes_body() {
    for analysis in elsewhere() {
        let mut last = (0.0, 0.0);
        for strength in [30, 60, 100] {
            let settings = Settings { style: Style::Warm, strength: Strength::all(strength), ..Settings::default() };
            let plan = plan(&analysis, &settings, None).unwrap();
            let (body, air) = (moved(&plan, 2), moved(&plan, 5));
            assert!(body > 0.0 && air < 0.0, "strength {strength}: low mids {body:+.2}, air {air:+.2} dB");
            assert!(body >= last.0 - 0.1 && air <= last.1 + 0.1, "strength {strength} does less than a lower one");
            last = (body, air);
        }
    }
}

#[test]
fn only_punchy_shapes_transients_and_no_limited_mix() {
    for style in Style::ALL {
        let settings = Settings { style, ..Settings::default() };
        assert_eq!(plan(&mix(), &settings, None).unwrap().transients.is_some(), style == Style::Punchy);
        assert_eq!(plan(&limited(mix()), &settings, None).unwrap().transients, None);
    }
    let depth = |strength: u8| {
        let settings = Settings { style: Style::Punchy, ..at(strength) };
        plan(&mix(), &settings, None).unwrap().transients.map_or(0.0, |transients| transients.depth.0)
    };
    assert!(depth(30) < depth(60) && depth(60) <= depth(100) && depth(0) == 0.0);
}

//! Masters that follow records: how near they come, that a bad record does not spoil them, and that nothing depends on chance.

use crate::databases::sqlite;
use crate::work::{Service, working};
use loopmaster::queue::Class;
use loopmaster_core::analyse::{Analysis, analyse_audio};
use loopmaster_core::decode::{Source, decode_file};
use loopmaster_core::encode::{Metadata, encode};
use loopmaster_core::master::{self as track, Clock, Extras, MasterRequest, Outcome};
use loopmaster_core::plan::{Goal, Plan, Target, plan};
use loopmaster_core::resample::resample;
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::{Aspect, Codec, Format, Limits, OutputRate, ReferenceAmounts, ReferenceUse, Strength};
use loopmaster_core::units::{Db, Hz};
use loopmaster_core::{Audio, Settings};
use loopmaster_gpu::renderer::Renderer;
use sqlx::Row;
use std::path::{Path, PathBuf};

const EXTRAS: Extras = Extras { report: false, preview: false, clean: false, force: true };

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.flac"))
}

fn excerpt(name: &str) -> Audio {
    decode_file(&path(name), &Limits::default()).unwrap().audio
}

fn analysed(audio: &Audio) -> Analysis {
    analyse_audio(audio, Source::default())
}

fn whole() -> Settings {
    let formats = vec![Format { codec: Codec::Wav32f, rate: None }];
    Settings { strength: Strength::all(100), formats, ..Settings::default() }
}

/// Third octaves of mid and side together from 40 Hz to 16 kHz, by mean power, their mean removed.
fn tone(audio: &Audio) -> Vec<f64> {
    let thirds = analysed(audio).average.third_octaves();
    let level = |db: f32| 10f64.powf(f64::from(db) / 10.0);
    let levels: Vec<f64> = thirds[2..].iter().map(|t| 10.0 * (level(t.mid) + level(t.side)).log10()).collect();
    let mean = levels.iter().sum::<f64>() / levels.len() as f64;
    levels.iter().map(|level| level - mean).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// What is made of a file towards a target, and what was said.
fn master(input: &Path, settings: &Settings, target: &Target) -> (Audio, Outcome) {
    let folder = tempfile::tempdir().unwrap();
    let (backend, pool) = (Renderer::cpu(), Pool::default());
    let (limits, saved, reference) = (Limits::default(), None, Some(target));
    let order = MasterRequest {
        settings,
        saved,
        reference,
        seat: None,
        extras: EXTRAS,
        backend: &backend,
        limits,
        pool: &pool,
    };
    let outcome = track::master(input, folder.path(), &order, &mut Clock::default()).unwrap();
    let audio = decode_file(&outcome.paths[0], &Limits::default()).unwrap().audio;
    (audio, outcome)
}

fn wav(audio: &Audio, folder: &Path, codec: Codec) -> PathBuf {
    let path = folder.join(format!("made.{}", codec.extension()));
    let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    encode(audio, codec, &Metadata::default(), &mut file).unwrap();
    path
}

fn gain_at(curve: &[(Hz, Db)], hz: f64) -> f64 {
    let after = curve.partition_point(|(f, _)| f.0 <= hz).min(curve.len() - 1);
    curve[after].1.0
}

/// Largest difference of two tone curves in a range, dB, their mean difference removed.
fn apart(a: &Plan, b: &Plan, low: f64, high: f64) -> f64 {
    let points = || (0..).map(|i| low * 2f64.powf(f64::from(i) / 6.0)).take_while(|hz| *hz <= high);
    let differences: Vec<f64> = points().map(|hz| gain_at(&a.tone.mid, hz) - gain_at(&b.tone.mid, hz)).collect();
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    differences.iter().map(|d| (d - mean).abs()).fold(0.0, f64::max)
}

/// The mix towards a record as it is, and towards what was made of that record.
fn spoiled(spoil: impl Fn(&mut Audio)) -> (Plan, Plan, Audio) {
    let (mix, record) = (analysed(&excerpt("impulslogik-zen")), excerpt("skiessi-onion"));
    let mut bad = record.clone();
    spoil(&mut bad);
    let towards = |audio: &Audio| plan(&mix, &whole(), Some(&Target::from(&analysed(audio)))).unwrap();
    (towards(&record), towards(&bad), bad)
}

fn each(audio: &mut Audio, change: impl Fn(f32) -> f32) {
    audio.channels.iter_mut().flatten().for_each(|x| *x = change(*x));
}

/// A steep low-pass, linear phase.
fn low_pass(audio: &mut Audio, hz: f64) {
    let (taps, at) = (511, hz / f64::from(audio.rate));
    let kernel: Vec<f64> = (0..taps)
        .map(|i| {
            let t = f64::from(i) - 255.0;
            let window = 0.5 + 0.5 * (std::f64::consts::PI * t / 256.0).cos();
            let sinc =
                if t == 0.0 { 2.0 * at } else { (std::f64::consts::TAU * at * t).sin() / (std::f64::consts::PI * t) };
            sinc * window
        })
        .collect();
    for channel in &mut audio.channels {
        let input: Vec<f32> = channel.to_vec();
        for (n, out) in channel.iter_mut().enumerate() {
            let sum: f64 = kernel
                .iter()
                .enumerate()
                .filter_map(|(i, k)| Some(k * f64::from(*input.get((n + 255).checked_sub(i)?)?)))
                .sum();
            *out = sum as f32;
        }
    }
}

fn loudness(plan: &Plan) -> f64 {
    match plan.goal {
        Goal::Loudness { target, .. } => target.0,
        goal => panic!("{goal:?}"),
    }
}

#[test]
fn a_low_passed_record_leaves_the_top_alone() {
    for edge in [16_000.0, 11_000.0] {
        let (clean, low_passed, _) = spoiled(|audio| low_pass(audio, edge));
        let below = apart(&clean, &low_passed, 60.0, 0.8 * edge);
        let top = |plan: &Plan| gain_at(&plan.tone.mid, 17_500.0) - gain_at(&plan.tone.mid, 0.85 * edge);
        println!("{edge} Hz: {below:.2} dB apart below, top {:.2} dB against {:.2}", top(&low_passed), top(&clean));
        assert!(below < 1.0);
        assert!(top(&low_passed) > -6.0, "the empty top is not copied");
        assert!(low_passed.reasons.iter().any(|reason| reason.text.contains("The reference ends at")));
    }
}

#[test]
fn a_lossy_record_is_followed_like_the_original() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [Codec::Mp3V0, Codec::Opus] {
        let (clean, lossy, _) = spoiled(|audio| {
            let rate = Format { codec, rate: None }.rate_for(audio.rate, OutputRate::Native);
            *audio = resample(audio, rate).unwrap();
            let decoded = decode_file(&wav(audio, folder.path(), codec), &Limits::default()).unwrap().audio;
            *audio = decoded;
        });
        let off = apart(&clean, &lossy, 60.0, 14_000.0);
        println!("{}: {off:.2} dB apart", codec.name());
        assert!(off < 1.0);
        assert!((loudness(&clean) - loudness(&lossy)).abs() < 0.5);
    }
}

#[test]
fn a_clipped_record_does_not_make_a_clipped_master() {
    let (clean, clipped, audio) = spoiled(|audio| each(audio, |x| (8.0 * x).clamp(-1.0, 1.0)));
    let record = analysed(&audio).loudness.integrated.unwrap();
    println!("clean {:.1}, clipped {:.1} (the record has {record:.1})", loudness(&clean), loudness(&clipped));
    assert!(record.0 > -7.0 && loudness(&clipped) <= -8.0);
    assert!(clipped.reasons.iter().any(|reason| reason.text.contains("The reference is clipped")));
    // 18 dB of clipping change the record's own tone by as much.
    let off = apart(&clean, &clipped, 100.0, 4_000.0);
    println!("tone {off:.2} dB apart");
    assert!(off < 4.0);
}

#[test]
fn a_record_limited_to_nothing_is_followed_only_so_far() {
    let (_, crushed, audio) = spoiled(|audio| each(audio, |x| 0.9 * (12.0 * x).tanh()));
    let record = analysed(&audio).loudness.integrated.unwrap();
    println!("crushed {:.1} (the record has {record:.1})", loudness(&crushed));
    assert!(record.0 > -7.5 && loudness(&crushed) <= -8.0);
    assert!(crushed.reasons.iter().any(|reason| reason.text.contains("was limited hard")));
}

#[test]
fn a_mono_record_leaves_the_width_alone() {
    let (clean, mono, _) = spoiled(|audio| {
        let [left, right] = &mut audio.channels;
        for (l, r) in left.iter_mut().zip(right.iter_mut()) {
            (*l, *r) = (0.5 * (*l + *r), 0.5 * (*l + *r));
        }
    });
    let off = apart(&clean, &mono, 60.0, 14_000.0);
    println!("{off:.2} dB apart");
    assert!(off < 1.0);
    assert!(mono.tone.width.iter().all(|(_, gain)| gain.0 > -3.0), "{:?}", mono.tone.width);
    assert!(mono.tone.side.iter().zip(&mono.tone.mid).all(|(s, m)| (s.1.0 - m.1.0).abs() < 1e-9));
    assert!(mono.reasons.iter().any(|reason| reason.text.contains("The reference is mono")));
}

#[test]
fn a_master_at_the_whole_amount_lies_on_the_record_and_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    for (mix, record) in [("impulslogik-zen", "momo64-esp"), ("settel-inner-recreation", "thomasso-axe-from-the-80s")] {
        let target = Target::from(&analysed(&excerpt(record)));
        let (made, outcome) = master(&path(mix), &whole(), &target);
        let (before, after, goal) = (tone(&excerpt(mix)), tone(&made), tone(&excerpt(record)));
        let (was, is) = (distance(&before, &goal), distance(&after, &goal));
        println!("{mix} to {record}: {was:.2} dB → {is:.2} dB, true peak {:.2}", outcome.files[0].dbtp);
        assert!(is < 0.35 * was && is < 2.0, "{is}");
        assert!(outcome.steps.is_empty(), "{:?}", outcome.steps);
        assert!(outcome.files[0].dbtp.0 <= -1.0);
        // Once more on what is there already moves little, and nearer rather than away.
        let (again, _) = master(&wav(&made, folder.path(), Codec::Wav32f), &whole(), &target);
        let (moved, then) = (distance(&tone(&again), &after), distance(&tone(&again), &goal));
        println!("  again: moved {moved:.2} dB, to {then:.2} dB");
        assert!(moved < 0.6 && then < is + 0.1, "{moved} {then}");
    }
}

#[test]
fn the_corrections_do_not_depend_on_the_threads() {
    let target = Target::from(&analysed(&excerpt("momo64-esp")));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (_, outcome) = master(&path("impulslogik-zen"), &whole(), &target);
            (outcome.files[0].sha256.clone(), outcome.plan)
        })
    };
    let (one, many) = (with(1), with(5));
    assert!(one.1.reasons.iter().any(|reason| reason.text.contains("measured against the reference")));
    assert_eq!(one, many);
}

/// Beside others in a batch, in a worker with threads of its own, from an upload: the same bytes as on the command line.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_corrects_like_the_command_line() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let (mix, record) = (std::fs::read(path("impulslogik-zen")).unwrap(), std::fs::read(path("momo64-esp")).unwrap());
    let plain = r#"{"strength":{"overall":0}}"#;
    let of_record = service.order("usr_1", "record.flac", &record, Class::Interactive, plain).await;
    let reference: String = service.row(&of_record).await.get("upload_id");
    let settings = Settings { strength: Strength::all(100), ..Settings::default() };
    let text = serde_json::to_string(&settings).unwrap();
    let mut masters = Vec::new();
    for owner in ["usr_1", "usr_2"] {
        let master = service.order(owner, "impulslogik-zen.flac", &mix, Class::Interactive, &text).await;
        let query = "UPDATE masters SET reference_upload = $1 WHERE id = $2";
        let mut tx = service.db.begin().await.unwrap();
        sqlx::query(query).bind(&reference).bind(&master).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        masters.push(master);
    }
    working(service.config(), service.services(), service.settled(&masters, 120)).await;

    let target = Target::from(&analysed(&excerpt("momo64-esp")));
    let (_, outcome) = master(&path("impulslogik-zen"), &settings, &target);
    assert!(outcome.plan.reasons.iter().any(|reason| reason.text.contains("measured against the reference")));
    for master in &masters {
        let row = service.row(master).await;
        assert_eq!(row.get::<&str, _>("state"), "done", "{:?}", row.get::<Option<String>, _>("error_text"));
        let query = "SELECT sha256 FROM artifacts WHERE master_id = $1 AND role = 'wav24'";
        let sha256: String = sqlx::query_scalar(query).bind(master).fetch_one(service.db.read()).await.unwrap();
        assert_eq!(sha256, outcome.files[0].sha256);
    }
}

#[test]
fn the_whole_strength_is_the_whole_reference_unless_an_amount_is_given() {
    let mix = analysed(&excerpt("impulslogik-zen"));
    let target = Target::from(&analysed(&excerpt("momo64-esp")));
    let with = |strength: u8, reference: ReferenceAmounts| {
        let settings = Settings { strength: Strength::all(strength), reference, ..Settings::default() };
        plan(&mix, &settings, Some(&target)).unwrap()
    };
    let whole = ReferenceAmounts::all(100, 100, 100, 100);
    let none = ReferenceAmounts::default();
    assert_eq!(with(100, none).tone, with(100, whole).tone);
    assert_eq!(with(50, none).tone, with(50, ReferenceAmounts::all(70, 50, 50, 100)).tone);
    assert_ne!(with(100, none).tone, with(100, ReferenceAmounts::all(70, 50, 50, 100)).tone);
}

#[test]
fn two_records_meet_between_them_and_aspects_come_from_their_own() {
    let (a, b) = (analysed(&excerpt("momo64-esp")), analysed(&excerpt("tame-anderson-make-me")));
    let mix = analysed(&excerpt("impulslogik-zen"));
    let used = |weight: f64, aspects: &[Aspect]| ReferenceUse { weight, aspects: aspects.to_vec() };
    let towards = |records: &[(&Analysis, ReferenceUse)]| {
        let records: Vec<_> = records.iter().map(|(record, used)| (Target::from(*record), used.clone())).collect();
        plan(&mix, &whole(), Some(&Target::blend(&records))).unwrap()
    };
    let (first, second) = (towards(&[(&a, used(1.0, &[]))]), towards(&[(&b, used(1.0, &[]))]));
    assert_eq!(first, plan(&mix, &whole(), Some(&Target::from(&a))).unwrap());
    let both = towards(&[(&a, used(1.0, &[])), (&b, used(1.0, &[]))]);
    let mostly_first = towards(&[(&a, used(3.0, &[])), (&b, used(1.0, &[]))]);
    let (near, far) = (apart(&first, &both, 60.0, 14_000.0), apart(&first, &second, 60.0, 14_000.0));
    println!("apart {far:.2} dB, both {near:.2} dB from the first");
    // In every band between them, but for what each is smoothed with.
    for hz in (0..48).map(|i| 63.0 * 2f64.powf(f64::from(i) / 6.0)) {
        let [x, y, z] =
            [&first, &second, &both].map(|plan| gain_at(&plan.tone.mid, hz) - gain_at(&plan.tone.mid, 1_000.0));
        assert!(z > x.min(y) - 1.5 && z < x.max(y) + 1.5, "{hz:.0} Hz: {x:.1}, {y:.1}, between {z:.1}");
    }
    assert!(apart(&first, &mostly_first, 60.0, 14_000.0) < near);
    assert!((loudness(&both) - f64::midpoint(loudness(&first), loudness(&second))).abs() < 0.6);

    let split = towards(&[(&a, used(1.0, &[Aspect::Tone, Aspect::Width])), (&b, used(1.0, &[Aspect::Loudness]))]);
    assert!(apart(&split, &first, 60.0, 14_000.0) < 1e-9);
    assert_eq!(loudness(&split), loudness(&second));
    let spare = towards(&[(&a, used(1.0, &[])), (&b, used(1.0, &[Aspect::Loudness]))]);
    assert_eq!(loudness(&spare), loudness(&second));
    assert_eq!(spare.tone, first.tone);
    assert_eq!(Target::blend(&[]), Target::default());
}

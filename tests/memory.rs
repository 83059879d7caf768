//! Long tracks in little memory: the same bytes as with plenty of it, and a bound on what is held.

use crate::cli::{music, wav};
use crate::databases::sqlite;
use crate::work::Service;
use loopmaster::queue::Class;
use loopmaster::work::{WorkConfig, Worker};
use sqlx::Row;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1 << 20;

/// Bytes of anonymous memory that a process has in place; 0 when it has ended.
fn anonymous(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A process and the children it has.
fn family(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: u64 = threads
        .flat_map(|thread| {
            let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>()
        })
        .map(family)
        .sum();
    anonymous(pid) + children
}

/// Watches a process and its children until it is asked for the most they ever had together.
struct Watch {
    ended: Arc<AtomicBool>,
    watching: std::thread::JoinHandle<u64>,
}

impl Watch {
    fn of(pid: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let watching = std::thread::spawn(move || {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                most = most.max(family(pid));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        Self { ended, watching }
    }

    fn most(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.watching.join().unwrap()
    }
}

/// Masters `mix` into a folder of its own. The files by name, and the most anonymous memory.
fn master(mix: &Path, memory: &str, args: &[&str]) -> (BTreeMap<String, Vec<u8>>, u64) {
    let out = tempfile::tempdir_in(mix.parent().unwrap()).unwrap();
    let scratch = tempfile::tempdir_in(mix.parent().unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
    command.args(["master", "--quiet", "--memory", memory, "--scratch"]).arg(scratch.path());
    command.args(args).arg("-o").arg(out.path()).arg(mix).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let watch = Watch::of(child.id());
    let status = child.wait().unwrap();
    let most = watch.most();
    assert!(status.success(), "{memory}: {status}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something is left in the scratch folder");
    let files = std::fs::read_dir(out.path()).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    });
    (files.collect(), most)
}

/// The same track with plenty of memory and with a tenth of its decoded size, by every way that samples go: mono and stereo, another
/// rate, saturation, a cut, a lossy file, previews.
#[test]
fn a_small_budget_gives_the_same_bytes_in_less_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mix = folder.path().join("a.wav");
    let [left, right] = music(44_100, 30.0, 0.5);
    std::fs::write(&mix, wav(&[left.clone(), right], 44_100, false)).unwrap();
    let decoded = 30 * 44_100 * 8;
    // A cut by whole bars: the tone of the rest is that of the mix.
    let loud = ["--style", "loud", "--format", "wav24,wav16@48000,mp3-v0", "--preview", "--trim-start", "2"];
    let (plenty, much) = master(&mix, "8G", &loud);
    let (tight, little) = master(&mix, "1M", &loud);
    println!(
        "a track of {} MiB decoded: {} MiB, with a budget of 1 MiB {} MiB",
        decoded / MIB,
        much / MIB,
        little / MIB
    );
    assert_eq!(plenty.len(), 8, "{:?}", plenty.keys());
    assert!(plenty == tight, "the files differ");
    // What is left is the program, its tables, and what stands beside the samples.
    assert!(little + 2 * decoded < much, "{little} bytes instead of {much}");

    // A mono file at a rate that is raised.
    std::fs::write(&mix, wav(&[left[..22_050 * 20].to_vec()], 22_050, true)).unwrap();
    let warm = ["--style", "warm", "--format", "wav32f"];
    assert!(master(&mix, "8G", &warm).0 == master(&mix, "0", &warm).0, "the files of the mono track differ");
}

#[test]
fn scratch_space_that_is_not_there_is_told_with_figures() {
    let folder = tempfile::tempdir().unwrap();
    let mix = folder.path().join("a.wav");
    std::fs::write(&mix, wav(&music(44_100, 5.0, 0.5), 44_100, false)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_loopmaster"))
        .args(["master", "--json", "--memory", "0", "--scratch", "/nowhere/at/all"])
        .arg(&mix)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("decode.room") && text.contains("bytes for samples in /nowhere/at/all"), "{text}");
}

/// The checksums of everything that came of a master but what tells of the run itself.
async fn checksums(service: &Service, master: &str) -> Vec<(String, String, String)> {
    let text = "SELECT kind, role, sha256 FROM artifacts WHERE master_id = $1 AND kind <> 'report' ORDER BY kind, role";
    sqlx::query_as(text).bind(master).fetch_all(service.db.read()).await.unwrap()
}

const SETTINGS: &str = r#"{"style":"loud","formats":["wav24","wav16@48000","mp3-320"]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_service_takes_what_is_larger_than_its_budget() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let song = wav(&music(44_100, 30.0, 0.5), 44_100, false);
    let mut sums = Vec::new();
    // 30 s are 10.6 MB decoded. The second worker's whole budget is a tenth of what the first one's samples take; its machine as a whole has
    // room for levels and gains of the track, so it takes it.
    for budget in [2 << 30, 6_000_000] {
        let master = service.order("usr_1", "a.wav", &song, Class::Interactive, SETTINGS).await;
        let config = WorkConfig { budget, ..service.config() };
        let worker = Worker::new(config, service.services()).await.unwrap();
        let (samples, drain) = (worker.samples(), CancellationToken::new());
        let running = tokio::spawn(worker.run(drain.clone()));
        service.settled(std::slice::from_ref(&master), 120).await;
        drain.cancel();
        running.await.unwrap();
        let row = service.row(&master).await;
        assert_eq!(row.get::<&str, _>("state"), "done", "{:?}", row.get::<Option<String>, _>("error_text"));
        let samples = samples();
        println!("budget {budget}: samples took {} bytes, and {} in files", samples.memory_peak, samples.files_peak);
        assert!(samples.memory_peak <= budget && (samples.files_peak > 0) == (budget < 1 << 30), "{samples:?}");
        sums.push(checksums(&service, &master).await);
    }
    assert!(sums[0].len() >= 9, "{:?}", sums[0]);
    assert_eq!(sums[0], sums[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_machine_fails_with_figures_and_a_way_out() {
    let test = sqlite().await;
    let service = Service::new(&test);
    let song = wav(&music(44_100, 30.0, 0.5), 44_100, false);
    let master = service.order("usr_1", "a.wav", &song, Class::Interactive, SETTINGS).await;
    // Twice the budget is 8 MB, and the track has 10.6.
    let config = WorkConfig { budget: 4_000_000, ..service.config() };
    crate::work::working(config, service.services(), service.settled(std::slice::from_ref(&master), 60)).await;
    let row = service.row(&master).await;
    assert_eq!(row.get::<Option<String>, _>("error_code").as_deref(), Some("decode.needs_memory"));
    let text: String = row.get("error_text");
    assert!(text.contains("10584000 bytes") && text.contains("8000000") && text.contains("split it"), "{text}");
}

/// A WAV file of real length without its memory: one minute of music, again and again, 16 bits, stereo.
fn long(folder: &Path, rate: u32, seconds: u32) -> PathBuf {
    let path = folder.join(format!("{seconds} s at {rate}.wav"));
    let minute = wav(&music(rate, 60.0, 0.5), rate, false);
    let (head, minute) = minute.split_at(44);
    let mut head = head.to_vec();
    let bytes = rate * 4 * seconds;
    head[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
    head[40..44].copy_from_slice(&bytes.to_le_bytes());
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&head).unwrap();
    for _ in 0..seconds / 60 {
        file.write_all(minute).unwrap();
    }
    path
}

/// What a machine of 8 GiB gives to samples by itself.
const EIGHT: u64 = 3 << 30;
/// The most that command line or worker may then hold in anonymous memory.
const MOST: u64 = 5 << 30;

#[test]
#[ignore = "two hours at 44.1 kHz and forty minutes at 192 kHz take minutes, and 20 GB of disk"]
fn two_hours_on_eight_gibibytes() {
    for (rate, seconds) in [(44_100, 7_200), (192_000, 2_400)] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mix = long(folder.path(), rate, seconds);
        let begun = Instant::now();
        let (files, most) = master(&mix, &EIGHT.to_string(), &["--format", "wav24"]);
        println!("{seconds} s at {rate} Hz: {} MiB anonymous, {:.0} s", most / MIB, begun.elapsed().as_secs_f64());
        assert_eq!(files.len(), 1);
        assert!(most < MOST, "{most}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "two hours at 44.1 kHz and forty minutes at 192 kHz take minutes, and 30 GB of disk; to be run alone: it watches this process"]
async fn two_hours_through_a_worker_on_eight_gibibytes() {
    for (rate, seconds) in [(44_100, 7_200), (192_000, 2_400)] {
        let test = sqlite().await;
        let mut service = Service::new(&test);
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        service.folder = folder.path().to_owned();
        service.files = Arc::new(crate::work::Folder::in_folder(folder.path().join("files")));
        let mix = long(folder.path(), rate, seconds);
        let master = service.order_file("usr_1", "a.wav", &mix, Class::Interactive, SETTINGS).await;
        let config = WorkConfig { budget: EIGHT, ..service.config() };
        let (watch, begun) = (Watch::of(std::process::id()), Instant::now());
        crate::work::working(config, service.services(), service.settled(std::slice::from_ref(&master), 3_600)).await;
        let most = watch.most();
        println!("{seconds} s at {rate} Hz: {} MiB anonymous, {:.0} s", most / MIB, begun.elapsed().as_secs_f64());
        let row = service.row(&master).await;
        assert_eq!(row.get::<&str, _>("state"), "done", "{:?}", row.get::<Option<String>, _>("error_text"));
        assert!(most < MOST, "{most}");
    }
}

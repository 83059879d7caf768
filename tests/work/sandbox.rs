//! The decoder's cage.

use crate::cli::{music, wav};
use loopmaster::work::sandbox::{Refusal, Sandbox};
use loopmaster_core::decode::decode_file;
use loopmaster_core::samples::Pool;
use loopmaster_core::settings::Limits;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::new(Limits::default()).unwrap();
    sandbox.program = env!("CARGO_BIN_EXE_loopmaster").into();
    sandbox
}

/// A program in the decoder's place.
fn impostor(folder: &tempfile::TempDir, script: &str) -> Sandbox {
    let program = folder.path().join("impostor");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Sandbox { program, seconds: 1, ..sandbox() }
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_is_what_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let song = folder.path().join("a.wav");
    std::fs::write(&song, wav(&music(48_000, 3.0, 0.5), 48_000, true)).unwrap();
    for file in [song, data("skiessi-onion.flac"), data("tame-anderson-make-me.flac")] {
        let direct = decode_file(&file, &Limits::default()).unwrap();
        let apart = sandbox()
            .decode(&file, file.extension().and_then(|e| e.to_str()), 1 << 30, &Pool::default())
            .await
            .unwrap();
        assert_eq!(apart.audio, direct.audio, "{}", file.display());
        assert_eq!((apart.source, apart.tags), (direct.source, direct.tags));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_their_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wav");
    std::fs::write(&file, b"%PDF-1.7").unwrap();
    let direct = decode_file(&file, &Limits::default()).unwrap_err();
    let Err(Refusal::File { code, text }) = sandbox().decode(&file, Some("wav"), 1 << 30, &Pool::default()).await
    else {
        panic!()
    };
    assert_eq!((code.as_str(), text), (direct.code(), direct.to_string()));

    // More audio than was set aside is no fault of the file.
    std::fs::write(&file, wav(&music(44_100, 3.0, 0.5), 44_100, false)).unwrap();
    let Err(Refusal::Larger(bytes)) = sandbox().decode(&file, Some("wav"), 1 << 20, &Pool::default()).await else {
        panic!()
    };
    assert_eq!(bytes, 3 * 44_100 * 8);
    assert!(sandbox().decode(&file, Some("wav"), bytes, &Pool::default()).await.is_ok());

    let missing = sandbox().decode(&folder.path().join("none"), None, 1 << 20, &Pool::default()).await;
    assert!(matches!(missing, Err(Refusal::Machine(_))));
    let nothing = Sandbox { program: folder.path().join("none"), ..sandbox() };
    assert!(matches!(nothing.decode(&file, None, 1 << 20, &Pool::default()).await, Err(Refusal::Machine(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cage_holds() {
    // Files, network, programs, memory, time, other processes: tried by the child itself, after it has taken its privileges away.
    sandbox().check().await.unwrap();
    // A program that does not confine itself is found out.
    let folder = tempfile::tempdir().unwrap();
    let error = impostor(&folder, "exit 0").check().await.unwrap_err();
    assert!(error.contains("lets a decoder open files"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_time_blames_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wav");
    std::fs::write(&file, wav(&music(44_100, 1.0, 0.5), 44_100, false)).unwrap();
    // It may use one second of processor time, and begins after three on the clock.
    let late = format!("sleep 3; exec {} \"$@\"", env!("CARGO_BIN_EXE_loopmaster"));
    let track = impostor(&folder, &late).decode(&file, Some("wav"), 1 << 30, &Pool::default()).await;
    assert_eq!(track.unwrap().audio.frames(), 44_100);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits for longer than the worker once waited for its own trials"]
async fn the_cage_is_tried_by_processor_time() {
    let folder = tempfile::tempdir().unwrap();
    let late =
        format!("case \"$*\" in *'\"time\"'*) sleep 12;; esac; exec {} \"$@\"", env!("CARGO_BIN_EXE_loopmaster"));
    impostor(&folder, &late).check().await.unwrap();
    // And with what a busy machine leaves to a process that comes last.
    let last = tempfile::tempdir().unwrap();
    let idle = format!("exec chrt --idle 0 {} \"$@\"", env!("CARGO_BIN_EXE_loopmaster"));
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while busy.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let check = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(impostor(&last, &idle).check())
        };
        // A thread of its own: this one is in a runtime.
        let checked = std::thread::scope(|scope| scope.spawn(check).join());
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
        checked.unwrap().unwrap();
    });
    // What was seen is said.
    let never = tempfile::tempdir().unwrap();
    let real = env!("CARGO_BIN_EXE_loopmaster");
    let never =
        impostor(&never, &format!("case \"$*\" in *'\"time\"'*) while :; do :; done;; esac; exec {real} \"$@\""));
    let error = never.check().await.unwrap_err();
    assert!(error.contains("run for ever") && error.contains("s of processor time in"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_whose_sizes_cannot_be_are_refused_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    for (name, extension, bytes) in crate::decode::hostile::crafted() {
        let file = folder.path().join("crafted");
        std::fs::write(&file, bytes).unwrap();
        let found = sandbox().decode(&file, Some(extension), 1 << 30, &Pool::default()).await;
        // A size of all ones in an RF64 says that nobody knew it: the sound goes to the end of the file.
        let whole = name.starts_with("rf64") && found.is_ok();
        let refused = matches!(&found, Err(Refusal::File { code, .. }) if code != "decode.read");
        assert!(whole || refused, "{name}: {:?}", found.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_hang_balloon_and_lies() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wav");
    std::fs::write(&file, b"x").unwrap();
    let code = async |script: &str| match impostor(&folder, script).decode(&file, None, 1 << 20, &Pool::default()).await
    {
        Err(Refusal::File { code, text }) => format!("{code}: {text}"),
        Err(Refusal::Machine(error)) => format!("machine: {error}"),
        Err(Refusal::Larger(_)) => "larger".to_owned(),
        Ok(_) => "a track".to_owned(),
    };
    for (script, wanted) in [
        ("kill -SEGV $$", "decode.crashed: the file makes its decoder crash (signal 11)"),
        ("kill -SYS $$", "decode.crashed: the file makes its decoder do what no decoder has to"),
        ("kill -XCPU $$", "decode.too_slow"),
        ("kill -KILL $$", "machine: the decoder was killed"),
        // As an allocation ends that the limits do not allow.
        ("kill -ABRT $$", "decode.crashed: the file makes its decoder take more memory than its sound can need"),
        ("exit 3", "machine: the decoder ended with exit status: 3"),
        // Nothing, half a header, a header without an end, samples without an end.
        ("exit 0", "decode.crashed"),
        ("printf '\\100\\0\\0\\0{\"Tr'", "decode.crashed"),
        ("printf '\\377\\377\\377\\177'; cat /dev/zero", "decode.crashed"),
        ("printf '\\1\\0\\0\\0{'; cat /dev/zero", "decode.crashed"),
        // The same in messages: an end whose header never ends, or is none; frames before their layout; a layout that is none; more
        // frames than were asked for; frames cut off in the middle; padding that was never sent.
        ("printf 'e\\377\\377\\377\\177'; cat /dev/zero", "decode.crashed"),
        ("printf 'e\\1\\0\\0\\0{'", "decode.crashed"),
        ("printf 'f\\1\\0\\0\\0'; cat /dev/zero", "decode.crashed"),
        ("printf 'b\\0\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\0'; cat /dev/zero", "decode.crashed"),
        ("printf 'b\\104\\254\\0\\0\\3\\0\\0\\0\\0\\0\\0\\0\\0'; cat /dev/zero", "decode.crashed"),
        (
            "printf 'b\\104\\254\\0\\0\\2\\377\\377\\377\\377\\377\\377\\377\\377f\\0\\0\\3\\0'; cat /dev/zero",
            "decode.crashed",
        ),
        (
            "printf 'b\\104\\254\\0\\0\\2\\377\\377\\377\\377\\377\\377\\377\\377f\\377\\377\\377\\377'; cat /dev/zero",
            "decode.crashed",
        ),
        ("printf 'b\\104\\254\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\0f\\10\\0\\0\\0abc'", "decode.crashed"),
        (
            "printf 'b\\104\\254\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\0d\\1\\0\\0\\0\\0\\0\\0\\0'; cat /dev/zero",
            "decode.crashed",
        ),
    ] {
        let found = code(script).await;
        assert!(found.starts_with(wanted), "{script}: {found}");
    }
    let hung = Instant::now();
    let stopped = tempfile::tempdir().unwrap();
    let stopped = impostor(&stopped, "kill -STOP $$");
    let pool = Pool::default();
    let (asleep, stopped) = tokio::join!(code("exec sleep 60"), stopped.decode(&file, None, 1 << 20, &pool));
    assert!(asleep.starts_with("decode.too_slow"), "{asleep}");
    // Who is stopped, or gets no time, is not to blame.
    assert!(matches!(stopped, Err(Refusal::Machine(_))), "{stopped:?}");
    assert!(hung.elapsed() < Duration::from_secs(20));
    // One that computes for ever is ended by its processor time, confined or not; and so is one that goes on after its answer.
    for script in ["while :; do :; done", "exec >&-; while :; do :; done"] {
        assert!(code(script).await.starts_with("decode.too_slow"), "{script}");
    }
    // Nobody waits for it any more: it goes.
    let pid = folder.path().join("pid");
    let slow = impostor(&folder, &format!("echo $$ > {}; exec sleep 60", pid.display()));
    let slow = Sandbox { seconds: 60, ..slow };
    let _ = tokio::time::timeout(Duration::from_millis(500), slow.decode(&file, None, 1 << 20, &Pool::default())).await;
    let pid = std::fs::read_to_string(&pid).unwrap();
    assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists());
}

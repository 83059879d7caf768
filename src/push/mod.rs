//! `loopmaster push`: many mixes to a service and their masters back. Every step survives a crash: the same command goes on, and no
//! part that has arrived is sent again. Where some have failed, the same command masters those again from what the service has, sends what
//! is new or has changed, and leaves the others as they are. That holds, too, when all has come through: `--fresh` begins anew.

mod api;
mod error;
mod fetch;
mod fits;
mod journal;
mod send;

use crate::cli::PushArgs;
use api::{Api, Artifact, Master, Upload};
use error::PushError;
use journal::{Here, Journal, Step};
use loopmaster_cli::inputs::{self, Input};
use loopmaster_cli::master::output_folders;
use loopmaster_cli::progress::{Progress, Transfer, Voice};
use send::{Order, Sender, Source};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Files that are being sent at once; their parts share `--parallel`.
const FILES: usize = 3;
/// Results that are being fetched at once.
const FETCHES: usize = 3;
/// How often to ask how things stand; less often while nothing changes.
const ASK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Rounds without an answer before the push is given up for this time.
const IN_VAIN: u32 = 3;

/// Pushes everything named; `true` when every file came back mastered (or, with `--detach`, was queued).
#[must_use]
pub fn run(args: &PushArgs) -> bool {
    let voice = match (args.json, args.quiet) {
        (true, _) => Voice::Json,
        (_, true) => Voice::Quiet,
        _ => Voice::Human,
    };
    let progress = Progress::new(voice);
    let (inputs, missing) = inputs::resolve(&args.mixes);
    for error in &missing {
        let text = error.to_string();
        let (file, message) = text.split_once(": ").unwrap_or(("", &text));
        progress.error(file, error.code(), message);
    }
    if inputs.is_empty() {
        return false;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress.error("", "push.runtime", &format!("no threads to be had: {error}"));
            return false;
        }
    };
    match runtime.block_on(push(args, &inputs, &progress)) {
        Ok(good) => good && missing.is_empty(),
        Err(error) => {
            progress.error("", error.code(), &error.to_string());
            false
        }
    }
}

/// How a track ended.
enum Ended {
    /// Its master is made, and here unless the push was detached.
    Good(Box<Delivered>),
    /// It cannot be made; the service has said why.
    Failed,
    /// Something was in the way: the same command goes on.
    Stopped,
}

/// A track that came through.
struct Delivered {
    mix: PathBuf,
    master: String,
    seconds: Option<f64>,
    lufs: Option<f64>,
    dbtp: Option<f64>,
    files: Vec<(PathBuf, Artifact)>,
}

struct Push<'a> {
    args: &'a PushArgs,
    progress: &'a Progress,
    api: &'a Api,
    sender: Sender<'a>,
    settings: Value,
    batch: Option<String>,
    reference: Option<String>,
    files: Semaphore,
    fetches: Semaphore,
    news: watch::Receiver<HashMap<String, Master>>,
}

async fn push(args: &PushArgs, inputs: &[Input], progress: &Progress) -> Result<bool, PushError> {
    let started = Instant::now();
    let token = token(args)?;
    let api = Api::new(&args.url(), token)?;
    let settings = serde_json::to_value(args.settings()).unwrap_or_default();
    let (name, before) = journal_names(args, inputs, &settings);
    let journal = Journal::open(&state_folder(), &name, &before, args.fresh)?;
    let name = args.name.clone().unwrap_or_else(|| batch_name(&args.mixes));
    let batch = match journal.batch() {
        Some(batch) => Some(batch),
        None if inputs.len() < 2 && !args.album => None,
        None => {
            let id = api.batch(&name, args.album, inputs.len(), &journal.key("batch")).await?;
            journal.write(Step::Batch { id: id.clone() })?;
            Some(id)
        }
    };
    let (tell, news) = watch::channel(HashMap::new());
    let limits = api.limits().await?;
    let sender =
        Sender { api: &api, journal: &journal, limits: &limits, parts: Arc::new(Semaphore::new(args.parallel.into())) };
    let mut work = Push {
        args,
        progress,
        api: &api,
        sender,
        settings,
        batch: batch.clone(),
        reference: None,
        files: Semaphore::new(FILES),
        fetches: Semaphore::new(FETCHES),
        news,
    };
    work.reference = match &args.reference {
        Some(path) => Some(work.reference(path).await?),
        None => None,
    };
    let folders = output_folders(inputs, args.output.as_deref());
    let tracks = inputs.iter().zip(&folders).enumerate().map(|(at, (input, folder))| work.track(at, input, folder));
    let asking = ask(&api, batch.as_deref(), &tell);
    let ended = tokio::select! {
        ended = futures_util::future::join_all(tracks) => ended,
        error = asking => return Err(error),
    };
    let good: Vec<&Delivered> =
        ended.iter().filter_map(|ended| if let Ended::Good(track) = ended { Some(&**track) } else { None }).collect();
    let stopped = ended.iter().filter(|ended| matches!(ended, Ended::Stopped)).count();
    let failed = ended.len() - good.len();
    let mut all = failed == 0;
    if args.detach {
        tell_detached(progress, batch.as_deref(), good.len());
    } else if !good.is_empty() {
        all &= write_manifest(args, &good, progress);
    }
    progress.event(&json!({
        "event": "summary", "mastered": good.len(), "failed": failed, "batch": batch, "wall_seconds": started.elapsed().as_secs_f64(),
    }));
    if !args.detach && ended.len() > 1 {
        progress.say(&format!("{} mastered, {failed} failed", good.len()));
    }
    if stopped > 0 {
        progress.say("The same command goes on where this one stopped.");
    } else if failed > 0 {
        progress.say("The same command masters those that failed again, and sends none that is there.");
    }
    Ok(all)
}

fn tell_detached(progress: &Progress, batch: Option<&str>, tracks: usize) {
    let batch = batch.map(|batch| format!(" as {batch}")).unwrap_or_default();
    progress.say(&format!("{tracks} queued{batch}. The same command without --detach waits and fetches."));
}

impl Push<'_> {
    /// Brings the reference up.
    async fn reference(&self, path: &Path) -> Result<String, PushError> {
        let source = Source::look(path)?;
        let order =
            Order { media_type: media_type(path), settings: None, batch: None, position: None, reference: None };
        let bar = self.progress.transfer(path, source.bytes);
        let moved = |by| bar.moved(by);
        Ok(self.sender.send(&source, &order, &moved).await?.id)
    }

    /// One track from here to there and back; what went wrong has been told when this returns.
    async fn track(&self, at: usize, input: &Input, folder: &Path) -> Ended {
        let file = input.path.display().to_string();
        match self.through(at, input, folder).await {
            Ok(delivered) => Ended::Good(Box::new(delivered)),
            Err(error) => {
                self.progress.error(&file, error.code(), &error.to_string());
                if matches!(error, PushError::Failed { .. }) { Ended::Failed } else { Ended::Stopped }
            }
        }
    }

    async fn through(&self, at: usize, input: &Input, folder: &Path) -> Result<Delivered, PushError> {
        let file = input.path.display().to_string();
        let (bar, source, upload, id) = {
            let _turn = self.files.acquire().await;
            let source = Source::look(&input.path)?;
            let bar = self.progress.transfer(&input.path, source.bytes);
            if let Some(delivered) = self.here(&source, folder).await {
                bar.moved(source.bytes as i64);
                self.tell_done(&file, &delivered);
                return Ok(delivered);
            }
            let (upload, id) = self.upload(at, &source, &bar).await?;
            (bar, source, upload, id)
        };
        self.progress.event(&json!({ "event": "queued", "file": file, "upload": upload.id, "master": id }));
        let mut delivered = Delivered {
            mix: input.path.clone(),
            master: id.clone(),
            seconds: None,
            lufs: None,
            dbtp: None,
            files: Vec::new(),
        };
        if self.args.detach {
            return Ok(delivered);
        }
        bar.say("waiting");
        let journal = self.sender.journal;
        let master = match self.wait(&id, &bar).await {
            Ok(master) => master,
            Err(error) => {
                // Deleted there: the next run needs another.
                if error.is_gone() {
                    journal.write(Step::Failed { master: id })?;
                }
                return Err(error);
            }
        };
        if master.state != "done" {
            let (code, detail) = match master.error {
                Some(failure) => (failure.code, failure.detail),
                None => ("push.cancelled".to_owned(), format!("{id} was {}", master.state)),
            };
            journal.write(Step::Failed { master: id })?;
            return Err(PushError::Failed { code, detail });
        }
        let _turn = self.fetches.acquire().await;
        for artifact in master.artifacts.into_iter().filter(|artifact| self.wanted(artifact)) {
            let target = folder.join(fetch::file_name(&artifact));
            bar.say(&format!("fetching {}", artifact.role));
            fetch::fetch(self.api, &artifact, &target, self.args.force).await?;
            self.progress.event(&json!({
                "event": "delivered", "file": file, "path": target, "bytes": artifact.bytes, "sha256": artifact.sha256,
            }));
            delivered.files.push((target, artifact));
        }
        (delivered.seconds, delivered.lufs, delivered.dbtp) = (master.seconds, master.lufs, master.dbtp);
        let track = Here {
            master: delivered.master.clone(),
            seconds: delivered.seconds,
            lufs: delivered.lufs,
            dbtp: delivered.dbtp,
            report: self.args.report,
            preview: self.args.preview,
            files: delivered.files.iter().map(|(_, artifact)| artifact.clone()).collect(),
        };
        journal.write(Step::Done {
            file: source.path.to_string_lossy().into_owned(),
            stamp: source.stamp,
            track: Box::new(track),
        })?;
        self.tell_done(&file, &delivered);
        Ok(delivered)
    }

    fn tell_done(&self, file: &str, track: &Delivered) {
        self.progress.event(&json!({
            "event": "done", "file": file, "master": track.master, "seconds": track.seconds, "lufs": track.lufs, "dbtp": track.dbtp,
        }));
        self.progress.say(&describe(track));
    }

    /// What an earlier run has delivered of a file that has not changed since, where all that is wanted now is still there.
    async fn here(&self, source: &Source, folder: &Path) -> Option<Delivered> {
        let known = self.sender.journal.here(&source.path.to_string_lossy(), &source.stamp)?;
        if self.args.detach || (self.args.report && !known.report) || (self.args.preview && !known.preview) {
            return None;
        }
        let files: Vec<_> = known
            .files
            .into_iter()
            .filter(|artifact| self.wanted(artifact))
            .map(|artifact| (folder.join(fetch::file_name(&artifact)), artifact))
            .collect();
        fetch::are_here(files.clone()).await.then(|| Delivered {
            mix: source.path.clone(),
            master: known.master,
            seconds: known.seconds,
            lufs: known.lufs,
            dbtp: known.dbtp,
            files,
        })
    }

    /// Brings a file up where it is not there yet, and gives the upload and its master that is to be waited for.
    async fn upload(&self, at: usize, source: &Source, bar: &Transfer<'_>) -> Result<(Upload, String), PushError> {
        let order = Order {
            media_type: media_type(&source.path),
            settings: Some(&self.settings),
            batch: self.batch.as_deref(),
            position: self.batch.as_ref().map(|_| at + 1),
            reference: self.reference.as_deref(),
        };
        let moved = |by| bar.moved(by);
        let upload = self.sender.send(source, &order, &moved).await?;
        let journal = self.sender.journal;
        let latest = journal.again(&upload.id).or_else(|| upload.master.clone());
        if let Some(master) = latest.clone().filter(|master| !journal.has_failed(master)) {
            return Ok((upload, master));
        }
        // It is there, and its master has failed before, or was never queued.
        let key = journal.key(&format!("again-{}", latest.as_deref().unwrap_or(&upload.id)));
        match self.api.remaster(&upload.id, &self.settings, self.reference.as_deref(), &key).await {
            Ok(master) => {
                journal.write(Step::Again { upload: upload.id.clone(), master: master.clone() })?;
                Ok((upload, master))
            }
            Err(error) if error.is_gone() => {
                moved(-(source.bytes as i64));
                let upload = self.sender.afresh(source, &order, &moved).await?;
                let master = upload.master.clone().ok_or_else(|| PushError::Failed {
                    code: "push.no_master".to_owned(),
                    detail: format!("the upload {} is there, but no master was queued for it", upload.id),
                })?;
                Ok((upload, master))
            }
            Err(error) => Err(error),
        }
    }

    /// Until nothing more will happen to a master. Returns it with its files.
    async fn wait(&self, id: &str, bar: &Transfer<'_>) -> Result<Master, PushError> {
        let mut news = self.news.clone();
        let mut pause = ASK.0;
        loop {
            // A track alone is asked for itself; of a batch, one answer tells about all.
            let known = if self.batch.is_some() { news.borrow_and_update().get(id).cloned() } else { None };
            let master = match known {
                Some(master) if !master.is_over() => master,
                Some(_) => return self.api.master(id).await,
                None if self.batch.is_some() => {
                    let _ = news.changed().await;
                    // The batch was asked after this master was made: where it is not among the others, it is gone, or elsewhere.
                    if news.borrow_and_update().contains_key(id) {
                        continue;
                    }
                    self.api.master(id).await?
                }
                None => self.api.master(id).await?,
            };
            if master.is_over() {
                return Ok(master);
            }
            bar.say(&match (&master.stage, master.queue_position) {
                (Some(stage), _) => stage.clone(),
                (None, Some(place)) => format!("number {place} in the queue"),
                (None, None) => master.state.clone(),
            });
            if self.batch.is_some() {
                let _ = news.changed().await;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 3 / 2).min(ASK.1);
            }
        }
    }

    /// Masters always; what is beside them when it was asked for.
    fn wanted(&self, artifact: &Artifact) -> bool {
        match artifact.kind.as_str() {
            "master" => true,
            "report" => self.args.report,
            "preview" | "waveform" => self.args.preview,
            _ => false,
        }
    }
}

/// Asks about a batch for as long as it is polled; ends when there is nobody to ask.
async fn ask(api: &Api, batch: Option<&str>, tell: &watch::Sender<HashMap<String, Master>>) -> PushError {
    let Some(batch) = batch else { return std::future::pending().await };
    let (mut pause, mut in_vain) = (ASK.0, 0);
    loop {
        tokio::time::sleep(pause).await;
        match api.batch_masters(batch).await {
            Ok(masters) => {
                let state = |master: &Master| (master.state.clone(), master.stage.clone(), master.queue_position);
                let changed = {
                    let old = tell.borrow();
                    masters.iter().any(|master| old.get(&master.id).is_none_or(|old| state(old) != state(master)))
                };
                in_vain = 0;
                pause = if changed { ASK.0 } else { (pause * 3 / 2).min(ASK.1) };
                tell.send_replace(masters.into_iter().map(|master| (master.id.clone(), master)).collect());
            }
            // Each round has been patient by itself.
            Err(error) if !error.is_temporary() || in_vain == IN_VAIN => return error,
            Err(_) => {
                in_vain += 1;
                pause = ASK.1;
            }
        }
    }
}

fn describe(track: &Delivered) -> String {
    let name = track.mix.file_name().unwrap_or_default().to_string_lossy();
    let measured = match (track.lufs, track.dbtp) {
        (Some(lufs), Some(dbtp)) => format!("  {lufs:.1} LUFS, {dbtp:.1} dBTP"),
        _ => String::new(),
    };
    let mut text = format!("{name}{measured}");
    for (path, _) in &track.files {
        let _ = write!(text, "\n  → {}", path.display());
    }
    text
}

fn write_manifest(args: &PushArgs, done: &[&Delivered], progress: &Progress) -> bool {
    let folder = args.output.clone().unwrap_or_else(|| common_folder(done));
    let files: Vec<Value> = done
        .iter()
        .flat_map(|track| {
            track.files.iter().map(|(path, artifact)| {
                json!({
                    "name": path.strip_prefix(&folder).unwrap_or(path), "mix": track.mix, "master": track.master,
                    "kind": artifact.kind, "role": artifact.role, "bytes": artifact.bytes, "sha256": artifact.sha256,
                    "lufs": track.lufs, "dbtp": track.dbtp, "seconds": track.seconds,
                })
            })
        })
        .collect();
    let target = folder.join("manifest.json");
    let text = serde_json::to_string_pretty(&json!({ "version": 1, "files": files })).unwrap_or_default() + "\n";
    // A manifest tells about the push that wrote it: the one before is replaced.
    let written = loopmaster_core::master::write_draft(&target, text.as_bytes())
        .and_then(|draft| Ok(loopmaster_core::deliver::deliver(vec![draft], true)?));
    if let Err(error) = &written {
        progress.error(&target.display().to_string(), error.code(), &error.to_string());
    }
    written.is_ok()
}

/// The deepest folder that holds everything delivered.
fn common_folder(done: &[&Delivered]) -> PathBuf {
    let mut folders = done.iter().flat_map(|track| track.files.iter().filter_map(|(path, _)| path.parent()));
    let mut common = folders.next().unwrap_or(Path::new("")).to_owned();
    for folder in folders {
        while !folder.starts_with(&common) && common.pop() {}
    }
    common
}

fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "wav" | "wave" | "rf64" | "bw64" => "audio/wav",
        "aif" | "aiff" | "aifc" => "audio/aiff",
        "caf" => "audio/x-caf",
        "flac" => "audio/flac",
        "mp3" => "audio/mpeg",
        "m4a" | "mp4" | "alac" => "audio/mp4",
        "aac" => "audio/aac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "mka" | "mkv" => "audio/x-matroska",
        _ => "application/octet-stream",
    }
}

fn batch_name(named: &[PathBuf]) -> String {
    let first = named.first().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).unwrap_or_default();
    first.file_name().map_or_else(|| "push".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A folder of the user's by the XDG rules.
fn user_folder(variable: &str, below_home: &str) -> PathBuf {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(below_home);
    set.unwrap_or_else(home).join("loopmaster")
}

fn state_folder() -> PathBuf {
    user_folder("XDG_STATE_HOME", ".local/state").join("push")
}

/// One journal for one command: the same files and folders, as they were named, to the same service with the same settings; and the
/// name by the version before, which took the files that were found in the folders.
fn journal_names(args: &PushArgs, inputs: &[Input], settings: &Value) -> (String, String) {
    let reference = || args.reference.iter().map(PathBuf::as_path);
    let found = inputs.iter().map(|input| input.path.as_path());
    (
        journal_name(args, settings, "named", reference().chain(args.mixes.iter().map(PathBuf::as_path))),
        journal_name(args, settings, "", reference().chain(found)),
    )
}

fn journal_name<'a>(args: &PushArgs, settings: &Value, kind: &str, paths: impl Iterator<Item = &'a Path>) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut hash = Sha256::new();
    let mut add = |text: &[u8]| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    if !kind.is_empty() {
        add(kind.as_bytes());
    }
    add(args.url().as_bytes());
    add(settings.to_string().as_bytes());
    add(args.name.as_deref().unwrap_or_default().as_bytes());
    add(&[u8::from(args.album)]);
    for path in paths {
        add(whole(path).as_os_str().as_encoded_bytes());
    }
    crate::digest::hex(&hash.finalize()[..16])
}

fn token(args: &PushArgs) -> Result<String, PushError> {
    let usual = user_folder("XDG_CONFIG_HOME", ".config").join("token");
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|source| PushError::File { path: path.to_owned(), source });
    let token = match (&args.token, &args.token_file, std::env::var("LOOPMASTER_TOKEN")) {
        (Some(token), ..) => token.clone(),
        (None, Some(path), _) => read(path)?,
        (None, None, Ok(token)) if !token.trim().is_empty() => token,
        (None, None, _) => read(&usual).unwrap_or_default(),
    };
    let token = token.trim().to_owned();
    // It goes into a header.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PushError::NoToken(usual));
    }
    Ok(token)
}

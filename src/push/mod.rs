//! `loopmaster push`: many mixes to a service and their masters back. Every step survives a crash: the same command goes on, and no
//! part that has arrived is sent again. Where some have failed, the same command masters those again from what the service has, sends what
//! is new or has changed, and leaves the others as they are. That holds, too, when all has come through: `--fresh` begins anew.

mod api;
mod delivered;
mod error;
mod fetch;
mod fits;
mod journal;
mod manifest;
mod orders;
mod place;
mod send;

use crate::cli::PushArgs;
use api::{Api, Artifact, Master, Upload};
use delivered::{Delivered, describe, write_manifest};
use error::PushError;
use futures_util::StreamExt;
use journal::{Here, Journal, Step};
use loopmaster_cli::progress::{Progress, Transfer, Voice};
use loopmaster_core::Settings;
use orders::{Orders, Track};
use send::{Order, Sender, Source};
use serde_json::json;
use std::collections::HashMap;
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress.error("", "push.runtime", &format!("no threads to be had: {error}"));
            return false;
        }
    };
    let whole = async {
        // What a preset does not say is for the options, and what they do not say, too, for the rows of a manifest.
        let base = match &args.preset {
            Some(name) => Api::new(&args.url(), place::token(args)?)?.preset(name).await?,
            None => Settings::default(),
        };
        let orders = Orders::of(args, base, &progress)?;
        Ok::<_, PushError>(!orders.tracks.is_empty() && push(args, &orders, &progress).await? && orders.left_out == 0)
    };
    match runtime.block_on(whole) {
        Ok(good) => good,
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

struct Push<'a> {
    args: &'a PushArgs,
    progress: &'a Progress,
    api: &'a Api,
    sender: Sender<'a>,
    batch: Option<String>,
    /// The uploads of references.
    references: HashMap<PathBuf, String>,
    files: Semaphore,
    fetches: Semaphore,
    news: watch::Receiver<HashMap<String, Master>>,
}

async fn push(args: &PushArgs, orders: &Orders, progress: &Progress) -> Result<bool, PushError> {
    let started = Instant::now();
    let token = place::token(args)?;
    let api = Api::new(&args.url(), token)?;
    let (name, before) = &orders.journal;
    let journal = Journal::open(&place::state_folder(), name, before, args.fresh)?;
    let tracks = &orders.tracks;
    let batch = match journal.batch() {
        Some(batch) => Some(batch),
        None if !orders.batch => None,
        None => {
            let id = api.batch(&orders.name, args.album, tracks.len(), &journal.key("batch")).await?;
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
        batch: batch.clone(),
        references: HashMap::new(),
        files: Semaphore::new(FILES),
        fetches: Semaphore::new(FETCHES),
        news,
    };
    let here: Vec<Option<Delivered>> =
        futures_util::stream::iter(tracks).map(|track| work.here(track)).buffered(FILES).collect().await;
    // Only for those that are still to be made.
    for track in tracks.iter().zip(&here).filter(|(_, here)| here.is_none()).map(|(track, _)| track) {
        if let Some(path) = track.reference.as_ref().filter(|path| !work.references.contains_key(*path)) {
            let upload = work.reference(path).await?;
            work.references.insert(path.clone(), upload);
        }
    }
    let work = &work;
    let ending = tracks.iter().zip(here).map(|(track, here)| async move {
        match here {
            Some(delivered) => Ended::Good(Box::new(delivered)),
            None => work.track(track).await,
        }
    });
    let asking = ask(&api, batch.as_deref(), &tell);
    let ended = tokio::select! {
        ended = futures_util::future::join_all(ending) => ended,
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
        "event": "summary", "mastered": good.len(), "failed": failed, "left_out": orders.left_out, "batch": batch,
        "wall_seconds": started.elapsed().as_secs_f64(),
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
        let order = Order {
            media_type: media_type(path),
            settings: None,
            batch: None,
            position: None,
            reference: None,
            named: "",
        };
        let bar = self.progress.transfer(path, source.bytes);
        let moved = |by| bar.moved(by);
        Ok(self.sender.send(&source, &order, &moved).await?.id)
    }

    /// One track from here to there and back; what went wrong has been told when this returns.
    async fn track(&self, track: &Track) -> Ended {
        match self.through(track).await {
            Ok(delivered) => Ended::Good(Box::new(delivered)),
            Err(error) => {
                self.progress.error(&track.mix.display().to_string(), error.code(), &error.to_string());
                if matches!(error, PushError::Failed { .. }) { Ended::Failed } else { Ended::Stopped }
            }
        }
    }

    async fn through(&self, track: &Track) -> Result<Delivered, PushError> {
        let file = track.mix.display().to_string();
        let (bar, source, upload, id) = {
            let _turn = self.files.acquire().await;
            let source = Source::look(&track.mix)?;
            let bar = self.progress.transfer(&track.mix, source.bytes);
            let (upload, id) = self.upload(track, &source, &bar).await?;
            (bar, source, upload, id)
        };
        self.progress.event(&json!({ "event": "queued", "file": file, "upload": upload.id, "master": id }));
        let mut delivered = Delivered {
            mix: track.mix.clone(),
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
        let name = source.path.to_string_lossy().into_owned();
        for artifact in master.artifacts.into_iter().filter(|artifact| self.wanted(artifact)) {
            let target = track.folder.join(fetch::file_name(&artifact));
            bar.say(&format!("fetching {}", artifact.role));
            let force = self.args.force || self.is_replaced(track, &name, &target).await;
            fetch::fetch(self.api, &artifact, &target, force).await?;
            self.progress.event(&json!({
                "event": "delivered", "file": file, "path": target, "bytes": artifact.bytes, "sha256": artifact.sha256,
            }));
            delivered.files.push((target, artifact));
        }
        (delivered.seconds, delivered.lufs, delivered.dbtp) = (master.seconds, master.lufs, master.dbtp);
        let here = Here {
            master: delivered.master.clone(),
            seconds: delivered.seconds,
            lufs: delivered.lufs,
            dbtp: delivered.dbtp,
            report: self.args.report,
            preview: self.args.preview,
            files: delivered.files.iter().map(|(_, artifact)| artifact.clone()).collect(),
        };
        let order = track.order.clone();
        journal.write(Step::Done { file: name, stamp: source.stamp, track: Box::new(here), order })?;
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
    async fn here(&self, track: &Track) -> Option<Delivered> {
        let source = Source::look(&track.mix).ok()?;
        let known = self.sender.journal.here(&source.path.to_string_lossy(), &source.stamp, &track.order)?;
        if self.args.detach || (self.args.report && !known.report) || (self.args.preview && !known.preview) {
            return None;
        }
        let files: Vec<_> = known
            .files
            .into_iter()
            .filter(|artifact| self.wanted(artifact))
            .map(|artifact| (track.folder.join(fetch::file_name(&artifact)), artifact))
            .collect();
        if !fetch::are_here(files.clone()).await {
            return None;
        }
        let delivered = Delivered {
            mix: source.path,
            master: known.master,
            seconds: known.seconds,
            lufs: known.lufs,
            dbtp: known.dbtp,
            files,
        };
        self.tell_done(&track.mix.display().to_string(), &delivered);
        Some(delivered)
    }

    /// Whether what lies there is what an earlier row of the manifest for this mix has brought, as it came: another order takes its place.
    async fn is_replaced(&self, track: &Track, name: &str, target: &Path) -> bool {
        let mut came = self.sender.journal.came(name).into_iter();
        let same = came.find(|artifact| track.folder.join(fetch::file_name(artifact)) == target);
        match same.filter(|_| !track.order.is_empty()) {
            Some(artifact) => fetch::are_here(vec![(target.to_owned(), artifact)]).await,
            None => false,
        }
    }

    /// Brings a file up where it is not there yet, and gives the upload and its master that is to be waited for.
    async fn upload(&self, track: &Track, source: &Source, bar: &Transfer<'_>) -> Result<(Upload, String), PushError> {
        let reference = track.reference.as_ref().and_then(|path| self.references.get(path)).map(String::as_str);
        let order = Order {
            media_type: media_type(&source.path),
            settings: Some(&track.settings),
            batch: self.batch.as_deref(),
            position: self.batch.as_ref().map(|_| track.position),
            reference,
            named: &track.order,
        };
        let moved = |by| bar.moved(by);
        let upload = self.sender.send(source, &order, &moved).await?;
        let journal = self.sender.journal;
        let latest = journal.latest(&upload.id, &track.order, upload.master.clone());
        if let Some(master) = latest.clone().filter(|master| !journal.has_failed(master)) {
            return Ok((upload, master));
        }
        // It is there, and its master has failed before, was never queued, or was ordered differently.
        let of = latest.as_deref().unwrap_or(&upload.id);
        let key = journal.key(&format!("again-{of}{}", track.order));
        match self.api.remaster(&upload.id, &track.settings, reference, &key).await {
            Ok(master) => {
                let order = track.order.clone();
                journal.write(Step::Again { upload: upload.id.clone(), master: master.clone(), order })?;
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

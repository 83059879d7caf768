//! One track on its way through the worker.

use super::recent::Known;
use super::record::{self, Artifact, Assignment, Upload};
use super::render::{Again, Rendered, Request, Unrendered};
use super::result::heard_first;
use super::sandbox::Refusal;
use super::{FilesError, Held, Room, Shared, Summary, Why, album, capacity, summary};
use crate::db::DbError;
use crate::measure;
use crate::queue::{self, Class, Failure, FailureClass, Fate, Lease, QueueError};
use futures_util::{StreamExt, TryStreamExt};
use loopmaster_core::analyse::analyse;
use loopmaster_core::decode::{DecodeError, Track};
use loopmaster_core::encode::{Delivered, Manifest};
use loopmaster_core::master::{
    Attempt, Clock, Completed, Excerpt, Extras, Kind, MasterRequest, OutputFile, Paths, PlannedTrack, TrackError,
    Watch, write_draft,
};
use loopmaster_core::render::{Backend, BackendInfo, Job, Master, RenderError, Tell};
use loopmaster_core::settings::{Limits, Settings};
use loopmaster_core::{
    Audio, Error, Stage,
    plan::{Limiter, Seat, Song, Target},
};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Everything a page shows.
const EXTRAS: Extras = Extras { report: true, preview: true, clean: false, force: true };
/// A track that found no room on the disk is tried again after this time.
const ROOM_AGAIN: Duration = Duration::from_mins(1);
/// Seconds of music from which on something is heard before the files are ready.
const WORTH_AN_EXCERPT: f64 = 60.0;
/// An excerpt that takes longer than this to be stored is of no use to those who wait.
const SHOWN: Duration = Duration::from_secs(10);
/// Transfers of one track at the same time.
const TRANSFERS: usize = 4;

/// How a run ended, where it ended without a result.
enum Stopped {
    Failed(Failure),
    /// It takes at least so many bytes.
    Larger(u64),
    /// From outside.
    Why(Why),
    /// The other songs of its album have not been heard.
    Album,
    /// The end has been written down, or belongs to somebody else.
    Settled,
}

impl From<TrackError> for Stopped {
    fn from(error: TrackError) -> Self {
        use loopmaster_core::encode::EncodeError;
        let class = match &error {
            // The disk, not the file.
            TrackError::Deliver(_)
            | TrackError::Core(
                Error::Encode(EncodeError::Write(_))
                | Error::Render(RenderError::Room(_))
                | Error::Decode(DecodeError::Room(_)),
            ) => FailureClass::Transient,
            TrackError::Core(Error::Render(RenderError::Device(_))) => FailureClass::Device,
            TrackError::Core(_) => FailureClass::Permanent,
        };
        Self::failed(class, error.code(), &error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        TrackError::from(error).into()
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::File { code, text } => Self::failed(FailureClass::Permanent, &code, &text),
            Refusal::Larger(bytes) => Self::Larger(bytes),
            Refusal::Machine(_) => Self::failed(FailureClass::Transient, "work.decoder", &refusal),
        }
    }
}

impl From<Unrendered> for Stopped {
    fn from(error: Unrendered) -> Self {
        match error {
            Unrendered::Render(error) => Error::from(error).into(),
            Unrendered::Decode(refusal) => refusal.into(),
            Unrendered::Panicked => Self::failed(FailureClass::Permanent, "internal", &error),
        }
    }
}

impl From<FilesError> for Stopped {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Missing(_) => gone(),
            FilesError::Away(_) => Self::failed(FailureClass::Transient, "work.storage", &error),
        }
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::failed(FailureClass::Transient, "work.disk", &error)
    }
}

impl From<DbError> for Stopped {
    fn from(error: DbError) -> Self {
        QueueError::from(error).into()
    }
}

impl From<QueueError> for Stopped {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Stale => Self::Why(Why::Lost),
            QueueError::Db(error) => Self::failed(FailureClass::Transient, error.code(), &error),
        }
    }
}

impl Stopped {
    fn failed(class: FailureClass, code: &str, text: &impl ToString) -> Self {
        Self::Failed(Failure { class, code: code.to_owned(), text: text.to_string(), after: None })
    }
}

fn gone() -> Stopped {
    Stopped::failed(
        FailureClass::Permanent,
        "work.upload_gone",
        &"the uploaded file is not there any more; upload it again",
    )
}

/// Takes a claimed track to its end, whatever that is.
pub(super) async fn run(shared: Arc<Shared>, held: Arc<Held>, room: Room, assignment: Option<Assignment>) {
    let started = Instant::now();
    // What still computes when a run is stopped keeps its room until it has ended.
    let room = Arc::new(room);
    let stopped = match assignment {
        None => Stopped::Why(Why::Cancelled),
        Some(assignment) => tokio::select! {
            () = held.stop.cancelled() => Stopped::Why(held.why.get().copied().unwrap_or(Why::Lost)),
            stopped = whole(&shared, &held, &room, assignment) => match stopped {
                Ok(seconds) => {
                    shared.learn(seconds, started.elapsed());
                    Stopped::Settled
                }
                Err(stopped) => stopped,
            },
        },
    };
    drop(room);
    settle(&shared, &held, stopped).await;
    shared.stages().remove(&held.lease.subject);
    shared.held().remove(&held.lease.id);
    shared.memory.freed.notify_one();
}

/// Writes down how a run without a result ended.
async fn settle(shared: &Shared, held: &Held, stopped: Stopped) {
    let lease = &held.lease;
    let (master, attempt) = (&lease.subject, lease.attempt);
    let failure = match stopped {
        Stopped::Settled => return,
        Stopped::Why(Why::Lost) => {
            tracing::warn!(job = lease.id, master, attempt, "the lease is lost; the run is thrown away");
            // This worker lives: whatever made it seem silent, the file did not end it.
            let forgiven = async {
                let mut tx = shared.services.db.begin().await?;
                queue::forgive(&mut tx, &shared.name, 0).await?;
                Ok::<_, QueueError>(tx.commit().await?)
            };
            if let Err(error) = forgiven.await {
                tracing::warn!(%error, "a lost lease is held against its job");
            }
            return;
        }
        Stopped::Why(why) => Err((why, 0, Duration::ZERO)),
        Stopped::Album => Err((Why::Drain, 0, album::LOOK_AGAIN)),
        Stopped::Larger(bytes) if held.room < shared.largest => {
            Err((Why::Drain, bytes.saturating_add(bytes / 16).max(held.room.saturating_mul(2)), Duration::ZERO))
        }
        Stopped::Larger(bytes) => {
            let largest = shared.largest;
            let text = format!(
                "decoded, the track takes at least {bytes} bytes and this service has room for {largest} ({}); lower the sample rate, or \
                 split it",
                capacity::in_words(largest, &shared.config.sandbox.limits)
            );
            Ok(Failure { class: FailureClass::Permanent, code: "decode.needs_memory".to_owned(), text, after: None })
        }
        Stopped::Failed(failure) => Ok(failure),
    };
    let (ending, told) = (&failure, shared.services.on_ended.as_ref());
    let written = shared
        .persist(lease, |mut tx| async move {
            let fate = match ending {
                Ok(failure) => queue::fail(&mut tx, lease, failure).await?,
                Err((Why::Cancelled, ..)) => {
                    queue::cancelled(&mut tx, lease).await?;
                    Fate::Cancelled
                }
                Err((_, bytes, wait)) => {
                    record::resize(&mut tx, lease, *bytes).await?;
                    queue::postpone(&mut tx, lease, *wait).await?
                }
            };
            let ended = match (&fate, ending) {
                (Fate::Again, _) => {
                    record::waiting(&mut tx, master, attempt).await?;
                    None
                }
                (Fate::Dead, Ok(failure)) => {
                    record::ended(&mut tx, master, attempt, Some((&failure.code, &failure.text))).await?
                }
                (Fate::Dead | Fate::Cancelled, _) => record::ended(&mut tx, master, attempt, None).await?,
            };
            if let (Some(ended), Some(told)) = (ended, told) {
                told(&mut tx, &ended).await?;
            }
            Ok(tx)
        })
        .await;
    match (&failure, written) {
        (Ok(failure), Ok(())) => {
            tracing::info!(job = lease.id, master, code = failure.code, error = failure.text, "a track failed");
        }
        (Err(_), Ok(())) => {}
        (_, Err(error)) => tracing::warn!(job = lease.id, master, %error, "a run's end is not written down"),
    }
}

/// The whole way. The seconds of music.
async fn whole(
    shared: &Arc<Shared>,
    held: &Arc<Held>,
    room: &Arc<Room>,
    assignment: Assignment,
) -> Result<f64, Stopped> {
    let lease = &held.lease;
    let Assignment { owner, batch, album, upload, reference, settings } = assignment;
    let settings = settings.map_err(|error| {
        let text = format!("the settings cannot be read ({error}); master the track again with new ones");
        Stopped::failed(FailureClass::Permanent, "work.settings", &text)
    })?;
    let album = batch.clone().filter(|_| album);
    let seat = match &album {
        Some(album) => find_seat(shared, lease, album).await?,
        None => None,
    };
    let coming = shared.renderer.on_the_way();
    let scratch = tempfile::Builder::new().prefix("track-").tempdir_in(shared.scratch.path())?;
    let reference = match reference {
        None => None,
        Some(file) => {
            let target = listen(shared, held, room, scratch.path(), &file).await?;
            let used = settings.references.first().cloned().unwrap_or_default();
            Some(Target::blend(&[(target, used)]))
        }
    };

    let mut line = Line {
        clock: Clock::default(),
        shared: Arc::clone(shared),
        master: lease.subject.clone(),
        owner: owner.clone(),
        first: First::default(),
    };
    line.stage(Stage::Decode, "");
    let mix = Arc::new(Mix::open(shared, held.room, scratch.path(), upload).await?);
    let track = mix.track().await?;
    room.shrink(capacity::bytes(&track.audio).max(1));
    room_on_disk(shared, &track.audio)?;

    let name = PathBuf::from(&mix.upload.name);
    let this = Arc::new(Steps { shared: Arc::clone(shared), settings, reference, seat, name });
    let (ready, audio, line) = compute(shared, held, room, {
        let (this, mix) = (Arc::clone(&this), Arc::clone(&mix));
        // The mix of somebody who waits may be mastered in another style next.
        let keep = lease.class == Class::Interactive;
        move || {
            let (ready, audio) = this.decide(&mix, track, keep, &mut line)?;
            Ok((ready, audio, line))
        }
    })
    .await?;
    let (this, ready) = match album {
        Some(album) if this.seat.is_none() => this.beside_the_others(lease, &album, ready).await?,
        _ => (this, ready),
    };
    let again: Again = {
        let mix = Arc::clone(&mix);
        Arc::new(move || {
            let mix = Arc::clone(&mix);
            Box::pin(async move { Ok(mix.track().await?.audio) })
        })
    };
    let folder = scratch.path().join("out");
    let (mut ready, mut audio, mut line, mut coming) = (Arc::new(ready), audio, line, coming);
    let (backend, finished) = loop {
        line.stage(Stage::Render, "");
        let (first, excerpt) = oneshot::channel();
        // For whoever looks at the page. A catalogue is not listened to while it is made, and short songs are done at once.
        let waits = lease.class == Class::Interactive && lease.seconds >= WORTH_AN_EXCERPT;
        let first = First(Arc::new(Mutex::new(waits.then_some(first))));
        line.first = first.clone();
        let tell = waits.then(|| this.sketches(&ready, &folder, first));
        let made = async {
            let (reply, answer) = oneshot::channel();
            let request = Request {
                ready: Arc::clone(&ready),
                audio,
                again: Arc::clone(&again),
                solitary: lease.solitary,
                tell,
                share: shared.share(held),
                reply,
            };
            shared.renderer.send(request, coming);
            let Rendered { masters, by } = answer.await.map_err(|_| Stopped::Why(Why::Lost))??;
            let (this, ready, folder) = (Arc::clone(&this), Arc::clone(&ready), folder.clone());
            compute(shared, held, room, move || {
                let backend = by.name.clone();
                let made = this.finish(&ready, masters, by, &folder, &mut line);
                line.first = First::default();
                Ok((made?, backend, line))
            })
            .await
        };
        let heard = async {
            let Ok(excerpt) = excerpt.await else { return };
            let shown = tokio::time::timeout(SHOWN, let_hear(shared, held, &owner, excerpt)).await;
            if !matches!(shown, Ok(Ok(()))) {
                tracing::debug!(
                    job = lease.id,
                    master = lease.subject,
                    "an excerpt is not shown; the track is heard when it is done"
                );
            }
        };
        let (made, ()) = tokio::join!(made, heard);
        let (made, backend, returned) = made?;
        line = returned;
        match made {
            Ended::Whole(finished) => break (backend, finished),
            Ended::Again(next) => {
                tracing::info!(job = lease.id, master = lease.subject, steps = ?next.steps(), "the plan is rendered again");
                ready = Arc::new(*next);
            }
        }
        coming = shared.renderer.on_the_way();
        audio = again().await?;
    };
    let Finished { pieces, summary, mut artifacts } = finished;
    line.stage(Stage::Deliver, "");
    store(shared, lease, &pieces, &mut artifacts).await?;
    let list = artifacts.as_slice();

    // From here on a stage that is told late would tell a lie.
    shared.stages().remove(&lease.subject);
    let ended = record::MasterEnded { master: lease.subject.clone(), owner, batch, state: "done", error: None };
    let (ended, backend, summary, told) = (&ended, &backend, &summary, shared.services.on_ended.as_ref());
    let settled = shared
        .persist(lease, |mut tx| async move {
            queue::finish(&mut tx, lease).await?;
            if !record::done(&mut tx, lease, &ended.owner, backend, summary, list).await? {
                record::mark_for_deletion(&mut tx, &lease.subject, None).await?;
            } else if let Some(told) = told {
                told(&mut tx, ended).await?;
            }
            Ok(tx)
        })
        .await;
    match settled {
        Ok(()) => {
            measure::mastered(summary.seconds, &line.times());
            Ok(summary.seconds)
        }
        Err(error) => Err(error.into()),
    }
}

/// Stores the files of a track under keys of their own.
async fn store(
    shared: &Shared,
    lease: &Lease,
    pieces: &[OutputFile],
    artifacts: &mut [Artifact],
) -> Result<(), Stopped> {
    for artifact in &mut *artifacts {
        // Random for each file: who is shown the key of one (a shared preview) cannot guess the key of another.
        let random = uuid::Uuid::new_v4().simple();
        artifact.key = format!("jobs/{}/{}/{random}-{}", lease.subject, lease.attempt, artifact.key);
    }
    let list = &*artifacts;
    let intend = |mut tx| async move {
        record::intend(&mut tx, lease, list).await?;
        Ok(tx)
    };
    shared.persist(lease, intend).await?;
    let files = &shared.services.files;
    let mut transfers = Vec::with_capacity(pieces.len());
    for (piece, artifact) in pieces.iter().zip(list) {
        transfers.push(files.put(&artifact.key, piece.draft.path(), artifact.media_type));
    }
    Ok(futures_util::stream::iter(transfers).buffer_unordered(TRANSFERS).try_collect::<()>().await?)
}

/// Stores the excerpt and says that the track can be heard.
async fn let_hear(shared: &Shared, held: &Held, owner: &str, excerpt: Excerpt) -> Result<(), Stopped> {
    let lease = &held.lease;
    let preview = &heard_first(&excerpt);
    let mut taken = HashSet::new();
    let described = excerpt.pieces.iter().map(|piece| describe(piece, None, &mut taken));
    let mut artifacts = described.collect::<Result<Vec<_>, Stopped>>()?;
    store(shared, lease, &excerpt.pieces, &mut artifacts).await?;
    let list = artifacts.as_slice();
    let written = shared.persist(lease, |mut tx| async move {
        record::audible(&mut tx, lease, owner, preview, list).await?;
        Ok(tx)
    });
    Ok(written.await?)
}

/// A track whose samples lie in files needs several times as much of the disk before it is done: nothing is begun that cannot end.
fn room_on_disk(shared: &Shared, audio: &Audio) -> Result<(), Stopped> {
    if !audio.channels[0].is_file() {
        return Ok(());
    }
    let need = capacity::bytes(audio).saturating_mul(capacity::TIMES_ON_DISK - 1);
    let (free, _) = loopmaster_core::machine::disk(&shared.config.scratch)?;
    if free >= need {
        return Ok(());
    }
    let text =
        format!("the track needs {need} bytes of scratch space and {free} are free; the service tries again later");
    Err(Stopped::Failed(Failure {
        class: FailureClass::Transient,
        code: "work.disk".to_owned(),
        text,
        after: Some(ROOM_AGAIN),
    }))
}

async fn fetch(shared: &Shared, scratch: &Path, name: &str, upload: &Upload) -> Result<PathBuf, Stopped> {
    let key = upload.key.as_deref().ok_or_else(gone)?;
    let path = scratch.join(name);
    shared.services.files.fetch(key, &path).await?;
    Ok(path)
}

async fn decode(shared: &Shared, room: u64, file: &Path, upload: &Upload) -> Result<Track, Refusal> {
    let extension = Path::new(&upload.name).extension().and_then(|extension| extension.to_str());
    // Closed only with the worker.
    let _slot = shared.decoders.acquire().await.ok();
    shared.config.sandbox.decode(file, extension, room, &shared.pool).await
}

/// Where the samples of a mix come from, as often as they are needed.
struct Mix {
    shared: Arc<Shared>,
    /// Bytes of decoded audio it may take.
    room: u64,
    upload: Upload,
    /// Kept from a run before.
    known: Option<Arc<Known>>,
    /// As it was uploaded; nothing lies there while the mix is known.
    file: PathBuf,
}

impl Mix {
    async fn open(shared: &Arc<Shared>, room: u64, scratch: &Path, upload: Upload) -> Result<Self, Stopped> {
        let known = upload.key.as_deref().and_then(|key| shared.recent.find(key));
        let file = match known {
            Some(_) => scratch.join("mix"),
            None => fetch(shared, scratch, "mix", &upload).await?,
        };
        Ok(Self { shared: Arc::clone(shared), room, upload, known, file })
    }

    async fn track(&self) -> Result<Track, Refusal> {
        match &self.known {
            None => decode(&self.shared, self.room, &self.file, &self.upload).await,
            Some(known) => Ok(known.track.try_clone()?),
        }
    }
}

/// What is followed of the reference. Its samples are gone before those of the mix come.
async fn listen(
    shared: &Arc<Shared>,
    held: &Held,
    room: &Arc<Room>,
    scratch: &Path,
    upload: &Upload,
) -> Result<Target, Stopped> {
    let told = |stopped| match stopped {
        Stopped::Failed(failure) => {
            Stopped::Failed(Failure { text: format!("the reference: {}", failure.text), ..failure })
        }
        other => other,
    };
    let file = fetch(shared, scratch, "reference", upload).await.map_err(told)?;
    let track = decode(shared, held.room, &file, upload).await.map_err(|refusal| told(refusal.into()))?;
    // A file that is not needed again makes room on the disk.
    std::fs::remove_file(&file)?;
    compute(shared, held, room, move || Ok(Target::from(&analyse(&track)))).await
}

/// Runs what takes the processor. A panic is a fault of ours and ends this track only.
async fn compute<T: Send + 'static>(
    shared: &Shared,
    held: &Held,
    room: &Arc<Room>,
    work: impl FnOnce() -> Result<T, Stopped> + Send + 'static,
) -> Result<T, Stopped> {
    let room = Arc::clone(room);
    let work = move || {
        let result = work();
        drop(room);
        result
    };
    shared.engine.run(shared.share(held), work).await.unwrap_or_else(|_| Err(Unrendered::Panicked.into()))
}

/// Tells the stages of one track.
struct Line {
    clock: Clock,
    shared: Arc<Shared>,
    master: String,
    owner: String,
    first: First,
}

/// Where the first excerpt of a plan goes.
#[derive(Clone, Default)]
struct First(Arc<Mutex<Option<oneshot::Sender<Excerpt>>>>);

impl First {
    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<Excerpt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, excerpt: Excerpt) {
        if let Some(first) = self.lock().take() {
            // Nobody listens any more when the run was stopped.
            let _ = first.send(excerpt);
        }
    }
}

impl Watch for Line {
    fn length(&mut self, _seconds: f64) {}

    fn stage(&self, stage: Stage, detail: &str) {
        self.clock.stage(stage, detail);
        self.shared.stages().insert(self.master.clone(), (self.owner.clone(), stage));
    }

    fn times(&self) -> Vec<(Stage, f64)> {
        self.clock.times()
    }

    fn waits(&self) -> bool {
        self.first.lock().is_some()
    }

    fn audible(&mut self, excerpt: Excerpt) {
        self.first.send(excerpt);
    }
}

/// The seat of a song whose album has been heard; `None`: this song has not.
async fn find_seat(shared: &Shared, lease: &Lease, album: &str) -> Result<Option<Seat>, Stopped> {
    let mut tx = shared.services.db.begin().await?;
    match album::place(&mut tx, album, &lease.subject).await? {
        album::Place::Unheard => Ok(None),
        album::Place::Waits => Err(Stopped::Album),
        album::Place::Seat { seat, waiting } => {
            album::call(&mut tx, &waiting).await?;
            tx.commit().await?;
            Ok(Some(seat))
        }
    }
}

/// What of the flow runs here.
#[derive(Clone)]
struct Steps {
    shared: Arc<Shared>,
    settings: Settings,
    reference: Option<Target>,
    /// On its album.
    seat: Option<Seat>,
    /// The file's own name.
    name: PathBuf,
}

/// A track that is made, with its files under temporary names.
struct Finished {
    pieces: Vec<OutputFile>,
    summary: Summary,
    /// In the order of the pieces; the keys are the last part only.
    artifacts: Vec<Artifact>,
}

/// How a run through the files ended.
enum Ended {
    Whole(Finished),
    /// This is to be rendered instead.
    Again(Box<PlannedTrack>),
}

impl Steps {
    fn order<'a>(&'a self, backend: &'a dyn Backend) -> MasterRequest<'a> {
        MasterRequest {
            settings: &self.settings,
            saved: None,
            reference: self.reference.as_ref(),
            seat: self.seat.as_ref(),
            extras: EXTRAS,
            backend,
            limits: Limits::default(),
            pool: &self.shared.pool,
        }
    }

    /// `keep`: for another style of the same mix.
    fn decide(&self, mix: &Mix, track: Track, keep: bool, line: &mut Line) -> Result<(PlannedTrack, Audio), Stopped> {
        let order = self.order(&*self.shared.services.cpu);
        line.stage(Stage::Analyse, "");
        let analysis = if let Some(known) = &mix.known {
            known.analysis.clone()
        } else {
            let analysis = analyse(&track);
            if let (true, Some(key)) = (keep, &mix.upload.key) {
                self.shared.recent.keep(key, &track, &analysis, self.shared.memory.free());
            }
            analysis
        };
        Ok(PlannedTrack::new(track, analysis, &order, line)?)
    }

    /// Writes down what was heard of a song, and plans it anew beside the others, if all of them have been heard.
    async fn beside_the_others(
        &self,
        lease: &Lease,
        album: &str,
        alone: PlannedTrack,
    ) -> Result<(Arc<Self>, PlannedTrack), Stopped> {
        let (shared, song) = (&self.shared, &Song::new(&alone.mix, &alone.plan));
        let heard = |mut tx| async move {
            album::heard(&mut tx, lease, song).await?;
            Ok(tx)
        };
        shared.persist(lease, heard).await?;
        let seat = find_seat(shared, lease, album).await?;
        let this = Self { seat, ..self.clone() };
        let ready = alone.seated(&this.order(&*shared.services.cpu))?;
        Ok((Arc::new(this), ready))
    }

    /// What makes the excerpt of a render under way.
    fn sketches(self: &Arc<Self>, ready: &Arc<PlannedTrack>, folder: &Path, first: First) -> Arc<Tell<'static>> {
        let (this, ready, folder) = (Arc::clone(self), Arc::clone(ready), folder.to_owned());
        Arc::new(move |sketch| {
            let place = Paths { input: &this.name, folder: &folder };
            match ready.sketched(&sketch, &place, &this.order(&*this.shared.services.cpu)) {
                Ok(excerpt) => first.send(excerpt),
                // The whole is on its way.
                Err(error) => tracing::debug!(%error, "a part of a render is not heard early"),
            }
        })
    }

    fn finish(
        &self,
        ready: &PlannedTrack,
        masters: Vec<Master>,
        by: BackendInfo,
        folder: &Path,
        line: &mut Line,
    ) -> Result<Ended, Stopped> {
        let by = By { cpu: &*self.shared.services.cpu, info: by };
        let order = self.order(&by);
        let place = Paths { input: &self.name, folder };
        let Completed { mut pieces, files, report, .. } = match ready.complete(masters, &place, &order, line)? {
            Attempt::Completed(made) => *made,
            Attempt::Again(next) => return Ok(Ended::Again(next)),
        };
        let Some(report) = report else {
            return Err(Stopped::failed(FailureClass::Permanent, "internal", &"a track without its report"));
        };
        let stem = report.stem().to_owned();
        for (role, svg) in report.plots() {
            let draft = write_draft(&folder.join(format!("{stem} ({role}).svg")), svg.as_bytes())?;
            pieces.push(OutputFile { draft, kind: Kind::Plot, role: role.to_owned() });
        }
        let list = files.iter().map(Delivered::from).collect();
        let draft =
            write_draft(&folder.join(format!("{stem} (manifest).json")), Manifest::new(list).to_json().as_bytes())?;
        pieces.push(OutputFile { draft, kind: Kind::Data, role: "manifest".to_owned() });

        let mut taken = HashSet::new();
        let known = files.iter().map(|file| Some(file.sha256.as_str())).chain(std::iter::repeat(None));
        let artifacts = pieces.iter().zip(known).map(|(piece, sha256)| describe(piece, sha256, &mut taken));
        let artifacts = artifacts.collect::<Result<Vec<_>, Stopped>>()?;
        Ok(Ended::Whole(Finished { summary: summary(&report), pieces, artifacts }))
    }
}

/// Size and checksums of a file, and what to call it. The masters' SHA-256 is known from writing them.
fn describe(piece: &OutputFile, sha256: Option<&str>, taken: &mut HashSet<String>) -> Result<Artifact, Stopped> {
    let mut file = std::fs::File::open(piece.draft.path())?;
    let (mut crc, mut sha, mut bytes) = (crc32fast::Hasher::new(), Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            break;
        }
        bytes += got as u64;
        crc.update(&buffer[..got]);
        if sha256.is_none() {
            sha.update(&buffer[..got]);
        }
    }
    let name = piece.draft.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let extension = name.rsplit_once('.').map_or("bin", |(_, extension)| extension);
    let role: String = piece.role.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let mut key = format!("{}-{role}.{extension}", piece.kind.as_str());
    while !taken.insert(key.clone()) {
        key.insert(0, '_');
    }
    let media_type = match extension {
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "mp3" => "audio/mpeg",
        "opus" => "audio/ogg; codecs=opus",
        "html" => "text/html; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let sha256 = sha256.map_or_else(|| crate::digest::hex(&sha.finalize()), str::to_owned);
    Ok(Artifact {
        kind: piece.kind.as_str(),
        role: piece.role.clone(),
        name,
        media_type,
        bytes,
        sha256,
        crc32: crc.finalize(),
        key,
    })
}

/// The processor's kernels under the name of who rendered.
struct By<'a> {
    cpu: &'a dyn Backend,
    info: BackendInfo,
}

impl Backend for By<'_> {
    fn info(&self) -> BackendInfo {
        self.info.clone()
    }

    fn render(&self, jobs: Vec<Job<'_>>) -> Vec<Result<Vec<Master>, RenderError>> {
        self.cpu.render(jobs)
    }

    fn reduce_overs(&self, master: &mut Audio, decoded: &Audio, limiter: &Limiter) {
        self.cpu.reduce_overs(master, decoded, limiter);
    }
}

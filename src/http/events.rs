//! One stream per visitor: first how things stand, then what changes, in the order of the owner's version. Through the edge it ends
//! by itself before the edge would cut it, and the browser comes back with `Last-Event-ID`; nothing is missed, for the rows are what
//! is told, not the news of them.

use super::App;
use super::extract::{Json, Query};
use super::problem::{Answer, Problem, ProblemBody};
use crate::db::{Change, Db};
use crate::domain::identity::{Scope, Visitor};
use crate::domain::masters::{self, Master, State as Is, listing};
use crate::keyed_lock::Permit;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const DIRECT: Duration = Duration::from_hours(1);
/// A sign of life; and the moment to look for what nobody told.
const PING: Duration = Duration::from_secs(10);
/// Changes are gathered for this long.
const GATHER: Duration = Duration::from_millis(50);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Tells streams that their owner's rows have changed. One task listens to the database, not each stream.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Mutex<HashMap<Arc<str>, watch::Sender<()>>>>);

impl Hub {
    /// Listens until the database is gone.
    pub fn listen(&self, db: &Db) {
        let mut changes = db.subscribe();
        let hub = self.clone();
        tokio::spawn(async move {
            loop {
                match changes.recv().await {
                    Ok(Change::Owner(owner)) => hub.tell(Some(&owner)),
                    Ok(Change::Jobs) => {}
                    Ok(Change::Unknown) | Err(RecvError::Lagged(_)) => hub.tell(None),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn tell(&self, owner: Option<&str>) {
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match owner {
            Some(owner) => {
                if let Some(sender) = owners.get(owner) {
                    sender.send_replace(());
                }
            }
            None => owners.values().for_each(|sender| {
                sender.send_replace(());
            }),
        }
    }

    fn follow(&self, owner: &str) -> watch::Receiver<()> {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|_, sender| sender.receiver_count() > 0);
        owners.entry(owner.into()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Since {
    /// The version of the last answer, for those who ask again and again instead of listening.
    since: Option<i64>,
}

/// How things stand, or what has changed since.
#[derive(Debug, Serialize, ToSchema)]
pub struct Standing {
    /// Rises with every change of any master of this owner.
    version: i64,
    /// Whether `items` is everything there is to show, or only what changed.
    whole: bool,
    /// Masters.
    items: Vec<Master>,
}

/// Listen to changes
///
/// As `text/event-stream`: `snapshot` with everything (version and items), then `master` for each change; `id:` is the version. As
/// `application/json`: the same for those who poll; send the version as `since` and the ETag.
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "events", params(Since),
    responses((status = 200, body = Standing), (status = 304, description = "Nothing has changed"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn events(
    State(app): State<App>,
    visitor: Visitor,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Answer<Response> {
    visitor.needs(Scope::Masters)?;
    let streams = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|a| a.contains("text/event-stream"));
    if streams {
        return listen(app, &visitor, &headers).await;
    }
    let version = listing::version(&app.db, visitor.owner()).await?;
    let etag = HeaderValue::try_from(format!("\"v{version}\"")).map_err(Problem::internal)?;
    if headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let changes = match since {
        Some(since) if (0..=version).contains(&since) => listing::changes(&app.db, visitor.owner(), since).await?,
        _ => None,
    };
    let standing = match changes {
        Some(items) => Standing { version, whole: false, items },
        None => Standing { version, whole: true, items: listing::standing(&app, visitor.owner()).await? },
    };
    Ok(([(header::ETAG, etag)], Json(standing)).into_response())
}

async fn listen(app: App, visitor: &Visitor, headers: &HeaderMap) -> Answer<Response> {
    let owner = visitor.owner().to_owned();
    // From now on nothing is missed.
    let news = app.hub.follow(&owner);
    let slot = app.streams.force(&owner, app.config.limits.streams);
    let last =
        headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.trim().parse::<i64>().ok());
    let lasts = if visitor.through_edge { Duration::from_secs(app.config.edge.stream_seconds) } else { DIRECT };
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    let mut feed = Feed {
        app,
        owner,
        news,
        slot,
        version: 0,
        ends: Instant::now() + lasts,
        ping,
        places: BTreeMap::new(),
        ready: VecDeque::new(),
        over: false,
    };
    // The first answer is made before the stream is: what fails is a problem with a status, not a stream that breaks.
    feed.begin(last).await?;
    let stream =
        stream::unfold(feed, async |mut feed| feed.next().await.map(|event| (Ok::<_, Infallible>(event), feed)));
    let mut response = Sse::new(stream).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Feed {
    app: App,
    owner: String,
    news: watch::Receiver<()>,
    slot: Permit,
    version: i64,
    ends: Instant,
    ping: Interval,
    /// Places in the queue as last told.
    places: BTreeMap<String, i64>,
    ready: VecDeque<Event>,
    over: bool,
}

impl Feed {
    async fn begin(&mut self, last: Option<i64>) -> Answer<()> {
        let version = listing::version(&self.app.db, &self.owner).await?;
        self.ready.push_back(Event::default().retry(Duration::from_secs(1)).comment("hello"));
        if let Some(last) = last.filter(|last| (0..=version).contains(last)) {
            self.version = last;
            if let Some(items) = listing::changes(&self.app.db, &self.owner, last).await? {
                self.tell(items);
                return Ok(());
            }
        }
        self.snapshot(version).await
    }

    async fn snapshot(&mut self, version: i64) -> Answer<()> {
        let items = listing::standing(&self.app, &self.owner).await?;
        for master in &items {
            if let Some(place) = master.queue_position {
                self.places.insert(master.id.clone(), place);
            }
        }
        self.version = version;
        let standing = Standing { version, whole: true, items };
        self.ready.push_back(written("snapshot", version, &standing)?);
        Ok(())
    }

    fn tell(&mut self, items: Vec<Master>) {
        for master in items {
            self.version = self.version.max(master.version);
            if master.state == Is::Waiting {
                self.places.entry(master.id.clone()).or_insert(-1);
            } else {
                self.places.remove(&master.id);
            }
            if let Ok(event) = written("master", master.version, &master) {
                self.ready.push_back(event);
            }
        }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let looked = tokio::select! {
                biased;
                () = self.app.draining.cancelled() => {
                    // Not all at once: each comes back at its own moment.
                    self.end(Duration::from_millis(1_000 + u64::from(rand::random::<u16>() % 2_000)));
                    Ok(())
                }
                () = self.slot.gives_way.cancelled() => {
                    self.end(Duration::from_mins(1));
                    Ok(())
                }
                () = sleep_until(self.ends) => {
                    self.end(Duration::from_millis(100));
                    Ok(())
                }
                changed = self.news.changed() => {
                    sleep(if changed.is_ok() { GATHER } else { PING }).await;
                    self.news.mark_unchanged();
                    self.look().await
                }
                _ = self.ping.tick() => {
                    self.ready.push_back(Event::default().comment("ping"));
                    match self.look().await {
                        Ok(()) => self.look_at_places().await,
                        failed => failed,
                    }
                }
            };
            if let Err(problem) = looked {
                // The rows are looked at again with the next ping.
                tracing::warn!(%problem, cause = problem.cause(), "a stream of events waits for the database");
            }
        }
    }

    fn end(&mut self, retry: Duration) {
        self.ready.push_back(Event::default().retry(retry).comment("come back"));
        self.over = true;
    }

    async fn look(&mut self) -> Answer<()> {
        if let Some(items) = listing::changes(&self.app.db, &self.owner, self.version).await? {
            self.tell(items);
        } else {
            let version = listing::version(&self.app.db, &self.owner).await?;
            self.snapshot(version).await?;
        }
        Ok(())
    }

    /// Others' jobs end without a change of our rows: places in the queue are looked at now and then, of a few.
    async fn look_at_places(&mut self) -> Answer<()> {
        let waiting: Vec<(String, i64)> = self.places.iter().take(20).map(|(id, place)| (id.clone(), *place)).collect();
        for (id, told) in waiting {
            let Some(place) = self.app.positions.of(&self.app.db, &id).await? else { continue };
            if place != told {
                let mut master = masters::find(&self.app.db, &self.owner, &id).await?;
                master.queue_position = Some(place);
                self.places.insert(id, place);
                self.ready.push_back(written("master", self.version, &master)?);
            }
        }
        Ok(())
    }
}

fn written(name: &str, version: i64, data: &impl Serialize) -> Answer<Event> {
    Event::default().event(name).id(version.to_string()).json_data(data).map_err(Problem::internal)
}

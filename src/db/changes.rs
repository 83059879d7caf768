//! Who waits for a change of rows is told: within the process at once, across processes by PostgreSQL's NOTIFY, gathered for a moment
//! after the commit (a NOTIFY inside each transaction takes a lock that all commits queue for). Telling is a courtesy: whoever must not
//! miss anything looks at the rows from time to time.

use super::Result;
use sqlx::AnyPool;
use sqlx::postgres::PgListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};

const CHANNEL: &str = "loopmaster";
/// How long changes are gathered before other processes are told.
const GATHER: Duration = Duration::from_millis(20);
/// PostgreSQL takes less than 8000 bytes at a time.
const LONGEST: usize = 7000;
/// What a slow listener may fall behind before it has to look for itself.
const KEPT: usize = 4096;
const RETRY: Duration = Duration::from_secs(1);

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What this owner sees.
    Owner(Arc<str>),
    /// There are jobs to be had, or one is to be cancelled.
    Jobs,
    /// The line to the database was cut: anything may have changed.
    Unknown,
}

/// Tells and listens. Clones are the same.
#[derive(Clone, Debug)]
pub struct Changes {
    here: broadcast::Sender<Change>,
    away: Option<mpsc::UnboundedSender<Change>>,
}

impl Changes {
    pub(super) fn in_process() -> Self {
        Self { here: broadcast::Sender::new(KEPT), away: None }
    }

    pub(super) async fn across(url: &str, pool: AnyPool) -> Result<Self> {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        let here = broadcast::Sender::new(KEPT);
        let (away, outbox) = mpsc::unbounded_channel();
        let me = uuid::Uuid::new_v4().simple().to_string();
        tokio::spawn(listen(listener, here.downgrade(), me.clone()));
        tokio::spawn(notify(pool, outbox, me));
        Ok(Self { here, away: Some(away) })
    }

    /// Tells everybody.
    pub fn tell(&self, changes: Vec<Change>) {
        for change in changes {
            if let Some(away) = &self.away {
                // Closed only while the process ends.
                let _ = away.send(change.clone());
            }
            // Nobody may be listening.
            let _ = self.here.send(change);
        }
    }

    /// Everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.here.subscribe()
    }
}

/// `<process> <change> <change> …`, a change being an owner's id or `*` for jobs.
async fn notify(pool: AnyPool, mut outbox: mpsc::UnboundedReceiver<Change>, me: String) {
    while let Some(first) = outbox.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut words: Vec<Arc<str>> = Vec::new();
        let rest = std::iter::from_fn(|| outbox.try_recv().ok());
        for change in std::iter::once(first).chain(rest) {
            let word = match change {
                Change::Owner(owner) => owner,
                Change::Jobs => Arc::from("*"),
                Change::Unknown => continue,
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let mut texts = vec![me.clone()];
        for word in words {
            if texts.last().is_some_and(|text| text.len() + word.len() >= LONGEST) {
                texts.push(me.clone());
            }
            if let Some(text) = texts.last_mut() {
                text.push(' ');
                text.push_str(&word);
            }
        }
        for text in texts {
            let sent = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(text).execute(&pool).await;
            if let Err(error) = sent {
                tracing::warn!(%error, "other processes were not told of a change; they will find it by looking");
            }
        }
    }
}

/// Ends with the last `Changes`.
async fn listen(mut listener: PgListener, here: broadcast::WeakSender<Change>, me: String) {
    loop {
        let told = tokio::time::timeout(RETRY * 10, listener.try_recv()).await;
        let Some(here) = here.upgrade() else { return };
        match told {
            Err(_) => {}
            Ok(Ok(Some(told))) => {
                let mut words = told.payload().split(' ');
                if words.next() == Some(&me) {
                    continue;
                }
                for word in words {
                    let change = if word == "*" { Change::Jobs } else { Change::Owner(word.into()) };
                    let _ = here.send(change);
                }
            }
            Ok(Ok(None)) => {
                let _ = here.send(Change::Unknown);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot listen to the database");
                let _ = here.send(Change::Unknown);
                drop(here);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

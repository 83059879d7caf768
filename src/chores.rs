//! The service's own jobs and who does them.

use crate::db::Db;
use crate::domain::error::Error;
use crate::domain::export;
use crate::domain::letters;
use crate::domain::retention;
use crate::domain::uploads::{FETCH, fetched};
use crate::domain::webhooks::{self, Tried};
use crate::measure;
use crate::outside::mail::{MailError, Mailer};
use crate::outside::webhooks::guard::Guard;
use crate::queue::{self, NewJob};
use crate::service::Service;
use crate::work::{ChoreError, Chores, Next};
use std::time::Duration;

/// Between two sweeps.
const SWEEP: Duration = Duration::from_mins(10);
/// However much is deleted. A master whose worker does not let go of it is asked for again at this pace, too.
const SOONEST: Duration = Duration::from_secs(10);

/// Everything this binary knows how to do.
#[must_use]
pub fn chores(service: &Service, mailer: Mailer, guard: Guard) -> Chores {
    let mut chores = Chores::default();
    let of = service.clone();
    chores.register("mail", move |chore| {
        let (service, mailer) = (of.clone(), mailer.clone());
        async move {
            let sent = letters::deliver(&mailer, &service.config, &service.db, &chore.subject, &chore.payload).await;
            measure::mail(match &sent {
                Ok(()) => "sent",
                Err(MailError::Permanent(_)) => "refused",
                Err(MailError::Transient(_)) => "away",
            });
            match sent {
                Ok(()) => Ok(Next::Done),
                Err(MailError::Permanent(why)) => Err(ChoreError::permanent("mail.refused", why)),
                Err(MailError::Transient(why)) => Err(ChoreError::transient("mail.away", why)),
            }
        }
    });
    let (of, looked) = (service.clone(), guard.clone());
    chores.register_long(FETCH, move |chore| {
        let (service, guard) = (of.clone(), looked.clone());
        async move {
            fetched::fetch(&service, &guard, &chore.subject, chore.last)
                .await
                .map(|()| Next::Done)
                .map_err(|error| failed(&error))
        }
    });
    let of = service.clone();
    chores.register("webhook", move |chore| {
        let (service, guard) = (of.clone(), guard.clone());
        async move {
            match webhooks::deliver(&service.db, &service.config, &guard, &chore.subject)
                .await
                .map_err(|error| failed(&error))?
            {
                Tried::Ended => Ok(Next::Done),
                Tried::Again(after) => Ok(Next::Again(after)),
            }
        }
    });
    let of = service.clone();
    chores.register("export", move |chore| {
        let service = of.clone();
        async move { export::build(&service, &chore.subject).await.map(|()| Next::Done).map_err(|error| failed(&error)) }
    });
    let of = service.clone();
    chores.register("sweep", move |_| {
        let service = of.clone();
        async move {
            match retention::sweep(&service).await {
                Ok(report) => tracing::info!(?report, "swept"),
                // The next sweep comes anyway; a job that has failed for good would not.
                Err(error) => tracing::warn!(%error, cause = error.cause(), "the sweep broke off"),
            }
            // A deletion that has just become final, or does in a moment, is not kept waiting for the next round.
            let next = match retention::next_deletion(&service.db).await {
                Ok(Some(left)) => Duration::from_millis(left.max(0).unsigned_abs()).clamp(SOONEST, SWEEP),
                _ => SWEEP,
            };
            Ok(Next::Again(next))
        }
    });
    chores
}

/// Makes sure that there is a sweeper.
pub async fn ensure_sweeper(db: &Db) -> Result<(), crate::db::DbError> {
    let mut tx = db.begin().await?;
    queue::enqueue(&mut tx, &NewJob::chore("sweep", "sweep", String::new())).await?;
    tx.commit().await
}

fn failed(error: &Error) -> ChoreError {
    let text = match error.cause() {
        Some(cause) => format!("{}: {cause}", error.detail()),
        None => error.detail().to_owned(),
    };
    ChoreError::transient("chore.failed", text)
}

//! Letters that wait in the queue: whether they still go out, and what follows when they have.

use crate::config::Config;
use crate::db::{Db, DbError, Tx};
use crate::domain::retention::ageing;
use crate::outside::mail::{Letter, MailError, Mailer, open};
use crate::queue;

/// Does a job of kind `mail`.
pub async fn deliver(mailer: &Mailer, config: &Config, db: &Db, id: &str, payload: &str) -> Result<(), MailError> {
    let Some((to, letter)) = open(config, payload) else {
        return Err(MailError::Permanent("the letter cannot be opened: the service's secret has changed".to_owned()));
    };
    if matches!(letter, Letter::SignIn { .. }) {
        // Decided here and not where it was asked for, so that the answer there takes the same time for everybody.
        let banned =
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM users WHERE email = $1 AND banned_at IS NOT NULL")
                .bind(&to)
                .fetch_one(db.read())
                .await
                .map_err(|error| MailError::Transient(error.to_string()))?;
        if banned > 0 {
            return Ok(());
        }
    }
    // What a server answers is written down and logged, and often repeats the address.
    mailer.send(id, &to, &letter).await.map_err(|error| error.without(&to))?;
    if let Letter::SongsAge { notice, .. } = &letter {
        // Only what has left counts. Where this fails the letter goes out twice.
        ageing::sent(db, notice).await.map_err(|error| MailError::Transient(error.to_string()))?;
    }
    Ok(())
}

/// Takes back letters that wait and are to one of these addresses, or pass on what somebody with it wrote.
pub async fn withdraw(tx: &mut Tx, config: &Config, addresses: &[String]) -> Result<(), DbError> {
    let text = "SELECT subject, payload FROM jobs WHERE kind = 'mail' AND state = 'waiting'";
    let waiting: Vec<(String, String)> = sqlx::query_as(text).fetch_all(&mut **tx).await?;
    for (subject, payload) in waiting {
        let Some((to, letter)) = open(config, &payload) else { continue };
        if addresses.iter().any(|address| *address == to || letter.reply_to() == Some(address)) {
            queue::cancel(tx, "mail", &subject).await?;
        }
    }
    Ok(())
}

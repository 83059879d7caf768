//! `loopmaster admin`: what an operator does by hand. Everything that changes an account is written into the audit.

use crate::audit::note;
use crate::config::{Config, Sources};
use crate::db::{Purged, Tx};
use crate::http::App;
use crate::http::account::access::revoke_grants;
use crate::http::auth::{sessions, users};
use crate::http::problem::{Answer, Problem};
use crate::http::time::rfc3339;
use crate::retention;
use crate::retention::mixes::UNUSED;
use crate::retention::traces::Removed;
use crate::serve::RoleError;
use clap::{Args, Subcommand};
use sqlx::Row;
use std::fmt::Write as _;

/// Who the audit names.
const OPERATOR: &str = "operator";

/// `loopmaster admin`
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The configuration [default: `$LOOPMASTER_CONFIG`, else loopmaster.toml].
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<std::path::PathBuf>,

    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show an account: by id or mail address.
    User {
        /// usr_… or an address.
        who: String,
    },
    /// Close an account for misuse; sessions, tokens and grants end at once.
    Ban {
        /// usr_… or an address.
        who: String,
        /// For the audit.
        #[arg(long)]
        why: String,
    },
    /// Open a banned account again.
    Unban {
        /// usr_… or an address.
        who: String,
    },
    /// Delete an account, a guest, a master (with its mix, if nothing else uses it) or an upload for good, at once.
    Purge {
        /// usr_…, gst_…, mst_…, upl_… or an address.
        what: String,
        /// Say it once more: there is no way back.
        #[arg(long)]
        yes: bool,
    },
    /// Remove what has had its time, as the sweeper does every ten minutes.
    Retention {
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare the register of objects with what is in storage.
    Reconcile {
        /// Give unknown objects to the sweeper.
        #[arg(long)]
        apply: bool,
    },
    /// Messages of the contact form that are open.
    Tickets,
    /// Close a message of the contact form.
    Close {
        /// tkt_…
        ticket: String,
    },
    /// What happened to something, and who did it.
    Audit {
        /// Any id.
        id: String,
    },
    /// How long everything is kept.
    Periods,
}

/// `loopmaster admin`
pub fn command(args: &AdminArgs) -> Result<(), RoleError> {
    loopmaster_private::new_files();
    let config = Config::open(&Sources::process(args.config.as_deref()))?;
    // A second installation finds the first, which is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{}", runtime.block_on(run(args, config)).map_err(RoleError::Task)?);
    Ok(())
}

/// Does one task; what it has to say.
pub async fn run(args: &AdminArgs, config: Config) -> Answer<String> {
    if matches!(args.task, Task::Periods) {
        return Ok(periods(&config));
    }
    let app = App::open(config).await.map_err(|error| Problem::away("service", error))?;
    let now = app.db.now().await?;
    match &args.task {
        Task::User { who } => user(&app, who).await,
        Task::Ban { who, why } => {
            let mut tx = app.db.begin().await?;
            let user = found(&mut tx, who).await?;
            sqlx::query("UPDATE users SET banned_at = COALESCE(banned_at, $1) WHERE id = $2")
                .bind(now)
                .bind(&user.id)
                .execute(&mut *tx)
                .await?;
            let ended = sessions::revoke_all(&mut tx, &user.id, None, now).await?;
            sqlx::query("UPDATE tokens SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL")
                .bind(now)
                .bind(&user.id)
                .execute(&mut *tx)
                .await?;
            revoke_grants(&mut tx, "user_id", &user.id, now).await?;
            note(&mut tx, OPERATOR, "account.banned", &user.id, "", why, now).await?;
            tx.commit().await?;
            Ok(format!("{} ({}) is banned; {ended} sessions have ended", user.id, user.email))
        }
        Task::Unban { who } => {
            let mut tx = app.db.begin().await?;
            let user = found(&mut tx, who).await?;
            sqlx::query("UPDATE users SET banned_at = NULL WHERE id = $1").bind(&user.id).execute(&mut *tx).await?;
            note(&mut tx, OPERATOR, "account.unbanned", &user.id, "", "", now).await?;
            tx.commit().await?;
            Ok(format!("{} ({}) may sign in again", user.id, user.email))
        }
        Task::Purge { what, yes } => purge(&app, what, *yes, now).await,
        Task::Retention { dry_run } => {
            let report =
                if *dry_run { retention::dry_run(&app.db, &app.config).await? } else { retention::sweep(&app).await? };
            Ok(told(&report, *dry_run))
        }
        Task::Reconcile { apply } => {
            let found = retention::reconcile(&app.db, &app.store, *apply).await?;
            let mut text = String::new();
            for (what, keys) in [("nobody knows of", &found.unknown), ("is missing from storage:", &found.missing)] {
                for key in keys {
                    let _ = writeln!(text, "{what} {key}");
                }
            }
            let (unknown, missing) = (found.unknown.len(), found.missing.len());
            let fate = if *apply { "; they go with the next sweep" } else { "" };
            let _ = write!(text, "{unknown} unknown{fate}, {missing} missing");
            Ok(text)
        }
        Task::Tickets => tickets(&app).await,
        Task::Close { ticket } => {
            let mut tx = app.db.begin().await?;
            let done = sqlx::query("UPDATE tickets SET closed_at = $1 WHERE id = $2 AND closed_at IS NULL")
                .bind(now)
                .bind(ticket)
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                return Err(Problem::not_found("ticket", ticket));
            }
            note(&mut tx, OPERATOR, "ticket.closed", ticket, "", "", now).await?;
            tx.commit().await?;
            Ok(format!("{ticket} is closed"))
        }
        Task::Audit { id } => audit(&app, id).await,
        Task::Periods => Ok(periods(&app.config)),
    }
}

fn periods(config: &Config) -> String {
    let rows = retention::periods::periods(&config.retention);
    let lines = rows.iter().map(|row| {
        let time = if row.hours % 24 == 0 { format!("{} days", row.hours / 24) } else { format!("{} h", row.hours) };
        format!("{time:>9}  {} (from {})", row.what, row.since)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn told(report: &retention::Report, dry_run: bool) -> String {
    let mut text = String::from(if dry_run { "would go:\n" } else { "gone:\n" });
    let rows = [
        ("accounts", report.accounts),
        ("masters", report.masters),
        ("uploads", report.uploads),
        ("objects", report.objects),
    ];
    for (what, count) in rows.into_iter().chain(report.rows.iter().copied()) {
        let _ = writeln!(text, "{count:>8}  {what}");
    }
    if report.letters > 0 {
        let _ = writeln!(text, "{:>8}  letters in the mail folder", report.letters);
    }
    if report.adopted > 0 {
        let _ = writeln!(text, "{:>8}  uploads found complete in storage", report.adopted);
    }
    text.trim_end().to_owned()
}

async fn found(tx: &mut Tx, who: &str) -> Answer<users::User> {
    let user = match crate::mail::address(who) {
        Some(address) => users::by_email(tx, &address).await?,
        None => users::by_id(tx, who).await?,
    };
    user.ok_or_else(|| Problem::not_found("account", who))
}

async fn user(app: &App, who: &str) -> Answer<String> {
    let mut tx = app.db.begin().await?;
    let user = found(&mut tx, who).await?;
    let mut text = format!("{}\n  {} ({})\n  since {}", user.id, user.email, user.name, rfc3339(user.created_at));
    for (what, at) in [("banned", user.banned_at), ("goes", user.delete_after)] {
        if let Some(at) = at {
            let _ = write!(text, "\n  {what} {}", rfc3339(at));
        }
    }
    for (what, query) in [
        ("masters", "SELECT COUNT(*) FROM masters WHERE owner = $1 AND deleted_at IS NULL"),
        ("uploads", "SELECT COUNT(*) FROM uploads WHERE owner = $1 AND state = 'stored'"),
        (
            "bytes of mixes",
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM uploads WHERE owner = $1 AND state = 'stored'",
        ),
        ("sessions", "SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL"),
        ("tokens", "SELECT COUNT(*) FROM tokens WHERE user_id = $1 AND revoked_at IS NULL"),
        ("webhooks", "SELECT COUNT(*) FROM webhooks WHERE user_id = $1"),
        ("unfinished jobs", "SELECT COUNT(*) FROM jobs WHERE owner_key = $1"),
    ] {
        let count: i64 = sqlx::query_scalar(query).bind(&user.id).fetch_one(&mut *tx).await?;
        let _ = write!(text, "\n  {count} {what}");
    }
    tx.rollback().await?;
    Ok(text)
}

async fn purge(app: &App, what: &str, yes: bool, now: i64) -> Answer<String> {
    if !yes {
        return Err(Problem::unprocessable(
            "admin.not_sure",
            format!("there is no way back from purging {what}; say --yes"),
        ));
    }
    let (db, store) = (&app.db, &app.store);
    let mut tx = db.begin().await?;
    match what.split('_').next() {
        Some("mst") => {
            let mut removed = Removed::default();
            if !retention::purge_master(&mut tx, what, &mut removed, now).await? {
                tx.commit().await?;
                return Err(Problem::conflict(
                    "admin.running",
                    format!("{what} is being mastered; it has been asked to stop, try again in a minute"),
                ));
            }
            removed.forget(&mut tx, now).await?;
            note(&mut tx, OPERATOR, "purged", what, "", "", now).await?;
            tx.commit().await?;
        }
        Some("upl") => {
            let text = format!("SELECT COUNT(*) FROM uploads WHERE id = $1 AND NOT {UNUSED}");
            let used: i64 = sqlx::query_scalar(tx.sql(&text)).bind(what).fetch_one(&mut *tx).await?;
            if used > 0 {
                return Err(Problem::conflict(
                    "admin.in_use",
                    format!("masters were made from {what}, or are about to be; purge them first"),
                ));
            }
            let text = "SELECT owner FROM uploads WHERE id = $1";
            let owner: Option<String> = sqlx::query_scalar(text).bind(what).fetch_optional(&mut *tx).await?;
            retention::purge_upload(&mut tx, what, now).await?;
            if let Some(owner) = owner {
                let mut removed = Removed::default();
                removed.add(&owner, what);
                removed.forget(&mut tx, now).await?;
            }
            note(&mut tx, OPERATOR, "purged", what, "", "", now).await?;
            tx.commit().await?;
        }
        Some("gst") => {
            note(&mut tx, OPERATOR, "purged", what, "", "", now).await?;
            tx.commit().await?;
            retention::purge_owned(db, store, what, now).await?;
        }
        _ => {
            let user = found(&mut tx, what).await?;
            note(&mut tx, OPERATOR, "purged", &user.id, "", "", now).await?;
            tx.commit().await?;
            retention::purge_user(db, store, &app.config, &user.id, now).await?;
        }
    }
    db.scrub(Purged::Content).await?;
    Ok(format!("{what} is gone; its files go with the next sweep"))
}

async fn tickets(app: &App) -> Answer<String> {
    let rows = sqlx::query("SELECT id, topic, email, message, created_at FROM tickets WHERE closed_at IS NULL ORDER BY created_at LIMIT 200")
        .fetch_all(app.db.read())
        .await?;
    let mut text = format!("{} open", rows.len());
    for row in &rows {
        let (id, topic, email): (String, String, String) =
            (row.try_get("id")?, row.try_get("topic")?, row.try_get("email")?);
        let (message, at): (String, i64) = (row.try_get("message")?, row.try_get("created_at")?);
        let _ = write!(text, "\n\n{id}  {topic}  {email}  {}\n{message}", rfc3339(at));
    }
    Ok(text)
}

async fn audit(app: &App, id: &str) -> Answer<String> {
    let rows = sqlx::query("SELECT at, actor, action, target, detail FROM audit WHERE actor = $1 OR target = $1 ORDER BY at DESC LIMIT 500")
        .bind(id)
        .fetch_all(app.db.read())
        .await?;
    let lines = rows.iter().map(|row| {
        let (at, actor, action): (i64, String, String) =
            (row.try_get("at")?, row.try_get("actor")?, row.try_get("action")?);
        let (target, detail): (String, String) = (row.try_get("target")?, row.try_get("detail")?);
        Ok(format!("{}  {actor}  {action}  {target}  {detail}", rfc3339(at)))
    });
    let lines = lines.collect::<Answer<Vec<_>>>()?;
    Ok(if lines.is_empty() { format!("nothing is recorded of {id}") } else { lines.join("\n") })
}

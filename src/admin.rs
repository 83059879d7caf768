//! `loopmaster admin`: what an operator does by hand. Everything that changes an account is written into the audit.

use crate::cli::admin::{AdminArgs, Task, TicketTask, Tickets};
use crate::config::{Config, Sources};
use crate::db::{Purged, Tx};
use crate::domain::accounts::{grants, sessions, tokens, users};
use crate::domain::audit::{self, note};
use crate::domain::error::{Error, Part, Result};
use crate::domain::masters::change;
use crate::domain::retention;
use crate::domain::retention::traces::Removed;
use crate::domain::tickets::{self, Check, Subject, Ticket, Topic};
use crate::domain::uploads::{mixes, removal};
use crate::domain::{guests, masters, shares, uploads};
use crate::serve::RoleError;
use crate::service::Service;
use crate::timestamp::rfc3339;
use crate::work::nodes::{self, Node, Wish};
use std::fmt::Write as _;

/// Who the audit names.
const OPERATOR: &str = "operator";

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
pub async fn run(args: &AdminArgs, config: Config) -> Result<String> {
    if matches!(args.task, Task::Periods) {
        return Ok(retention::periods::printed(&config.retention));
    }
    let service = Service::open(config).await.map_err(|error| Error::away(Part::Service, error))?;
    let now = service.db.now().await?;
    match &args.task {
        Task::User { who } => user(&service, who).await,
        Task::Ban { who, why } => {
            let mut tx = service.db.begin().await?;
            let user = found(&mut tx, who).await?;
            users::ban(&mut tx, &user.id, now).await?;
            let ended = sessions::revoke_all(&mut tx, &user.id, None, now).await?;
            tokens::revoke_all(&mut tx, &user.id, now).await?;
            grants::revoke(&mut tx, "user_id", &user.id, now).await?;
            note(&mut tx, OPERATOR, "account.banned", &user.id, "", why, now).await?;
            tx.commit().await?;
            Ok(format!("{} ({}) is banned; {ended} sessions have ended", user.id, user.email))
        }
        Task::Unban { who } => {
            let mut tx = service.db.begin().await?;
            let user = found(&mut tx, who).await?;
            users::unban(&mut tx, &user.id).await?;
            note(&mut tx, OPERATOR, "account.unbanned", &user.id, "", "", now).await?;
            tx.commit().await?;
            Ok(format!("{} ({}) may sign in again", user.id, user.email))
        }
        Task::Purge { what, yes } => purge(&service, what, *yes, now).await,
        Task::Retention { dry_run } => {
            let report = if *dry_run {
                retention::dry_run(&service.db, &service.config).await?
            } else {
                retention::sweep(&service).await?
            };
            Ok(told(&report, *dry_run))
        }
        Task::Reconcile { apply } => {
            let found = retention::reconcile(&service.db, &service.store, *apply).await?;
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
        Task::Tickets(Tickets { topic, task: None }) => list(&service, *topic, now).await,
        Task::Tickets(Tickets { task: Some(TicketTask::Verify { ticket, of }), .. }) => {
            verify(&service, ticket, of.as_deref(), now).await
        }
        Task::Tickets(Tickets { task: Some(TicketTask::Purge { ticket, of, yes }), .. }) => {
            purge_reported(&service, ticket, of.as_deref(), *yes, now).await
        }
        Task::Close { ticket } => {
            let mut tx = service.db.begin().await?;
            if !tickets::close(&mut tx, ticket, now).await? {
                return Err(Error::not_found("ticket", ticket));
            }
            note(&mut tx, OPERATOR, "ticket.closed", ticket, "", "", now).await?;
            tx.commit().await?;
            Ok(format!("{ticket} is closed"))
        }
        Task::Nodes { json } => nodes(&service, *json, now).await,
        Task::Pause { node } => ask(&service, node, Wish::Pause, now).await,
        Task::Resume { node } => ask(&service, node, Wish::Resume, now).await,
        Task::Drain { node } => ask(&service, node, Wish::Drain, now).await,
        Task::Audit { id } => recorded(&service, id).await,
        Task::Periods => Ok(retention::periods::printed(&service.config.retention)),
    }
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

async fn found(tx: &mut Tx, who: &str) -> Result<users::User> {
    let user = match crate::outside::address::address(who) {
        Some(address) => users::by_email(tx, &address).await?,
        None => users::by_id(tx, who).await?,
    };
    user.ok_or_else(|| Error::not_found("account", who))
}

async fn user(service: &Service, who: &str) -> Result<String> {
    let mut tx = service.db.begin().await?;
    let user = found(&mut tx, who).await?;
    let mut text = format!("{}\n  {} ({})\n  since {}", user.id, user.email, user.name, rfc3339(user.created_at));
    for (what, at) in [("banned", user.banned_at), ("goes", user.delete_after)] {
        if let Some(at) = at {
            let _ = write!(text, "\n  {what} {}", rfc3339(at));
        }
    }
    for (what, count) in users::holdings(&mut tx, &user.id).await? {
        let _ = write!(text, "\n  {count} {what}");
    }
    tx.rollback().await?;
    Ok(text)
}

async fn purge(service: &Service, what: &str, yes: bool, now: i64) -> Result<String> {
    if !yes {
        return Err(Error::invalid("admin.not_sure", format!("there is no way back from purging {what}; say --yes")));
    }
    let (db, store) = (&service.db, &service.store);
    let mut tx = db.begin().await?;
    match what.split('_').next() {
        Some("mst") => {
            let mut removed = Removed::default();
            if !change::purge(&mut tx, what, &mut removed, now).await? {
                tx.commit().await?;
                return Err(Error::conflict(
                    "admin.running",
                    format!("{what} is being mastered; it has been asked to stop, try again in a minute"),
                ));
            }
            removed.forget(&mut tx, now).await?;
            note(&mut tx, OPERATOR, "purged", what, "", "", now).await?;
            tx.commit().await?;
        }
        Some("upl") => {
            if mixes::is_used(&mut tx, what).await? {
                return Err(Error::conflict(
                    "admin.in_use",
                    format!("masters were made from {what}, or are about to be; purge them first"),
                ));
            }
            let owner = uploads::owner_of(&mut tx, what).await?;
            removal::purge(&mut tx, what, now).await?;
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
            retention::purge_guest(db, store, what, now).await?;
        }
        _ => {
            let user = found(&mut tx, what).await?;
            note(&mut tx, OPERATOR, "purged", &user.id, "", "", now).await?;
            tx.commit().await?;
            retention::purge_user(db, store, &service.config, &user.id, now).await?;
        }
    }
    db.scrub(Purged::Content).await?;
    Ok(format!("{what} is gone; its files go with the next sweep"))
}

async fn list(service: &Service, topic: Option<Topic>, now: i64) -> Result<String> {
    let open = tickets::open(&service.db, topic).await?;
    let mut text = format!("{} open", open.len());
    for ticket in &open {
        let sender = sender(service, ticket).await?;
        let identity = ticket.check.as_ref().map_or_else(|| "not confirmed".to_owned(), |check| stands(check, now));
        let Ticket { id, topic, email, message, created_at, .. } = ticket;
        let _ = write!(text, "\n\n{id}  {topic}  {}", rfc3339(*created_at));
        if topic == Topic::Child.name() {
            let _ = write!(text, "\n  a child    act on it first; the procedure is in docs/operations.md, Children");
        }
        let _ = write!(text, "\n  reply to   {email}\n  sender     {sender}\n  identity   {identity}\n{message}");
    }
    Ok(text)
}

/// Who sent a message. An address that was typed is nobody's, also where an account has it.
async fn sender(service: &Service, ticket: &Ticket) -> Result<String> {
    let mut tx = service.db.begin().await?;
    let sender = match (&ticket.user, &ticket.guest) {
        (Some(user), _) => {
            let account = users::by_id(&mut tx, user).await?;
            format!("signed in as {user} ({})", account.map_or_else(|| "gone".to_owned(), |account| account.email))
        }
        (None, Some(guest)) => format!("not signed in; guest {guest}"),
        (None, None) => "not signed in; no guest".to_owned(),
    };
    let same = users::by_email(&mut tx, &ticket.email).await?.filter(|_| ticket.user.is_none());
    tx.rollback().await?;
    Ok(match same {
        Some(account) => format!("{sender}. {} has this address; the sender has not shown to be its owner", account.id),
        None => sender,
    })
}

fn stands(check: &Check, now: i64) -> String {
    let Check { of, email, sent_at, until, confirmed } = check;
    match confirmed {
        Some((at, how)) => format!("confirmed {} for {of}, {how}", rfc3339(*at)),
        None if *until <= now => format!("not confirmed; the link of {} to {email} has expired", rfc3339(*sent_at)),
        None => format!("not confirmed; a link for {of} went to {email}, it works until {}", rfc3339(*until)),
    }
}

/// The account or guest that somebody names: by itself, or by something that belongs to it.
async fn named(tx: &mut Tx, who: &str) -> Result<Subject> {
    let owner: Option<String> = match who.split('_').next() {
        Some("mst") => masters::owner_of(tx, who).await?,
        Some("upl") => uploads::owner_of(tx, who).await?,
        Some("gst") => Some(who.to_owned()),
        _ => match who.rsplit('/').next().filter(|token| token.starts_with("lmh_")) {
            Some(token) => shares::owner_of(tx, token).await?,
            None => Some(found(tx, who).await?.id),
        },
    };
    let owner = owner.ok_or_else(|| Error::not_found("owner", who))?;
    if owner.starts_with("usr_") {
        let user = found(tx, &owner).await?;
        return Ok(Subject::Account { id: user.id, email: user.email });
    }
    match guests::place_of(tx, &owner).await? {
        guests::Place::Nowhere => Err(Error::not_found("guest", &owner)),
        // Moved into an account since.
        guests::Place::Account(user) => {
            let user = found(tx, &user).await?;
            Ok(Subject::Account { id: user.id, email: user.email })
        }
        guests::Place::Guest => Ok(Subject::Guest { id: owner }),
    }
}

/// Whom a command about a message means: who was named, or else the sender.
async fn meant(tx: &mut Tx, ticket: &Ticket, of: Option<&str>) -> Result<Subject> {
    if let Some(who) = of {
        return named(tx, who).await;
    }
    tickets::subject(tx, ticket).await?.ok_or_else(|| {
        let detail = format!(
            "the sender of {} was not signed in, and no guest's browser is known; name an account or a guest with --of",
            ticket.id
        );
        Error::invalid("ticket.no_sender", detail)
    })
}

async fn verify(service: &Service, id: &str, of: Option<&str>, now: i64) -> Result<String> {
    let mut tx = service.db.begin().await?;
    let ticket = tickets::find(&mut tx, id).await?;
    let subject = meant(&mut tx, &ticket, of).await?;
    let check = tickets::ask(&mut tx, service, &ticket, &subject, now).await?;
    note(&mut tx, OPERATOR, "ticket.confirmation_sent", id, "", subject.id(), now).await?;
    tx.commit().await?;
    let place = match subject {
        Subject::Account { .. } => "",
        Subject::Guest { .. } => ", only in the browser of the guest",
    };
    Ok(format!(
        "a link that confirms {id} for {} goes to {}; it works once, until {}{place}",
        check.of,
        check.email,
        rfc3339(check.until)
    ))
}

/// Deletes whom a message is about. Whose account or tracks they are must be confirmed; a report of a child comes from somebody else.
async fn purge_reported(service: &Service, id: &str, of: Option<&str>, yes: bool, now: i64) -> Result<String> {
    let mut tx = service.db.begin().await?;
    let ticket = tickets::find(&mut tx, id).await?;
    let subject = meant(&mut tx, &ticket, of).await?;
    let confirmed = ticket.check.as_ref().is_some_and(|check| check.confirmed.is_some() && check.of == subject.id());
    if ticket.topic != Topic::Child.name() && !confirmed {
        let detail =
            format!("{} has not confirmed {id}; send a link first: loopmaster admin tickets verify {id}", subject.id());
        return Err(Error::forbidden("ticket.not_confirmed", detail));
    }
    let who = match &subject {
        Subject::Account { id, email } => format!("the account {id} ({email})"),
        Subject::Guest { id } => format!("the guest {id}"),
    };
    if !yes {
        let masters = masters::count_of(&mut tx, subject.id()).await?;
        let uploads = uploads::count_of(&mut tx, subject.id()).await?;
        let detail =
            format!("{who} would go, with {masters} masters and {uploads} uploads; there is no way back, say --yes");
        return Err(Error::invalid("admin.not_sure", detail));
    }
    note(&mut tx, OPERATOR, "purged", subject.id(), "", &format!("{id} {}", ticket.topic), now).await?;
    tx.commit().await?;
    match &subject {
        Subject::Account { id, .. } => {
            retention::purge_user(&service.db, &service.store, &service.config, id, now).await?;
        }
        Subject::Guest { id } => retention::purge_guest(&service.db, &service.store, id, now).await?,
    }
    let mut tx = service.db.begin().await?;
    tickets::close(&mut tx, id, now).await?;
    note(&mut tx, OPERATOR, "ticket.closed", id, "", &format!("{} purged", subject.id()), now).await?;
    tx.commit().await?;
    Ok(format!("{who} is gone, its files go with the next sweep; {id} is closed"))
}

async fn nodes(service: &Service, json: bool, now: i64) -> Result<String> {
    let (all, paused) = (nodes::all(&service.db).await?, nodes::paused(&service.db).await?);
    if json {
        return Ok(serde_json::json!({ "workers": all, "paused": paused }).to_string());
    }
    let mut text = format!("{} workers", all.len());
    for Node { name, host, about, largest, started_at, seen_at, tracks, seconds, paused, draining, .. } in &all {
        let state = match (draining, paused) {
            (true, _) => "drains",
            (false, true) => "paused",
            (false, false) => "works",
        };
        let _ = write!(
            text,
            "\n\n{host}  {state}, {tracks} tracks of about {seconds} s\n  renders    {about}\n  largest    {} MiB of samples\n  since      {}, heard of {} s ago\n  worker     {name}",
            largest >> 20,
            rfc3339(*started_at),
            (now - seen_at).max(0) / 1_000,
        );
    }
    for host in paused.iter().filter(|host| all.iter().all(|node| node.host != **host)) {
        let who = if host == nodes::ALL { "all machines are" } else { host };
        let _ = write!(text, "\n\n{who}  paused");
    }
    Ok(text)
}

/// A pause, its end, or a drain, of one machine or of all.
async fn ask(service: &Service, node: &str, wish: Wish, now: i64) -> Result<String> {
    let host = if node == "all" { nodes::ALL } else { node };
    let all = nodes::all(&service.db).await?;
    let known = host == nodes::ALL
        || all.iter().any(|living| living.host == host)
        || nodes::paused(&service.db).await?.iter().any(|paused| paused == host);
    if !known {
        return Err(Error::not_found("machine", node));
    }
    let (action, done, idle) = match wish {
        Wish::Pause => ("node.paused", "paused; what is held is finished, and nothing new is taken", "paused already"),
        Wish::Resume => ("node.resumed", "tracks are taken again", "nothing was paused"),
        Wish::Drain => {
            ("node.drained", "what is held is finished, then the workers end", "no worker that is not draining already")
        }
    };
    let mut tx = service.db.begin().await?;
    let changed = nodes::ask(&mut tx, host, wish).await?;
    if changed > 0 {
        note(&mut tx, OPERATOR, action, node, "", "", now).await?;
    }
    tx.commit().await?;
    let mut text = format!("{node}: {}", if changed > 0 { done } else { idle });
    if wish == Wish::Resume
        && host != nodes::ALL
        && nodes::paused(&service.db).await?.iter().any(|host| host == nodes::ALL)
    {
        text.push_str("; but all machines are paused: loopmaster admin resume all");
    }
    Ok(text)
}

async fn recorded(service: &Service, id: &str) -> Result<String> {
    let entries = audit::about(&service.db, id).await?;
    let lines: Vec<String> = entries
        .into_iter()
        .map(|audit::Entry { at, actor, action, target, detail }| {
            format!("{}  {actor}  {action}  {target}  {detail}", rfc3339(at))
        })
        .collect();
    Ok(if lines.is_empty() { format!("nothing is recorded of {id}") } else { lines.join("\n") })
}

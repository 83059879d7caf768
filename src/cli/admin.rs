//! What can be typed to `loopmaster admin`; what comes of it is in [`crate::admin`].

use crate::domain::tickets::Topic;
use clap::{Args, Subcommand};

/// `loopmaster admin`
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The configuration [default: `$LOOPMASTER_CONFIG`, else loopmaster.toml].
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<std::path::PathBuf>,

    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
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
    /// Messages of the contact form that are open: who sent them, and whether that is confirmed.
    Tickets(Tickets),
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
    /// The machines that work: their workers, what renders there, what they hold, who is paused.
    Nodes {
        /// For programs: a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Let a machine take no new tracks; what it holds is finished. It stays paused over restarts, until it is resumed.
    Pause {
        /// The machine's name as `admin nodes` shows it, or all.
        node: String,
    },
    /// Let a paused machine take tracks again.
    Resume {
        /// The machine's name, or all.
        node: String,
    },
    /// Let the workers of a machine finish what they hold, and end. Whoever supervises them may start new ones: pause the machine first to
    /// keep it idle.
    Drain {
        /// The machine's name, or all.
        node: String,
    },
    /// How long everything is kept.
    Periods,
}

#[derive(Debug, Args)]
pub(crate) struct Tickets {
    /// Only those of one topic: question, privacy, account, child, copyright, security, other.
    #[arg(long, value_parser = topic)]
    pub(crate) topic: Option<Topic>,

    #[command(subcommand)]
    pub(crate) task: Option<TicketTask>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TicketTask {
    /// Send a link that confirms whose the message is: to the address of the account, or, for a guest, to the address in the message,
    /// and then it works only in the browser of the guest's tracks.
    Verify {
        /// tkt_…
        ticket: String,
        /// Whose account or tracks, where the sender was not signed in: usr_…, an address, gst_…, mst_…, upl_… or a share link.
        #[arg(long, value_name = "WHO")]
        of: Option<String>,
    },
    /// Delete the account or guest a message is about, for good and at once, and close the message. Without --yes it says what would go.
    /// Needs a confirmed identity, except for reports of children.
    Purge {
        /// tkt_…
        ticket: String,
        /// Whose account or tracks [default: the sender's]: usr_…, an address, gst_…, mst_…, upl_… or a share link.
        #[arg(long, value_name = "WHO")]
        of: Option<String>,
        /// Say it once more: there is no way back.
        #[arg(long)]
        yes: bool,
    },
}

fn topic(name: &str) -> Result<Topic, String> {
    serde_json::from_value(name.into())
        .map_err(|_| "use question, privacy, account, child, copyright, security or other".to_owned())
}

//! Who is asking, and what that allows. How it is found out is the business of who carries the question here.

use super::error::{Error, Result};
use crate::db::Db;
use std::ops::Deref;

/// How old a sign-in may be for what matters (tokens, addresses, export, deletion).
pub const RECENT: i64 = 10 * 60 * 1000;
/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Send mixes.
    Uploads,
    /// Master, list, download, delete.
    Masters,
    /// See and change the account, mint grants and webhooks.
    Account,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Uploads, Self::Masters, Self::Account];

    /// The one name of the scope.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploads => "uploads",
            Self::Masters => "masters",
            Self::Account => "account",
        }
    }
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Nobody,
    /// A browser with a verified guest cookie.
    Guest {
        /// gst_…
        id: String,
    },
    /// Somebody signed in.
    User {
        /// ses_…
        session: String,
        /// usr_…
        user: String,
        /// When, by the database's clock.
        signed_in_at: i64,
    },
    /// A program with a token of a user.
    Token {
        /// tok_…
        token: String,
        /// usr_…
        user: String,
        /// What it may do.
        scopes: Vec<Scope>,
    },
    /// A page of somebody else with an upload-only capability of a user.
    Grant {
        /// grt_…
        grant: String,
        /// usr_…
        user: String,
    },
}

/// Who is asking, and from where.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub identity: Identity,
    /// The guest id of the browser, also while somebody is signed in: what a merge would move.
    pub guest: Option<String>,
    /// The token of a sign-in under way in this browser.
    pub login: Option<String>,
    /// The address, hashed with the key of the day; empty where nobody knows it.
    pub ip_hash: String,
    /// What the browser calls itself, shortened.
    pub user_agent: String,
    /// The request's name in all logs.
    pub request_id: String,
    /// Whether the edge vouches for this.
    pub through_edge: bool,
    /// SHA-256 of the body, where somebody needs it: signed requests and those with an idempotency key.
    pub body_sha256: String,
}

impl Caller {
    /// Whose things they are: usr_… or gst_….
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match &self.identity {
            Identity::Nobody => None,
            Identity::Guest { id } => Some(id),
            Identity::User { user, .. } | Identity::Token { user, .. } | Identity::Grant { user, .. } => Some(user),
        }
    }

    /// Whose account it is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.owner().filter(|owner| owner.starts_with("usr_"))
    }

    /// Whose turn is spent. New guest cookies do not buy turns: guests are told apart by address.
    #[must_use]
    pub fn owner_key(&self) -> &str {
        match (&self.identity, self.ip_hash.as_str()) {
            (Identity::Guest { id }, "") => id,
            (Identity::Guest { .. } | Identity::Nobody, ip) => ip,
            _ => self.owner().unwrap_or_default(),
        }
    }

    /// Who is counted by rate limits: token, else user, else address.
    #[must_use]
    pub fn rate_key(&self) -> &str {
        match &self.identity {
            Identity::Token { token, .. } => token,
            Identity::Grant { grant, .. } => grant,
            _ => self.owner_key(),
        }
    }

    /// Who did it, for the audit.
    #[must_use]
    pub fn actor(&self) -> &str {
        match &self.identity {
            Identity::Nobody => "nobody",
            Identity::Guest { id } => id,
            Identity::User { user, .. } => user,
            Identity::Token { token, .. } => token,
            Identity::Grant { grant, .. } => grant,
        }
    }

    /// Refuses a token that was not given this scope.
    pub fn needs(&self, scope: Scope) -> Result<()> {
        let allowed = match &self.identity {
            Identity::Token { scopes, .. } => scopes.contains(&scope),
            Identity::Grant { .. } => scope == Scope::Uploads,
            _ => true,
        };
        if allowed {
            return Ok(());
        }
        let name = scope.name();
        Err(Error::forbidden(
            "auth.scope_missing",
            format!("this needs a token with the scope `{name}`; make one in your account"),
        )
        .with("scope", name))
    }
}

/// Somebody who can own things: a guest, a user, or a program of a user.
#[derive(Clone, Debug)]
pub struct Visitor(pub Caller);

impl Visitor {
    /// Whose things they are.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.0.owner().unwrap_or_default()
    }
}

impl Deref for Visitor {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

/// Somebody signed in with a browser.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// usr_…
    pub user: String,
    /// ses_…
    pub session: String,
    /// When, by the database's clock.
    pub signed_in_at: i64,
    /// From where.
    pub caller: Caller,
}

impl SignedIn {
    /// Refuses a sign-in that is older than [`RECENT`].
    pub async fn recent(&self, db: &Db) -> Result<()> {
        // One in the future was written by a clock that has been set back since: nobody knows when that was. Two clocks may differ a little.
        if (-1_000..=RECENT).contains(&(db.now().await? - self.signed_in_at)) {
            return Ok(());
        }
        Err(Error::forbidden(
            "auth.recent_sign_in_required",
            "this needs a sign-in within the last ten minutes; sign in once more",
        ))
    }
}

/// `<prefix>` and 32 characters of hex.
#[must_use]
pub fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_exact() {
        assert!(is_id("gst_0123456789abcdef0123456789abcdef", "gst_"));
        for wrong in [
            "gst_",
            "gst_0123456789ABCDEF0123456789abcdef",
            "usr_0123456789abcdef0123456789abcdef",
            "gst_../../0123456789abcdef01234567",
        ] {
            assert!(!is_id(wrong, "gst_"));
        }
    }
}

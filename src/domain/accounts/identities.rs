//! Identities at providers that are linked to accounts. The only module that writes the table.

use super::users::{self, User};
use crate::db::Tx;
use crate::domain::audit;
use crate::domain::error::Result;
use crate::domain::identity::Caller;

/// An identity at a provider that is to be linked to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which provider.
    pub issuer: String,
    /// Who there.
    pub subject: String,
    /// For a new account.
    pub name: Option<String>,
}

/// The account of an address that was shown to be the person's, by now linked to the identity; and whether it is new.
pub async fn link(tx: &mut Tx, identity: &Identity, email: &str, caller: &Caller, now: i64) -> Result<(User, bool)> {
    let new = users::by_email(tx, email).await?.is_none();
    let mut user = users::by_proven_email(tx, email, now).await?;
    if let (true, Some(name)) = (new, &identity.name) {
        users::set_name(tx, &user.id, name).await?;
        user.name.clone_from(name);
    }
    let linked = sqlx::query(
        "INSERT INTO identities (issuer, subject, user_id, email, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(&user.id)
    .bind(email)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    // Linked meanwhile by a sign-in beside this one: that one stays.
    if linked.rows_affected() > 0 {
        audit::record(tx, caller, "identity.linked", &user.id, &identity.issuer, now).await?;
    }
    Ok((user, new))
}

/// Removes what links an account that goes to providers.
pub async fn unlink_all(tx: &mut Tx, user: &str) -> Result<()> {
    sqlx::query("DELETE FROM identities WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}

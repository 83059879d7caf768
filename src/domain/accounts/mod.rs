//! Accounts: who has one, what opens it, how somebody signs in.

pub mod email;
pub mod grants;
pub mod identities;
pub mod merge;
pub mod oidc;
pub mod picture;
pub mod sessions;
pub mod tokens;
pub mod users;

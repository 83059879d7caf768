//! What speaks to others: mail servers, receivers of webhooks, providers of sign-in. It decides nothing about the service and knows no table.

pub mod address;
pub mod mail;
pub mod oidc;
pub mod webhooks;

//! What speaks to others: mail servers, receivers of webhooks, hosts of mixes, providers of sign-in. It decides nothing about the service and knows no table.

pub mod address;
pub mod fetch;
pub mod mail;
pub mod oidc;
pub mod webhooks;

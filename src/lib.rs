//! The `loopmaster` binary's parts: the service, and the commands around it. The engine lives in `loopmaster-core`, the commands that
//! need no service in `loopmaster-cli`.

pub mod admin;
pub mod audit;
pub mod chores;
pub mod cli;
pub mod config;
pub mod db;
pub mod gpu;
pub mod http;
pub mod mail;
pub mod notices;
pub mod picture;
pub mod push;
pub mod queue;
pub mod retention;
pub mod secrets;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod tickets;
pub mod webhooks;
pub mod work;

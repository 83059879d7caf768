//! The `loopmaster` binary's parts: the service, and the commands around it. The engine lives in `loopmaster-core`, the commands that
//! need no service in `loopmaster-cli`.

pub mod admin;
pub mod chores;
pub mod cli;
pub mod config;
pub mod db;
pub mod digest;
pub mod domain;
pub mod gpu;
pub mod health;
pub mod http;
pub mod keyed_lock;
pub mod measure;
pub mod outside;
pub mod picture;
pub mod push;
pub mod queue;
pub mod secrets;
pub mod serve;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod timestamp;
pub mod work;

//! What the edge needs of its surroundings. Spin is one such world ([`crate::spin`]), a test is another.

use crate::events::Ends;
use http::{Request, Response};
use std::borrow::Cow;
use std::future::Future;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It is longer than was allowed.
    TooLarge,
    /// The other side went away.
    Broken,
}

/// The api does not answer; a text for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable(pub String);

/// The key-value store does not answer; a text for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreDown(pub String);

/// Time, chance, the api and the store.
pub trait World {
    /// A visitor's body, yet to be read.
    type Incoming;
    /// A body from the api, yet to be read.
    type Answer;

    /// Unix time in milliseconds.
    fn now_ms(&self) -> u64;
    /// Random bytes, unpredictable.
    fn random(&self) -> [u8; 16];
    /// Reads a visitor's body, unless it is longer than `most`.
    fn read(&self, body: Self::Incoming, most: usize) -> impl Future<Output = Result<Vec<u8>, ReadError>>;
    /// Reads a body of the api, unless it is longer than `most`.
    fn collect(&self, body: Self::Answer, most: usize) -> impl Future<Output = Result<Vec<u8>, ReadError>>;
    /// Asks the api and waits at most `patience_ms` for the head of its answer.
    fn send(
        &self,
        request: Request<Vec<u8>>,
        patience_ms: u64,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Unreachable>>;
    /// Changes a value in the store, atomically where the store can: `change` sees what is held and says what shall be, or nothing to
    /// leave it. It may be called again if somebody else was faster.
    fn update(
        &self,
        key: &str,
        change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> impl Future<Output = Result<(), StoreDown>>;
    /// A line for the operator.
    fn log(&self, line: &str);
}

/// A body on its way to the visitor.
#[derive(Debug)]
pub enum Body<A> {
    /// Ours.
    Full(Cow<'static, [u8]>),
    /// The api's, passed through.
    Stream(A),
    /// The api's, ended before the host would.
    Events(A, Ends),
}

impl<A> Body<A> {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::Full(Cow::Borrowed(&[]))
    }
}

/// An answer to a visitor.
pub type Reply<A> = Response<Body<A>>;

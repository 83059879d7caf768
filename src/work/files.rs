//! What the worker needs of storage.

use crate::store::{Store, StoreError};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

/// Why a file did not go through.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no such object.
    #[error("{0} is not in storage")]
    Missing(String),
    /// Storage is away, slow or full.
    #[error("storage: {0}")]
    Away(String),
}

/// A transfer under way.
pub type Transfer<'a> = Pin<Box<dyn Future<Output = Result<(), FilesError>> + Send + 'a>>;

/// Fetches and stores whole files.
pub trait Files: Send + Sync {
    /// Writes an object into a new file.
    fn fetch<'a>(&'a self, key: &'a str, to: &'a Path) -> Transfer<'a>;

    /// Stores a file as an object.
    fn put<'a>(&'a self, key: &'a str, from: &'a Path, media_type: &'a str) -> Transfer<'a>;
}

impl From<StoreError> for FilesError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what, .. } => Self::Missing(what),
            other => Self::Away(other.to_string()),
        }
    }
}

impl Files for Store {
    fn fetch<'a>(&'a self, key: &'a str, to: &'a Path) -> Transfer<'a> {
        Box::pin(async move {
            self.get_to_file(key, to).await?;
            Ok(())
        })
    }

    fn put<'a>(&'a self, key: &'a str, from: &'a Path, media_type: &'a str) -> Transfer<'a> {
        Box::pin(async move {
            self.put_file(key, from, media_type).await?;
            Ok(())
        })
    }
}

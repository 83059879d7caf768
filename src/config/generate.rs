//! Secrets of a machine of one's own: made at the first start, kept in the data folder.

use super::{Config, Secret};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What is generated, in the shape of the configuration itself.
#[derive(Default, Serialize)]
struct Generated {
    secret: String,
    edge: GeneratedEdge,
    storage: GeneratedStorage,
}

#[derive(Default, Serialize)]
struct GeneratedEdge {
    keys: BTreeMap<String, Secret>,
}

#[derive(Default, Serialize)]
struct GeneratedStorage {
    access_key: String,
    secret_key: Secret,
}

impl Config {
    pub(super) fn make_secrets(&mut self, path: &Path) -> std::io::Result<()> {
        let lacks_storage = self.storage.embedded() && self.storage.access_key.is_empty();
        if !(self.secret.is_empty() || self.edge.keys.is_empty() || lacks_storage) {
            return Ok(());
        }
        if self.secret.is_empty() {
            self.secret = Secret::random();
        }
        if self.edge.keys.is_empty() {
            self.edge.keys.insert("local".to_owned(), Secret::random());
        }
        if lacks_storage {
            self.storage.access_key = format!("LM{}", &Secret::random().expose()[..18].to_ascii_uppercase());
            self.storage.secret_key = Secret::random();
        }
        let generated = Generated {
            secret: self.secret.expose().to_owned(),
            edge: GeneratedEdge { keys: self.edge.keys.clone() },
            storage: GeneratedStorage {
                access_key: self.storage.access_key.clone(),
                secret_key: self.storage.secret_key.clone(),
            },
        };
        let text = toml::to_string(&generated).map_err(std::io::Error::other)?;
        // The temporary file is private from its first byte on; the rename makes a half-written one impossible.
        let mut file = tempfile::Builder::new().prefix(".secrets").tempfile_in(&self.data)?;
        std::io::Write::write_all(
            &mut file,
            format!("# Made at the first start; for this machine only. Keep it as you keep the database.\n{text}")
                .as_bytes(),
        )?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

//! Accounts and housekeeping, on both databases, with servers and clients nobody here wrote.

mod account;
mod clock;
mod google;
mod hooks;
mod mails;
mod peers;
mod privacy;
mod retention;
mod sign_in;
mod tickets;
mod world;

use loopmaster::config::{Address, Config};
use loopmaster::store::Store;
use loopmaster::store::embedded::{self, Credentials, Handle, Options};

/// A storage of one test on a free port, written into its configuration.
async fn storage(config: &mut Config) -> Handle {
    let credentials = Credentials {
        access_key: config.storage.access_key.clone(),
        secret_key: config.storage.secret_key.expose().to_owned(),
    };
    let folder = config.files_folder();
    let options = Options::new(&folder, ([127, 0, 0, 1], 0).into(), credentials, &["*".to_owned()]);
    let handle = embedded::serve_with(options).await.unwrap();
    config.files_url = Address::try_from(handle.url()).unwrap();
    config.listen.files.set_port(config.files_url.url().port().unwrap());
    Store::new(&config.storage_client()).unwrap().ensure_bucket().await.unwrap();
    handle
}

//! Profile pictures: what the user sends, or the provider of a sign-in names. [`crate::picture`] makes them anew.

use crate::db::Tx;
use crate::db::objects;
use crate::domain::accounts::users;
use crate::domain::error::{Error, Kind, Part, Result};
use crate::outside::oidc::client;
use crate::picture::{LARGEST, MOST_PIXELS, Refusal};
use crate::service::Service;

/// A small JPEG of whatever picture somebody has sent.
pub async fn remake(service: &Service, user: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    service.pictures.remake(user, bytes).await.map_err(refused)
}

fn refused(refusal: Refusal) -> Error {
    let million = MOST_PIXELS as f64 / 1e6;
    match refusal {
        Refusal::TooLarge(bytes) => Error::new(
            Kind::TooLarge,
            "picture.too_large",
            format!("the picture has {} KiB; use one of at most {} KiB", bytes.div_ceil(1 << 10), LARGEST >> 10),
        ),
        Refusal::TooManyPixels(width, height) => Error::invalid(
            "picture.too_many_pixels",
            format!(
                "the picture has {width} × {height} pixels, {:.1} million; make it smaller: at most {million} million are taken, e.g. \
                 3000 × 3000, and 256 × 256 are kept",
                f64::from(width) * f64::from(height) / 1e6
            ),
        )
        .with("width", width)
        .with("height", height)
        .with("most_pixels", MOST_PIXELS),
        Refusal::Unreadable => Error::invalid(
            "picture.unreadable",
            format!("this is not a picture we can read; use a JPEG, PNG or WebP of at most {million} million pixels"),
        ),
        Refusal::OneByOne => Error::too_many(
            "picture.one_by_one",
            "other pictures of yours are still being read; send this one again when they are done",
            2,
        ),
        Refusal::Busy => Error::new(
            Kind::Away(Part::Pictures),
            "picture.busy",
            "many pictures are being read at the moment; send this one again in a few seconds",
        )
        .retry_after(5),
        Refusal::Machine(why) => Error::new(
            Kind::Away(Part::Pictures),
            "picture.unavailable",
            "pictures cannot be read at the moment; your account works without one, try again later",
        )
        .retry_after(60)
        .caused_by(why),
    }
}

/// Stores a picture and makes it the user's. Gives its key.
pub async fn keep(service: &Service, user: &str, jpeg: Vec<u8>) -> Result<String> {
    let key = format!("pictures/{user}/{}.jpg", uuid::Uuid::new_v4().simple());
    let now = service.db.now().await?;
    let mut tx = service.db.begin().await?;
    objects::intend(&mut tx, &key, Some(user), now).await?;
    tx.commit().await?;
    service.store.put_bytes(&key, jpeg, "image/jpeg").await?;
    let mut tx = service.db.begin().await?;
    objects::stored(&mut tx, &key, None).await?;
    exchange(&mut tx, user, Some(&key), now).await?;
    tx.commit().await?;
    Ok(key)
}

/// Gives the user another picture, or none; the old one's object goes.
pub async fn exchange(tx: &mut Tx, user: &str, key: Option<&str>, now: i64) -> Result<()> {
    let old = users::set_picture(tx, user, key).await?;
    if let Some(old) = old {
        objects::mark_for_deletion(tx, &old, now).await?;
    }
    Ok(())
}

/// The picture a provider names, made anew, if it is on a host that may be asked.
pub async fn fetch(service: &Service, user: &str, hosts: &[String], address: &str) -> Option<Vec<u8>> {
    let bytes = download(hosts, address).await?;
    match remake(service, user, &bytes).await {
        Ok(jpeg) => Some(jpeg),
        Err(error) => {
            tracing::info!(code = error.code(), cause = error.cause(), "the provider's picture is not taken");
            None
        }
    }
}

async fn download(hosts: &[String], address: &str) -> Option<Vec<u8>> {
    let url = url::Url::parse(address).ok()?;
    let allowed = hosts.iter().any(|host| {
        let (name, port) =
            host.rsplit_once(':').map_or((host.as_str(), None), |(name, port)| (name, port.parse::<u16>().ok()));
        // A host with a port is a test's, on this machine; the world speaks HTTPS on its own port.
        url.host_str() == Some(name) && url.port() == port && (url.scheme() == "https" || port.is_some())
    });
    if !allowed || !url.username().is_empty() {
        return None;
    }
    let mut answer = client()
        .ok()?
        .get(url)
        .timeout(std::time::Duration::from_secs(5))
        .send()
        .await
        .ok()?
        .error_for_status()
        .ok()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if bytes.len() + chunk.len() > LARGEST {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    // A redirect is not followed and has no picture.
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_listed_hosts_are_asked() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hosts = ["pictures.example".to_owned()];
        for address in [
            "https://127.0.0.1/a.png",
            "http://pictures.example/a.png",
            "https://pictures.example.evil.example/",
            "https://pictures.example:8443/",
            "https://x@pictures.example/",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(download(&hosts, address).await, None, "{address}");
        }
    }
}

//! Profile pictures: whatever comes in is decoded within limits and made anew, small. Nothing of the file itself is kept or shown.

use crate::db::Tx;
use crate::http::App;
use crate::http::auth::oidc::client;
use crate::http::problem::{Answer, Problem};
use crate::retention::objects;
use axum::http::StatusCode;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use std::io::Cursor;

/// Largest file, bytes: what the edge passes on.
pub const LARGEST: usize = 1 << 20;
/// What is kept, pixels square.
const SIZE: u32 = 256;
/// Largest picture that is opened, pixels each way.
const WIDEST: u32 = 6000;
/// Most memory for opening it: RGBA of the largest, and as much to work with.
const MEMORY: u64 = 320 << 20;

/// A JPEG of [`SIZE`] pixels square, cut from the middle, upright, on white.
pub async fn remake(bytes: Vec<u8>) -> Answer<Vec<u8>> {
    if bytes.len() > LARGEST {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "picture.too_large",
            format!("the picture has {} KiB; use one of at most {} KiB", bytes.len() >> 10, LARGEST >> 10),
        ));
    }
    // A panic in a decoder is a broken picture, too.
    match tokio::task::spawn_blocking(move || remade(&bytes)).await {
        Ok(Some(jpeg)) => Ok(jpeg),
        _ => Err(Problem::unprocessable(
            "picture.unreadable",
            format!("this is not a picture we can read; use a JPEG, PNG or WebP of at most {WIDEST} × {WIDEST} pixels"),
        )),
    }
}

fn remade(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    if !matches!(reader.format()?, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) {
        return None;
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(WIDEST);
    limits.max_image_height = Some(WIDEST);
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().ok()?;
    let orientation = decoder.orientation().ok()?;
    let mut picture = DynamicImage::from_decoder(decoder).ok()?;
    picture.apply_orientation(orientation);
    let small = picture.resize_to_fill(SIZE, SIZE, FilterType::Lanczos3).into_rgba8();
    let flat = RgbImage::from_fn(SIZE, SIZE, |x, y| {
        let [r, g, b, alpha] = small.get_pixel(x, y).0;
        let over = |c: u8| ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha))) / 255) as u8;
        Rgb([over(r), over(g), over(b)])
    });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 88).encode_image(&flat).ok()?;
    Some(jpeg)
}

/// Stores a picture and makes it the user's. Gives its key.
pub async fn keep(app: &App, user: &str, jpeg: Vec<u8>) -> Answer<String> {
    let key = format!("pictures/{user}/{}.jpg", uuid::Uuid::new_v4().simple());
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    objects::intend(&mut tx, &key, Some(user), now).await?;
    tx.commit().await?;
    app.store.put_bytes(&key, jpeg, "image/jpeg").await?;
    let mut tx = app.db.begin().await?;
    objects::stored(&mut tx, &key, None).await?;
    exchange(&mut tx, user, Some(&key), now).await?;
    tx.commit().await?;
    Ok(key)
}

/// Gives the user another picture, or none; the old one's object goes.
pub async fn exchange(tx: &mut Tx, user: &str, key: Option<&str>, now: i64) -> Answer<()> {
    let old: Option<String> =
        sqlx::query_scalar("SELECT picture_key FROM users WHERE id = $1").bind(user).fetch_one(&mut **tx).await?;
    sqlx::query("UPDATE users SET picture_key = $1 WHERE id = $2").bind(key).bind(user).execute(&mut **tx).await?;
    if let Some(old) = old {
        objects::doom(tx, &old, now).await?;
    }
    Ok(())
}

/// The picture a provider names, if it is on a host that may be asked.
pub async fn fetch(hosts: &[String], address: &str) -> Option<Vec<u8>> {
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
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LARGEST {
            return None;
        }
    }
    // A redirect is not followed and has no picture.
    remake(bytes).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgba8(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[tokio::test]
    async fn pictures_are_made_anew() {
        let jpeg = remake(png(300, 40)).await.unwrap();
        let picture = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).unwrap();
        assert_eq!((picture.width(), picture.height()), (SIZE, SIZE));
        let white = picture.into_rgb8().get_pixel(10, 10).0;
        assert!(white.iter().all(|c| *c > 250), "transparent becomes white, not black: {white:?}");
    }

    #[tokio::test]
    async fn what_is_no_picture_is_refused() {
        let too_wide = png(WIDEST + 1, 1);
        for bytes in [
            Vec::new(),
            b"GIF89a".to_vec(),
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
            png(9, 9)[..40].to_vec(),
            too_wide,
        ] {
            assert_eq!(remake(bytes).await.unwrap_err().code(), "picture.unreadable");
        }
        assert_eq!(remake(vec![0; LARGEST + 1]).await.unwrap_err().code(), "picture.too_large");
    }

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
            assert_eq!(fetch(&hosts, address).await, None, "{address}");
        }
    }
}

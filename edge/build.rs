//! Embeds the web build: every file of `web/dist` with its media type, tag and compressed forms, and what each entry of Vite's manifest
//! needs. Without a web build the plain set stands in: a stylesheet and no scripts, so pages can be read but not dropped upon.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let built = here.join("web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=plain");
    let root = if built.join(".vite/manifest.json").is_file() { built } else { here.join("plain") };
    if root.ends_with("plain") && env::var("CARGO_CFG_TARGET_ARCH")? == "wasm32" {
        println!("cargo::warning=edge/web/dist is not built: the pages get a plain stylesheet and no scripts");
    }
    let mut files = Vec::new();
    walk(&root, &mut files)?;
    files.sort();
    let mut code = String::from("pub(super) static FILES: &[File] = &[\n");
    for file in &files {
        code.push_str(&embed(file, &root, &out)?);
    }
    code.push_str("];\n");
    let manifest: Value = serde_json::from_slice(&fs::read(root.join(".vite/manifest.json"))?)?;
    code.push_str(&entries(&manifest)?);
    fs::write(out.join("assets.rs"), code)?;
    policies(&here.join("src/pages/policy"), &out)
}

/// Packs the published versions of the privacy policy; the pages unpack an earlier one when it is asked for.
fn policies(folder: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/pages/policy");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&fs::read(&path)?)?;
        fs::write(out.join(format!("policy-{name}.gz")), gzip.finish()?)?;
    }
    Ok(())
}

/// All files that are served. Source maps and what begins with a dot stay out.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || path.extension().is_some_and(|ending| ending == "map") {
            continue;
        }
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn media_type(path: &Path) -> Result<&'static str, String> {
    Ok(match path.extension().and_then(|ending| ending.to_str()).unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "flac" => "audio/flac",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "dat" => "application/octet-stream",
        "json" => "application/json",
        "m4a" => "audio/mp4",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "wav" => "audio/wav",
        "webmanifest" => "application/manifest+json",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "xml" => "application/xml",
        _ => return Err(format!("{}: give this kind of file a media type in edge/build.rs", path.display())),
    })
}

/// One line of the table. What packing makes smaller by a tenth is kept packed only; the few who take nothing packed get it unpacked.
fn embed(file: &Path, root: &Path, out: &Path) -> Result<String, Box<dyn Error>> {
    let bytes = fs::read(file)?;
    let url = format!("/{}", file.strip_prefix(root)?.to_string_lossy().replace('\\', "/"));
    let digest = Sha256::digest(&bytes);
    let tag = digest[..12].iter().fold(String::new(), |mut tag, byte| {
        let _ = write!(tag, "{byte:02x}");
        tag
    });
    let mut brotli = Vec::new();
    brotli::CompressorWriter::new(&mut brotli, 4096, 11, 22).write_all(&bytes)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&bytes)?;
    let gzip = gzip.finish()?;
    let form = if gzip.len() * 10 > bytes.len() * 9 {
        format!("Form::Plain(include_bytes!({:?}))", file.to_string_lossy())
    } else {
        let [br, gz] =
            [("br", brotli), ("gz", gzip)].map(|(ending, packed)| (out.join(format!("{tag}.{ending}")), packed));
        for (path, packed) in [&br, &gz] {
            fs::write(path, packed)?;
        }
        let [br, gz] = [br.0.to_string_lossy(), gz.0.to_string_lossy()];
        format!("Form::Packed {{ brotli: include_bytes!({br:?}), gzip: include_bytes!({gz:?}) }}")
    };
    Ok(format!(
        "    File {{ path: {url:?}, media_type: {:?}, tag: {tag:?}, immutable: {}, form: {form} }},\n",
        media_type(file)?,
        url.starts_with("/assets/"),
    ))
}

/// What a page of each entry has to load, from Vite's manifest.
fn entries(manifest: &Value) -> Result<String, Box<dyn Error>> {
    let chunks = manifest.as_object().ok_or("the manifest is not an object")?;
    let mut code = String::from("pub(super) static ENTRIES: &[Entry] = &[\n");
    for (key, chunk) in chunks {
        if chunk["isEntry"] != true {
            continue;
        }
        let mut seen = BTreeSet::from([key.as_str()]);
        let (mut styles, mut modules) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![chunk];
        while let Some(chunk) = open.pop() {
            let list =
                |name: &str| chunk[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
            styles.extend(list("css").into_iter().map(|path| format!("/{path}")));
            for import in list("imports") {
                let imported = chunks.get(import).ok_or_else(|| format!("the manifest lacks {import}"))?;
                if seen.insert(import) {
                    modules.insert(format!("/{}", imported["file"].as_str().unwrap_or_default()));
                    open.push(imported);
                }
            }
        }
        let file = format!("/{}", chunk["file"].as_str().ok_or("an entry without a file")?);
        let script = if Path::new(&file).extension().is_some_and(|ending| ending == "css") {
            styles.insert(file);
            String::new()
        } else {
            file
        };
        let name = chunk["name"].as_str().unwrap_or(key);
        let (styles, modules) = (Vec::from_iter(styles), Vec::from_iter(modules));
        writeln!(
            code,
            "    Entry {{ name: {name:?}, script: {script:?}, styles: &{styles:?}, modules: &{modules:?} }},"
        )?;
    }
    Ok(code + "];\n")
}

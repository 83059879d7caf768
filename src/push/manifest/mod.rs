//! A catalogue by one manifest: each row a file, with the tags and settings of its master. All of it is looked at before anything is sent;
//! rows that cannot be are written beside the manifest, each with what is wrong with it, and the others go.

mod row;
mod table;

use super::error::PushError;
use crate::cli::PushArgs;
use loopmaster_cli::inputs::Input;
use loopmaster_cli::progress::Progress;
use loopmaster_core::Settings;
use loopmaster_core::settings::{Named, TagWishes};
use row::{Fault, Look, Row};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use table::{Record, Table};

/// What a file of rejected rows has beside the manifest's columns.
const SAID: [&str; 3] = ["row", "code", "reason"];
/// Rejected rows that are told; all of them are written.
const TOLD: usize = 20;

/// A track of a manifest.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    pub(super) input: Input,
    /// Place in the manifest, from 1.
    pub(super) position: usize,
    pub(super) settings: Settings,
    pub(super) reference: Option<PathBuf>,
}

/// A row that cannot be sent.
#[derive(Debug)]
struct Rejected<'a> {
    record: &'a Record,
    /// What its cell says.
    file: String,
    code: String,
    reason: String,
}

/// What a manifest asks for.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) tracks: Vec<Ordered>,
    /// The files of all rows that name one, those of rejected rows, too: names of results must not depend on them.
    pub(super) files: Vec<Input>,
    pub(super) rows: usize,
    pub(super) rejected: usize,
}

/// Reads a manifest, writes its rejected rows beside it, and tells of them.
pub(super) fn read(path: &Path, args: &PushArgs, base: &Settings, progress: &Progress) -> Result<Manifest, PushError> {
    let failed = |source| PushError::File { path: path.to_owned(), source };
    let wrong = |(code, detail)| PushError::Manifest { path: path.to_owned(), code, detail };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(table::LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > table::LARGEST {
        let detail = format!("it has more than {} MiB; divide it", table::LARGEST >> 20);
        return Err(wrong(("manifest.too_large", detail)));
    }
    let table = Table::read(&bytes).map_err(wrong)?;
    let columns = columns(&table.columns).map_err(wrong)?;
    if table.records.is_empty() {
        return Err(wrong(("manifest.empty", "it has no rows below its header".to_owned())));
    }
    // What the manifest names is beside it.
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut look = Look::new(folder, args.named(base.clone()), args.reference.clone());
    let rows: Vec<Row> = table.records.iter().map(|record| look.row(record, &columns)).collect();
    let rows = alone(rows);

    let (mut tracks, mut files, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for (at, (record, row)) in table.records.iter().zip(rows).enumerate() {
        files.extend(row.input.clone());
        match (row.input, row.faults.first()) {
            (Some(input), None) => {
                tracks.push(Ordered { input, position: at + 1, settings: row.settings, reference: row.reference });
            }
            (_, first) => rejected.push(Rejected {
                record,
                file: row.named,
                code: first.map_or_else(String::new, |fault| fault.code.clone()),
                reason: row.faults.iter().map(|fault| fault.reason.as_str()).collect::<Vec<_>>().join("; "),
            }),
        }
    }
    let beside = beside(path);
    write_beside(&beside, &table, &rejected)?;
    tell(&beside, &rejected, table.records.len(), args, progress);
    let (rows, rejected) = (table.records.len(), rejected.len());
    Ok(Manifest { tracks, files, rows, rejected })
}

/// `catalogue.csv` → `catalogue.csv.rejected.csv`
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".rejected.csv");
    path.with_file_name(name)
}

/// The names of the columns as settings know them.
fn columns(written: &[String]) -> Result<Vec<String>, table::Wrong> {
    let known: Vec<&str> =
        row::FILES.into_iter().chain(TagWishes::NAMES).chain(Named::NAMES).chain(["format"]).chain(SAID).collect();
    let mut columns = Vec::with_capacity(written.len());
    for name in written {
        let column = name.trim().to_lowercase().replace([' ', '-'], "_");
        if !known.contains(&column.as_str()) {
            let near = row::nearest(&column, known.iter().copied());
            let detail = match near {
                Some(near) => format!("there is no column `{}`; did you mean `{near}`?", name.trim()),
                None => format!("there is no column `{}`; use {}", name.trim(), known[..known.len() - 4].join(", ")),
            };
            return Err(("manifest.unknown_column", detail));
        }
        if columns.contains(&column) {
            return Err(("manifest.column_twice", format!("the column `{column}` is there twice; remove one of them")));
        }
        columns.push(column);
    }
    if !columns.iter().any(|column| column == "file") {
        let detail = "there is no column `file`; it names the mix of each row, relative to the manifest".to_owned();
        return Err(("manifest.no_file_column", detail));
    }
    Ok(columns)
}

/// Rejects what is there twice: of a file the later rows, of an ISRC all of them, because only its owner knows whose it is.
fn alone(mut rows: Vec<Row>) -> Vec<Row> {
    let mut files: HashMap<PathBuf, u64> = HashMap::new();
    let mut codes: HashMap<String, Vec<u64>> = HashMap::new();
    for row in &mut rows {
        if let Some(input) = &row.input {
            let path = input.path.canonicalize().unwrap_or_else(|_| input.path.clone());
            let first = *files.entry(path).or_insert(row.number);
            if first != row.number {
                row.faults.push(Fault::new(
                    "manifest.file_twice",
                    format!("row {first} has the same file; keep one of them"),
                ));
            }
        }
        if let Some(code) = &row.isrc {
            codes.entry(code.clone()).or_default().push(row.number);
        }
    }
    for row in &mut rows {
        let Some(code) = &row.isrc else { continue };
        let others: Vec<String> =
            codes[code].iter().filter(|other| **other != row.number).take(3).map(u64::to_string).collect();
        if !others.is_empty() {
            let reason =
                format!("the ISRC {code} stands in row {}, too; each recording has its own", others.join(", "));
            row.faults.push(Fault::new("manifest.isrc_twice", reason));
        }
    }
    rows
}

fn write_beside(path: &Path, table: &Table, rejected: &[Rejected<'_>]) -> Result<(), PushError> {
    let failed = |source| PushError::File { path: path.to_owned(), source };
    if rejected.is_empty() {
        // Those of a run before have been mended.
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        };
    }
    let rows =
        rejected.iter().map(|row| (row.record, [row.record.row.to_string(), row.code.clone(), row.reason.clone()]));
    let bytes = table.written(SAID, rows).map_err(|error| failed(std::io::Error::other(error)))?;
    loopmaster_core::master::write_file(path, &bytes, true).map_err(|error| failed(std::io::Error::other(error)))
}

fn tell(beside: &Path, rejected: &[Rejected<'_>], rows: usize, args: &PushArgs, progress: &Progress) {
    if rejected.is_empty() {
        return;
    }
    for row in rejected {
        progress.event(&json!({
            "event": "rejected", "row": row.record.row, "file": row.file, "code": row.code, "message": row.reason,
        }));
    }
    let width = rejected.iter().take(TOLD).map(|row| row.file.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let mut text = format!("{} of {rows} rows are rejected:\n{:>6}  {:width$}  reason", rejected.len(), "row", "file");
    for row in rejected.iter().take(TOLD) {
        let file: String = row.file.chars().take(width).collect();
        let _ = write!(text, "\n{:>6}  {file:width$}  {} [{}]", row.record.row, row.reason, row.code);
    }
    if rejected.len() > TOLD {
        let _ = write!(text, "\n        and {} more", rejected.len() - TOLD);
    }
    let next = if args.strict { "nothing is sent" } else { "the others are sent" };
    let _ = write!(text, "\nThey stand in {}; {next}.", beside.display());
    progress.warn(&text);
}

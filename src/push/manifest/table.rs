//! A manifest as a table of texts: CSV as RFC 4180 and spreadsheets write it, or an array of JSON objects.

use serde_json::{Map, Value};

/// Largest manifest, in bytes: a hundred thousand rows have less.
pub(super) const LARGEST: u64 = 64 << 20;
/// UTF-8's own mark, which some spreadsheets write and need.
const BOM: &str = "\u{feff}";

/// A row of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where a spreadsheet shows it: the header is row 1. Of JSON, the how-manieth object it is.
    pub(super) row: u64,
    pub(super) cells: Vec<String>,
    /// Why its cells are none.
    pub(super) broken: Option<String>,
}

/// A manifest, not looked at closer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Names of the columns, as they were written.
    pub(super) columns: Vec<String>,
    pub(super) records: Vec<Record>,
    separator: u8,
    bom: bool,
}

/// What is wrong with all of it: a code and a sentence.
pub(super) type Wrong = (&'static str, String);

impl Table {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + newlines(&bytes[..error.valid_up_to()]);
            ("manifest.encoding", format!("line {line} is not UTF-8; save it as “CSV UTF-8”"))
        })?;
        let (text, bom) = text.strip_prefix(BOM).map_or((text, false), |rest| (rest, true));
        match text.trim_start().bytes().next() {
            None => Err(("manifest.empty", "it has no rows; write a header and one row for each track".to_owned())),
            Some(b'[' | b'{') => Self::json(text),
            Some(_) => Self::csv(text, bom),
        }
    }

    fn csv(text: &str, bom: bool) -> Result<Self, Wrong> {
        let separator = separator(text);
        let wrong = |error: csv::Error| ("manifest.csv", format!("it cannot be read as CSV: {error}"));
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(text.as_bytes());
        let mut columns: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
        // Spreadsheets write the separators of columns that were used once.
        let named = columns.iter().rposition(|name| !name.trim().is_empty()).map_or(0, |at| at + 1);
        columns.truncate(named);
        let mut records = Vec::new();
        let (mut row, mut counted) = (1, 0);
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            // Empty lines before a record count as the reader's, and as a spreadsheet's rows.
            let from = record.position().map_or(0, |position| position.byte() as usize).min(text.len());
            let from = from + text.as_bytes()[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            row += newlines(&text.as_bytes()[counted..from]) as u64;
            counted = from;
            let mut cells: Vec<String> = record.iter().map(str::to_owned).collect();
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            while cells.len() > named && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
                cells.pop();
            }
            let broken = (cells.len() != named).then(|| {
                format!("the row has {} cells and the header has {named}; a cell with a separator stands in quotation marks", cells.len())
            });
            records.push(Record { row, cells, broken });
        }
        Ok(Self { columns, records, separator, bom })
    }

    fn json(text: &str) -> Result<Self, Wrong> {
        let objects: Vec<Map<String, Value>> = serde_json::from_str(text)
            .map_err(|error| ("manifest.json", format!("it is no array of JSON objects: {error}")))?;
        let mut columns: Vec<String> = Vec::new();
        for name in objects.iter().flat_map(Map::keys) {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        let record = |(at, object): (usize, &Map<String, Value>)| {
            let mut broken = None;
            let cells = columns
                .iter()
                .map(|name| {
                    cell(object.get(name).unwrap_or(&Value::Null)).unwrap_or_else(|| {
                        broken = Some(format!("{name} is an object; write a text, a number, or a list of texts"));
                        String::new()
                    })
                })
                .collect();
            Record { row: at as u64 + 1, cells, broken }
        };
        let records = objects.iter().enumerate().map(record).collect();
        Ok(Self { columns, records, separator: b',', bom: false })
    }

    /// Some of the rows as CSV, in the dialect of the manifest, each with what is said of it.
    pub(super) fn written<'a>(
        &self,
        more: [&str; 3],
        rows: impl Iterator<Item = (&'a Record, [String; 3])>,
    ) -> Result<Vec<u8>, csv::Error> {
        // A file of rejected rows may come back as a manifest.
        let kept: Vec<usize> = (0..self.columns.len())
            .filter(|at| !more.iter().any(|name| self.columns[*at].trim().eq_ignore_ascii_case(name)))
            .collect();
        let bytes = if self.bom { BOM.as_bytes().to_vec() } else { Vec::new() };
        let mut writer = csv::WriterBuilder::new()
            .delimiter(self.separator)
            .terminator(csv::Terminator::CRLF)
            .flexible(true)
            .from_writer(bytes);
        writer.write_record(kept.iter().map(|at| self.columns[*at].as_str()).chain(more))?;
        for (record, said) in rows {
            let cell = |at: &usize| record.cells.get(*at).map_or("", String::as_str);
            writer.write_record(kept.iter().map(cell).chain(said.iter().map(String::as_str)))?;
        }
        writer.into_inner().map_err(|error| csv::Error::from(std::io::Error::other(error.to_string())))
    }
}

/// What separates the cells of the header: most often the comma, the semicolon where the comma is for decimals, or a tab.
fn separator(text: &str) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0)];
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if !quoted => counts.iter_mut().filter(|(known, _)| *known == byte).for_each(|(_, count)| *count += 1),
            _ => {}
        }
    }
    // Of equals the first.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(separator, _)| separator)
}

/// A value as it would stand in a cell; `None`: it would not.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(values) => values.iter().map(cell).collect::<Option<Vec<_>>>().map(|cells| cells.join(",")),
        Value::Object(_) => None,
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(table: &Table) -> Vec<(u64, Vec<&str>)> {
        table.records.iter().map(|record| (record.row, record.cells.iter().map(String::as_str).collect())).collect()
    }

    #[test]
    fn the_same_table_in_every_dialect() {
        let rows = [(2, vec!["a.wav", "One; two", "-9,5"]), (4, vec!["b.wav", "He said \"no\"", ""])];
        for text in [
            "file,title,loudness\r\na.wav,One; two,\"-9,5\"\r\n\r\nb.wav,\"He said \"\"no\"\"\",\r\n",
            "\u{feff}file;title;loudness;;\n a.wav;\"One; two\";-9,5;;\n;;;;\nb.wav;\"He said \"\"no\"\"\";;;",
            "file\ttitle\tloudness\na.wav\tOne; two\t-9,5\n\t\t\nb.wav\t\"He said \"\"no\"\"\"\t\n",
        ] {
            let table = Table::read(text.as_bytes()).unwrap();
            assert_eq!(table.columns, ["file", "title", "loudness"], "{text}");
            let read: Vec<_> = cells(&table);
            let trimmed: Vec<_> = read
                .iter()
                .map(|(row, cells)| (*row, cells.iter().map(|cell| cell.trim()).collect::<Vec<_>>()))
                .collect();
            assert_eq!(trimmed, rows, "{text}");
            assert!(table.records.iter().all(|record| record.broken.is_none()));
        }
        let json = r#" [{"file":"a.wav","track":3,"formats":["wav24","mp3-320"],"insist":true},{"file":"b.wav","title":null}]"#;
        let table = Table::read(json.as_bytes()).unwrap();
        assert_eq!(table.columns, ["file", "formats", "insist", "track", "title"]);
        assert_eq!(
            cells(&table),
            [(1, vec!["a.wav", "wav24,mp3-320", "true", "3", ""]), (2, vec!["b.wav", "", "", "", ""])]
        );
    }

    #[test]
    fn what_is_no_table_is_said() {
        let code = |bytes: &[u8]| Table::read(bytes).unwrap_err().0;
        assert_eq!(code(b""), "manifest.empty");
        assert_eq!(code(b"\xef\xbb\xbf \n"), "manifest.empty");
        assert_eq!(code(b"{\"file\":\"a.wav\"}"), "manifest.json");
        assert_eq!(code(b"[1]"), "manifest.json");
        let (code, text) = Table::read(b"file;title\na.wav;N\xe4chte\n").unwrap_err();
        assert!(code == "manifest.encoding" && text.starts_with("line 2 "), "{text}");
        let table = Table::read(b"file,title\na.wav\nb.wav,x,y\nc.wav,x,\n").unwrap();
        let broken: Vec<bool> = table.records.iter().map(|record| record.broken.is_some()).collect();
        assert_eq!(broken, [true, true, false]);
        let table = Table::read(br#"[{"file":"a.wav","tags":{"title":"x"}}]"#).unwrap();
        assert!(table.records[0].broken.as_ref().unwrap().starts_with("tags is an object"));
    }

    #[test]
    fn rejected_rows_keep_their_dialect_and_can_come_back() {
        let table = Table::read("\u{feff}file;title\na.wav;\"x;y\"\nb.wav;z\n".as_bytes()).unwrap();
        let said = |row: u64| [row.to_string(), "code".to_owned(), "it is; so".to_owned()];
        let bytes =
            table.written(["row", "code", "reason"], table.records.iter().take(1).map(|r| (r, said(r.row)))).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text, "\u{feff}file;title;row;code;reason\r\na.wav;\"x;y\";2;code;\"it is; so\"\r\n");
        let again = Table::read(&bytes).unwrap();
        let twice = again.written(["row", "code", "reason"], again.records.iter().map(|r| (r, said(2)))).unwrap();
        assert_eq!(twice, bytes);
    }
}

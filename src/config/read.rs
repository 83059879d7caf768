//! File, environment and generated secrets, laid over each other; whatever is wrong with any of them is named at once.

use super::Config;
use super::complaint::Complaint;
use super::values::Address;
use crate::secrets::redacted;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What environment variables begin with.
const PREFIX: &str = "LOOPMASTER_";
/// Variables with that beginning that are not settings: the file itself, and what clients, graphics cards, the edge's host and tests are
/// told, and what backups run. A test holds the list against all that is read anywhere.
const NOT_SETTINGS: [&str; 8] = ["config", "token", "url", "program", "gpu_", "golden", "edge_host_", "test_"];
/// What the name of a variable ends with that names a file with a secret instead of the secret.
const IN_FILE: &str = "_FILE";
/// Settings that may be given so, beside the keys of the edge.
const SECRET_SETTINGS: [&str; 6] =
    ["database_url", "secret", "storage.access_key", "storage.secret_key", "mail.smtp", "oidc.google.client_secret"];
/// The file of generated secrets, in the data folder.
pub(super) const SECRETS: &str = "secrets.toml";

/// Where values come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None`: `$LOOPMASTER_CONFIG`, else `loopmaster.toml` where there is one.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// A file and this process's environment.
    #[must_use]
    pub fn process(file: Option<&Path>) -> Self {
        // A name or value that is not UTF-8 cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file: file.map(Path::to_owned), environment }
    }
}

/// Lays the layers over each other and collects what is wrong.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) complaints: Vec<Complaint>,
}

impl Reader {
    fn complain(&mut self, setting: &str, text: impl Into<String>) {
        self.complaints.push(Complaint { setting: setting.to_owned(), text: text.into() });
    }

    pub(super) fn read(&mut self, sources: &Sources, make_secrets: bool) -> Option<Config> {
        let schema = match Value::try_from(Config::default()) {
            Ok(Value::Table(schema)) => schema,
            Ok(_) => Table::new(),
            Err(error) => {
                self.complain("defaults", error.to_string());
                return None;
            }
        };
        let file = self.file(sources);
        let environment = self.environment(&sources.environment, &schema);
        let mut given = Table::new();
        self.lay(&mut given, file, &schema, "");
        self.lay(&mut given, environment, &schema, "");

        // What was generated at an earlier start lies under what is given now.
        let data = given.get("data").and_then(Value::as_str).map_or(Config::default().data, PathBuf::from);
        let mut whole = schema.clone();
        let path = data.join(SECRETS);
        let mut secrets = self.table(&path, true);
        // Half a pair of credentials from here and half from there would fit nobody.
        if given.get("storage").is_some_and(|storage| storage.get("access_key").is_some()) {
            secrets.remove("storage");
        }
        if given.get("edge").is_some_and(|edge| edge.get("keys").is_some()) {
            secrets.remove("edge");
        }
        self.lay(&mut whole, secrets, &schema, "");
        self.lay(&mut whole, given, &schema, "");

        let mut config: Config = match Value::Table(whole).try_into() {
            Ok(config) => config,
            Err(error) => {
                self.complain("file", error.message().to_owned());
                return None;
            }
        };
        let own_machine = config.public_url.is_loopback();
        let mut judged = Vec::new();
        config.judge(&mut judged, own_machine);
        // A secret whose file cannot be read is not missing besides.
        judged.retain(|judged: &Complaint| self.complaints.iter().all(|known| known.setting != judged.setting));
        self.complaints.append(&mut judged);
        // In a cluster only roles that keep something on this machine need the folder; they make it.
        if make_secrets && self.complaints.is_empty() && (own_machine || config.data.exists()) {
            if let Err(error) = loopmaster_private::folder(&config.data) {
                self.complain("data", error.to_string());
            } else if own_machine && let Err(error) = config.make_secrets(&path) {
                self.complain("data", format!("{} cannot be written: {error}", path.display()));
            }
        }
        Some(config)
    }

    fn file(&mut self, sources: &Sources) -> Table {
        let named = sources
            .environment
            .iter()
            .find(|(name, _)| name == "LOOPMASTER_CONFIG")
            .map(|(_, value)| PathBuf::from(value));
        match sources.file.clone().or(named) {
            Some(path) => self.table(&path, false),
            None => self.table(Path::new("loopmaster.toml"), true),
        }
    }

    fn table(&mut self, path: &Path, may_be_missing: bool) -> Table {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => return Table::new(),
            Err(error) => {
                self.complain(&path.display().to_string(), format!("cannot be read: {error}"));
                return Table::new();
            }
        };
        text.parse().unwrap_or_else(|error: toml::de::Error| {
            // Without the line itself, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message().trim().replace('\n', "; ");
            self.complain(&path.display().to_string(), format!("line {line}, column {column}: {message}"));
            Table::new()
        })
    }

    /// `LOOPMASTER_STORAGE__BUCKET=mixes` → `{storage: {bucket: "mixes"}}`, each value read as what the setting is. Secrets may lie in
    /// files: `LOOPMASTER_SECRET_FILE=/run/secrets/loopmaster`.
    fn environment(&mut self, variables: &[(String, String)], schema: &Table) -> Table {
        let mut table = Table::new();
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else { continue };
            if NOT_SETTINGS.iter().any(|other| key == *other || (other.ends_with('_') && key.starts_with(other))) {
                continue;
            }
            if let Some((direct, path)) = in_file(name, &key) {
                if let Some(secret) = self.secret(name, text, direct, &path, variables)
                    && !put(&mut table, &path, Value::String(secret))
                {
                    self.complain(&path.join("."), "is set both as a value and as a group");
                }
                continue;
            }
            let beside = format!("{name}{IN_FILE}");
            if text.is_empty() && variables.iter().any(|(other, file)| *other == beside && !file.is_empty()) {
                continue;
            }
            let path: Vec<&str> = key.split("__").collect();
            let mut kind = None;
            let mut level = Some(schema);
            for step in &path {
                kind = level.and_then(|table| table.get(*step));
                level = kind.and_then(Value::as_table);
            }
            let value = match kind {
                // A key of a free table, e.g. LOOPMASTER_EDGE__KEYS__A, is text; an unknown setting is found out below.
                None | Some(Value::String(_)) => Value::String(text.clone()),
                Some(_) => {
                    match format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value")) {
                        Some(value) => value,
                        None => Value::String(text.clone()),
                    }
                }
            };
            if !put(&mut table, &path, value) {
                self.complain(&path.join("."), "is set both as a value and as a group");
            }
        }
        table
    }

    /// The secret in the file that the variable `name` names; `direct` is the variable that could hold it itself. Compose and its like
    /// set what nobody gave to nothing at all, so an empty name is none.
    fn secret(
        &mut self,
        name: &str,
        file: &str,
        direct: &str,
        path: &[&str],
        variables: &[(String, String)],
    ) -> Option<String> {
        if file.is_empty() {
            return None;
        }
        if variables.iter().any(|(other, value)| other == direct && !value.is_empty()) {
            self.complain(&path.join("."), format!("is given by {direct} and by {name}; keep one of them"));
            return None;
        }
        match loopmaster_private::secret(Path::new(file)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.complain(&path.join("."), format!("{name} names {file}, which {error}"));
                None
            }
        }
    }

    /// Puts `over` on top of `base`; what does not fit the schema is complained about and left out.
    fn lay(&mut self, base: &mut Table, over: Table, schema: &Table, path: &str) {
        for (key, value) in over {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let Some(kind) = schema.get(&key) else {
                let near =
                    schema.keys().max_by_key(|known| likeness(known, &key)).filter(|known| likeness(known, &key) >= 3);
                let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                self.complain(&name, format!("there is no such setting{hint}"));
                continue;
            };
            match (kind, value) {
                // An empty table in the defaults is free: its keys are the operator's.
                (Value::Table(inner), Value::Table(value)) if inner.is_empty() => {
                    let mut kept = Table::new();
                    for (key, value) in value {
                        if value.is_str() {
                            kept.insert(key, value);
                        } else {
                            self.complain(&format!("{name}.{key}"), format!("is {}; use text", value.type_str()));
                        }
                    }
                    base.insert(key, Value::Table(kept));
                }
                (Value::Table(inner), Value::Table(value)) => {
                    let place = base.entry(key).or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(place) = place {
                        self.lay(place, value, inner, &name);
                    }
                }
                (kind, value) => {
                    if let Some(value) = self.fitting(kind, value, &name) {
                        base.insert(key, value);
                    }
                }
            }
        }
    }

    fn fitting(&mut self, kind: &Value, value: Value, name: &str) -> Option<Value> {
        let hidden = ["secret", "key", "smtp", "database"].iter().any(|word| name.contains(word)) || kind.is_table();
        let shown = if hidden { "a value".to_owned() } else { format!("`{}`", redacted_value(&value.to_string())) };
        if !kind.same_type(&value) {
            let wanted = match kind {
                Value::String(_) => "text",
                Value::Integer(_) => "a whole number",
                Value::Float(_) => "a number",
                Value::Boolean(_) => "true or false",
                Value::Array(_) => "a list",
                Value::Table(_) => "a group of settings",
                Value::Datetime(_) => "a date",
            };
            self.complain(name, format!("{shown} is not {wanted}"));
            return None;
        }
        // Types with a grammar of their own are tried here, so that one wrong value does not hide the next.
        let text = value.as_str().unwrap_or_default().to_owned();
        let problem = match name {
            "public_url" | "api_url" | "files_url" => Address::try_from(text).err(),
            "listen.api" | "listen.files" | "listen.metrics" => {
                text.parse::<SocketAddr>().err().map(|_| "use address:port, e.g. 127.0.0.1:3001".to_owned())
            }
            _ => match value.as_integer() {
                Some(number) if number < 0 => Some("use a number that is not negative".to_owned()),
                Some(number) if name == "trusted_hops" && number > 255 => Some("use 0 to 8".to_owned()),
                Some(number) if name == "worker.threads" && number > 65_535 => Some("use 0 to 1024".to_owned()),
                Some(number) if name.starts_with("retention.") && number > 3_650 => Some("use 1 to 3650".to_owned()),
                _ => None,
            },
        };
        if let Some(problem) = problem {
            self.complain(name, format!("{shown} cannot be used: {problem}"));
            return None;
        }
        Some(value)
    }
}

/// Of a variable that names a file with a secret: the variable that would hold the secret itself, and the path of the setting.
fn in_file<'a>(name: &'a str, key: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
    let direct = name.strip_suffix(IN_FILE)?;
    let path: Vec<&str> = key[..key.len() - IN_FILE.len()].split("__").collect();
    holds_secret(&path).then_some((direct, path))
}

/// Whether a setting is a secret.
pub(super) fn holds_secret(path: &[&str]) -> bool {
    matches!(path, ["edge", "keys", _]) || SECRET_SETTINGS.contains(&path.join(".").as_str())
}

/// A value as it may be shown: where it is an address, without account and query.
fn redacted_value(text: &str) -> String {
    let text = text.trim_matches('"');
    if text.contains("://") || text.contains('@') { redacted(text) } else { text.to_owned() }
}

/// Puts a value at a path; false where something else stands in the way.
fn put(table: &mut Table, path: &[&str], value: Value) -> bool {
    match path {
        [] => false,
        [last] => table.insert((*last).to_owned(), value).is_none(),
        [folder, rest @ ..] => match table.entry(*folder).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => put(inner, rest, value),
            _ => false,
        },
    }
}

/// Length of the common beginning and end: enough to find a slip of the keyboard.
fn likeness(a: &str, b: &str) -> usize {
    let head = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let tail = a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    head + tail
}

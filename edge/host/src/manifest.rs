//! `spin.toml`, as far as the host needs it: the same file that `spin up` reads, so that the two cannot drift.

use crate::outbound::AllowedHosts;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why the manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("edge_host.manifest: {0}: {1}; run from the repository, or give --manifest")]
    Unreadable(PathBuf, String),
    /// A variable has no value.
    #[error("edge_host.variable_missing: set {}", .0.iter().map(|name| environment(name)).collect::<Vec<_>>().join(" and "))]
    Missing(Vec<String>),
    /// A secret that is to lie in a file does not, or is given twice.
    #[error("edge_host.secret: {0}")]
    Secret(String),
    /// Something in it is not supported here.
    #[error("edge_host.manifest: {0}")]
    Unsupported(String),
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    component: BTreeMap<String, Component>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Variable {
    default: Option<String>,
    secret: bool,
}

#[derive(Debug, Deserialize)]
struct Component {
    source: PathBuf,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

/// What the component of a manifest gets.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The component's file.
    pub source: PathBuf,
    /// Where it may connect to.
    pub allowed: AllowedHosts,
    /// Stores it may open.
    pub stores: Vec<String>,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
}

/// The environment variable that sets a variable of the application, as Spin names it.
#[must_use]
pub fn environment(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())
}

impl Manifest {
    /// Reads the manifest at `path`; `given` has the environment, which sets application variables from outside. Secrets may lie in files
    /// that it names: `SPIN_VARIABLE_EDGE_KEY_FILE`.
    pub fn read(path: &Path, given: impl Fn(&str) -> Option<String>) -> Result<Self, ManifestError> {
        let unreadable = |why: String| ManifestError::Unreadable(path.to_owned(), why);
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")), given)
            .map_err(|error| if let ManifestError::Unreadable(_, why) = error { unreadable(why) } else { error })
    }

    fn parse(text: &str, folder: &Path, given: impl Fn(&str) -> Option<String>) -> Result<Self, ManifestError> {
        let file: File =
            toml::from_str(text).map_err(|error| ManifestError::Unreadable(PathBuf::new(), error.to_string()))?;
        let mut missing = Vec::new();
        let mut values = BTreeMap::new();
        for (name, variable) in file.variables {
            match outside(&environment(&name), variable.secret, &given)?.or(variable.default) {
                Some(value) => drop(values.insert(name, value)),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            return Err(ManifestError::Missing(missing));
        }
        let mut components = file.component.into_iter();
        let (Some((_, component)), None) = (components.next(), components.next()) else {
            return Err(ManifestError::Unsupported("exactly one component is run here".to_owned()));
        };
        let expand = |template: &str| expand(template, &values).map_err(ManifestError::Unsupported);
        let hosts: Result<Vec<_>, _> = component.allowed_outbound_hosts.iter().map(|host| expand(host)).collect();
        let variables: Result<BTreeMap<_, _>, _> =
            component.variables.iter().map(|(name, value)| expand(value).map(|value| (name.clone(), value))).collect();
        Ok(Self {
            source: folder.join(component.source),
            allowed: AllowedHosts::parse(&hosts?).map_err(ManifestError::Unsupported)?,
            stores: component.key_value_stores,
            variables: variables?,
        })
    }
}

/// What the environment says of a variable, by its own name or, of a secret, by a file's.
fn outside(
    variable: &str,
    secret: bool,
    given: &impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, ManifestError> {
    let direct = given(variable);
    let named = format!("{variable}_FILE");
    match given(&named).filter(|file| secret && !file.is_empty()) {
        None => Ok(direct),
        Some(_) if direct.is_some_and(|value| !value.is_empty()) => {
            Err(ManifestError::Secret(format!("{variable} and {named} are both set; keep one of them")))
        }
        Some(file) => loopmaster_private::secret(Path::new(&file))
            .map(Some)
            .map_err(|error| ManifestError::Secret(format!("{named} names {file}, which {error}"))),
    }
}

/// Puts values in the place of `{{ name }}`.
fn expand(template: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").ok_or_else(|| format!("`{template}` has no }}}}"))?;
        let value =
            values.get(name.trim()).ok_or_else(|| format!("`{template}` uses a variable that is not declared"))?;
        text.push_str(value);
        text.push_str(rest);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        spin_manifest_version = 2
        [variables]
        api_url = { default = "http://127.0.0.1:3001" }
        key = { required = true, secret = true }
        [[trigger.http]]
        route = "/..."
        component = "edge"
        [component.edge]
        source = "../edge.wasm"
        allowed_outbound_hosts = ["{{ api_url }}"]
        key_value_stores = ["default"]
        [component.edge.variables]
        api_url = "{{ api_url }}"
        both = "{{key}}@{{ api_url }}"
    "#;

    #[test]
    fn variables_come_from_outside_or_from_their_default() {
        let key = |name: &str| (name == "SPIN_VARIABLE_KEY").then(|| "k".to_owned());
        let read = Manifest::parse(TEXT, Path::new("/app/edge"), key).unwrap();
        assert_eq!(read.variables["both"], "k@http://127.0.0.1:3001");
        assert_eq!(read.source, Path::new("/app/edge/../edge.wasm"));
        assert_eq!(read.stores, ["default"]);
        assert!(read.allowed.allows("http", "127.0.0.1", 3001) && !read.allowed.allows("http", "127.0.0.1", 3002));
    }

    #[test]
    fn a_secret_may_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (good, empty) = (folder.path().join("key"), folder.path().join("empty"));
        std::fs::write(&good, "hunter2\n").unwrap();
        std::fs::write(&empty, "").unwrap();
        let read = |variables: &[(&str, &str)]| {
            let given =
                |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
            Manifest::parse(TEXT, Path::new("."), given)
        };
        let (good, empty) = (good.to_str().unwrap(), empty.to_str().unwrap());
        let whole = read(&[("SPIN_VARIABLE_KEY_FILE", good), ("SPIN_VARIABLE_KEY", "")]).unwrap();
        assert_eq!(whole.variables["both"], "hunter2@http://127.0.0.1:3001");
        let other = read(&[("SPIN_VARIABLE_KEY", "k"), ("SPIN_VARIABLE_API_URL_FILE", good)]).unwrap();
        assert_eq!(other.variables["both"], "k@http://127.0.0.1:3001", "what is no secret lies in no file");
        for (variables, said) in [
            (
                vec![("SPIN_VARIABLE_KEY_FILE", good), ("SPIN_VARIABLE_KEY", "k")],
                "SPIN_VARIABLE_KEY and SPIN_VARIABLE_KEY_FILE",
            ),
            (vec![("SPIN_VARIABLE_KEY_FILE", empty)], "which is empty"),
            (
                vec![("SPIN_VARIABLE_KEY_FILE", "/nonexistent/key")],
                "SPIN_VARIABLE_KEY_FILE names /nonexistent/key, which cannot be read",
            ),
        ] {
            let error = read(&variables).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named_as_one_sets_it() {
        let error = Manifest::parse(TEXT, Path::new("."), |_| None).unwrap_err();
        assert_eq!(error.to_string(), "edge_host.variable_missing: set SPIN_VARIABLE_KEY");
        let undeclared = TEXT.replace("{{key}}", "{{keys}}");
        assert!(Manifest::parse(&undeclared, Path::new("."), |_| Some(String::new())).is_err());
    }
}

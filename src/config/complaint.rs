//! What is said of values that cannot be used.

use std::fmt;

/// One value that cannot be used, and what could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Which setting, e.g. `storage.bucket`.
    pub setting: String,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.text)
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", .0.iter().map(|complaint| format!("  {complaint}")).collect::<Vec<_>>().join("\n"))]
pub struct Unusable(pub Vec<Complaint>);

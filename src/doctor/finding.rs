//! What was looked at, what was found, and what to do about it.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Nobody could look.
    Skipped,
    /// It works, and should not stay as it is.
    Warning,
    /// It does not work, or gives somebody what is not theirs.
    Error,
}

/// One thing that was looked at. Holds configured values and what documents say, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check's name, which stays the same from version to version.
    pub check: &'static str,
    /// What it is about: a role, a pool, a container.
    pub about: String,
    /// What was found.
    pub found: String,
    /// What to do; nothing where nothing has to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Finding {
    /// All is well with `about`.
    pub fn ok(check: &'static str, about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, check, about: about.into(), found: found.into(), fix: String::new() }
    }

    /// Nobody could look; `fix` says how somebody can.
    pub fn skipped(check: &'static str, about: impl Into<String>, found: impl Into<String>, fix: &str) -> Self {
        Self { severity: Severity::Skipped, check, about: about.into(), found: found.into(), fix: fix.to_owned() }
    }

    /// It works, and should not stay so.
    pub fn warning(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, check, about: about.into(), found: found.into(), fix: fix.into() }
    }

    /// It does not work, or is not safe.
    pub fn error(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Error, ..Self::warning(check, about, found, fix) }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

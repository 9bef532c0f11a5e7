//! What is measured, and what it should be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One row of the table.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    pub what: String,
    /// What is wanted, if anything is.
    pub target: Option<f64>,
    pub stretch: Option<f64>,
    pub measured: f64,
    pub unit: String,
    /// Whether more is better.
    pub more: bool,
    /// How it was measured, or why it is not met.
    pub note: String,
}

/// Everything that a run found.
#[derive(Default)]
pub struct Findings {
    pub figures: Vec<Figure>,
    pub plots: Vec<Plot>,
}

/// Bars or lines for the report.
pub struct Plot {
    /// The file's name, without its ending.
    pub file: &'static str,
    pub title: String,
    /// Name and value of each bar.
    pub bars: Vec<(String, f64)>,
    pub unit: &'static str,
}

impl Figure {
    /// At most `target`, better `stretch`.
    pub fn at_most(what: &str, measured: f64, unit: &str, target: f64, stretch: impl Into<Option<f64>>) -> Self {
        Self {
            what: what.to_owned(),
            target: Some(target),
            stretch: stretch.into(),
            measured,
            unit: unit.to_owned(),
            more: false,
            note: String::new(),
        }
    }

    /// At least `target`, better `stretch`.
    pub fn at_least(what: &str, measured: f64, unit: &str, target: f64, stretch: impl Into<Option<f64>>) -> Self {
        Self { more: true, ..Self::at_most(what, measured, unit, target, stretch) }
    }

    /// For the record.
    pub fn told(what: &str, measured: f64, unit: &str) -> Self {
        Self { target: None, ..Self::at_most(what, measured, unit, 0.0, None) }
    }

    pub fn noted(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether `bound` is met, if there is one.
    pub fn meets(&self, bound: Option<f64>) -> Option<bool> {
        let bound = bound?;
        Some(if self.more { self.measured >= bound } else { self.measured <= bound })
    }

    /// What another bench target has left.
    pub fn left_by(target: &str) -> Vec<Self> {
        let text = std::fs::read_to_string(left(target)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Leaves rows for the table.
    #[allow(dead_code, reason = "used by the other bench target")]
    pub fn leave(target: &str, figures: &[Self]) {
        let file = left(target);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, serde_json::to_string(figures).unwrap()).unwrap();
    }
}

fn left(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench").join(format!("{target}.json"))
}

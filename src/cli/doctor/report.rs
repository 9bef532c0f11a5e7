//! Findings as a person reads them, or as JSON.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::json;

use crate::cli::terminal::table;
use crate::doctor::{Finding, Severity};

/// Tells all of them, the worst last, where the eye is.
pub(super) fn tell(found: &[Finding], json: bool) -> io::Result<()> {
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, skipped) = (count(Severity::Error), count(Severity::Warning), count(Severity::Skipped));
    let mut out = anstream::stdout();
    if json {
        let report = json!({"findings": found, "errors": errors, "warnings": warnings, "skipped": skipped});
        return writeln!(out, "{report:#}");
    }
    let mut sorted: Vec<_> = found.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    let rows: Vec<_> =
        sorted.iter().map(|one| [one.severity.to_string(), one.check.to_owned(), one.about.clone()]).collect();
    let rows = table("", &rows);
    for (row, finding) in rows.lines().zip(sorted) {
        let style = style(finding.severity);
        writeln!(out, "{style}{row}{style:#}")?;
        writeln!(out, "         {}", finding.found)?;
        if !finding.fix.is_empty() {
            writeln!(out, "         fix: {}", finding.fix)?;
        }
    }
    writeln!(out, "\n{errors} errors, {warnings} warnings, {} not looked at, {} in order", skipped, count(Severity::Ok))
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Ok => AnsiColor::Green.on_default(),
        Severity::Skipped => Style::new().dimmed(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Error => AnsiColor::Red.on_default().bold(),
    }
}

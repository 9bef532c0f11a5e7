//! What a person at a terminal sees: a table whose columns are aligned, colour, and that something is going on.
//!
//! `anstream` takes colour away where there is no terminal and where NO_COLOR is set.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anstyle::Style;

use crate::clock::Clock;

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line on stderr that says what is waited for, once it takes longer than a second; on terminals alone.
pub(super) struct Progress {
    clock: Clock,
    started: Duration,
    terminal: bool,
    told: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let clock = Clock::system();
        Self { started: clock.now().boot, clock, terminal: std::io::stderr().is_terminal(), told: false }
    }

    /// Says what is waited for now.
    pub(super) fn tell(&mut self, what: &str) {
        let waited = self.clock.now().boot.saturating_sub(self.started);
        if self.terminal && waited >= PATIENCE {
            self.told = true;
            // With stderr gone there is nobody to tell.
            write!(std::io::stderr(), "\r\x1b[2K{what} ({} s)", waited.as_secs()).ok();
        }
    }
}

/// The line is wiped, so that what follows stands alone.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.told {
            write!(std::io::stderr(), "\r\x1b[2K").ok();
        }
    }
}

/// `rows` with their columns aligned, the last one as wide as it is; each row after `indent`.
pub(super) fn table<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` with the lines that begin with `#` dimmed, so that what can be pasted stands out.
pub(super) fn comments_dimmed(text: &str) -> String {
    let dim = Style::new().dimmed();
    let line = |line: &str| match line.starts_with('#') {
        true => format!("{dim}{line}{dim:#}\n"),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["HTTP", "http://127.0.0.1:1"], ["gRPC", "ä"], ["emulator", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table("  ", &rows), "  HTTP      http://127.0.0.1:1\n  gRPC      ä\n  emulator\n");
    }
}

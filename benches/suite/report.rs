//! The table, for a terminal and for `benches/REPORT.md`, and its plots.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::figures::{Figure, Findings, Plot};

/// The table, as Markdown that a terminal shows well.
pub fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["figure", "target", "stretch", "measured", "met"].map(ToOwned::to_owned)];
    for figure in figures {
        let bound = |bound: Option<f64>| bound.map_or("-".to_owned(), number);
        let met = match (figure.meets(figure.target), figure.meets(figure.stretch)) {
            (None, _) => "-",
            (Some(false), _) => "**not met**",
            (Some(true), Some(true)) => "stretch",
            (Some(true), _) => "met",
        };
        let measured = format!("{} {}", number(figure.measured), figure.unit);
        rows.push([figure.what.clone(), bound(figure.target), bound(figure.stretch), measured, met.to_owned()]);
    }
    let widths: Vec<usize> = (0..5).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            write!(text, "| {cell:width$} ").unwrap();
        }
        text.push_str("|\n");
        if place == 0 {
            widths.iter().for_each(|width| write!(text, "|{:-<1$}", "", width + 2).unwrap());
            text.push_str("|\n");
        }
    }
    text
}

/// Writes the report and its plots.
pub fn write(findings: &Findings) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let mut text = format!(
        "# What it costs\n\nWritten by `cargo bench` on {}: {}. Ratios are of CPU time, yardstick and subject taking turns in one run; \
         the span tells how much they swung.\n\n{}\n## Notes\n\n",
        told_by("date", &["-u", "+%F"]),
        machine(),
        table(&findings.figures)
    );
    for figure in findings.figures.iter().filter(|figure| !figure.note.is_empty()) {
        writeln!(text, "- **{}**: {}", figure.what, figure.note).unwrap();
    }
    text.push_str("\n## Plots\n\n");
    let plots = dir.join("plots");
    fs::create_dir_all(&plots).unwrap();
    for plot in &findings.plots {
        fs::write(plots.join(format!("{}.svg", plot.file)), svg(plot)).unwrap();
        writeln!(text, "![{}](plots/{}.svg)\n", plot.title, plot.file).unwrap();
    }
    let reasons: PathBuf = dir.join("REASONS.md");
    if let Ok(reasons) = fs::read_to_string(reasons) {
        text.push_str(&reasons);
    }
    fs::write(dir.join("REPORT.md"), text).unwrap();
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} cores of {model}, {}, load average {load} at the end", told_by("rustc", &["--version"]))
}

fn told_by(program: &str, arguments: &[&str]) -> String {
    let told = Command::new(program).args(arguments).output();
    told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default()
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => format!("{value:.0}"),
        value if value >= 100.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        value => format!("{value:.2}").trim_end_matches(".00").to_owned(),
    }
}

/// Horizontal bars, the longest as wide as the picture.
fn svg(plot: &Plot) -> String {
    const ROW: usize = 26;
    let most = plot.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height = 40 + ROW * plot.bars.len();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"20\" font-weight=\"bold\">{}</text>\n",
        plot.title
    );
    for (place, (name, value)) in plot.bars.iter().enumerate() {
        let (top, width) = (34 + place * ROW, value / most * 420.0);
        writeln!(text, "<text x=\"8\" y=\"{}\">{name}</text>", top + 14).unwrap();
        writeln!(text, "<rect x=\"280\" y=\"{top}\" width=\"{width:.1}\" height=\"18\" fill=\"#4477aa\"/>").unwrap();
        writeln!(text, "<text x=\"{:.1}\" y=\"{}\">{} {}</text>", 286.0 + width, top + 14, number(*value), plot.unit)
            .unwrap();
    }
    text + "</svg>\n"
}

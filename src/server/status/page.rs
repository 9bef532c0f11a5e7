//! The status page's HTML. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{REMAINING, Survey, Tally};
use crate::clock::{Moment, rfc3339};
use crate::metrics::{Operation, Result};
use crate::server::Config;
use crate::server::status::samples::{Counts, Sample};
use crate::upstream::Flow;

/// All that the page tells.
pub(super) struct Facts {
    pub(super) waiting_for: Vec<String>,
    pub(super) survey: Survey,
    /// The profiles in force.
    pub(super) profiles: BTreeMap<String, Flow>,
    /// What was counted, by the minute.
    pub(super) minutes: Vec<Sample>,
    pub(super) settings: Arc<Config>,
    pub(super) sessions: i64,
    pub(super) version: String,
    pub(super) now: Moment,
    /// When the doors were opened, by the boot-time clock.
    pub(super) started: Duration,
}

/// Colours that are told apart in light and dark, and each beside its word.
const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--ok:#2a7d4f;--bad:#c0392b}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:60rem}
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}
.ok{color:var(--ok)}.bad{color:var(--bad)}.dim{opacity:.7}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{font-weight:600}
svg{width:100%;height:4rem;display:block}.good{fill:var(--ok)}.fail{fill:var(--bad)}
@media(prefers-color-scheme:dark){:root{--ok:#5fc08d;--bad:#ff7b6b}}";

impl Facts {
    /// The whole page.
    pub(super) fn render(&self) -> String {
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>cupbearer</title>\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta http-equiv=\"refresh\" content=\"15\"><style>{STYLE}</style></head><body>"
        );
        page.push_str(&self.head());
        page.push_str(&self.refreshes());
        page.push_str(&self.calls());
        page.push_str(&self.entries());
        page.push_str(&self.in_profiles());
        page.push_str(&self.in_force());
        page.push_str("</body></html>\n");
        page
    }

    fn head(&self) -> String {
        let up = self.now.boot.saturating_sub(self.started);
        let state = if self.waiting_for.is_empty() {
            "<span class=\"ok\">ready</span>".to_owned()
        } else {
            format!("<span class=\"bad\">not ready: {}</span>", escaped(&self.waiting_for.join(", ")))
        };
        let (version, now) = (escaped(&self.version), rfc3339(self.now.wall));
        format!(
            "<h1>cupbearer {state}</h1><p class=\"dim\">version {version}, up {}, as of {now}; renewed every 15 s</p>",
            span(up)
        )
    }

    /// Exchanges of the last hour, a bar for each minute.
    fn refreshes(&self) -> String {
        let sums: Vec<_> = self.minutes.iter().map(|minute| (minute.refreshes[0], failed(&minute.refreshes))).collect();
        let (good, bad) = sums.iter().fold((0, 0), |(good, bad), (more, worse)| (good + more, bad + worse));
        let most = sums.iter().map(|(good, bad)| good + bad).max().unwrap_or(0).max(1);
        let mut bars = String::new();
        for (at, (good, bad)) in (61 - sums.len().min(61)..).zip(&sums) {
            let (tall, low) = (40 * good / most, 40 * bad / most);
            // Writing to a String does not fail.
            write!(bars, "<rect class=\"good\" x=\"{at}\" y=\"{}\" width=\".8\" height=\"{tall}\"/>", 40 - tall).ok();
            let y = 40 - (tall + low).min(40);
            write!(bars, "<rect class=\"fail\" x=\"{at}\" y=\"{y}\" width=\".8\" height=\"{low}\"/>").ok();
        }
        format!(
            "<h2>Exchanges in the last hour</h2><p><span class=\"ok\">{good} good</span>, <span class=\"{}\">{bad} \
             failed</span></p><svg viewBox=\"0 0 61 40\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"exchanges by the minute, the newest at the right, {most} at most\">{bars}</svg>",
            if bad == 0 { "dim" } else { "bad" }
        )
    }

    /// Calls of the last hour, by API.
    fn calls(&self) -> String {
        let hour = self.minutes.iter().fold(Sample::default(), |sum, minute| sum.and(minute));
        let used = Operation::ALL.iter().zip(&hour.calls).filter(|(_, counts)| counts.iter().sum::<u64>() > 0);
        let rows = used.map(|(operation, counts)| {
            let state = if failed(counts) == 0 { "ok" } else { "bad" };
            let cells: String = counts.iter().map(|count| format!("<td>{count}</td>")).collect();
            format!("<tr><td class=\"{state}\">{}</td>{cells}</tr>", operation.as_str())
        });
        let heads: String = Result::ALL.iter().map(|result| format!("<th>{}</th>", result.as_str())).collect();
        table("Calls to AWS in the last hour", &format!("<th>API</th>{heads}"), rows, "none")
    }

    /// Entries by the time that is left.
    fn entries(&self) -> String {
        let bound = |at: usize| REMAINING[at].as_secs() / 60;
        let rows = self.survey.remaining.iter().enumerate().map(|(at, count)| {
            let label = match at {
                0 => format!("under {} min", bound(0)),
                _ if at == REMAINING.len() => format!("{} min and more", bound(at - 1)),
                _ => format!("{} to {} min", bound(at - 1), bound(at)),
            };
            format!("<tr><td>{label}</td><td>{count}</td></tr>")
        });
        table("Credentials by the time that is left", "<th>left</th><th>entries</th>", rows, "none")
    }

    /// The profiles in force, and what is held for each.
    fn in_profiles(&self) -> String {
        let none = Tally::default();
        let rows = self.profiles.iter().map(|(name, flow)| {
            let tally = self.survey.profiles.get(name).unwrap_or(&none);
            let (held, under_way, failing) = (tally.held, tally.under_way, tally.failing);
            let name = escaped(name);
            let flow = flow.as_str();
            format!("<tr><td>{name}</td><td>{flow}</td><td>{held}</td><td>{under_way}</td><td>{failing}</td></tr>")
        });
        let heads = "<th>profile</th><th>flow</th><th>held</th><th>under way</th><th>failing</th>";
        table("Profiles", heads, rows, "none")
    }

    fn in_force(&self) -> String {
        let config = &self.settings;
        let mut facts = vec![
            ("sessions open", self.sessions.to_string()),
            ("HTTP", config.http.to_string()),
            ("gRPC", config.grpc.to_string()),
            ("admin", config.admin.to_string()),
            ("connections at most", config.limits.connections.to_string()),
            ("first answers are held for", format!("{} ms", config.cold_hold.as_millis())),
            ("serving goes on after SIGTERM for", span(config.drain)),
            ("purge", if config.admin_token.is_some() { "on" } else { "off" }.to_owned()),
        ];
        facts.extend(config.metrics.map(|address| ("metrics", address.to_string())));
        facts.extend(config.grpc_uds.as_ref().map(|path| ("gRPC on a Unix socket", path.display().to_string())));
        let rows = facts.iter().map(|(what, is)| format!("<tr><td>{what}</td><td>{}</td></tr>", escaped(is)));
        table("In force", "<th>what</th><th>is</th>", rows, "")
    }
}

fn table(title: &str, heads: &str, rows: impl Iterator<Item = String>, empty: &str) -> String {
    let rows: String = rows.collect();
    if rows.is_empty() {
        return format!("<h2>{title}</h2><p class=\"dim\">{empty}</p>");
    }
    format!("<h2>{title}</h2><div class=\"wide\"><table><tr>{heads}</tr>{rows}</table></div>")
}

/// All but the good ones.
fn failed(counts: &Counts) -> u64 {
    counts[1..].iter().sum()
}

/// A time span for people.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Text that cannot become markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

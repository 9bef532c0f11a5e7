//! The reference of the configuration's keys, as Markdown: made of the same constants that judge a file, so that it
//! cannot say anything else. A test holds that it has every key that is read, and no other.

mod keys;

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;

/// One key.
pub(super) struct Key {
    /// With its tables; `NAME` stands for a name of the operator's choice.
    pub(super) name: &'static str,
    /// What may stand there.
    pub(super) takes: String,
    /// What is in force without it.
    pub(super) default: String,
    /// What it is for.
    pub(super) meaning: &'static str,
}

/// Every table and key, with defaults and bounds: the text of `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::from(HEAD);
    let mut table = "";
    for key in keys::all() {
        let (of, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if of != table {
            table = of;
            let head = format!("\n## {}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n", heading(of));
            text.push_str(&head);
        }
        // Writing to a String does not fail.
        writeln!(text, "| `{name}` | {} | {} | {} |", key.takes, key.default, key.meaning).ok();
    }
    text.push_str(TAIL);
    text
}

const HEAD: &str = "# Configuration

One TOML file, named with `--config FILE` or in `CUPBEARER_CONFIG`. `cupbearer check --config FILE` tells every fault in it
at once, each with line, key and what would be right, or prints what is in force. Keys that are not known are faults.

`${NAME}` in a string takes an environment variable, `$${` is a literal `${`, and a variable that is not set is a fault.
The file is read again on SIGHUP and within a second after it, or a file that it names, has changed; a faulty one changes
nothing. An `http` address is taken for loopback only.
";

const TAIL: &str = r#"
## Other regions and partitions

Regions come from the pools' ids and `aws.region`, partitions from the roles' ARNs. A user pool may be in another
region than the identity pool. AWS's own names of issuers end in `amazonaws.com`: where a partition has others, as the
European Sovereign Cloud has, `issuers` says them.

```toml
[[user_pools]]
id = "us-gov-west-1_AbCdEf123"
client_ids = ["1example23456789"]

[[user_pools]]
id = "eusc-de-east-1_AbCdEf123"
client_ids = ["2example23456789"]
issuers = ["https://cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_AbCdEf123"]

[[user_pools]]
id = "eu-west-1_AbCdEf123"
client_ids = ["3example23456789"]

[profiles.gov]
flow = "basic"
user_pools = ["us-gov-west-1_AbCdEf123"]
identity_pool_id = "us-gov-east-1:11111111-2222-3333-4444-555555555555"
policy_arns = ["arn:aws-us-gov:iam::aws:policy/ReadOnlyAccess"]
groups = [{ name = "editor", precedence = 1, role_arn = "arn:aws-us-gov:iam::111122223333:role/rbac-users-editor-role" }]

[profiles.sovereign]
flow = "basic"
user_pools = ["eusc-de-east-1_AbCdEf123"]
identity_pool_id = "eusc-de-east-1:11111111-2222-3333-4444-555555555555"
groups = [{ name = "editor", precedence = 1, role_arn = "arn:aws-eusc:iam::111122223333:role/rbac-users-editor-role" }]

[profiles.elsewhere]
user_pools = ["eu-west-1_AbCdEf123"]
identity_pool_id = "us-east-1:11111111-2222-3333-4444-555555555555"
```
"#;

/// A table as TOML spells it.
fn heading(table: &str) -> String {
    match table {
        "user_pools" | "configured_sessions" | "profiles.NAME.groups" | "profiles.NAME.roles.rules" => {
            format!("[[{table}]]")
        }
        _ => format!("[{table}]"),
    }
}

/// A key whose bounds are numbers.
fn number<T: Display>(
    name: &'static str,
    range: &RangeInclusive<T>,
    default: impl Display,
    meaning: &'static str,
) -> Key {
    key(name, &format!("{} to {}", range.start(), range.end()), &default.to_string(), meaning)
}

fn key(name: &'static str, takes: &str, default: &str, meaning: &'static str) -> Key {
    Key { name, takes: takes.to_owned(), default: default.to_owned(), meaning }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_example_of_partitions_is_the_one_that_is_read() {
        let (_, example) = TAIL.split_once("```toml\n").unwrap();
        let file = include_str!("../../../tests/it/config/ok-partitions.toml");
        assert_eq!(file.split_once('\n').unwrap().1, example.trim_end().strip_suffix("```").unwrap());
    }
}

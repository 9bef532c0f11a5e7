//! Environment variables in string values: `${NAME}`. Pure; reads no environment itself.
//!
//! `$${` stands for a literal `${`; any other `$` is itself. What a variable holds is taken as it is and not looked
//! through again.

/// Why a string could not be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The variable of this name is not set.
    Unset(String),
    /// What follows a `${` is not a name and a brace.
    NoName,
}

/// `text` with its variables filled in from `env`.
///
/// # Errors
/// With all flaws of the string.
pub(super) fn substitute(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<Flaw>> {
    let mut whole = String::with_capacity(text.len());
    let mut flaws = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        whole.push_str(&rest[..at]);
        let here = &rest[at..];
        rest = if let Some(after) = here.strip_prefix("$${") {
            whole.push_str("${");
            after
        } else if let Some(after) = here.strip_prefix("${") {
            fill(after, env, &mut whole, &mut flaws)
        } else {
            whole.push('$');
            &here[1..]
        };
    }
    whole.push_str(rest);
    if flaws.is_empty() { Ok(whole) } else { Err(flaws) }
}

/// Fills in the variable whose name `text` begins with, and returns what follows it.
fn fill<'a>(text: &'a str, env: &dyn Fn(&str) -> Option<String>, whole: &mut String, flaws: &mut Vec<Flaw>) -> &'a str {
    let Some((name, after)) = text.split_once('}').filter(|(name, _)| is_name(name)) else {
        flaws.push(Flaw::NoName);
        return text;
    };
    match env(name) {
        Some(value) => whole.push_str(&value),
        None => flaws.push(Flaw::Unset(name.to_owned())),
    }
    after
}

fn is_name(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME_1" => Some("/home".to_owned()),
            "EMPTY" => Some(String::new()),
            "_NESTED" => Some("${HOME_1}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_once() {
        for (typed, used) in [
            ("", ""),
            ("plain", "plain"),
            ("${HOME_1}/x${EMPTY}${HOME_1}", "/home/x/home"),
            ("${_NESTED}", "${HOME_1}"),
            ("$${HOME_1}", "${HOME_1}"),
            ("$$${HOME_1}", "$${HOME_1}"),
            ("costs 5$, $HOME_1, $$ and }", "costs 5$, $HOME_1, $$ and }"),
        ] {
            assert_eq!(substitute(typed, &env).as_deref(), Ok(used), "{typed}");
        }
    }

    #[test]
    fn every_flaw_of_a_string_is_found() {
        let unset = |name: &str| Flaw::Unset(name.to_owned());
        for (typed, flaws) in [
            ("${A}${HOME_1}${B}", vec![unset("A"), unset("B")]),
            ("${}", vec![Flaw::NoName]),
            ("${1A}", vec![Flaw::NoName]),
            ("${A-B} ${C}", vec![Flaw::NoName, unset("C")]),
            ("${A", vec![Flaw::NoName]),
            ("${é}", vec![Flaw::NoName]),
        ] {
            assert_eq!(substitute(typed, &env), Err(flaws), "{typed}");
        }
    }
}

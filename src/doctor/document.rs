//! An IAM policy document as its grammar has it, where one text may stand for a list of one (IAM User Guide, "Grammar of
//! the IAM JSON policy language"). Knows no role and no pool.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// A policy document.
#[derive(Clone, Debug)]
pub struct Document {
    statements: Vec<Statement>,
}

/// One of its statements.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) allows: bool,
    /// It says what it is *not* about: `NotAction`, `NotResource` or `NotPrincipal`.
    pub(super) inverted: bool,
    pub(super) actions: Vec<String>,
    pub(super) resources: Vec<String>,
    /// The kind (`AWS`, `Federated`, `Service`; `*` for anybody) and the value.
    pub(super) principals: Vec<(String, String)>,
    pub(super) conditions: Vec<Condition>,
}

/// One condition: an operator over one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) operator: String,
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

impl Document {
    /// Reads a document, or the output of an AWS command that has one in it.
    ///
    /// # Errors
    /// With what would be one.
    pub fn read(value: &Value) -> Result<Self, &'static str> {
        let wanted =
            "no policy document: a JSON object with a Statement is wanted, or the output of `aws iam get-role`";
        let inner = Self::within(value).ok_or(wanted)?;
        let statements = match &inner["Statement"] {
            Value::Array(all) => all.iter().map(Statement::read).collect(),
            Value::Object(one) => vec![Statement::of(one)],
            _ => return Err(wanted),
        };
        Ok(Self { statements })
    }

    pub(super) fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter()
    }

    pub(super) fn allowing<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Statement> {
        self.statements.iter().filter(move |statement| statement.allows && statement.is_about(action))
    }

    pub(super) fn denies(&self, action: &str) -> bool {
        self.statements.iter().any(|statement| !statement.allows && (statement.inverted || statement.is_about(action)))
    }

    /// The document within what `aws iam get-role`, `get-role-policy` and `get-policy-version` print.
    fn within(value: &Value) -> Option<Cow<'_, Value>> {
        let places = ["/Role/AssumeRolePolicyDocument", "/PolicyDocument", "/PolicyVersion/Document", ""];
        let found = places.iter().find_map(|place| value.pointer(place))?;
        match found {
            // As the API itself answers: a text, perhaps in URL's encoding.
            Value::String(text) => {
                let decoded = url::form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned());
                let parsed = [Some(text.clone()), decoded];
                parsed.into_iter().flatten().find_map(|text| serde_json::from_str::<Value>(&text).ok()).map(Cow::Owned)
            }
            found => Some(Cow::Borrowed(found)),
        }
    }
}

impl Statement {
    fn read(value: &Value) -> Self {
        value.as_object().map_or_else(|| Self::of(&Map::new()), Self::of)
    }

    fn of(value: &Map<String, Value>) -> Self {
        let list = |name: &str| value.get(name).map(texts).unwrap_or_default();
        let inverted = ["NotAction", "NotResource", "NotPrincipal"].iter().any(|name| value.contains_key(*name));
        Self {
            allows: value.get("Effect").and_then(Value::as_str) == Some("Allow"),
            inverted,
            actions: list("Action"),
            resources: list("Resource"),
            principals: value.get("Principal").map(principals).unwrap_or_default(),
            conditions: value.get("Condition").map(conditions).unwrap_or_default(),
        }
    }

    pub(super) fn is_about(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase()))
    }

    /// The conditions on `key`, whose letter case does not count.
    pub(super) fn on<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Condition> {
        self.conditions.iter().filter(move |condition| condition.key.eq_ignore_ascii_case(key))
    }
}

impl Condition {
    /// The operator without what says how it treats several values, or none.
    fn plain_operator(&self) -> String {
        let operator = self.operator.to_ascii_lowercase();
        let operator = operator.rsplit(':').next().unwrap_or_default();
        operator.strip_suffix("ifexists").unwrap_or(operator).to_owned()
    }

    /// Whether `text` passes, as far as texts are compared for being alike; `None` for other operators.
    pub(super) fn admits(&self, text: &str) -> Option<bool> {
        match self.plain_operator().as_str() {
            "stringequals" | "arnequals" => Some(self.values.iter().any(|value| value == text)),
            "stringlike" | "arnlike" => Some(self.values.iter().any(|value| matches(value, text))),
            _ => None,
        }
    }
}

/// Whether `text` is like `pattern`, in which `*` is any text and `?` any character.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < text.len() {
        if at < pattern.len() && pattern[at] == '*' {
            star = Some((at, seen));
            at += 1;
        } else if at < pattern.len() && (pattern[at] == '?' || pattern[at] == text[seen]) {
            (at, seen) = (at + 1, seen + 1);
        } else if let Some((stood, taken)) = star {
            star = Some((stood, taken + 1));
            (at, seen) = (stood + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn principals(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(kinds) => {
            kinds.iter().flat_map(|(kind, values)| texts(values).into_iter().map(|one| (kind.clone(), one))).collect()
        }
        anybody => vec![("*".to_owned(), text(anybody))],
    }
}

fn conditions(value: &Value) -> Vec<Condition> {
    let operators = value.as_object().into_iter().flatten();
    let each = operators.flat_map(|(operator, keys)| {
        keys.as_object().into_iter().flatten().map(|(key, values)| Condition {
            operator: operator.clone(),
            key: key.clone(),
            values: texts(values),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_match_as_iam_has_them() {
        for (pattern, text, like) in [
            ("*", "", true),
            ("sts:*", "sts:assumerole", true),
            ("sts:assume*identity", "sts:assumerolewithwebidentity", true),
            ("sts:assumerole", "sts:assumerolewithsaml", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*b", "abab", true),
            ("*b*b", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), like, "{pattern} {text}");
        }
    }

    #[test]
    fn one_may_stand_for_a_list_and_a_document_within_an_answer() {
        let plain = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Principal": "*"}});
        let text = plain.to_string();
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for answer in [
            plain.clone(),
            json!({"Role": {"AssumeRolePolicyDocument": plain}}),
            json!({"Role": {"AssumeRolePolicyDocument": text}}),
            json!({"Role": {"AssumeRolePolicyDocument": encoded}}),
            json!({"PolicyVersion": {"Document": plain}}),
        ] {
            let read = Document::read(&answer).unwrap();
            assert_eq!(read.allowing("sts:AssumeRole").count(), 1, "{answer}");
        }
        for answer in [json!({}), json!([]), json!("x"), json!({"Statement": 1})] {
            assert!(Document::read(&answer).is_err(), "{answer}");
        }
    }
}

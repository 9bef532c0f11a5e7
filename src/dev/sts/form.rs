//! The parameters of a Query request. Knows no operation.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::Request;
use url::form_urlencoded;

use super::super::wire::Refusal;
use super::INVALID;

/// The parameters of a request: in the body of a POST, in the query of a GET.
pub(super) struct Form<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Form<'a> {
    pub(super) fn of(request: &'a Request<Bytes>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(pairs.chain(form_urlencoded::parse(request.body())).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Cow::as_ref)
    }

    /// The members of the list `name`, each of them by its `field`, up to the first that is not there.
    pub(super) fn list(&self, name: &str, field: &str) -> impl Iterator<Item = &str> {
        (1..).map_while(move |place| self.get(&format!("{name}.member.{place}{field}")))
    }

    /// The value of a parameter that must be there.
    pub(super) fn required(&self, name: &str, member: &str, lengths: RangeInclusive<usize>) -> Result<&str, Refusal> {
        let missing = || Refusal::constraint(INVALID, None, member, "Member must not be null");
        self.optional(name, member, lengths)?.ok_or_else(missing)
    }

    /// The value of a parameter, if it is there and its length is one of `lengths`.
    pub(super) fn optional(
        &self,
        name: &str,
        member: &str,
        lengths: RangeInclusive<usize>,
    ) -> Result<Option<&str>, Refusal> {
        self.get(name).map(|value| check_length(value, member, lengths)).transpose()
    }
}

/// `value`, if it has one of these `lengths`, in characters.
pub(super) fn check_length<'a>(
    value: &'a str,
    member: &str,
    lengths: RangeInclusive<usize>,
) -> Result<&'a str, Refusal> {
    let fault = |rule: &str, bound: &usize| {
        let rule = format!("Member must have length {rule} than or equal to {bound}");
        Err(Refusal::constraint(INVALID, Some(value), member, &rule))
    };
    match value.chars().count() {
        length if length < *lengths.start() => fault("greater", lengths.start()),
        length if length > *lengths.end() => fault("less", lengths.end()),
        _ => Ok(value),
    }
}

/// `value`, if all of it is `allowed`, which is what `pattern` says.
pub(super) fn check_pattern<'a>(
    value: &'a str,
    member: &str,
    pattern: &str,
    allowed: impl Fn(char) -> bool,
) -> Result<&'a str, Refusal> {
    if value.chars().all(allowed) {
        return Ok(value);
    }
    let rule = format!("Member must satisfy regular expression pattern: {pattern}");
    Err(Refusal::constraint(INVALID, Some(value), member, &rule))
}

/// The characters of `[\w+=,.@-]`: those of names.
pub(super) fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_+=,.@-".contains(character)
}

/// The pattern of [`is_name`].
pub(super) const NAME: &str = "[\\w+=,.@-]*";

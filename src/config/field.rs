//! One key of a table, from the raw value to the judged one. Knows no key of the configuration.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::de::DeValue;

use crate::config::document::Source;
use crate::config::faults::{Found, Place};
use crate::config::substitute::{Flaw, substitute};

/// A value that was typed, or not, and where.
pub(super) struct Field<T> {
    /// Where it stands; an absent one has its table's line.
    pub(super) place: Place,
    state: State<T>,
}

enum State<T> {
    Absent,
    /// There, but of no use; why has been told.
    Faulty,
    Given(T),
}

/// A type that a value can be read as.
pub(super) trait Read: Sized {
    /// The value as `Self`; if it cannot be read so, that is told.
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self>;
}

/// A list of strings, of which each has its own place.
pub(super) type List = Vec<Field<String>>;

/// A list of whole numbers, of which each has its own place.
pub(super) type Numbers = Vec<Field<i64>>;

/// A table of strings, each with its name.
pub(super) type Names = Vec<(Field<String>, Field<String>)>;

impl<T> Field<T> {
    pub(super) fn found(place: Place, value: T) -> Self {
        Self { place, state: State::Given(value) }
    }

    pub(super) fn absent(place: Place) -> Self {
        Self { place, state: State::Absent }
    }

    /// The field with what `read` makes of its value; with nothing, it is faulty.
    pub(super) fn and_then<U>(self, read: impl FnOnce(T, &Place) -> Option<U>) -> Field<U> {
        let state = match self.state {
            State::Absent => State::Absent,
            State::Faulty => State::Faulty,
            State::Given(value) => read(value, &self.place).map_or(State::Faulty, State::Given),
        };
        Field { place: self.place, state }
    }

    /// The field with its value judged: a refusal is told, and makes it faulty.
    pub(super) fn judged<U, E: Into<String>>(self, found: &Found, judge: impl FnOnce(T) -> Result<U, E>) -> Field<U> {
        self.and_then(|value, place| judge(value).map_err(|message| found.tell(place, message)).ok())
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Field<U> {
        self.and_then(|value, _| Some(change(value)))
    }

    pub(super) fn as_given(&self) -> Option<&T> {
        match &self.state {
            State::Given(value) => Some(value),
            State::Absent | State::Faulty => None,
        }
    }

    pub(super) fn given(self) -> Option<T> {
        match self.state {
            State::Given(value) => Some(value),
            State::Absent | State::Faulty => None,
        }
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self.state, State::Given(_))
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    /// The value; when it is absent, which is told, or faulty, none.
    pub(super) fn required(self, found: &Found, wanted: &str) -> Option<T> {
        if self.is_absent() {
            found.tell(&self.place, format!("missing: {wanted}"));
        }
        self.given()
    }

    /// The field without what may not be there: for that there is a `refusal`, which is told.
    pub(super) fn unless(self, refusal: Option<&str>, found: &Found) -> Self {
        match refusal {
            Some(refusal) if !self.is_absent() => {
                found.tell(&self.place, format!("not used: {refusal}"));
                Self::absent(self.place)
            }
            _ => self,
        }
    }

    /// The field with `default` in the place of nothing, to be judged like what is typed.
    pub(super) fn filled(self, default: impl FnOnce() -> T) -> Self {
        if self.is_absent() { Self::found(self.place, default()) } else { self }
    }

    /// The value or the default; for a faulty one the default too, since nothing will come of it.
    pub(super) fn or(self, default: T) -> T {
        self.given().unwrap_or(default)
    }
}

impl<T> Field<Vec<T>> {
    /// The values; when there are none, that is told.
    pub(super) fn at_least_one(self, found: &Found, wanted: &str) -> Vec<T> {
        if self.is_absent() || self.as_given().is_some_and(Vec::is_empty) {
            found.tell(&self.place, format!("missing: at least one {wanted}"));
        }
        self.given().unwrap_or_default()
    }
}

impl<T: Copy> Field<T> {
    /// The value or the default, unless it is faulty: for rules between keys.
    pub(super) fn sound(&self, default: T) -> Option<T> {
        match self.state {
            State::Given(value) => Some(value),
            State::Absent => Some(default),
            State::Faulty => None,
        }
    }
}

impl Field<i64> {
    /// A whole number within `range`.
    pub(super) fn ranged<T>(self, range: &RangeInclusive<T>, found: &Found) -> Field<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.judged(found, |number| {
            let number = T::try_from(number).ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("out of range: a whole number from {} to {}", range.start(), range.end()))
        })
    }
}

impl Field<List> {
    /// The sound elements with their places. An empty list and a repeated element are told.
    pub(super) fn each(
        self,
        found: &Found,
        judge: impl Fn(String) -> Result<String, &'static str>,
    ) -> Field<Vec<(Arc<str>, Place)>> {
        self.and_then(|list, place| {
            if list.is_empty() {
                found.tell(place, "empty: at least one is wanted");
                return None;
            }
            let mut lines = HashMap::new();
            let sound = list.into_iter().filter_map(|element| {
                let place = element.place.clone();
                let text: Arc<str> = element.judged(found, &judge).given()?.into();
                if let Some(line) = lines.insert(Arc::clone(&text), place.line) {
                    found.tell(&place, format!("listed twice: line {line} has it already"));
                    return None;
                }
                Some((text, place))
            });
            Some(sound.collect())
        })
    }
}

/// Environment variables are filled in.
impl Read for String {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        let text = source.typed(value.as_str(), "a string", value, place)?;
        let whole = substitute(text, source.env);
        whole.map_err(|flaws| flaws.iter().for_each(|flaw| source.found.tell(place, flaw.message()))).ok()
    }
}

impl Read for bool {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        source.typed(value.as_bool(), "true or false", value, place)
    }
}

impl Read for i64 {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        let number = source.typed(value.as_integer(), "a whole number", value, place)?;
        let number = Self::from_str_radix(number.as_str(), number.radix());
        number.map_err(|_| source.found.tell(place, "out of range: the number does not fit into 64 bits")).ok()
    }
}

/// A whole number is taken too.
impl Read for f64 {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        let text = match value {
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
            DeValue::Float(number) => Some(number.as_str()),
            _ => None,
        };
        source.typed(text.and_then(|text| text.parse().ok()), "a number", value, place)
    }
}

impl Read for List {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        elements(value, "a list of strings", place, source)
    }
}

impl Read for Numbers {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        elements(value, "a list of whole numbers", place, source)
    }
}

impl Read for Names {
    fn read(value: &DeValue<'_>, place: &Place, source: &Source<'_>) -> Option<Self> {
        let table = source.typed(value.as_table(), "a table of strings", value, place)?;
        let each = table.iter().map(|(key, value)| {
            let place = place.key(key.get_ref(), source.line(key.span().start));
            let value = Field::found(place.clone(), value.get_ref());
            let value = value.and_then(|value, place| String::read(value, place, source));
            (Field::found(place, key.get_ref().to_string()), value)
        });
        Some(each.collect())
    }
}

fn elements<T: Read>(value: &DeValue<'_>, wanted: &str, place: &Place, source: &Source<'_>) -> Option<Vec<Field<T>>> {
    let array = source.typed(value.as_array(), wanted, value, place)?;
    let each = array.iter().map(|item| {
        let place = place.on_line(source.line(item.span().start));
        Field::found(place, item.get_ref()).and_then(|item, place| T::read(item, place, source))
    });
    Some(each.collect())
}

impl Flaw {
    fn message(&self) -> String {
        match self {
            Self::Unset(name) => {
                format!(
                    "the environment variable {name} is not set (or not UTF-8): set it, or write $${{ for a literal ${{"
                )
            }
            Self::NoName => "${ must be followed by a variable's name and }: write $${ for a literal ${".to_owned(),
        }
    }
}

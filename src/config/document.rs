//! A TOML document as tables whose values know where they stand. Knows no key of the configuration.
//!
//! It is walked by asking for keys by name: a table that has been asked for all that is known can tell what else it
//! holds, so that there is no second list of keys to keep.

use toml::de::{DeTable, DeValue};

use crate::config::faults::{Found, Place};
use crate::config::field::{Field, Read};
use crate::config::spelling::nearest;

/// What all tables of one document share.
pub(super) struct Source<'a> {
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) found: &'a Found,
    /// Every key that was asked for, with its tables.
    #[cfg(test)]
    pub(super) asked: std::cell::RefCell<std::collections::BTreeSet<String>>,
}

/// One table; an absent one has no entries.
pub(super) struct Table<'a> {
    /// Where it begins.
    pub(super) place: Place,
    source: &'a Source<'a>,
    entries: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &str, env: &'a dyn Fn(&str) -> Option<String>, found: &'a Found) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after_breaks).collect();
        Self {
            lines,
            env,
            found,
            #[cfg(test)]
            asked: std::cell::RefCell::default(),
        }
    }

    /// The line of the byte at `offset`, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// `read`, which came of `value`; without it, tells that `wanted` is.
    pub(super) fn typed<T>(&self, read: Option<T>, wanted: &str, value: &DeValue<'_>, place: &Place) -> Option<T> {
        if read.is_none() {
            let message = format!("wrong type: {wanted} is wanted, not {}", type_name(value));
            self.found.tell(place, message);
        }
        read
    }
}

impl<'a> Table<'a> {
    pub(super) fn root(document: &'a DeTable<'a>, source: &'a Source<'a>) -> Self {
        Self::new(Place { line: 1, key: String::new() }, Some(document), source)
    }

    /// The value of `name`.
    pub(super) fn take<T: Read>(&mut self, name: &'static str) -> Field<T> {
        let source = self.source;
        self.entry(name).and_then(|value, place| T::read(value, place, source))
    }

    /// The table `name`; an empty one if it is not there.
    pub(super) fn table(&mut self, name: &'static str) -> Self {
        let source = self.source;
        let field = self.present_table(name);
        let place = field.place.clone();
        field.given().unwrap_or_else(|| Self::new(place, None, source))
    }

    /// The table `name`, where it makes a difference whether it is there.
    pub(super) fn present_table(&mut self, name: &'static str) -> Field<Self> {
        let source = self.source;
        self.entry(name).and_then(|value, place| {
            let entries = source.typed(value.as_table(), "a table", value, place)?;
            Some(Self::new(place.clone(), Some(entries), source))
        })
    }

    /// The tables of the array `name`.
    pub(super) fn tables(&mut self, name: &'static str) -> Field<Vec<Self>> {
        let source = self.source;
        self.entry(name).and_then(|value, place| {
            let wanted = format!("an array of tables, each under [[{}]],", place.key);
            let array = source.typed(value.as_array(), &wanted, value, place)?;
            let each = array.iter().filter_map(|item| {
                let place = place.on_line(source.line(item.span().start));
                let entries = source.typed(item.get_ref().as_table(), &wanted, item.get_ref(), &place)?;
                Some(Self::new(place, Some(entries), source))
            });
            let each: Vec<_> = each.collect();
            // An array of nothing but faults is not empty.
            (array.is_empty() || !each.is_empty()).then_some(each)
        })
    }

    /// The tables within the table `name`, each with its own name.
    pub(super) fn named_tables(&mut self, name: &'static str) -> Field<Vec<(String, Self)>> {
        let source = self.source;
        let wanted = format!("a table, as under [{name}.NAME],");
        self.entry(name).and_then(|value, place| {
            let each = source.typed(value.as_table(), &wanted, value, place)?.iter().filter_map(|(key, value)| {
                let place = place.key(key.get_ref(), source.line(key.span().start));
                let entries = source.typed(value.get_ref().as_table(), &wanted, value.get_ref(), &place)?;
                Some((key.get_ref().to_string(), Self::new(place, Some(entries), source)))
            });
            Some(each.collect())
        })
    }

    /// Tells every key that has not been asked for. Those of `later` are known, and not supported yet.
    pub(super) fn finish(self, later: &[&'static str]) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let place = self.place.key(name, self.source.line(key.span().start));
                self.source.found.tell(&place, self.refusal(name, later));
            }
        }
    }

    fn new(place: Place, entries: Option<&'a DeTable<'a>>, source: &'a Source<'a>) -> Self {
        Self { place, source, entries, known: Vec::new() }
    }

    /// The raw value of `name`, which is known from now on.
    fn entry(&mut self, name: &'static str) -> Field<&'a DeValue<'a>> {
        self.known.push(name);
        #[cfg(test)]
        self.source.asked.borrow_mut().insert(self.place.key(name, 0).key);
        match self.entries.and_then(|entries| entries.get_key_value(name)) {
            Some((key, value)) => {
                let line = self.source.line(key.span().start);
                Field::found(self.place.key(name, line), value.get_ref())
            }
            None => Field::absent(self.place.key(name, self.place.line)),
        }
    }

    fn refusal(&self, name: &str, later: &[&'static str]) -> String {
        if later.contains(&name) {
            return "not supported yet: leave it out".to_owned();
        }
        match nearest(name, self.known.iter().chain(later).copied()) {
            Some(meant) => format!("unknown key: did you mean {meant}?"),
            None => format!("unknown key: known here are {}", self.known.join(", ")),
        }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

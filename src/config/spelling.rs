//! What a misspelt word was meant to be. Pure.

/// The candidate that is nearest to `word`, if it is near enough to be meant: about one slip in three letters.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = |candidate: &str| candidate.len().min(9).div_ceil(3);
    candidates
        .into_iter()
        .filter(|candidate| word.len().abs_diff(candidate.len()) <= reach(candidate))
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= reach(candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance: how many letters to insert, remove or change.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["http", "grpc", "admin", "drain_seconds"];
        for (word, meant) in [
            ("htpp", Some("http")),
            ("Http", Some("http")),
            ("drain_second", Some("drain_seconds")),
            ("drainseconds", Some("drain_seconds")),
            ("address", None),
            ("", None),
            ("größe", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}

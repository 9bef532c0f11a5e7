//! Times as they are typed: `90`, `90s`, `500ms`, `2m`.

use std::time::Duration;

/// Reads a time; a number alone is seconds.
///
/// # Errors
/// With what would be one.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let read = number.zip(milliseconds).and_then(|(number, unit)| number.checked_mul(unit));
    let bounded = read.filter(|milliseconds| *milliseconds <= MOST_MILLISECONDS);
    bounded.map(Duration::from_millis).ok_or_else(|| "no time: like 30s, 500ms or 2m, a day at most".to_owned())
}

const MOST_MILLISECONDS: u64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_few_forms() {
        let read = |text| seconds(text).ok().map(|time| time.as_millis());
        assert_eq!(
            ["1", "1s", "500ms", "2m", "0"].map(read),
            [Some(1000), Some(1000), Some(500), Some(120_000), Some(0)]
        );
        for text in ["", "s", "-1", "1h", "1.5s", "1 s", "99999999999999999999", "1441m"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

//! Sizes and durations as people write them. Not here: which setting is which (`config`).

use std::time::Duration;

/// Bytes from `32MiB`, `64KiB`, `1GiB` or a plain number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_bytes: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{text:?} is not a size; write it like 64KiB, 32MiB or 1GiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_bytes))
        .ok_or_else(|| format!("{text:?} is not a size; write it like 64KiB, 32MiB or 1GiB"))
}

/// A duration from `10ms`, `5s` or `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("{text:?} is not a duration; write it with a unit, like 500us, 10ms, 5s or 2m"))
}

/// A whole number within bounds.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let found: u64 = text.trim().parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    within(found, min, max, |bound| bound.to_string())
}

/// `found`, if it lies within bounds; `show` writes a bound as a person would.
pub(crate) fn within<T: PartialOrd + Copy>(found: T, min: T, max: T, show: impl Fn(T) -> String) -> Result<T, String> {
    if found < min || found > max {
        return Err(format!("{} is outside of {} to {}", show(found), show(min), show(max)));
    }
    Ok(found)
}

/// Bytes in the largest unit that writes them whole.
pub(crate) fn show_bytes(bytes: u64) -> String {
    [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes("32MiB"), Ok(32 << 20));
        assert_eq!(bytes("64 KiB"), Ok(64 << 10));
        assert_eq!(bytes("4096"), Ok(4096));
        for bad in ["", "MiB", "32MB", "3.5MiB", "-1", "99999999999GiB", "32MiB?"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(show_bytes(32 << 20), "32MiB");
        assert_eq!(show_bytes(4097), "4097B");
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "ms", "-1s", "1 parsec"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

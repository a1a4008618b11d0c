//! Time: the wall clock (read here only) and ISO timestamps.

/// Milliseconds since 1970-01-01T00:00:00Z.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Formats as JavaScript's `Date.prototype.toISOString` does: `2026-11-22T14:33:54.125Z`.
///
/// The calendar arithmetic is Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>); years past 9999 do not occur before `u64` ends there.
pub fn iso(ms: u64) -> String {
    String::from_utf8_lossy(&iso_bytes(ms)).into_owned()
}

/// [`iso`], without an allocation: every operation line has one.
pub fn iso_bytes(ms: u64) -> [u8; 24] {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (seconds, millis) = (in_day / 1_000 % 60, in_day % 1_000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields =
        [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, hours), (14, 2, minutes), (17, 2, seconds), (20, 3, millis)];
    for (start, length, mut value) in fields {
        for digit in text.iter_mut().skip(start).take(length).rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_agrees_with_javascript() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_795_358_034_125), "2026-11-22T14:33:54.125Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
    }
}

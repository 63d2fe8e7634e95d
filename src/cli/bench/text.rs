//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Requests a second: whole numbers, but for slow ones.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.2}")
    } else {
        count(per_second.round() as u64)
    }
}

/// Microseconds with three significant digits and a unit.
pub(crate) fn micros(us: f64) -> String {
    let (number, unit) = match us {
        us if us < 1e3 => (us, "\u{b5}s"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    match number {
        number if number < 10.0 => format!("{number:.2} {unit}"),
        number if number < 100.0 => format!("{number:.1} {unit}"),
        number => format!("{number:.0} {unit}"),
    }
}

/// Bytes with three significant digits and a unit.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if number < 1_000.0 {
            break;
        }
        (number, unit) = (number / 1_024.0, next);
    }
    if unit == "B" || number >= 100.0 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

/// One number over another.
pub(crate) fn ratio(ratio: f64) -> String {
    if !ratio.is_finite() {
        return "-".to_owned();
    }
    if ratio < 10.0 { format!("{ratio:.2}\u{d7}") } else { format!("{ratio:.1}\u{d7}") }
}

/// A moment as `2026-11-30 12:57 UTC`.
pub(crate) fn moment(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Years that begin in March have the leap day at their end (H. Hinnant, chrono-compatible date algorithms).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.5, 9.999, 1_234.5].map(rate), ["0", "0.50", "10.00", "1,235"]);
        assert_eq!(
            [0.5, 12.34, 999.0, 1_234.0, 45_600.0, 1.5e6].map(micros),
            ["0.50 \u{b5}s", "12.3 \u{b5}s", "999 \u{b5}s", "1.23 ms", "45.6 ms", "1.50 s"]
        );
        assert_eq!([17, 2_048, 200 << 20].map(bytes), ["17 B", "2.0 KiB", "200 MiB"]);
        assert_eq!([0.5, 12.34, f64::INFINITY].map(ratio), ["0.50\u{d7}", "12.3\u{d7}", "-"]);
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(moment(1_764_547_199), "2025-11-30 23:59 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00 UTC", "2100 has no leap day");
    }
}

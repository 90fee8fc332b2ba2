//! Times and durations.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("getFullYear", |arguments, _| part(arguments, |time| i64::from(time.year()))),
    ("getMonth", |arguments, _| part(arguments, |time| i64::from(time.month()) - 1)),
    ("getDayOfYear", |arguments, _| part(arguments, |time| i64::from(time.date().day_of_year()) - 1)),
    ("getDayOfMonth", |arguments, _| part(arguments, |time| i64::from(time.day()) - 1)),
    ("getDate", |arguments, _| part(arguments, |time| i64::from(time.day()))),
    ("getDayOfWeek", |arguments, _| {
        part(arguments, |time| i64::from(time.date().weekday().to_sunday_zero_offset()))
    }),
    ("getHours", hours),
    ("getMinutes", minutes),
    ("getSeconds", seconds),
    ("getMilliseconds", milliseconds),
];

/// The first and the last second that a timestamp may have.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

pub(super) fn checked_timestamp<'a>(time: Option<Timestamp>) -> Outcome<'a> {
    time.filter(|time| (FIRST_SECOND..=LAST_SECOND).contains(&time.as_second()))
        .map(Value::Timestamp)
        .ok_or_else(|| Fault::new("timestamp overflow"))
}

pub(super) fn timestamp_of_seconds<'a>(seconds: i64) -> Outcome<'a> {
    checked_timestamp(Timestamp::from_second(seconds).ok())
}

/// A duration, as long as its nanoseconds fit into 64 bits.
pub(super) fn checked_duration<'a>(duration: Option<SignedDuration>) -> Outcome<'a> {
    duration
        .filter(|duration| i64::try_from(duration.as_nanos()).is_ok())
        .map(Value::Duration)
        .ok_or_else(|| Fault::new("duration overflow"))
}

/// A time by RFC 3339.
pub(super) fn parsed_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let strict = bytes.len() >= 20
        && bytes.iter().take(19).enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let zone =
        text.find(['Z', '+']).or_else(|| text.get(19..).and_then(|rest| rest.find('-')).map(|at| at + 19))?;
    let offset = &text[zone..];
    let strict = strict && (offset == "Z" || (offset.len() == 6 && offset.as_bytes()[3] == b':'));
    let time: Timestamp = strict.then(|| text.parse().ok()).flatten()?;
    (FIRST_SECOND..=LAST_SECOND).contains(&time.as_second()).then_some(time)
}

/// A time by RFC 3339, with as many digits of the second as it has.
pub(super) fn timestamp_text(time: Timestamp) -> String {
    time.to_string()
}

/// A duration as Go reads it: numbers with units, such as "1h30m" or "1.5s".
pub(super) fn parsed_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        // Beyond the 18th digit of a fraction nothing reaches a nanosecond.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
            total = total.checked_add(fraction.parse::<u128>().ok()? * unit / scale)?;
        }
        if total > 1 << 63 {
            return None;
        }
        rest = after;
    }
    let signed = i128::try_from(total).ok()?;
    i64::try_from(if negative { -signed } else { signed }).ok().map(SignedDuration::from_nanos)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The seconds of a duration, with "s".
pub(super) fn duration_text(duration: SignedDuration) -> String {
    let nanoseconds = duration.as_nanos();
    let (size, sign) = (nanoseconds.unsigned_abs(), if nanoseconds < 0 { "-" } else { "" });
    let (seconds, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// The time in the zone that is asked for, or in UTC.
fn local(arguments: &[Value<'_>]) -> Result<DateTime, Fault> {
    match arguments {
        [Value::Timestamp(time)] => Ok(TimeZone::UTC.to_datetime(*time)),
        [Value::Timestamp(time), Value::String(zone)] => Ok(parsed_zone(zone)?.to_datetime(*time)),
        _ => Err(Fault::no_such_overload()),
    }
}

/// A zone: "UTC" or an offset such as "-07:30". (Other names need a database of zones, which is not asked for.)
fn parsed_zone(name: &str) -> Result<TimeZone, Fault> {
    let unknown = || Fault::new(format!("unknown time zone {name:.40}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return if matches!(name, "" | "UTC") { Ok(TimeZone::UTC) } else { Err(unknown()) };
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    let seconds =
        hours.unsigned_abs().saturating_mul(3600).saturating_add(minutes.unsigned_abs().saturating_mul(60));
    let seconds = i32::try_from(seconds).map_err(|_| unknown())?;
    Offset::from_seconds(if negative { -seconds } else { seconds })
        .map(TimeZone::fixed)
        .map_err(|_| unknown())
}

fn part<'a>(arguments: &[Value<'a>], of: fn(DateTime) -> i64) -> Outcome<'a> {
    local(arguments).map(|time| Value::Int(of(time)))
}

fn hours<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Duration(duration)] => Ok(Value::Int(duration.as_hours())),
        _ => part(arguments, |time| i64::from(time.hour())),
    }
}

fn minutes<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Duration(duration)] => Ok(Value::Int(duration.as_mins())),
        _ => part(arguments, |time| i64::from(time.minute())),
    }
}

fn seconds<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Duration(duration)] => Ok(Value::Int(duration.as_secs())),
        _ => part(arguments, |time| i64::from(time.second())),
    }
}

fn milliseconds<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Duration(duration)] => {
            Ok(Value::Int(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
        }
        _ => part(arguments, |time| i64::from(time.subsec_nanosecond() / 1_000_000)),
    }
}

use proptest::prelude::*;

use super::{Format, Quantity};

/// What stands in a column, or nothing where upstream overflows.
fn column<'t>(columns: &[&'t str], index: usize) -> Option<&'t str> {
    Some(columns[index]).filter(|text| *text != "*")
}

#[test]
fn texts_are_read_as_kubernetes_reads_them() {
    for line in include_str!("table.txt").lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split(" | ").collect();
        let read = columns[0].parse::<Quantity>();
        if columns[1] == "refused" {
            assert!(read.is_err(), "{:?} was read", columns[0]);
            continue;
        }
        let read = read.unwrap_or_else(|error| panic!("{:?}: {error}", columns[0]));
        if let Some(text) = column(&columns, 1) {
            assert_eq!(read.to_string(), text, "the text of {:?}", columns[0]);
        }
        if let Some(value) = column(&columns, 2) {
            assert_eq!(read.rounded().to_string(), value, "the value of {:?}", columns[0]);
        }
        if let Some(value) = column(&columns, 3) {
            assert_eq!(read.rounded_milli().to_string(), value, "the thousandths of {:?}", columns[0]);
        }
        let integer = read.as_integer().map_or("-".to_owned(), |integer| integer.to_string());
        assert_eq!(integer, columns[4], "the integer of {:?}", columns[0]);
    }
}

#[test]
fn sums_take_the_format_of_what_is_something() {
    let cases = [
        ("1Gi", "1024Mi", "2Gi", "0"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "0", "1Gi", "1Gi"),
        ("1", "500m", "1500m", "500m"),
        ("1k", "1Ki", "2024", "-24"),
        ("1e3", "1", "1001", "999"),
        ("-1", "1", "0", "-2"),
        ("1.5Gi", "512Mi", "2Gi", "1Gi"),
        ("1Gi", "1m", "1073741824001m", "1073741823999m"),
    ];
    for (one, other, sum, difference) in cases {
        let (one, other): (Quantity, Quantity) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!(one.add(&other).to_string(), sum, "{one} + {other}");
        assert_eq!(one.sub(&other).to_string(), difference, "{one} - {other}");
    }
}

#[test]
fn what_is_just_below_the_bound_is_read_back() {
    let below: Quantity = "1e40".parse::<Quantity>().unwrap().sub(&"1".parse().unwrap());
    assert_eq!(below.to_string(), "170141183460469231731687303714884105727e-9");
    assert_eq!(below.to_string().parse::<Quantity>().unwrap(), below);
    let least: Quantity = "-1e40".parse().unwrap();
    assert_eq!(least.sub(&below), least);
    assert_eq!(least.to_string().parse::<Quantity>().unwrap(), least);
}

#[test]
fn powers_beyond_all_bounds_are_powers() {
    for text in ["1e2147483647", "1e2147483639", "1e30"] {
        let quantity: Quantity = text.parse().unwrap();
        assert_eq!(quantity.add(&quantity), quantity, "{text} is the bound");
        assert!((1.7e29..1.8e29).contains(&quantity.as_float()), "{text}: {}", quantity.as_float());
    }
    let nothing: Quantity = "0e2147483647".parse().unwrap();
    assert!(nothing.add(&nothing).is_zero());
    assert!(nothing.as_float().abs() < f64::MIN_POSITIVE);
}

#[test]
fn numbers_beyond_all_bounds_count_as_the_bound() {
    let bound: Quantity = "1e40".parse().unwrap();
    for text in ["1e41", "9999999999999999999999999999999999999999", "1e2147483647", "123456789e30"] {
        assert_eq!(text.parse::<Quantity>().unwrap(), bound, "{text}");
    }
    assert_eq!(bound.add(&bound), bound);
    assert!(bound > "1e28".parse().unwrap());
    assert_eq!("1e-2147483648".parse::<Quantity>().unwrap(), "1n".parse().unwrap());
}

/// Quantities whose sums stay within bounds.
fn quantity() -> impl Strategy<Value = Quantity> {
    "[+-]?[0-9]{1,12}(\\.[0-9]{0,11})?(n|u|m|k|M|G|Ki|Mi|Gi|e[0-9]|e-[0-9])?"
        .prop_map(|text| text.parse().unwrap())
}

proptest! {
    #[test]
    fn the_canonical_text_is_the_same_quantity(of in quantity()) {
        let again: Quantity = of.to_string().parse().unwrap();
        prop_assert_eq!(again, of);
        prop_assert_eq!(again.to_string(), of.to_string());
    }

    #[test]
    fn sums_can_be_taken_back_and_keep_the_order(one in quantity(), other in quantity(), third in quantity()) {
        prop_assert_eq!(one.add(&other).sub(&other), one);
        prop_assert_eq!(one.add(&other), other.add(&one));
        prop_assert_eq!(one < other, one.add(&third) < other.add(&third));
        prop_assert_eq!(one.sub(&other).sign(), match one.cmp(&other) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        });
    }

    #[test]
    fn integers_are_what_they_are(number: i64) {
        let of = Quantity::of_integer(number, Format::DecimalSi);
        prop_assert_eq!(of.as_integer(), Some(number));
        prop_assert_eq!(of.rounded(), number);
        prop_assert_eq!(of, number.to_string().parse().unwrap());
    }
}

/// Anything, and what looks like a quantity.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[+-]?[0-9.]{0,60}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,25}"]
}

fn read_and_used(text: &str) {
    if let Ok(read) = text.parse::<Quantity>() {
        let sum = read.add(&read).sub(&Quantity::of_integer(i64::MIN, Format::BinarySi));
        let _ = (
            sum.to_string(),
            sum.as_float(),
            sum.as_integer(),
            sum.rounded(),
            sum.rounded_milli(),
            read.sub(&sum),
        );
    }
}

proptest! {
    #[test]
    fn nothing_that_is_read_breaks_anything(text in hostile()) {
        read_and_used(&text);
    }
}

#[test]
#[ignore = "long: a million texts"]
fn nothing_of_a_million_texts_breaks_anything() {
    proptest!(ProptestConfig::with_cases(1_000_000), |(text in hostile())| read_and_used(&text));
}

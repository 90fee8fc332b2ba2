//! Kubernetes quantities, written as the API server writes them, so that what is read back compares equal.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Bytes: with the largest binary suffix that leaves a whole number ("81559Mi"), and plain where there is none.
/// (`resource.Quantity.CanonicalizeBytes` of the format `BinarySI`.)
#[must_use]
pub fn of_bytes(bytes: u64) -> Quantity {
    written(bytes, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
}

/// A count: with the largest decimal suffix that leaves a whole number ("132", "16k").
/// (`resource.Quantity.CanonicalizeBytes` of the format `DecimalSI`.)
#[must_use]
pub fn of_count(count: u64) -> Quantity {
    written(count, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

fn written(mut number: u64, step: u64, suffixes: &[&str]) -> Quantity {
    let mut suffixes = suffixes.iter();
    let mut suffix = suffixes.next().copied().unwrap_or_default();
    while number > 0 && number.is_multiple_of(step) {
        let Some(next) = suffixes.next() else { break };
        number /= step;
        suffix = next;
    }
    Quantity(format!("{number}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_api_servers_form() {
        let cases = [
            ("nothing", 0, "0"),
            ("below a kibibyte", 1023, "1023"),
            ("a kibibyte", 1024, "1Ki"),
            ("no whole kibibytes", 1536, "1536"),
            ("an H100's memory", 81_559 << 20, "81559Mi"),
            ("an H200's memory", 143_771 << 20, "143771Mi"),
            ("whole gibibytes", 80 << 30, "80Gi"),
            ("a tebibyte", 1 << 40, "1Ti"),
            ("the largest suffix", 15 << 60, "15Ei"),
            ("the largest number", u64::MAX, "18446744073709551615"),
        ];
        for (name, bytes, wanted) in cases {
            assert_eq!(of_bytes(bytes).0, wanted, "{name}");
        }
    }

    #[test]
    fn counts_have_the_api_servers_form() {
        let cases = [(0, "0"), (132, "132"), (1000, "1k"), (16_896, "16896"), (5_000_000, "5M")];
        for (count, wanted) in cases {
            assert_eq!(of_count(count).0, wanted);
        }
    }
}

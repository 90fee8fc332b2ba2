//! Takes out of a recording what tells which machine it is from. Everything else stays as it was answered.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::recording::Recording;

/// Values that are one board's, rack's or fabric's own: call and field.
const OWN: [(&str, &str); 8] = [
    ("nvmlDeviceGetUUID", "value"),
    ("nvmlDeviceGetSerial", "value"),
    ("nvmlDeviceGetPlatformInfo", "ibGuid"),
    ("nvmlDeviceGetPlatformInfo", "chassisSerialNumber"),
    ("nvmlDeviceGetGpuFabricInfo", "clusterUuid"),
    ("nvmlDeviceGetGpuFabricInfoV(version 2)", "clusterUuid"),
    ("nvmlDeviceGetGpuFabricInfoV(version 3)", "clusterUuid"),
    ("/proc/driver/nvidia/gpus/<address>/information", "GPU UUID"),
];

impl Recording {
    /// Replaces UUIDs, serial numbers and host names by placeholders of the same form, wherever they stand: the
    /// first GPU's become number 1.
    pub(crate) fn anonymise(&mut self) {
        let mut placeholders = BTreeMap::new();
        for entry in &self.entries {
            for (_, field) in OWN.iter().filter(|(call, _)| *call == entry.call) {
                if let Some(Value::String(own)) = entry.identity.get(*field) {
                    let number = entry.gpu.unwrap_or(0) + 1;
                    placeholders.entry(own.clone()).or_insert_with(|| placeholder(own, number));
                }
            }
        }
        for entry in &mut self.entries {
            let values = entry.fact.values_mut().chain(entry.identity.values_mut());
            for value in values.chain(entry.volatile.values_mut()) {
                replace(value, &placeholders);
            }
        }
        self.anonymised = true;
    }
}

/// Hexadecimal digits become zeros that end in the number; a value of zeros only says nothing and stays.
fn placeholder(own: &str, number: u32) -> String {
    let (start, rest) = own.split_at(own.len() - own.trim_start_matches("GPU-").len());
    if rest.chars().all(|character| matches!(character, '0' | '-')) {
        return own.to_owned();
    }
    let digits: Vec<char> = number.to_string().chars().collect();
    let places = rest.chars().filter(|character| *character != '-').count();
    let mut digits = std::iter::repeat_n('0', places.saturating_sub(digits.len())).chain(digits);
    let rest: String = rest
        .chars()
        .map(|character| if character == '-' { '-' } else { digits.next().unwrap_or('0') })
        .collect();
    format!("{start}{rest}")
}

fn replace(value: &mut Value, placeholders: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => match placeholders.get(text) {
            Some(placeholder) => text.clone_from(placeholder),
            None => *text = without_host(text),
        },
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, placeholders)),
        Value::Object(values) => values.values_mut().for_each(|value| replace(value, placeholders)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A kernel module tells who built it where: "(root@host)".
fn without_host(text: &str) -> String {
    let words: Vec<&str> = text
        .split(' ')
        .map(|word| {
            let bracketed = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
            if bracketed.is_some_and(|word| word.contains('@')) { "(user@host)" } else { word }
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_keeps_its_form() {
        for (own, number, wanted) in [
            ("GPU-2aa6e085-1fc6-47c5-b115-300d483a0d7e", 3, "GPU-00000000-0000-0000-0000-000000000003"),
            ("1658087250800", 12, "0000000000012"),
            ("00000000000000000000000000000000", 1, "00000000000000000000000000000000"),
            ("", 1, ""),
            ("7", 23, "2"),
        ] {
            assert_eq!(placeholder(own, number), wanted, "{own}");
        }
    }

    #[test]
    fn a_builder_is_taken_out_of_a_line_and_nothing_else() {
        let line =
            "NVRM version: NVIDIA UNIX Open Kernel Module  550.54.15  (root@gpu17.example)  Tue Apr  8";
        let wanted = "NVRM version: NVIDIA UNIX Open Kernel Module  550.54.15  (user@host)  Tue Apr  8";
        assert_eq!(without_host(line), wanted);
        let line = "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14) ";
        assert_eq!(without_host(line), line);
    }
}

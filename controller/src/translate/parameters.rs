//! What a ConfigMap asks for: `gpu-count`, `gpu-memory`, `cuda-version`, as requests and selectors.

use std::collections::BTreeMap;
use std::fmt;

use dra_driver::quantity::Quantity;
use serde_json::Value;

use super::nearest::nearest;

/// How many devices a claim can have.
const MOST: u32 = 32;
/// A GPU with less is none: the number lacks its unit.
const LEAST_MEMORY: i64 = 1 << 20;
/// Products whose name has more gigabytes than the GPU has gibibytes: the name's number, and the memory in MiB.
const NAMED_MEMORY: [(&str, i64, &str); 3] =
    [("80Gi", 81_559, "H100 80GB"), ("94Gi", 95_830, "H100 NVL"), ("141Gi", 143_771, "H200")];
/// The most memory that a GPU has of which this driver knows, in MiB.
const MOST_MEMORY: i64 = 143_771;

/// What parameters are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Claims: how many devices, and which.
    Claim,
    /// A class: which devices.
    Class,
}

impl Purpose {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Claim => &["cuda-version", "device-class", "gpu-count", "gpu-memory"],
            Self::Class => &["cuda-version", "gpu-memory"],
        }
    }
}

/// What a ConfigMap asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    /// How many GPUs, where it says so.
    pub count: Option<u32>,
    /// How much memory each has at least, as it was written.
    pub memory: Option<String>,
    /// The CUDA version that the kernel driver runs at least.
    pub cuda: Option<[u64; 3]>,
    /// The DeviceClass, where it says so.
    pub class: Option<String>,
}

/// What is wrong with one value of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ConfigMap {object}, {}{key}: {problem}", in_data(.binary))]
pub struct ParameterError {
    /// The ConfigMap.
    pub object: String,
    /// The key.
    pub key: String,
    /// Whether it is in `binaryData`.
    pub binary: bool,
    /// The value, what is wrong with it, and what to write.
    pub problem: Problem,
}

fn in_data(binary: &bool) -> &'static str {
    if *binary { "binaryData." } else { "data." }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key that means nothing.
    #[error("this key is not known{}; known are {}", did_you_mean(.nearest), .known.join(", "))]
    UnknownKey {
        /// The known key that is most like it.
        nearest: Option<&'static str>,
        /// All that are known.
        known: &'static [&'static str],
    },
    /// A key that means something elsewhere.
    #[error(
        "a class says which devices, not how many: write it into the ConfigMap that the claim names, and take it out \
         here"
    )]
    NotOfAClass,
    /// YAML read a number or something else.
    #[error("{0} is no text, which values of a ConfigMap have to be: write it in quotes, \"{0}\"")]
    NotText(String),
    /// Not a number of devices.
    #[error("{0:?} is no number of GPUs: write a whole number from 1 to {MOST}, such as \"1\"")]
    Count(String),
    /// Not a quantity.
    #[error("{value:?} is no amount of memory: {fix}")]
    Memory {
        /// What stands there.
        value: String,
        /// What to write.
        fix: String,
    },
    /// Not a version.
    #[error("{0:?} is no version of CUDA: write one to three numbers with points between, such as \"12.2\"")]
    Cuda(String),
    /// Not an object's name.
    #[error(
        "{0:?} is no name of a DeviceClass: write small letters, digits, '-' and '.', such as gpu-compute-class"
    )]
    Class(String),
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

impl Parameters {
    /// Reads a ConfigMap's `data` and `binaryData`. `object` is how messages call the ConfigMap.
    ///
    /// # Errors
    /// All that is wrong with its keys and values.
    pub fn read(
        object: &str,
        purpose: Purpose,
        data: &BTreeMap<String, Value>,
        binary: &BTreeMap<String, Value>,
    ) -> Result<Self, Vec<ParameterError>> {
        let mut parameters = Self::default();
        let mut errors = Vec::new();
        let mut wrong = |key: &str, binary: bool, problem: Problem| {
            errors.push(ParameterError { object: object.to_owned(), key: key.to_owned(), binary, problem });
        };
        for (key, value) in data {
            if let Err(problem) = parameters.set(purpose, key, value) {
                wrong(key, false, problem);
            }
        }
        for key in binary.keys() {
            wrong(key, true, unknown(purpose, key));
        }
        if errors.is_empty() { Ok(parameters) } else { Err(errors) }
    }

    fn set(&mut self, purpose: Purpose, key: &str, value: &Value) -> Result<(), Problem> {
        if !purpose.keys().contains(&key) {
            return Err(unknown(purpose, key));
        }
        let Value::String(text) = value else { return Err(Problem::NotText(value.to_string())) };
        let text = text.trim();
        match key {
            "gpu-count" => self.count = Some(count(text)?),
            "gpu-memory" => self.memory = Some(memory(text)?),
            "cuda-version" => self.cuda = Some(cuda(text)?),
            _ => self.class = Some(class(text)?),
        }
        Ok(())
    }

    /// The CEL expressions that select what is asked for, among the devices of `driver`.
    #[must_use]
    pub fn expressions(&self, driver: &str) -> Vec<String> {
        let memory = self
            .memory
            .as_ref()
            .map(|memory| format!("device.capacity['{driver}'].memory.compareTo(quantity('{memory}')) >= 0"));
        let cuda = self.cuda.map(|[major, minor, patch]| {
            format!(
                "device.attributes['{driver}'].cudaDriverVersion.compareTo(semver('{major}.{minor}.{patch}')) >= 0"
            )
        });
        memory.into_iter().chain(cuda).collect()
    }

    /// What will surprise, though it can be read: the key, and words.
    #[must_use]
    pub fn surprise(&self) -> Option<(&'static str, String)> {
        let text = self.memory.as_deref()?;
        let bytes = text.parse::<Quantity>().ok()?.rounded();
        let named = NAMED_MEMORY.iter().find(|(name, mebibytes, _)| {
            let of_name = name.parse::<Quantity>().map_or(0, |name| name.rounded());
            bytes > mebibytes << 20 && bytes <= of_name
        });
        let words = match named {
            Some((name, mebibytes, product)) => format!(
                "{text} is more than an {product} has, which is {mebibytes}Mi: write {}, as the product's name means it",
                name.replace("Gi", "G")
            ),
            None if bytes > MOST_MEMORY << 20 => {
                format!("{text} is more than any GPU has: an H200 has {MOST_MEMORY}Mi. Claims will wait")
            }
            None => return None,
        };
        Some(("gpu-memory", words))
    }
}

fn unknown(purpose: Purpose, key: &str) -> Problem {
    if purpose == Purpose::Class && Purpose::Claim.keys().contains(&key) {
        return Problem::NotOfAClass;
    }
    let known = purpose.keys();
    Problem::UnknownKey { nearest: nearest(key, known.iter().copied()), known }
}

fn count(text: &str) -> Result<u32, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=MOST).contains(number));
    number.ok_or_else(|| Problem::Count(text.to_owned()))
}

fn memory(text: &str) -> Result<String, Problem> {
    let wrong = |fix: String| Problem::Memory { value: text.to_owned(), fix };
    let as_usual = || "write a number and a unit, such as \"16Gi\"".to_owned();
    let Ok(quantity) = text.parse::<Quantity>() else {
        let fix = without_bytes(text).map_or_else(as_usual, |fixed| format!("write \"{fixed}\""));
        return Err(wrong(fix));
    };
    if quantity.sign() <= 0 {
        return Err(wrong(as_usual()));
    }
    if quantity.rounded() < LEAST_MEMORY {
        return Err(wrong(format!("it means {} bytes; {}", quantity.rounded(), as_usual())));
    }
    Ok(text.to_owned())
}

/// "16GiB", "16 GB" and "16gi" as a quantity.
fn without_bytes(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let split = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let unit = unit.to_ascii_lowercase();
    let letter = unit.chars().next()?.to_ascii_uppercase();
    let fixed = match &unit[1..] {
        "ib" | "i" => format!("{number}{letter}i"),
        "b" | "" => format!("{number}{letter}"),
        _ => return None,
    };
    fixed.parse::<Quantity>().is_ok().then_some(fixed)
}

fn cuda(text: &str) -> Result<[u64; 3], Problem> {
    let wrong = || Problem::Cuda(text.to_owned());
    let mut version = [0; 3];
    for (place, part) in text.split('.').enumerate() {
        let digits = !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = part.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        *version.get_mut(place).ok_or_else(wrong)? = number;
    }
    Ok(version)
}

fn class(text: &str) -> Result<String, Problem> {
    if is_object_name(text) { Ok(text.to_owned()) } else { Err(Problem::Class(text.to_owned())) }
}

/// Whether a DeviceClass can be called so: a DNS subdomain.
pub(super) fn is_object_name(text: &str) -> bool {
    let label = |label: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !label.is_empty()
            && label.bytes().all(|byte| letter(byte) || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Claim => "claim parameters",
            Self::Class => "class parameters",
        })
    }
}

//! Where two recordings differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::answer::{Entry, NO_SYMBOL, Section, code_name};
use crate::files::SYMBOLS;
use crate::recording::Recording;

/// What the fake answers for a function that an older driver's library lacks.
const FUNCTION_NOT_FOUND: u32 = 13;

/// A fact that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The call, and the field of its answer.
    pub(crate) what: String,
    /// The GPUs for which it differs in this way, by index. Empty if it is not about GPUs.
    pub(crate) gpus: Vec<u32>,
    /// What was recorded.
    pub(crate) real: String,
    /// What the fake says.
    pub(crate) fake: String,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Facts that differ, in the order of the recording.
    pub(crate) differences: Vec<Difference>,
    /// Answers of which all facts are equal.
    pub(crate) equal: usize,
    /// Values of the machine that differ.
    pub(crate) identity: usize,
    /// Changing values that differ.
    pub(crate) volatile: usize,
    /// Answers that only one of the two has.
    pub(crate) only_one: usize,
}

/// Compares what a real machine answered with what the fake did.
pub(crate) fn compare(real: &Recording, fake: &Recording) -> Comparison {
    let key = |entry: &Entry| (entry.section, entry.gpu, entry.call.clone());
    let fakes: BTreeMap<_, _> = fake.entries.iter().map(|entry| (key(entry), entry)).collect();
    let mut comparison = Comparison::default();
    let mut met = 0;
    // Without the driver there is nothing in /proc and /sys, which the fake has all the same.
    let files = real.init() == Some(0);
    for entry in &real.entries {
        match fakes.get(&key(entry)) {
            Some(fake) => {
                met += 1;
                if files || entry.section != Section::Files || entry.call == SYMBOLS {
                    comparison.entry(entry, fake);
                }
            }
            None => comparison.only_one += 1,
        }
    }
    comparison.only_one += fakes.len() - met;
    comparison
}

impl Comparison {
    fn entry(&mut self, real: &Entry, fake: &Entry) {
        let before = self.differences.len();
        let mut outcomes_equal = true;
        if outcome(real) != outcome(fake) {
            self.differs(real, &real.call, outcome(real), outcome(fake));
            outcomes_equal = false;
        }
        if outcomes_equal || real.call == SYMBOLS {
            for (name, real_value, fake_value) in unequal(&real.fact, &fake.fact) {
                if real.call == SYMBOLS {
                    self.symbols(real, real_value, fake_value);
                    continue;
                }
                let what = match name {
                    "value" | "links" => real.call.clone(),
                    name => format!("{}: {name}", real.call),
                };
                let (real_text, fake_text) = (readable(name, real_value), readable(name, fake_value));
                self.differs(real, &what, real_text, fake_text);
            }
        }
        if self.differences.len() == before {
            self.equal += 1;
        }
        self.identity += unequal(&real.identity, &fake.identity).count();
        self.volatile += unequal(&real.volatile, &fake.volatile).count();
    }

    /// The fake may export more than a library does: it has newer drivers' functions too.
    fn symbols(&mut self, entry: &Entry, real: &Value, fake: &Value) {
        let names = |value: &Value| -> BTreeSet<String> {
            let names = value.as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        for missing in names(real).difference(&names(fake)) {
            self.differs(entry, missing, "exported".to_owned(), "not exported".to_owned());
        }
    }

    /// The same difference of several GPUs is one.
    fn differs(&mut self, entry: &Entry, what: &str, real: String, fake: String) {
        let same = |known: &&mut Difference| {
            entry.gpu.is_some()
                && !known.gpus.is_empty()
                && known.what == what
                && known.real == real
                && known.fake == fake
        };
        if let (Some(known), Some(gpu)) = (self.differences.iter_mut().find(same), entry.gpu) {
            known.gpus.push(gpu);
            return;
        }
        let what = if entry.section == Section::BeforeInit {
            format!("{what} before nvmlInit")
        } else if entry.section == Section::AfterShutdown {
            format!("{what} after nvmlShutdown")
        } else {
            what.to_owned()
        };
        self.differences.push(Difference { what, gpus: entry.gpu.into_iter().collect(), real, fake });
    }
}

/// What came of the call, for comparison and for people.
fn outcome(entry: &Entry) -> String {
    match (entry.code, &entry.none) {
        (Some(code), _) => code_name(code),
        // The fake exports every function, and says of those that are too new what a client would find.
        (None, Some(reason)) if reason == NO_SYMBOL => code_name(FUNCTION_NOT_FOUND),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "nothing".to_owned(),
    }
}

fn unequal<'a>(
    real: &'a BTreeMap<String, Value>,
    fake: &'a BTreeMap<String, Value>,
) -> impl Iterator<Item = (&'a str, &'a Value, &'a Value)> {
    let names: BTreeSet<&String> = real.keys().chain(fake.keys()).collect();
    names.into_iter().filter_map(|name| {
        let (real, fake) = (real.get(name).unwrap_or(&Value::Null), fake.get(name).unwrap_or(&Value::Null));
        (real != fake).then_some((name.as_str(), real, fake))
    })
}

/// A value for people.
fn readable(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "—".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if name.ends_with("Id") => {
            number.as_u64().map_or_else(|| number.to_string(), |number| format!("{number:#x}"))
        }
        _ => value.to_string(),
    }
}

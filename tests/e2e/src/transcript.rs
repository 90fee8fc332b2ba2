//! What plugins recorded, freed of what differs from run to run, and told in short.

use serde_json::{Value, json};

use crate::plugin::Call;

/// Texts of one run and the names that stand for them in every run: uids, paths, namespaces, drivers.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Longest first, so that no text is replaced inside a longer one.
    pairs: Vec<(String, String)>,
}

impl Names {
    /// Adds a text and the name that stands for it.
    pub fn add(&mut self, text: impl Into<String>, name: impl Into<String>) {
        self.pairs.push((text.into(), name.into()));
        self.pairs.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// The text with all names in their places.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// The calls as every run has them: with names in place of uids and paths, without the repetitions that only tell
/// how long a test took. Registrations that repeat the one before are left out, and streams of health, which end
/// whenever the connection does, come last and once.
#[must_use]
pub fn normalise(calls: &[Call], names: &Names) -> Vec<Value> {
    let plain = |call: &Call| {
        let text = json!({
            "method": call.method, "authority": call.authority, "deadline": call.deadline,
            "request": call.request, "answer": call.answer, "code": call.code, "error": call.error,
        });
        serde_json::from_str::<Value>(&names.apply(&text.to_string())).expect("names have no quotes")
    };
    let mut all: Vec<Value> = Vec::new();
    let mut streams: Vec<Value> = Vec::new();
    for call in calls {
        let mut value = plain(call);
        if call.short() == "NodeWatchResources" {
            for field in ["request", "answer"] {
                value[field] = Value::Null;
            }
            if !streams.contains(&value) {
                streams.push(value);
            }
            continue;
        }
        all.push(value);
        drop_repetition(&mut all);
    }
    all.extend(streams);
    all
}

/// Drops the last one or two calls where they belong to registration and only repeat those before them.
fn drop_repetition(calls: &mut Vec<Value>) {
    for length in [1, 2] {
        let Some(start) = calls.len().checked_sub(2 * length) else { return };
        let (before, last) = calls[start..].split_at(length);
        if before == last && last.iter().all(is_registration) {
            calls.truncate(start + length);
        }
    }
}

fn is_registration(call: &Value) -> bool {
    call["method"].as_str().is_some_and(|m| m.starts_with("/pluginregistration.Registration/"))
}

/// A transcript in a line per call, for the expectations that scenarios write out.
#[must_use]
pub fn tell(calls: &[Value]) -> Vec<String> {
    calls.iter().map(tell_call).collect()
}

fn tell_call(call: &Value) -> String {
    let method = call["method"].as_str().unwrap_or_default();
    let (service, short) = method.rsplit_once('/').unwrap_or_default();
    let version = service.rsplit('.').nth(1).unwrap_or_default().trim_start_matches('/');
    let told = match short {
        "GetInfo" => "asked for its info".to_owned(),
        "NotifyRegistrationStatus" if call["request"]["plugin_registered"] == true => "registered".to_owned(),
        "NotifyRegistrationStatus" => {
            format!("refused: {}", call["request"]["error"].as_str().unwrap_or_default())
        }
        "NodePrepareResources" => format!("{version} prepare {}", claims(call)),
        "NodeUnprepareResources" => format!("{version} unprepare {}", claims(call)),
        "NodeWatchResources" if call["code"] == "Unimplemented" => {
            return "asked for health in vain".to_owned();
        }
        "NodeWatchResources" => "asked for health".to_owned(),
        other => other.to_owned(),
    };
    match (call["code"].as_str(), call["error"].as_str()) {
        (Some(code), Some(error)) if !code.is_empty() => format!("{told} -> {code}: {error}"),
        _ => told,
    }
}

/// The claims of a request, each with what the answer says about it where that is not success.
fn claims(call: &Value) -> String {
    let asked = call["request"]["claims"].as_array().into_iter().flatten();
    let tell = |claim: &Value| {
        let name = claim["name"].as_str().unwrap_or_default();
        let uid = claim["uid"].as_str().unwrap_or_default();
        if call["code"] != "" {
            return name.to_owned();
        }
        match call["answer"]["claims"].get(uid) {
            None => format!("{name} (left out)"),
            Some(answer) => match answer["error"].as_str() {
                Some(error) => format!("{name} ({error})"),
                None => name.to_owned(),
            },
        }
    };
    asked.map(tell).collect::<Vec<_>>().join(" ")
}

//! From an admission review to its answer: the opaque configurations for this driver are read as the plugin reads
//! them, before there is a claim that cannot be prepared.

use dra_driver::config::{self, Problem};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use serde_json::Value;
use thiserror::Error;

/// How many mistakes are told at a time.
const MOST_TOLD: usize = 8;
/// The code that the API server gives for invalid objects.
const INVALID: u16 = 422;

/// Why a review has no answer.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// No JSON, or not of this form.
    #[error("the request is no AdmissionReview: {0}")]
    Form(#[from] serde_json::Error),
    /// An answer, or nothing at all.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

/// What became of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The object has no configuration for this driver, or nothing is wrong with what it has.
    Allowed,
    /// The object is let through, but a device could not be set up as it says.
    Warned,
    /// No claim with this configuration could be prepared.
    Refused,
}

/// An answered review.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it says.
    pub verdict: Verdict,
    /// What is sent back.
    pub review: AdmissionReview<DynamicObject>,
}

/// Answers a review.
///
/// # Errors
/// What was sent is no review.
pub fn answer(driver: &str, body: &[u8]) -> Result<Answer, ReviewError> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)?;
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| ReviewError::NoRequest)?;
    let mut answer = AdmissionResponse::from(&request);
    let Findings { mistakes, warnings } = Findings::of(driver, &request);
    let verdict = if !mistakes.is_empty() {
        answer.result.code = INVALID;
        answer.result.reason = "Invalid".to_owned();
        answer = answer.deny(mistakes.join("; "));
        Verdict::Refused
    } else if !warnings.is_empty() {
        answer.warnings = Some(warnings);
        Verdict::Warned
    } else {
        Verdict::Allowed
    };
    Ok(Answer { verdict, review: answer.into_review() })
}

/// What is to be said of an object.
#[derive(Default)]
struct Findings {
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn of(driver: &str, request: &AdmissionRequest<DynamicObject>) -> Self {
        let mut findings = Self::default();
        let Some(path) = path(&request.resource.group, &request.resource.resource) else { return findings };
        // Nothing is made when an object is deleted.
        let Some(object) = &request.object else { return findings };
        let now = configs(object, path);
        let before = request.old_object.as_ref().map_or(&[][..], |old| configs(old, path));
        for (index, entry) in now.iter().enumerate() {
            let opaque = &entry["opaque"];
            // What was there before is let through: labels and finalizers of an object can always be changed.
            if opaque["driver"] != *driver || before.contains(entry) {
                continue;
            }
            let told = |Problem { field, problem }| format!("{}[{index}].{field}: {problem}", path.join("."));
            match config::review(&opaque["parameters"]) {
                Ok(None) => {}
                Ok(Some(problem)) => findings.warnings.push(told(problem)),
                Err(problem) => findings.mistakes.push(told(problem)),
            }
        }
        findings.mistakes.truncate(MOST_TOLD);
        findings.warnings.truncate(MOST_TOLD);
        findings
    }
}

/// Where objects of this kind have their configurations. It is the same in all versions of the API.
fn path(group: &str, resource: &str) -> Option<&'static [&'static str]> {
    match (group, resource) {
        ("resource.k8s.io", "resourceclaims") => Some(&["spec", "devices", "config"]),
        ("resource.k8s.io", "resourceclaimtemplates") => Some(&["spec", "spec", "devices", "config"]),
        ("resource.k8s.io", "deviceclasses") => Some(&["spec", "config"]),
        _ => None,
    }
}

/// What is not of this form is the API server's to refuse.
fn configs<'a>(object: &'a DynamicObject, path: &[&str]) -> &'a [Value] {
    let found = path.iter().try_fold(&object.data, |value, field| value.get(field));
    found.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

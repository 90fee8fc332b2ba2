//! Cases that are kept by name: disagreements that were settled, and upstream's known bugs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Answer;
use crate::case::Case;
use crate::ours::Ours;
use crate::program::Program;
use crate::run::{self, Outcome};

/// A case that both must answer alike, in `cases/NAME.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// What it is about: what once differed.
    pub why: String,
    /// The case.
    pub case: Case,
}

/// A case that upstream answers wrongly, in `cases/known/NAME.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrong {
    /// What upstream does, and what is right.
    why: String,
    case: Case,
    /// What upstream answers.
    upstream: Value,
    /// What is right.
    ours: Value,
}

/// The folder of the kept cases.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The settled cases, by name.
///
/// # Errors
///
/// If a file holds something else.
pub fn settled() -> Result<Vec<(String, Settled)>> {
    read(&folder())
}

/// Tries all kept cases. Returns how many there are, and what is wrong with some, in words.
///
/// # Errors
///
/// If a file cannot be read or a program ends.
pub fn replay(ours: &mut Ours, oracle: &mut Program) -> Result<(usize, Vec<String>)> {
    let mut faults = Vec::new();
    let settled = settled()?;
    for (name, settled) in &settled {
        let (outcome, asked) = run::ask(&settled.case, ours, oracle)?;
        if outcome != Outcome::Same {
            faults.push(format!(
                "{name} ({}): {outcome:?}\n  ours     {}\n  upstream {}",
                settled.why, asked.ours, asked.upstream
            ));
        }
    }
    let known: Vec<(String, Wrong)> = read(&folder().join("known"))?;
    for (name, wrong) in &known {
        let (_, asked) = run::ask(&wrong.case, ours, oracle)?;
        let sides = [("upstream", &asked.upstream, &wrong.upstream), ("ours", &asked.ours, &wrong.ours)];
        for (side, answer, expected) in sides {
            if !Answer::read(answer).agrees_with(&Answer::of(expected)) {
                faults.push(format!("known/{name}: {side} answers {answer}\n  instead of {expected}"));
            }
        }
    }
    Ok((settled.len() + known.len(), faults))
}

/// Keeps a case under a name of the run that found it, and says where. Whoever settles it gives it a name and a reason.
///
/// # Errors
///
/// If the file cannot be written.
pub fn keep(case: &Case, seed: u64, index: u64) -> Result<PathBuf> {
    let file = folder().join(format!("found-{seed}-{index}.json"));
    let why =
        format!("Found as case {index} of seed {seed}: say here what differed, and name the file after it.");
    let kept = serde_json::to_string_pretty(&Settled { why, case: case.clone() })?;
    fs::write(&file, kept + "\n")?;
    Ok(file)
}

fn read<T: for<'a> Deserialize<'a>>(folder: &Path) -> Result<Vec<(String, T)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&file)?;
            let read =
                serde_json::from_str(&text).with_context(|| format!("{} is no kept case", file.display()))?;
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            all.push((name, read));
        }
    }
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::KnownBug;

    #[test]
    fn upstreams_known_bugs_explain_what_they_are_about_and_nothing_else() {
        let known: Vec<(String, Wrong)> = read(&folder().join("known")).unwrap();
        let named = |name: &str| &known.iter().find(|(known, _)| known == name).unwrap().1;
        let distinct = Outcome::Known(KnownBug::DistinctOfOneRequest);
        let lists = Outcome::Known(KnownBug::ListsOfTakenBackDevices);
        for (name, expected) in [
            ("distinct-values-of-one-request", distinct.clone()),
            ("distinct-values-after-a-device-was-taken-back", distinct.clone()),
            ("distinct-values-of-all-devices", distinct),
            ("common-values-of-devices-that-were-taken-back", lists.clone()),
            ("common-values-before-all-devices", lists.clone()),
            ("common-values-before-an-expression-without-an-answer", lists),
            // The generator makes no such pools.
            ("counters-of-two-pools-of-one-name", Outcome::Different),
        ] {
            let wrong = named(name);
            let (ours, upstream) = (Answer::of(&wrong.ours), Answer::of(&wrong.upstream));
            assert_eq!(run::compare(&wrong.case, &ours, &upstream), expected, "{name}");
            // The other way round, ours would be the wrong one; with an error, upstream may have gone too far.
            if !matches!(ours, Answer::Error { .. }) {
                assert_eq!(run::compare(&wrong.case, &upstream, &ours), Outcome::Different, "{name}");
            }
            assert_eq!(run::compare(&wrong.case, &upstream, &upstream), Outcome::Same, "{name}");
        }
    }

    #[test]
    fn a_bug_explains_no_case_without_it() {
        let known: Vec<(String, Wrong)> = read(&folder().join("known")).unwrap();
        for (name, wrong) in &known {
            let mut case = wrong.case.clone();
            case.claims[0]["spec"]["devices"]["constraints"] = Value::Null;
            let (ours, upstream) = (Answer::of(&wrong.ours), Answer::of(&wrong.upstream));
            assert_eq!(run::compare(&case, &ours, &upstream), Outcome::Different, "{name}");
        }
    }

    #[test]
    fn settled_cases_can_be_read() {
        assert!(settled().is_ok());
    }
}

//! `state`: shows what the plugin keeps of claims on this node. It asks nobody: no plugin, NVML or API server has
//! to be there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use dra_driver::claim::journal::{Journal, OnDisk};
use dra_driver::claim::record::Record;
use dra_driver::claim::troubles::{Trouble, Troubles};
use dra_driver::claim::{ClaimRef, StateError};
use dra_driver::node::Epoch;
use jiff::Timestamp;
use serde::Serialize;

use crate::arguments::{Output, StateOptions};
use crate::inspect;

/// What is kept of all claims.
#[derive(Debug, Serialize)]
struct State {
    claims: Vec<Claim>,
}

/// What is kept of a claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    uid: String,
    stage: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    devices: Vec<Device>,
    pods: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
}

/// A device of a claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<String>,
    access: dra_driver::claim::allocation::Access,
}

/// What went wrong last.
#[derive(Debug, Serialize)]
struct LastError {
    at: Timestamp,
    error: String,
}

/// Reads the state folder and writes what is in it to standard output.
///
/// # Errors
/// The folder cannot be read, or standard output not be written.
pub fn run(options: &StateOptions) -> Result<ExitCode> {
    let folder = options.state_root.join(&options.driver_name);
    let epoch = Epoch::read(&options.procfs, None).context("cannot read the boot's id; set --procfs")?;
    let state = collect(&Journal::look(&folder), &Troubles::new(&folder), &epoch.boot_id)?;
    inspect::write(&match options.output {
        Output::Table => table(&state),
        Output::Json => serde_json::to_string_pretty(&state).context("cannot write JSON")? + "\n",
        Output::Yaml => serde_saphyr::to_string(&state).context("cannot write YAML")?,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn collect(journal: &Journal, troubles: &Troubles, boot_id: &str) -> Result<State, StateError> {
    let mut errors: BTreeMap<String, Trouble> =
        troubles.all()?.into_iter().map(|trouble| (trouble.claim.uid.clone(), trouble)).collect();
    let mut claims = Vec::new();
    for uid in journal.claims()? {
        let disk = journal.read(&uid, boot_id)?;
        let error = errors.remove(&uid);
        claims.push(claim(uid, &disk, error));
    }
    // Claims that were refused have no record.
    for (uid, trouble) in errors {
        claims.push(claim(uid, &OnDisk::Absent, Some(trouble)));
    }
    claims.sort_by(|one, other| {
        (&one.namespace, &one.name, &one.uid).cmp(&(&other.namespace, &other.name, &other.uid))
    });
    Ok(State { claims })
}

fn claim(uid: String, disk: &OnDisk, trouble: Option<Trouble>) -> Claim {
    let stage = match disk {
        OnDisk::Absent => "not prepared".to_owned(),
        OnDisk::Void(_) => "of an earlier boot".to_owned(),
        OnDisk::Newer(newer) => format!("of a newer driver (schema {})", newer.schema),
        OnDisk::Broken(broken) => format!("broken: {}", broken.reason),
        other => other.record().map(|record| record.stage.as_str().to_owned()).unwrap_or_default(),
    };
    let devices = match disk {
        OnDisk::Newer(newer) => {
            let device = |(name, access): &(String, _)| Device {
                name: name.clone(),
                pool: None,
                uuid: None,
                requests: Vec::new(),
                access: *access,
            };
            newer.devices.iter().map(device).collect()
        }
        other => other.record().map(devices).unwrap_or_default(),
    };
    let of: Option<ClaimRef> =
        disk.claim().cloned().or_else(|| trouble.as_ref().map(|trouble| trouble.claim.clone()));
    Claim {
        namespace: of.as_ref().map(|of| of.namespace.clone()),
        name: of.map(|of| of.name),
        uid,
        stage,
        since: disk.record().map(|record| record.since),
        devices,
        pods: disk.record().map(|record| record.pods.clone()).unwrap_or_default(),
        last_error: trouble.map(|trouble| LastError { at: trouble.at, error: trouble.error }),
    }
}

fn devices(record: &Record) -> Vec<Device> {
    let planned = record.plan.devices.iter();
    planned
        .map(|planned| Device {
            name: planned.device.clone(),
            pool: Some(planned.pool.clone()),
            uuid: Some(planned.uuid.clone()),
            requests: planned.requests.clone(),
            access: planned.access,
        })
        .collect()
}

/// The state for people: a line for each device or pod of a claim, whichever are more.
fn table(state: &State) -> String {
    if state.claims.is_empty() {
        return "No claims.\n".to_owned();
    }
    let mut rows = vec![["CLAIM", "STAGE", "DEVICES", "PODS"].map(ToOwned::to_owned)];
    for claim in &state.claims {
        let lines = claim.devices.len().max(claim.pods.len()).max(1);
        for line in 0..lines {
            let first = |text: String| if line == 0 { text } else { String::new() };
            rows.push([
                first(name(claim)),
                first(claim.stage.clone()),
                claim.devices.get(line).map(|device| device.name.clone()).unwrap_or_default(),
                claim.pods.get(line).cloned().unwrap_or_default(),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (claim, stage, device) = (width(0), width(1), width(2));
    let mut out = String::new();
    for [name, of_stage, of_device, pod] in &rows {
        let line = format!("{name:claim$}  {of_stage:stage$}  {of_device:device$}  {pod}");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for claim in &state.claims {
        if let Some(LastError { at, error }) = &claim.last_error {
            let _ = writeln!(out, "\nLast error of {} at {at}:\n  {error}", name(claim));
        }
    }
    out
}

fn name(claim: &Claim) -> String {
    match (&claim.namespace, &claim.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => format!("(UID {})", claim.uid),
    }
}

//! `gather`: an archive for a bug report, less what is nobody's business.

mod redact;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::{Value, json};
use thiserror::Error;

use crate::arguments::Global;
use crate::connect::Connection;
use crate::doctor::{self, Facts};
use crate::read::{self, DEVICES, Hidden, Read, ReadError};
use redact::{Kind, Names, told};

/// How much of a log is taken: its end.
const LOG_LINES: i64 = 5000;
const LOG_BYTES: i64 = 4 << 20;

/// Why there is no archive.
#[derive(Debug, Error)]
pub enum GatherError {
    /// The cluster.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file.
    #[error("cannot write {path}: {source}; name another file with --file", path = .path.display())]
    File {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes the archive, and says what is in it.
///
/// # Errors
/// Any [`GatherError`].
pub async fn gather(
    connection: &Connection,
    read: Read,
    global: &Global,
    file: &Path,
    with_names: bool,
) -> Result<String, GatherError> {
    let error = |source| GatherError::File { path: file.to_owned(), source };
    // Before anything is asked: a file that cannot be written is a mistake of the command line.
    let out = File::options().write(true).create_new(true).open(file).map_err(error)?;
    let entries = entries(connection, read, global, with_names).await.inspect_err(|_| {
        // What is there is empty. That it stays, is no other error than the one there is.
        let _ = std::fs::remove_file(file);
    })?;
    write(&entries, out).map_err(error)?;
    Ok(summary(&entries, file, with_names))
}

/// A file of the archive.
struct Entry {
    name: String,
    text: String,
}

async fn entries(
    connection: &Connection,
    read: Read,
    global: &Global,
    with_names: bool,
) -> Result<Vec<Entry>, GatherError> {
    let facts = doctor::collect(connection, read, &global.driver_name).await?;
    let mut names = Names::but(own_names(&facts));
    let mut hidden: Vec<Hidden> = facts.hidden.clone();
    let mut files = Vec::new();
    for (file, resource, group, kind, hides) in [
        ("resourceslices.json", "resourceslices", DEVICES, Kind::Slice, None),
        ("deviceclasses.json", "deviceclasses", DEVICES, Kind::Class, None),
        ("nodes.json", "nodes", "", Kind::Node, None),
        ("resourceclaims.json", "resourceclaims", DEVICES, Kind::Claim, Some("claim")),
        ("pods.json", "pods", "", Kind::Pod, Some("pod")),
    ] {
        let namespace = &connection.namespace;
        let mut objects: Vec<Value> =
            read::namespaced(&connection.client, resource, group, namespace, &mut hidden).await?;
        if kind == Kind::Pod {
            objects.retain(|pod| pod.pointer("/spec/resourceClaims").is_some());
        }
        if let Some(hides) = hides {
            objects.iter().for_each(|object| names.hide_of(hides, object));
        }
        files.push((file, objects.iter().map(|object| told(kind, object)).collect::<Vec<Value>>()));
    }
    let events: Vec<Value> =
        read::namespaced(&connection.client, "events", "", &connection.namespace, &mut hidden).await?;
    let events = events.iter().filter(|event| is_about_devices(event, &facts.driver));
    events.clone().for_each(|event| hide_in_event(&mut names, event));
    files.push(("events.json", events.map(|event| told(Kind::Event, event)).collect()));
    files.push(("driver.json", parts(&facts)));

    hidden.sort_by_key(|hidden| hidden.resource);
    hidden.dedup();
    let about = json!({
        "kubectlDra": env!("CARGO_PKG_VERSION"),
        "kubernetes": facts.version,
        "driver": facts.driver,
        "hidden": hidden,
    });
    let mut entries = vec![
        Entry { name: "about.json".to_owned(), text: format!("{about:#}\n") },
        Entry { name: "doctor.txt".to_owned(), text: doctor::words(&doctor::checks(&facts)) },
    ];
    let logs = logs(connection, &facts).await?;
    for (file, mut objects) in files {
        // Slices, classes and nodes name nobody: a claim that is called `gpu` would garble them.
        let names_people = matches!(file, "resourceclaims.json" | "pods.json" | "events.json");
        if !with_names && names_people {
            objects.iter_mut().for_each(|object| names.redact(object));
        }
        entries.push(Entry { name: file.to_owned(), text: format!("{:#}\n", Value::Array(objects)) });
    }
    for Entry { name, text } in logs {
        let text = if with_names { text } else { text.lines().map(|line| names.line(line) + "\n").collect() };
        entries.push(Entry { name, text });
    }
    Ok(entries)
}

/// The names of the driver's own parts, which tell nothing about those who use it.
fn own_names(facts: &Facts) -> Vec<String> {
    let sets = facts.plugins.iter().map(|set| &set.metadata);
    let deployments = facts.deployments.iter().map(|deployment| &deployment.metadata);
    let parts = sets.chain(deployments).flat_map(|part| [part.namespace.clone(), part.name.clone()]);
    let pods = facts.plugin_pods.iter().map(|pod| pod.metadata.name.clone());
    parts.chain(pods).flatten().chain(["kube-system".to_owned()]).collect()
}

fn is_about_devices(event: &Value, driver: &str) -> bool {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let source = [text("/source/component"), text("/reportingComponent")];
    text("/involvedObject/kind") == "ResourceClaim"
        || matches!(text("/reason"), "FailedScheduling" | "FailedPrepareDynamicResources" | "CannotAllocate")
        || source.iter().any(|source| source.contains(driver) || source.starts_with("dra-"))
}

fn hide_in_event(names: &mut Names, event: &Value) {
    let about = &event["involvedObject"];
    names.hide("namespace", about["namespace"].as_str().unwrap_or_default());
    match about["kind"].as_str() {
        Some("ResourceClaim") => names.hide("claim", about["name"].as_str().unwrap_or_default()),
        Some("Pod") => names.hide("pod", about["name"].as_str().unwrap_or_default()),
        _ => {}
    }
}

fn parts(facts: &Facts) -> Vec<Value> {
    let sets = facts.plugins.iter().map(serde_json::to_value);
    let deployments = facts.deployments.iter().map(serde_json::to_value);
    // An object that came as JSON goes as JSON.
    sets.chain(deployments).flatten().map(|part| told(Kind::Part, &part)).collect()
}

/// The ends of the logs of the driver's pods, those of containers before their last restart included.
async fn logs(connection: &Connection, facts: &Facts) -> Result<Vec<Entry>, GatherError> {
    let mut pods = facts.plugin_pods.clone();
    for deployment in &facts.deployments {
        let selector = deployment.spec.selector.match_labels.as_ref();
        pods.extend(doctor::pods(connection, deployment.metadata.namespace.as_deref(), selector).await?);
    }
    let mut logs = Vec::new();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        for container in containers {
            for previous in [false, true] {
                if previous && container.restart_count == 0 {
                    continue;
                }
                let which = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    tail_lines: Some(LOG_LINES),
                    limit_bytes: Some(LOG_BYTES),
                    ..LogParams::default()
                };
                let text = match read::answer("logs", api.logs(name, &which)).await {
                    Ok(text) => text,
                    // That a log cannot be had belongs into the report.
                    Err(error) => format!("{error}\n"),
                };
                let end = if previous { ".previous" } else { "" };
                logs.push(Entry { name: format!("logs/{name}.{}{end}.log", container.name), text });
            }
        }
    }
    Ok(logs)
}

fn write(entries: &[Entry], out: File) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::default()));
    for Entry { name, text } in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        archive.append_data(&mut header, Path::new("kubectl-dra").join(name), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}

fn summary(entries: &[Entry], file: &Path, with_names: bool) -> String {
    let mut text = format!("Wrote {}:\n", file.display());
    for entry in entries {
        text.push_str(&format!("  {} ({} bytes)\n", entry.name, entry.text.len()));
    }
    text.push_str(if with_names {
        "Names of namespaces, claims and pods are in it.\n"
    } else {
        "Names of namespaces, claims and pods are numbered. "
    });
    text.push_str("Names of nodes, devices and DeviceClasses, and UUIDs of GPUs are in it: look before you publish it.\n");
    text
}

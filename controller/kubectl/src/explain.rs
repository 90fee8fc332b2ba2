//! `explain`: why a claim or a pod waits, and what would help.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use dra_controller::allocator::Cancel;
use dra_controller::cel::Cache;
use dra_controller::cluster::{Cluster, Name};
use dra_controller::explain::{Asked, Audience, Blocker, Explainer, Explanation};
use dra_controller::model::object::Claim;
use dra_controller::model::pod::Pod;
use serde::Serialize;

use crate::arguments::{Format, Global, Kind};
use crate::connect::Connection;
use crate::output;
use crate::read::{self, Hidden, Read};

/// How long is thought about it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is thought about each of many.
const EACH: Duration = Duration::from_secs(1);

/// What is known of something that waits, or does not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Why it waits, as far as the caller may see the cluster.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// In words.
    pub text: String,
    /// What the controller says, where the caller may not see all that matters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// What the caller may not see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<Hidden>,
}

/// Explains, and says it in the format that is asked for.
///
/// # Errors
/// When there is no such object, or the cluster cannot be read.
pub async fn explain(
    connection: &Connection,
    read: &Read,
    global: &Global,
    kind: Kind,
    name: &str,
) -> Result<String> {
    let namespace: Arc<str> = connection.namespace.as_str().into();
    let object = Name { namespace, name: name.into() };
    let mut answer = match kind {
        Kind::Claim => of_claim(read, &object)?,
        Kind::Pod => of_pod(read, &object)?,
    };
    if !answer.hidden.is_empty() {
        let of = if kind == Kind::Claim { "ResourceClaim" } else { "Pod" };
        answer.events = read::events(connection, of, name).await?;
    }
    match global.output {
        Format::Table | Format::Wide => Ok(words(&answer)),
        format => output::data(format, &answer),
    }
}

/// Why a claim waits.
///
/// # Errors
/// When there is no such claim.
pub fn of_claim(read: &Read, name: &Name) -> Result<Answer> {
    let cluster = &read.cluster;
    let Some(claim) = cluster.claims().get(name) else {
        bail!(missing(read, "claim", "resourceclaims", name))
    };
    if let Some(text) = allocated(claim) {
        return Ok(Answer { explanation: None, text, events: Vec::new(), hidden: Vec::new() });
    }
    let waiting = cluster.pods_of(name).map(|(_, pod)| pod).find(|pod| pod.is_waiting());
    let asked = waiting.map_or_else(|| Asked::of_claim(claim), |pod| Asked::of_pod(cluster, pod));
    Ok(answered(read, &asked, name))
}

/// Why a pod waits.
///
/// # Errors
/// When there is no such pod, or no claim of it.
pub fn of_pod(read: &Read, name: &Name) -> Result<Answer> {
    let cluster = &read.cluster;
    let Some(pod) = cluster.pods().get(name) else {
        bail!("{}, or it has no claims", missing(read, "pod", "pods", name))
    };
    if let Some(text) = runs(cluster, pod) {
        return Ok(Answer { explanation: None, text, events: Vec::new(), hidden: Vec::new() });
    }
    let asked = Asked::of_pod(cluster, pod);
    if asked.claims.is_empty() {
        bail!(
            "the claims of pod {name} do not exist; of templates they are made by kube-controller-manager: look at \
             `kubectl describe pod {}`",
            name.name
        );
    }
    Ok(answered(read, &asked, name))
}

fn answered(read: &Read, asked: &Asked<'_>, name: &Name) -> Answer {
    let needed = ["resourceslices", "deviceclasses", "nodes"];
    if !needed.into_iter().all(|resource| read.has_all(resource)) {
        let text = "What keeps it cannot be found with your rights.".to_owned();
        return Answer { explanation: None, text, events: Vec::new(), hidden: read.hidden.clone() };
    }
    let cancel = Cancel::at(Instant::now() + PATIENCE);
    let mut explanation = dra_controller::explain::explain(&read.cluster, asked, &Cache::default(), &cancel);
    if read.has_all("resourceclaims") {
        let text = explanation.text(&Audience::Everything);
        return Answer {
            explanation: Some(explanation),
            text,
            events: Vec::new(),
            hidden: read.hidden.clone(),
        };
    }
    // Others may have what looks free: neither that it fits nor what would help is known.
    explanation.remedy = None;
    let (explanation, text) = if explanation.blocker == Blocker::Scheduler {
        let text = "As far as you may see, the devices fit; claims of other namespaces may have them.";
        (None, text.to_owned())
    } else {
        let text = explanation.text(&Audience::Namespace(&name.namespace));
        (Some(explanation), text)
    };
    Answer { explanation, text, events: Vec::new(), hidden: read.hidden.clone() }
}

/// What a claim has, if it has something.
fn allocated(claim: &Claim) -> Option<String> {
    let allocation = claim.status.allocation.as_ref()?;
    let devices = allocation.devices.results.iter();
    let devices: Vec<String> = devices.map(|one| format!("{} of pool {}", one.device, one.pool)).collect();
    let pods: Vec<&str> = claim.status.reserved_for.iter().map(|consumer| &*consumer.name).collect();
    let users = if pods.is_empty() { "nobody".to_owned() } else { pods.join(", ") };
    Some(format!("It does not wait: it has {}, and is reserved for {users}.", devices.join(", ")))
}

/// Where a pod runs, if it does not wait.
fn runs(cluster: &Cluster, pod: &Pod) -> Option<String> {
    if pod.is_waiting() {
        return None;
    }
    let node = pod.spec.node_name.as_deref().unwrap_or("no node");
    let claims: Vec<String> = cluster.claims_of(pod).map(|(name, _)| name.name.to_string()).collect();
    Some(format!("It does not wait for devices: it is on {node}, with the claims {}.", claims.join(", ")))
}

fn missing(read: &Read, what: &str, resource: &str, name: &Name) -> String {
    let hidden = read.hidden.iter().find(|hidden| hidden.resource == resource);
    match hidden.filter(|hidden| !hidden.own_namespace_only) {
        Some(hidden) => format!("cannot look for {what} {name}: you lack the right to see {hidden}"),
        None => format!("there is no {what} {} in namespace {}", name.name, name.namespace),
    }
}

/// An answer for people.
fn words(answer: &Answer) -> String {
    let mut text = String::new();
    if let Some(explanation) = &answer.explanation {
        text.push_str(&format!("{}\n\n", explanation.blocker.as_str()));
    }
    text.push_str(&answer.text);
    text.push('\n');
    if !answer.events.is_empty() {
        text.push_str("\nThe controller, which sees all, says:\n");
        answer.events.iter().for_each(|event| text.push_str(&format!("  {}\n", output::line(event))));
    }
    for hidden in &answer.hidden {
        text.push_str(&format!("\nYou lack the right to see {hidden}."));
    }
    if !answer.hidden.is_empty() {
        text.push('\n');
    }
    text
}

/// The explanation of a claim without more, for other commands.
pub(crate) fn reason(explainer: &Explainer<'_>, cluster: &Cluster, name: &Name, claim: &Claim) -> Blocker {
    let waiting = cluster.pods_of(name).map(|(_, pod)| pod).find(|pod| pod.is_waiting());
    let asked = waiting.map_or_else(|| Asked::of_claim(claim), |pod| Asked::of_pod(cluster, pod));
    explainer.explain(&asked, &Cancel::at(Instant::now() + EACH)).blocker
}

//! The story, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::look::Seen;
use super::place::{DRIVER, Level, Place, until};
use super::{Is, heading, manifests, say};

/// How many GPUs the node has.
const GPUS: usize = 8;

pub(super) fn tell(place: &Place) -> Result<()> {
    node(place)?;
    let gpus = slices(place)?;
    training_job(place, &gpus)?;
    nine_pods(place, &gpus)?;
    a_tenth_pod(place)?;
    nothing_is_left(place)
}

/// Whether what pods do here is real.
fn pods(place: &Place) -> Is {
    match place.level {
        Level::Node => Is::Real,
        Level::StandIn => Is::StandIn,
    }
}

fn node(place: &Place) -> Result<()> {
    heading("A cluster, and a node with eight H100");
    match place.level {
        Level::Node => {
            say(Is::Real, "etcd, API server, scheduler, controller manager, kubelet, containerd, runc")
        }
        Level::StandIn => {
            say(Is::Real, "etcd, API server, scheduler, controller manager");
            say(Is::StandIn, "a program in the place of kubelet and containers");
        }
    }
    say(
        Is::StandIn,
        "the GPUs: a folder with the driver's files, device nodes that no kernel driver serves, and an NVML library\n\
         that answers as that of an HGX H100 with driver 550 would",
    );
    say(Is::Real, "nvidia-smi: NVIDIA's program, which asks that library");
    place.start_stand_in()?;
    place.show(Is::Real, ["get", "nodes"])
}

/// Starts the plugin, and returns the GPUs that it publishes: UUIDs by device name.
fn slices(place: &Place) -> Result<BTreeMap<String, String>> {
    heading("The plugin publishes the node's GPUs as ResourceSlices");
    let file = |name: &str| place.root.join(name).display().to_string();
    let rbac = file("deploy/manifests/kubelet-plugin/rbac.yaml");
    let classes = file("deploy/examples/device-classes.yaml");
    place.kubectl(["apply", "--filename", &rbac, "--filename", &classes])?;
    say(
        Is::Real,
        "dra-kubelet-plugin run, as a process on the node, with the rights of its ServiceAccount alone:",
    );
    say(Is::Real, &place.kubectl(["describe", "clusterrole", "dra-kubelet-plugin"])?);
    let began = Instant::now();
    place.start_plugin()?;
    let gpus = until(&format!("{GPUS} GPUs are published"), || {
        let gpus = published(place)?;
        Ok((gpus.len() == GPUS).then_some(gpus))
    })?;
    say(
        Is::Real,
        &format!("{} GPUs are published {} ms after the start", gpus.len(), began.elapsed().as_millis()),
    );
    let columns =
        "--output=custom-columns=SLICE:.metadata.name,POOL:.spec.pool.name,DEVICES:.spec.devices[*].name";
    place.show(Is::Real, ["get", "resourceslices", columns])?;
    println!("\n  What a claim can ask for, of the first GPU:");
    let slices = place.list(["get", "resourceslices"])?;
    let device = &slices.first().context("the slice is gone")?["spec"]["devices"][0];
    for part in ["attributes", "capacity"] {
        for (name, value) in device[part].as_object().into_iter().flatten() {
            let value = value.as_object().and_then(|value| value.values().next()).unwrap_or(value);
            println!("    {name} = {value}");
        }
    }
    Ok(gpus)
}

/// The UUIDs of the GPUs in the driver's slices, by device name.
fn published(place: &Place) -> Result<BTreeMap<String, String>> {
    let selector = format!("--field-selector=spec.driver={DRIVER}");
    let slices = place.list(["get", "resourceslices", &selector])?;
    let devices = slices.iter().flat_map(|slice| slice["spec"]["devices"].as_array().into_iter().flatten());
    Ok(devices
        .filter_map(|device| {
            let uuid = device["attributes"]["uuid"]["string"].as_str()?;
            Some((device["name"].as_str()?.to_owned(), uuid.to_owned()))
        })
        .collect())
}

fn training_job(place: &Place, gpus: &BTreeMap<String, String>) -> Result<()> {
    heading("A training job asks for one GPU: 16Gi or more, CUDA 12.2 or newer");
    println!(
        "  {}, for resource.k8s.io/v1alpha2, with another image and a command that looks\n  around. \
         kubectl-dra convert makes v1 of them:",
        manifests::GUIDE
    );
    place.apply("namespace.yaml", manifests::NAMESPACE)?;
    let (converted, warnings) = place.convert("guide.yaml", &manifests::training_job(&place.root)?)?;
    say(Is::Real, &warnings);
    place.apply("converted.yaml", &converted)?;
    let pod = until("the job has a pod", || {
        let pods = place.list(["get", "pods", "--namespace=ml-workloads", "--selector=app=ml-training"])?;
        Ok(pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned))
    })?;
    let claim = until("the job's claim is allocated", || {
        let claims = place.list(["get", "resourceclaims", "--namespace=ml-workloads"])?;
        Ok(claims.into_iter().find_map(|claim| allocated(&claim)))
    })?;
    say(Is::Real, &format!("the scheduler gives device {claim} to the claim of pod {pod}"));
    let log = place.container_log(&pod)?;
    println!("\n  What the container sees:");
    say(pods(place), &log);
    let uuid = Seen::read(&log)?.one_gpu_alone()?.to_owned();
    ensure!(
        gpus.get(&claim) == Some(&uuid),
        "the container sees {uuid}, but device {claim} is {:?}",
        gpus.get(&claim)
    );
    println!("\n  It is the GPU that was allocated, and the container has no other.");
    if place.level == Level::Node {
        println!(
            "  Its own node ends in \"No such device\" because no kernel driver serves the fake one: permission was\n  \
             given. Another's number ends in \"Operation not permitted\": that is the device cgroup."
        );
    }
    until("the job is complete", || {
        let jobs = place.list(["get", "jobs", "--namespace=ml-workloads"])?;
        Ok(jobs.iter().any(|job| job["status"]["succeeded"] == 1).then_some(()))
    })?;
    place.kubectl(["delete", "job", "--namespace=ml-workloads", "ml-training-job"])?;
    say(pods(place), "the job is complete; it is deleted, and its claim with it");
    Ok(())
}

/// The device that is allocated to a claim.
fn allocated(claim: &Value) -> Option<String> {
    claim["status"]["allocation"]["devices"]["results"][0]["device"].as_str().map(str::to_owned)
}

fn nine_pods(place: &Place, gpus: &BTreeMap<String, String>) -> Result<()> {
    heading("Nine pods, eight GPUs");
    let manifests: Vec<String> = (1..=GPUS).map(|number| manifests::holder(&name(number))).collect();
    let began = Instant::now();
    place.apply("holders.yaml", &manifests.join("\n---\n"))?;
    until("eight pods run", || Ok((running(place)?.len() == GPUS).then_some(())))?;
    say(pods(place), &format!("eight pods run after {:.1} s", began.elapsed().as_secs_f64()));
    let mut seen = BTreeSet::new();
    for number in 1..=GPUS {
        let log = place.container_log(&name(number))?;
        let uuid = Seen::read(&log)?.one_gpu_alone()?.to_owned();
        say(pods(place), &format!("{} sees {uuid}", name(number)));
        seen.insert(uuid);
    }
    ensure!(seen == gpus.values().cloned().collect(), "the eight pods should see the node's eight GPUs");

    println!("\n  What the plugin has on record (dra-kubelet-plugin state):");
    say(Is::Real, &place.state()?);

    let ninth = name(GPUS + 1);
    place.apply("ninth.yaml", &manifests::holder(&ninth))?;
    let why = until("the scheduler has said why the ninth pod waits", || {
        let pods = place.list(["get", "pods", "--namespace=ml-workloads", "--selector=app=holder"])?;
        let pod = pods.into_iter().find(|pod| pod["metadata"]["name"] == *ninth);
        let pod = pod.context("the ninth pod is gone")?;
        ensure!(pod["status"]["phase"] == "Pending", "the ninth pod should be pending: {}", pod["status"]);
        Ok(pod["status"]["conditions"][0]["message"].as_str().map(str::to_owned))
    })?;
    say(Is::Real, &format!("{ninth} is pending: {why}"));

    place.kubectl(["delete", "pod", "--namespace=ml-workloads", &name(1)])?;
    until("the ninth pod runs", || Ok(running(place)?.contains(&ninth).then_some(())))?;
    let log = place.container_log(&ninth)?;
    let uuid = Seen::read(&log)?.one_gpu_alone()?.to_owned();
    say(pods(place), &format!("{} is deleted, and {ninth} runs with its GPU, {uuid}", name(1)));
    Ok(())
}

/// The controller says why the tenth pod waits and what would help; that is done, and the pod runs.
fn a_tenth_pod(place: &Place) -> Result<()> {
    heading("A tenth pod, and the controller explains why its claim waits");
    say(
        Is::Real,
        "dra-controller run, as a process; the chart runs it as a Deployment with rights of its own",
    );
    place.start_controller()?;
    let tenth = name(GPUS + 2);
    place.apply("tenth.yaml", &manifests::holder(&tenth))?;
    let about =
        format!("--field-selector=reason=CannotAllocate,involvedObject.kind=Pod,involvedObject.name={tenth}");
    until("the controller has written an Event about the tenth pod", || {
        Ok((!place.list(["get", "events", "--namespace=ml-workloads", &about])?.is_empty()).then_some(()))
    })?;
    place.show(Is::Real, ["get", "events", "--namespace=ml-workloads", &about])?;
    let explain = ["dra", "explain", "pod", &tenth, "--namespace=ml-workloads"];
    place.show(Is::Real, explain)?;
    let told =
        place.kubectl(["dra", "explain", "pod", &tenth, "--namespace=ml-workloads", "--output=json"])?;
    let told: Value = serde_json::from_str(&told).context("kubectl dra explain printed no JSON")?;
    ensure!(told["reason"] == "in_use", "all GPUs are in use, but this is told: {told}");
    let text = told["text"].as_str().context("the explanation has no words")?;
    let holders: Vec<String> = (2..=GPUS + 1).map(name).collect();
    // The claims of templates have names that begin with their pods'.
    let remedy = text.split_once("It would fit on ").context("no remedy is told")?.1;
    let helps = holders.iter().find(|pod| remedy.contains(&format!("ml-workloads/{pod}-gpu")));
    let helps = helps.with_context(|| format!("the remedy should name the claim of a pod: {remedy}"))?;
    place.show(Is::Real, ["dra", "gpus"])?;
    place.kubectl(["delete", "pod", "--namespace=ml-workloads", helps])?;
    until("the tenth pod runs", || Ok(running(place)?.contains(&tenth).then_some(())))?;
    println!();
    say(pods(place), &format!("the remedy is tried: {helps} is deleted, and {tenth} runs"));
    Ok(())
}

/// The name of a pod that holds a GPU.
fn name(number: usize) -> String {
    format!("holder-{number}")
}

/// The names of the pods that run.
fn running(place: &Place) -> Result<BTreeSet<String>> {
    let pods = place.list(["get", "pods", "--namespace=ml-workloads", "--selector=app=holder"])?;
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running");
    Ok(running.filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

fn nothing_is_left(place: &Place) -> Result<()> {
    heading("The pods are deleted, and nothing is left");
    // A record and a CDI spec for each claim, once the kubelet has told that the deleted pod's claim is over.
    until("eight claims are on record", || Ok((place.prepared()?.len() == 2 * GPUS).then_some(())))?;
    place.kubectl(["delete", "pods", "--namespace=ml-workloads", "--all"])?;
    until("the claims are gone", || {
        let claims = place.list(["get", "resourceclaims", "--namespace=ml-workloads"])?;
        Ok(claims.is_empty().then_some(()))
    })?;
    until("no claim is on record", || Ok(place.prepared()?.is_empty().then_some(())))?;
    say(Is::Real, "no claim, no record of the plugin, no CDI spec of a claim");
    let gpus = published(place)?;
    ensure!(gpus.len() == GPUS, "all GPUs should be published still: {gpus:?}");
    say(Is::Real, &format!("{GPUS} GPUs are published, and free"));
    Ok(())
}

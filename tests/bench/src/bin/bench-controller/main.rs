//! Measures the controller as a process beside an API server from memory. `cargo xtask bench controller` builds all it
//! needs and runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the program with a message"
)]

mod controller;
mod objects;
mod plain;
mod server;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use conformance::fleet::{Fleet, GPUS, node_name};

use controller::Controller;
use objects::HELD;
use server::Server;

/// How often a change is measured.
const CHANGES: usize = 21;

/// Measures the controller.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fleets of how many nodes with eight GPUs each.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    nodes: Vec<usize>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// What a plain client takes that keeps what it reads, as kube's reflector does
    Plain {
        /// The API server
        url: String,
    },
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    if let Some(Part::Plain { url }) = arguments.part {
        return plain::run(&url).await;
    }
    println!("{:<58} {:>12} {:>12}", "what", "p50", "worst");
    for nodes in arguments.nodes {
        fleet(nodes).await;
    }
    reboot().await;
    println!(
        "\nTimes are from the change at the API server to the first scrape that shows it (or to the Event's arrival \
         there). The API\nserver is a stand-in in memory, on the same two cores; its own time is counted along. The \
         plain client is kube's reflector\nof the same four kinds, in the same run."
    );
}

/// A fleet of whole GPUs, five of eight of them held.
async fn fleet(nodes: usize) {
    let server = Server::start().await;
    objects::fill(&server, Fleet::Whole, nodes, HELD);
    println!("\n{nodes} nodes with {GPUS} GPUs, {} claims with their pods", nodes * HELD);
    let began = Instant::now();
    let controller = Controller::start(&server).await;
    let all = f64::from(u32::try_from(nodes * HELD).unwrap());
    controller.until("see all", async || controller.sum("dra_allocated_devices", "").await >= all).await;
    row("start to first right metrics", &[began.elapsed()]);
    let (resident, most) = controller.memory();
    size("memory: resident", resident);
    size("memory: most, while it read all", most);
    size("  a plain client that keeps what it reads: resident", plain_client(&server));
    row("processor time until then", &[controller.cpu()]);

    let mut scrapes = Vec::new();
    let mut length = 0;
    for _ in 0..CHANGES {
        let began = Instant::now();
        length = controller.ask("/metrics").await.len();
        scrapes.push(began.elapsed());
    }
    row("a scrape", &scrapes);
    size("  its length", u64::try_from(length).unwrap());

    let mut changes = Vec::new();
    for change in 0..CHANGES {
        let number = change * nodes / CHANGES;
        let label = format!("node=\"{}\"", node_name(number));
        let name = format!("late-{number}");
        let began = Instant::now();
        server.apply("resourceclaims", objects::claim(&name, 1, Some((number, HELD))));
        let wanted = f64::from(u32::try_from(HELD + 1).unwrap());
        controller
            .until("see the claim", async || controller.sum("dra_allocated_devices", &label).await == wanted)
            .await;
        changes.push(began.elapsed());
    }
    row("an allocation, until a scrape shows it", &changes);

    let mut told = Vec::new();
    for number in 0..CHANGES {
        let name = format!("waits-{number}");
        let began = Instant::now();
        server.apply("resourceclaims", objects::claim(&name, 9, None));
        server.apply("pods", objects::pod(&name, None));
        let about = format!("ResourceClaim/{name}");
        controller.until("tell why", async || server.event(&about).is_some()).await;
        told.push(server.event(&about).expect("it is there") - began);
    }
    row("a claim that fits nowhere, until its Event", &told);
    let sum = controller.sum("dra_explain_duration_seconds_sum", "").await;
    let count = controller.sum("dra_explain_duration_seconds_count", "").await;
    row("  an explanation against all nodes, mean", &[Duration::from_secs_f64(sum / count.max(1.0))]);
    size("memory in the end: resident", controller.memory().0);
}

/// Ten nodes with all their partitions go and come back at once.
async fn reboot() {
    const NODES: usize = 10;
    let server = Server::start().await;
    objects::fill(&server, Fleet::Mig, NODES, 0);
    let slices: Vec<serde_json::Value> = (0..NODES)
        .flat_map(|number| Fleet::Mig.slices(number))
        .map(|slice| serde_json::from_str(&slice).unwrap())
        .collect();
    let devices: usize =
        slices.iter().map(|slice| slice["spec"]["devices"].as_array().map_or(0, Vec::len)).sum();
    println!(
        "\n{NODES} nodes with {GPUS} GPUs and all their MIG partitions ({devices} devices), rebooting at once"
    );
    let controller = Controller::start(&server).await;
    let whole = f64::from(u32::try_from(NODES * GPUS).unwrap());
    let seen = async || controller.sum("dra_allocatable_devices", objects::CLASS).await;
    controller.until("see all", async || seen().await == whole).await;
    let (before, _) = controller.memory();
    let cpu = controller.cpu();
    let mut times = Vec::new();
    for _ in 0..CHANGES {
        let began = Instant::now();
        for slice in &slices {
            server.delete("resourceslices", slice["metadata"]["name"].as_str().unwrap());
        }
        for slice in &slices {
            server.apply("resourceslices", slice.clone());
        }
        // A node more shows that all before it has been seen.
        let mark = Fleet::Whole.slices(NODES).remove(0);
        server.apply("resourceslices", serde_json::from_str(&mark).unwrap());
        let eight = f64::from(u32::try_from(GPUS).unwrap());
        controller.until("see the mark", async || seen().await == whole + eight).await;
        times.push(began.elapsed());
        server.delete("resourceslices", &format!("{}-0", node_name(NODES)));
        controller.until("see the mark go", async || seen().await == whole).await;
    }
    row("all slices deleted and made again, until a scrape is right", &times);
    let rounds = u32::try_from(CHANGES).unwrap();
    row("  processor time of it", &[(controller.cpu() - cpu) / rounds]);
    size("memory before: resident", before);
    size("memory after all rounds: resident", controller.memory().0);
}

/// The memory of a plain client, as a process of its own.
fn plain_client(server: &Server) -> u64 {
    let own = std::env::current_exe().unwrap();
    let url = server.url();
    let output =
        tokio::task::block_in_place(|| Command::new(own).args(["plain", &url]).stdin(Stdio::null()).output());
    let output = output.expect("start the plain client");
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("the plain client failed: {}", String::from_utf8_lossy(&output.stderr)))
}

fn row(what: &str, samples: &[Duration]) {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let of = |at: usize| format!("{:.1} ms", sorted[at].as_secs_f64() * 1000.0);
    let worst = if sorted.len() > 1 { of(sorted.len() - 1) } else { String::new() };
    println!("{what:<58} {:>12} {worst:>12}", of(sorted.len() / 2));
}

fn size(what: &str, bytes: u64) {
    println!(
        "{what:<58} {:>12}",
        format!("{:.1} MiB", f64::from(u32::try_from(bytes >> 10).unwrap()) / 1024.0)
    );
}

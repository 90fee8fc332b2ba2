//! Measures the kubelet plugin inside a test cluster with a node, and prints one table. `cargo xtask bench node` builds
//! all it needs and runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the program with a message"
)]

mod node;
mod numbers;
mod pods;
mod prepares;

use e2e::api::Space;
use e2e::cluster::Cluster;
use serde_json::json;

use node::Node;
use numbers::{Row, table};

/// How often the plugin is started.
const STARTS: usize = 10;
/// How many claims are prepared before.
const BEFORE: [usize; 3] = [0, 100, 1000];
/// How many claims are prepared at once, and how often.
const AT_ONCE: [(usize, usize); 3] = [(1, 100), (8, 20), (64, 5)];

#[tokio::main]
async fn main() {
    let cluster = Cluster::current();
    let client = cluster.client().await;
    let admin = json!({"resource.kubernetes.io/admin-access": "true"});
    let space = Space::create(client.clone(), "bench", admin).await;
    let mut rows = Vec::new();

    let mut real = Node::new(&cluster, client.clone(), node::REAL).await;
    let starts = real.starts(STARTS).await;
    real.end().await;
    rows.push(Row::of("start to slice visible, registered at once, 8 GPUs", &starts, "2000", "< 50"));
    let mut node = Node::new(&cluster, client, node::GPUS).await;
    let starts = node.starts(STARTS).await;
    rows.push(Row::of("start to slice visible, registered at once, 64 GPUs", &starts, "", ""));
    let mut prepares = prepares::Prepares::new(&node, &space).await;
    for before in BEFORE {
        prepares.hold(before).await;
        for (at_once, rounds) in AT_ONCE {
            let (each, all) = prepares.measure(at_once, rounds).await;
            let what = format!("prepare, {at_once} at once, {before} prepared before");
            let (theirs, aim) = match (at_once, before) {
                (1, 0) => ("58", "< 2"),
                (1, 100) => ("221", "< 2"),
                (1, _) => ("", "< 2"),
                _ => ("", ""),
            };
            rows.push(Row::of(&what, &each, theirs, aim));
            if at_once > 1 {
                let (theirs, aim) = if at_once == 64 && before == 0 {
                    ("10900 (2900 unthrottled)", "< 200")
                } else {
                    ("", "")
                };
                rows.push(Row::of(
                    &format!("  until the last of the {at_once} is answered"),
                    &all,
                    theirs,
                    aim,
                ));
            }
        }
    }
    let busy = node.memory();
    prepares.release().await;
    node.end().await;
    space.remove().await;

    let (idle, differences) = pods::measure().await;
    rows.push(Row::of("a container sees its GPU, less the same pod without", &differences, "", ""));
    rows.push(Row::one("memory when idle, 8 GPUs: VmRSS", idle.resident, "MB", "52", "10"));
    rows.push(Row::one("  of it anonymous: RssAnon", idle.anonymous, "MB", "", ""));
    rows.push(Row::one("memory with 64 GPUs, 1000 claims prepared: VmRSS", busy.resident, "MB", "", ""));
    rows.push(Row::one("  of it anonymous: RssAnon", busy.anonymous, "MB", "", ""));
    let size = fs_err::metadata(e2e::gpu::program()).expect("look at the plugin's program").len();
    rows.push(Row::one("the program's file", numbers::megabytes(size), "MB", "58", "12"));

    println!("{}", table(&rows));
    println!(
        "Times in ms; n samples. NVIDIA's: its driver, measured earlier on such a machine, not in this run. The GPUs are \
         fake, and NVML\nanswers sooner than of real ones. Prepares are of a node with {} GPUs whose socket is \
         called directly, with the real API\nserver. First slices wait for the kubelet's registration, here at once: \
         the kubelet itself looks for\nplugins once a second. The claims that were prepared before have administrators' \
         access, as no node has a thousand GPUs.",
        node::GPUS
    );
}

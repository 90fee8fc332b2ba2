//! Measures our allocator and the scheduler's on the same cases, in one run: `cargo xtask bench allocator` builds all
//! it needs and runs it.

mod fleet;
mod scenes;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use conformance::answer::Answer;
use conformance::case::Case;
use conformance::generate;
use conformance::program::Program;
use conformance::run::{self, Outcome};
use dra_controller::allocate::{self, case::Prepared};
use dra_controller::allocator::{Allocator, Cancel};
use dra_controller::cel::{Cache, Environment};
use fleet::Fleet;
use scenes::Scene;
use serde_json::{Value, json};

/// Clusters of so many nodes.
const NODES: [usize; 3] = [1, 100, 500];
/// How often each case is measured; the median is shown.
const SAMPLES: u64 = 15;
/// What one answer of ours gets: as much as the scheduler gives upstream.
const LIMIT: Duration = Duration::from_secs(10);
/// The seed of the generated cases.
const SEED: u64 = 11;
/// How many generated cases are measured, beside the scenes, and how often each.
const GENERATED: (u64, u64) = (2000, 9);
/// How many of the cases in which we are slower are named.
const NAMED: usize = 10;

/// Measures our allocator and the scheduler's.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program allocator-oracle
    #[arg(long, env = "DRA_ALLOCATOR_ORACLE", value_name = "PROGRAM")]
    oracle: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A part of it; without one, all of it.
#[derive(Debug, Subcommand)]
enum Part {
    /// Both sides on the same cases
    Cases,
    /// Our memory and times for a whole fleet
    Fleet {
        /// How many nodes of eight GPUs
        #[arg(long, default_value_t = 10_000)]
        nodes: usize,
        /// Measure this one in this process, instead of each in one of its own
        #[arg(long)]
        only: Option<Fleet>,
    },
}

fn main() -> ExitCode {
    let Arguments { oracle, part } = Arguments::parse();
    let done = match part {
        None => cases(oracle).and_then(|()| fleet::all(10_000)),
        Some(Part::Cases) => cases(oracle),
        Some(Part::Fleet { nodes, only: None }) => fleet::all(nodes),
        Some(Part::Fleet { nodes, only: Some(fleet) }) => fleet::measure(fleet, nodes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What both sides took for one case.
#[derive(Debug, Clone, Copy)]
struct Times {
    upstream: Duration,
    ours: Ours,
}

/// What ours took: medians.
#[derive(Debug, Clone, Copy)]
struct Ours {
    /// The first allocation, when no selector was asked about the devices before.
    first: Duration,
    /// A later one, for which the selectors' answers are known.
    again: Duration,
    /// Making the inventory and the classes of the API's objects.
    inventory: Duration,
}

fn cases(oracle: Option<PathBuf>) -> Result<()> {
    let oracle = oracle.context("no program is named that answers for upstream: DRA_ALLOCATOR_ORACLE")?;
    // One case at a time: nothing else runs beside what is measured.
    let mut oracle = Program::start(Command::new(oracle).args(["-workers", "1"]))?;
    println!(
        "{:<22} {:>5} {:>8} {:>12} {:>9} {:>7} {:>10} {:>13}  answer",
        "case", "nodes", "devices", "upstream ms", "ours ms", "ratio", "again ms", "inventory ms"
    );
    for scene in Scene::ALL {
        for nodes in NODES {
            let case = scene.case(nodes);
            let devices: usize =
                case.slices.iter().map(|slice| slice["spec"]["devices"].as_array().map_or(0, Vec::len)).sum();
            let (times, answer) = measure(&case, &mut oracle, SAMPLES)
                .with_context(|| format!("{} on {nodes} nodes", scene.name()))?;
            let Some(times) = times else {
                println!("{:<22} {nodes:>5} {devices:>8}   {answer}", scene.name());
                continue;
            };
            println!(
                "{:<22} {nodes:>5} {devices:>8} {:>12} {:>9} {:>7.1} {:>10} {:>13}  {answer}",
                scene.name(),
                milliseconds(times.upstream),
                milliseconds(times.ours.first),
                ratio(times.upstream, times.ours.first),
                milliseconds(times.ours.again),
                milliseconds(times.ours.inventory),
            );
        }
    }
    generated(&mut oracle)?;
    println!(
        "\nMedians of {SAMPLES}; both sides in this run, one after the other, one thread each. All objects are decoded \
         and all\nexpressions compiled before. upstream: Allocate for one node. ours: Allocator::new and allocate \
         for one node, when no\nselector has been asked about these devices. again: the same once more, with the \
         selectors' answers known. inventory:\nwhat the controller does once, and then for each pool that changes; \
         upstream does its part of that in each Allocate."
    );
    Ok(())
}

/// The spread over generated cases.
fn generated(oracle: &mut Program) -> Result<()> {
    let (cases, samples) = GENERATED;
    let mut ratios: [Vec<(f64, u64)>; 3] = Default::default();
    for index in 0..cases {
        if let (Some(times), _) = measure(&generate::case(SEED, index).case, oracle, samples)
            .with_context(|| format!("generated case {index}"))?
        {
            let Ours { first, again, inventory } = times.ours;
            for (ratios, ours) in ratios.iter_mut().zip([first, again, first + inventory]) {
                ratios.push((ratio(times.upstream, ours), index));
            }
        }
    }
    let [first, again, anew] = &mut ratios;
    println!(
        "\n{} of {cases} generated cases of seed {SEED}, those that upstream answers in time and rightly: its time by ours",
        first.len()
    );
    for (name, ratios) in [("ours", first), ("again", again), ("ours and inventory", anew)] {
        ratios.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let at = |percent: usize| {
            ratios.get(ratios.len().saturating_sub(1) * percent / 100).map_or(0.0, |(ratio, _)| *ratio)
        };
        println!(
            "  {name:<18} least {:.1}, 1st percentile {:.1}, median {:.1}, 99th percentile {:.1}, most {:.1}; slower in {}",
            at(0),
            at(1),
            at(50),
            at(99),
            at(100),
            slower(ratios),
        );
    }
    Ok(())
}

/// How many cases take us longer, and which.
fn slower(ratios: &[(f64, u64)]) -> String {
    let slower: Vec<String> = ratios
        .iter()
        .take_while(|(ratio, _)| *ratio < 1.0)
        .map(|(ratio, index)| format!("{index} ({ratio:.2})"))
        .collect();
    match slower.len() {
        0 => "none".to_owned(),
        some => format!(
            "{some}: {}{}",
            slower[..some.min(NAMED)].join(", "),
            if some > NAMED { ", …" } else { "" }
        ),
    }
}

/// The medians of both sides, and what both answer. Without times where upstream did not end, or is
/// wrong.
fn measure(case: &Case, oracle: &mut Program, samples: u64) -> Result<(Option<Times>, String)> {
    let mut asked = json!(case);
    asked["repeat"] = json!(samples);
    let answers = oracle.ask(&[asked.to_string()])?;
    let theirs: Value = serde_json::from_str(answers.first().context("no answer")?)?;
    let (ours, answer) = our_times(case, samples)?;
    let upstream = Answer::of(&theirs);
    if matches!(upstream, Answer::Timeout) {
        return Ok((
            None,
            format!("upstream ends without an answer after 10 s; ours takes {} ms", milliseconds(ours.first)),
        ));
    }
    match run::compare(case, &answer, &upstream) {
        Outcome::Same => {}
        Outcome::Known(bug) => return Ok((None, format!("upstream is wrong: {bug:?}"))),
        _ => bail!("the answers differ: {answer:?} and {upstream:?}"),
    }
    let samples = theirs["samples"].as_array().context("the oracle has not measured")?;
    let mut samples: Vec<Duration> =
        samples.iter().filter_map(Value::as_u64).map(Duration::from_nanos).collect();
    let name = match upstream {
        Answer::Fits(_) => "fits",
        Answer::NoFit => "no fit",
        _ => "error",
    };
    Ok((Some(Times { ours, upstream: median(&mut samples) }), name.to_owned()))
}

/// What we take, and what we answer.
fn our_times(case: &Case, samples: u64) -> Result<(Ours, Answer)> {
    let line = case.line();
    let read: allocate::case::Case = serde_json::from_str(&line)?;
    let (cache, other) = (compiled(case), compiled(case));
    let (mut first, mut again, mut inventory) = (Vec::new(), Vec::new(), Vec::new());
    // One more, after which programs are as warm as upstream's are.
    for sample in 0..=samples {
        let read = read.clone();
        // Each inventory has shapes of its own, of which no selector has been asked.
        let (prepared, reading) = timed(|| read.prepared());
        // The devices are warm then, too, but the selectors' answers are in the other cache.
        allocate(&prepared, &other);
        let ((), took) = timed(|| allocate(&prepared, &cache));
        let ((), took_again) = timed(|| allocate(&prepared, &cache));
        if sample > 0 {
            first.push(took);
            again.push(took_again);
            inventory.push(reading);
        }
    }
    let reply = serde_json::to_value(allocate::answer(line.as_bytes(), &cache, LIMIT))?;
    let [first, again, inventory] = [first, again, inventory].map(|mut times| median(&mut times));
    Ok((Ours { first, again, inventory }, Answer::of(&reply)))
}

/// All expressions of a case, compiled, without any answer.
fn compiled(case: &Case) -> Cache {
    let cache = Cache::default();
    let list_attributes = case.features.iter().any(|name| name == "ListTypeAttributes");
    let mut open: Vec<&Value> = case.classes.iter().chain(&case.claims).collect();
    while let Some(value) = open.pop() {
        if let Some(expression) = value["cel"]["expression"].as_str() {
            cache.get(Environment { list_attributes }, expression);
        }
        open.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
        open.extend(value.as_array().into_iter().flatten());
    }
    cache
}

fn allocate(case: &Prepared, cache: &Cache) {
    let allocator = Allocator::new(case.features, &case.inventory, &case.classes, &case.allocated, cache);
    let claims: Vec<_> = case.claims.iter().collect();
    let answer = allocator.allocate(case.node.as_ref(), &claims, &Cancel::default());
    // Kept until here, so that nothing of it is left out.
    std::hint::black_box(&answer);
}

fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = what();
    (result, began.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(1e-9)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

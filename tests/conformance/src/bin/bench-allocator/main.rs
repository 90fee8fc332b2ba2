//! Measures our allocator and the scheduler's on the same cases, in one run: `cargo xtask bench allocator` builds all
//! it needs and runs it.

mod fleet;
mod scenes;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use conformance::answer::Answer;
use conformance::case::Case;
use conformance::fleet::Fleet;
use conformance::generate;
use conformance::known;
use conformance::program::Program;
use dra_controller::allocate::{self, case::Prepared};
use dra_controller::allocator::{Allocator, Cancel};
use dra_controller::cel::{Cache, Environment};
use scenes::Scene;
use serde_json::{Value, json};

/// Clusters of so many nodes.
const NODES: [usize; 3] = [1, 100, 500];
/// How often each case is measured; the median is shown.
const SAMPLES: u64 = 15;
/// How often a case's inventory is made.
const READINGS: u64 = 5;
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
    /// What upstream answers too: devices, or that there are none.
    answer: Duration,
    /// With the reasons, where there are none.
    reasons: Duration,
    /// The answer, when no selector was asked about the devices before.
    first: Duration,
    /// Making the inventory and the classes of the API's objects.
    inventory: Duration,
}

fn cases(oracle: Option<PathBuf>) -> Result<()> {
    let oracle = oracle.context("no program is named that answers for upstream: DRA_ALLOCATOR_ORACLE")?;
    // One case at a time: nothing else runs beside what is measured.
    let mut oracle = Program::start(Command::new(oracle).args(["-workers", "1"]))?;
    println!(
        "{:<22} {:>5} {:>8} {:>12} {:>9} {:>7} {:>11} {:>9} {:>13}  answer",
        "case",
        "nodes",
        "devices",
        "upstream ms",
        "ours ms",
        "ratio",
        "reasons ms",
        "first ms",
        "inventory ms"
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
                "{:<22} {nodes:>5} {devices:>8} {:>12} {:>9} {:>7.1} {:>11} {:>9} {:>13}  {answer}",
                scene.name(),
                milliseconds(times.upstream),
                milliseconds(times.ours.answer),
                ratio(times.upstream, times.ours.answer),
                milliseconds(times.ours.reasons),
                milliseconds(times.ours.first),
                milliseconds(times.ours.inventory),
            );
        }
    }
    generated(&mut oracle)?;
    println!(
        "\nMedians of {SAMPLES}; both sides in this run, one after the other, one thread each, the same objects each time. \
         All objects are\ndecoded and all expressions compiled before. upstream: NewAllocator and Allocate for one \
         node. ours: Allocator::new and\nfits for one node. reasons: Allocator::new and allocate, which says why \
         nothing fits. first: ours when no selector has been\nasked about these devices; later, answers are known. \
         inventory: what the controller does once, and then for each pool\nthat changes; upstream does its part of \
         that in each Allocate."
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
            let Ours { answer, reasons, first, .. } = times.ours;
            for (ratios, ours) in ratios.iter_mut().zip([answer, reasons, first]) {
                ratios.push((ratio(times.upstream, ours), index));
            }
        }
    }
    let [answer, reasons, first] = &mut ratios;
    println!(
        "\n{} of {cases} generated cases of seed {SEED}, those that upstream ends, and rightly: its time by ours",
        answer.len()
    );
    for (name, ratios) in [("ours", answer), ("reasons", reasons), ("first", first)] {
        ratios.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let at = |percent: usize| {
            ratios.get(ratios.len().saturating_sub(1) * percent / 100).map_or(0.0, |(ratio, _)| *ratio)
        };
        println!(
            "  {name:<8} least {:.1}, 1st percentile {:.1}, median {:.1}, 99th percentile {:.1}, most {:.1}; slower in {}",
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

/// The medians of both sides, and what both answer. Without times where upstream did not end.
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
            format!(
                "upstream ends without an answer after 10 s; ours takes {} ms",
                milliseconds(ours.answer)
            ),
        ));
    }
    if !answer.agrees_with(&upstream) {
        let bug = known::bug(case, &answer, &upstream);
        let bug = bug.with_context(|| format!("the answers differ: {answer:?} and {upstream:?}"))?;
        return Ok((None, format!("upstream's known bug {bug:?}")));
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
    let mut inventory: Vec<Duration> =
        (0..READINGS).map(|_| read.clone()).map(|read| timed(|| read.prepared()).1).collect();
    let prepared = read.prepared();
    // Made before anything is measured: compiling leaves memory and caches in disorder.
    let (cache, new): (_, Vec<Cache>) = (compiled(case), (0..samples).map(|_| compiled(case)).collect());
    let times = |caches: &mut dyn Iterator<Item = &Cache>, what: fn(&Prepared, &Cache)| {
        what(&prepared, &cache);
        let mut times: Vec<Duration> = caches.map(|cache| timed(|| what(&prepared, cache)).1).collect();
        median(&mut times)
    };
    let same = || new.iter().map(|_| &cache);
    let answer = times(&mut same(), fits);
    let reasons = times(&mut same(), allocate);
    let first = times(&mut new.iter(), fits);
    let reply = serde_json::to_value(allocate::answer(line.as_bytes(), &cache, LIMIT))?;
    Ok((Ours { answer, reasons, first, inventory: median(&mut inventory) }, Answer::of(&reply)))
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

// What comes out is kept until it is dropped, so that nothing of it is left out.

fn fits(case: &Prepared, cache: &Cache) {
    let claims: Vec<_> = case.claims.iter().collect();
    drop(std::hint::black_box(allocator(case, cache).fits(case.node.as_ref(), &claims, &cancel())));
}

fn allocate(case: &Prepared, cache: &Cache) {
    let claims: Vec<_> = case.claims.iter().collect();
    drop(std::hint::black_box(allocator(case, cache).allocate(case.node.as_ref(), &claims, &cancel())));
}

fn allocator<'a>(case: &'a Prepared, cache: &'a Cache) -> Allocator<'a> {
    Allocator::new(case.features, &case.inventory, &case.classes, &case.allocated, cache)
}

fn cancel() -> Cancel {
    Instant::now().checked_add(LIMIT).map_or_else(Cancel::default, Cancel::at)
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

//! Measures our allocator and the scheduler's on the same cases, in one run: `cargo xtask bench allocator` builds all
//! it needs and runs it.

mod scenes;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use conformance::answer::Answer;
use conformance::case::Case;
use conformance::generate;
use conformance::program::Program;
use dra_controller::allocate::{self, case::Prepared};
use dra_controller::allocator::{Allocator, Answer as Ours, Cancel};
use dra_controller::cel::Cache;
use scenes::Scene;
use serde_json::{Value, json};

/// Clusters of so many nodes.
const NODES: [usize; 3] = [1, 100, 500];
/// How often each case is measured; the median is shown.
const SAMPLES: u64 = 15;
/// What one answer of ours gets: as much as the scheduler gives upstream.
const LIMIT: Duration = Duration::from_secs(10);
/// How many generated cases are measured, beside the scenes.
const GENERATED: u64 = 2000;

fn main() -> ExitCode {
    match bench() {
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
    ours: Duration,
    /// Ours with the inventory and the classes read anew, which a controller does when they change.
    ours_anew: Duration,
    upstream: Duration,
}

fn bench() -> Result<()> {
    let oracle = std::env::var_os("DRA_ALLOCATOR_ORACLE").context("DRA_ALLOCATOR_ORACLE names no program")?;
    // One case at a time: nothing else runs beside what is measured.
    let mut oracle = Program::start(Command::new(oracle).args(["-workers", "1"]))?;
    println!(
        "{:<22} {:>5} {:>8} {:>12} {:>12} {:>8}   {:>14}  answer",
        "case", "nodes", "devices", "upstream ms", "ours ms", "ratio", "inventory ms"
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
                "{:<22} {nodes:>5} {devices:>8} {:>12} {:>12} {:>8.1}   {:>14}  {answer}",
                scene.name(),
                milliseconds(times.upstream),
                milliseconds(times.ours),
                ratio(times.upstream, times.ours),
                milliseconds(times.ours_anew.saturating_sub(times.ours)),
            );
        }
    }
    generated(&mut oracle)?;
    println!(
        "\nMedians of {SAMPLES}, both sides in this run, one thread each. upstream: NewAllocator and Allocate for one node, \
         expressions\ncompiled before. ours: Allocator::new and allocate, the same. inventory: reading all slices \
         and classes from the API's\nobjects, which the controller does once and then for each pool that changes; \
         upstream does its part of that in each\nAllocate."
    );
    Ok(())
}

/// The spread over generated cases.
fn generated(oracle: &mut Program) -> Result<()> {
    let (mut with, mut without, mut open) = (Vec::new(), Vec::new(), 0);
    for index in 0..GENERATED {
        match measure(&generate::case(11, index).case, oracle, 3) {
            Ok((Some(times), _)) => {
                without.push(ratio(times.upstream, times.ours));
                with.push(ratio(times.upstream, times.ours_anew));
            }
            _ => open += 1,
        }
    }
    println!("\n{GENERATED} generated cases, {open} of them not compared: upstream's time by ours");
    for (name, ratios) in [("inventory kept", &mut without), ("inventory read anew", &mut with)] {
        ratios.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            ratios.get(ratios.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0.0)
        };
        println!(
            "  {name:<22} least {:.1}, 1st percentile {:.1}, median {:.1}, 99th percentile {:.1}, most {:.1}; \
             slower in {}",
            at(0),
            at(1),
            at(50),
            at(99),
            at(100),
            ratios.iter().filter(|ratio| **ratio < 1.0).count()
        );
    }
    Ok(())
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
            format!("upstream ends without an answer after 10 s; ours takes {} ms", milliseconds(ours.0)),
        ));
    }
    let same = answer.agrees_with(&upstream);
    ensure!(same, "the answers differ: {answer:?} and {upstream:?}");
    let samples = theirs["samples"].as_array().context("the oracle has not measured")?;
    let mut samples: Vec<Duration> =
        samples.iter().filter_map(Value::as_u64).map(Duration::from_nanos).collect();
    let begin = Duration::from_nanos(theirs["newNanos"].as_u64().unwrap_or_default());
    let name = match upstream {
        Answer::Fits(_) => "fits",
        Answer::NoFit => "no fit",
        _ => "error",
    };
    let times = Times { ours: ours.0, ours_anew: ours.1, upstream: median(&mut samples) + begin };
    Ok((Some(times), name.to_owned()))
}

/// What we take, with what is kept and with all read anew, and what we answer.
fn our_times(case: &Case, samples: u64) -> Result<((Duration, Duration), Answer)> {
    let line = case.line();
    let cache = Cache::default();
    let (mut kept, mut anew) = (Vec::new(), Vec::new());
    // The first one compiles expressions, as upstream's does.
    for sample in 0..=samples {
        let read: allocate::case::Case = serde_json::from_str(&line)?;
        let began = Instant::now();
        let prepared = read.prepared();
        let reading = began.elapsed();
        let began = Instant::now();
        allocate(&prepared, &cache);
        let took = began.elapsed();
        if sample > 0 {
            kept.push(took);
            anew.push(took + reading);
        }
    }
    let reply = serde_json::to_value(allocate::answer(line.as_bytes(), &cache, LIMIT))?;
    Ok(((median(&mut kept), median(&mut anew)), Answer::of(&reply)))
}

fn allocate(case: &Prepared, cache: &Cache) {
    let allocator = Allocator::new(case.features, &case.inventory, &case.classes, &case.allocated, cache);
    let claims: Vec<_> = case.claims.iter().collect();
    let answer = allocator.allocate(case.node.as_ref(), &claims, &Cancel::default());
    // Kept until here, so that nothing of it is left out.
    if let Ok(Ours::Fits(results)) = &answer {
        std::hint::black_box(results);
    }
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

//! Kill the process before any effect, start it again, and let it come to rest: nothing is leaked, nothing is
//! handed out twice, a repeated call has the same answer.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use super::allocation::Access::{Admin, Exclusive, Shared};
use super::attempt::Outcome;
use super::journal::OnDisk;
use super::refusal::Cause;
use super::world::{CLAIMS, Call, GPUS, World};
use Call::{Prepare, Reconcile, Unprepare};

/// A line of a story.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// The kubelet calls, and the call ends like this.
    Call(Call, End),
    /// The scheduler gives GPUs to a claim.
    Allocate(usize, Vec<(usize, super::allocation::Access)>),
    /// The claim is deallocated, or deleted, or has another node's devices now.
    Take(usize),
    /// Processes with NVML and open descriptors on a GPU.
    Use(usize, Vec<u32>, Vec<u32>),
    /// The CDI spec is overwritten from outside.
    DamageSpec(usize),
    /// The CDI spec is removed from outside.
    LoseSpec(usize),
    /// The record is cut.
    DamageRecord(usize),
    Reboot,
    /// Another driver is loaded, and the minor numbers change.
    Upgrade,
    /// Another GPU sits in the slot.
    Replace(usize),
    ApiDown(bool),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ok,
    Held,
    Busy,
    Replaced,
    Nothing,
    Any,
}

use End::{Any, Busy, Held, Nothing, Ok as Fine, Replaced};
use Line::{Allocate, ApiDown, DamageRecord, DamageSpec, LoseSpec, Reboot, Replace, Take, Upgrade, Use};

pub(super) fn play(world: &mut World, line: &Line) {
    let call = match line {
        Line::Call(call, end) => {
            let outcome = match world.call(*call) {
                Ok(outcome) => outcome,
                Err(_killed) => {
                    world.fuse = None;
                    world.restart();
                    world.check_after_kill(*call);
                    if !world.retries {
                        if let Unprepare(number) | Reconcile(number) = call {
                            // Its pods are over, whatever is left of it.
                            world.answers.remove(number);
                        }
                        return;
                    }
                    world.call(*call).unwrap()
                }
            };
            if *end != Any {
                assert_eq!(ended(&outcome), *end, "{line:?}: {outcome:?}");
            }
            world.check_rest();
            return;
        }
        other => other,
    };
    match call {
        Line::Call(..) => {}
        Allocate(number, devices) => world.allocate(*number, devices),
        Take(number) => {
            world.api.insert(*number, None);
        }
        Use(gpu, users, open) => {
            world.users.insert(GPUS[*gpu].to_owned(), users.clone());
            world.open.insert(GPUS[*gpu].to_owned(), open.clone());
        }
        DamageSpec(number) => {
            let path = world.cdi.claim_path(&format!("uid-{number}"));
            if path.exists() {
                std::fs::write(path, "{").unwrap();
                world.damaged.insert(*number);
            }
        }
        LoseSpec(number) => {
            world.cdi.remove_claim(&format!("uid-{number}")).unwrap();
            world.damaged.insert(*number);
        }
        DamageRecord(number) => {
            let path = world.record_path(*number);
            if let Ok(bytes) = std::fs::read(&path) {
                std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                world.damaged.insert(*number);
            }
        }
        Reboot => world.reboot(),
        Upgrade => {
            world.view.epoch.driver_version = Some("580.1.2".to_owned());
            for gpu in &mut world.view.inventory.gpus {
                gpu.minor = gpu.minor.map(|minor| minor + 1);
            }
        }
        Replace(gpu) => world.view.inventory.gpus[*gpu].uuid = Some("GPU-new".to_owned()),
        ApiDown(down) => world.api_down = *down,
    }
}

impl World {
    /// Whoever was answered still has all, however the process was killed in a call for another claim.
    fn check_after_kill(&self, call: Call) {
        let (Prepare(called) | Unprepare(called) | Reconcile(called)) = call;
        for number in
            self.answers.keys().filter(|number| **number != called && !self.damaged.contains(number))
        {
            let disk = self.disk(*number);
            assert!(
                !matches!(disk, OnDisk::Absent | OnDisk::Broken(_) | OnDisk::Tombstone(_)),
                "claim {number} was answered, and has {disk:?}"
            );
        }
    }
}

fn ended(outcome: &Outcome) -> End {
    match outcome {
        Outcome::Prepared(_) | Outcome::Unprepared => Fine,
        Outcome::NoRecord => Nothing,
        Outcome::Blocked(refusal) => match &*refusal.cause {
            Cause::Held { .. } => Held,
            Cause::Busy { .. } => Busy,
            Cause::Replaced { .. } => Replaced,
            _ => Any,
        },
    }
}

fn prepare(number: usize) -> Line {
    Line::Call(Prepare(number), Fine)
}

fn unprepare(number: usize) -> Line {
    Line::Call(Unprepare(number), Fine)
}

fn stories() -> Vec<(&'static str, Vec<Line>)> {
    let one = || Allocate(0, vec![(0, Exclusive)]);
    vec![
        ("prepare, repeat, unprepare, repeat", {
            vec![one(), prepare(0), prepare(0), unprepare(0), unprepare(0)]
        }),
        ("unprepare of a claim that nobody knows", vec![unprepare(0)]),
        ("several GPUs in one claim", {
            vec![Allocate(0, vec![(2, Exclusive), (0, Exclusive), (1, Exclusive)]), prepare(0), unprepare(0)]
        }),
        ("allocated anew with the same UID", {
            vec![one(), prepare(0), Allocate(0, vec![(1, Exclusive)]), prepare(0), prepare(0), unprepare(0)]
        }),
        ("allocated anew, and the first GPU goes to another", {
            vec![
                one(),
                prepare(0),
                Allocate(0, vec![(1, Exclusive)]),
                Allocate(1, vec![(0, Exclusive)]),
                prepare(1),
                prepare(0),
                unprepare(0),
                unprepare(1),
            ]
        }),
        ("the new claim comes before the old one is unprepared", {
            vec![
                one(),
                prepare(0),
                Take(0),
                Allocate(1, vec![(0, Exclusive)]),
                prepare(1),
                prepare(1),
                // Late, and touches nothing.
                unprepare(0),
                prepare(1),
                unprepare(1),
            ]
        }),
        ("the old claim's container does not end", {
            vec![
                one(),
                prepare(0),
                Use(0, vec![77], vec![]),
                Take(0),
                Allocate(1, vec![(0, Exclusive)]),
                Line::Call(Prepare(1), Busy),
                Use(0, vec![], vec![78]),
                Line::Call(Prepare(1), Busy),
                Use(0, vec![], vec![]),
                prepare(1),
                unprepare(1),
                unprepare(0),
            ]
        }),
        ("a claim that is not over keeps its GPU", {
            vec![
                one(),
                prepare(0),
                Allocate(1, vec![(0, Exclusive)]),
                Line::Call(Prepare(1), Held),
                unprepare(0),
                prepare(1),
                unprepare(1),
            ]
        }),
        ("of an old claim with two GPUs one is wanted", {
            vec![
                Allocate(0, vec![(0, Exclusive), (1, Exclusive)]),
                prepare(0),
                Take(0),
                Use(0, vec![77], vec![]),
                Allocate(1, vec![(1, Exclusive)]),
                Line::Call(Prepare(1), Busy),
                Use(0, vec![], vec![]),
                prepare(1),
                unprepare(0),
                unprepare(1),
            ]
        }),
        ("two old claims stand in the way of one", {
            vec![
                one(),
                Allocate(1, vec![(1, Exclusive)]),
                prepare(0),
                prepare(1),
                Take(0),
                Take(1),
                Allocate(2, vec![(0, Exclusive), (1, Exclusive)]),
                prepare(2),
                unprepare(0),
                unprepare(1),
                unprepare(2),
            ]
        }),
        ("a stranger's process", {
            vec![
                one(),
                Use(0, vec![77], vec![]),
                Line::Call(Prepare(0), Busy),
                Use(0, vec![], vec![9]),
                { prepare(0) },
                unprepare(0),
            ]
        }),
        ("administrators share with everybody", {
            vec![
                one(),
                Allocate(1, vec![(0, Admin), (1, Admin)]),
                Use(0, vec![77], vec![]),
                prepare(1),
                Use(0, vec![], vec![]),
                prepare(0),
                Use(0, vec![77], vec![77]),
                Allocate(2, vec![(0, Admin)]),
                prepare(2),
                prepare(1),
                unprepare(0),
                unprepare(1),
                unprepare(2),
            ]
        }),
        ("shares", {
            vec![
                Allocate(0, vec![(0, Shared)]),
                Allocate(1, vec![(0, Shared)]),
                Allocate(2, vec![(0, Exclusive)]),
                prepare(0),
                Use(0, vec![77], vec![77]),
                prepare(1),
                Line::Call(Prepare(2), Held),
                unprepare(0),
                unprepare(1),
                unprepare(2),
            ]
        }),
        ("the CDI spec is damaged, then lost", {
            vec![one(), prepare(0), DamageSpec(0), prepare(0), LoseSpec(0), prepare(0), unprepare(0)]
        }),
        ("the record is damaged while the pod runs", {
            vec![one(), prepare(0), Use(0, vec![5], vec![5]), DamageRecord(0), prepare(0), unprepare(0)]
        }),
        ("the record is damaged, and the claim is over", {
            vec![one(), prepare(0), DamageRecord(0), unprepare(0)]
        }),
        ("the record is damaged, and another claim comes", {
            vec![
                one(),
                prepare(0),
                DamageRecord(0),
                Allocate(1, vec![(0, Exclusive)]),
                Line::Call(Prepare(1), Held),
                Take(0),
                prepare(1),
                unprepare(0),
                unprepare(1),
            ]
        }),
        ("reboot", { vec![one(), prepare(0), Reboot, prepare(0), Reboot, unprepare(0)] }),
        ("reboot, and another claim has the GPU", {
            vec![one(), prepare(0), Reboot, Allocate(1, vec![(0, Exclusive)]), prepare(1), unprepare(0), {
                unprepare(1)
            }]
        }),
        ("the driver is upgraded under running pods", {
            vec![one(), prepare(0), Use(0, vec![5], vec![5]), Upgrade, prepare(0), prepare(0), unprepare(0)]
        }),
        ("the GPU is replaced", {
            vec![one(), prepare(0), Replace(0), Line::Call(Prepare(0), Replaced), unprepare(0), prepare(0), {
                unprepare(0)
            }]
        }),
        ("the API server cannot be reached", {
            vec![
                one(),
                ApiDown(true),
                Line::Call(Prepare(0), Nothing),
                ApiDown(false),
                prepare(0),
                ApiDown(true),
                prepare(0),
                LoseSpec(0),
                prepare(0),
                unprepare(0),
                Line::Call(Prepare(0), Nothing),
            ]
        }),
        ("reconciliation", {
            vec![
                one(),
                prepare(0),
                Use(0, vec![], vec![5]),
                Take(0),
                Line::Call(Reconcile(0), Busy),
                Use(0, vec![], vec![]),
                Line::Call(Reconcile(0), Fine),
                unprepare(0),
            ]
        }),
    ]
}

/// Plays a story, killing the process before the step with this number. Says how many steps it has.
fn tell(story: &[Line], fuse: Option<usize>) -> usize {
    let mut world = World::new();
    world.fuse = fuse;
    for line in story {
        play(&mut world, line);
    }
    let steps = world.steps;
    world.fuse = None;
    for number in 0..CLAIMS {
        world.call(Unprepare(number)).unwrap();
    }
    world.check_clean();
    steps
}

#[test]
fn a_process_killed_before_any_effect_comes_to_the_same_rest() {
    let (runs, effects, start) = (AtomicU32::new(0), AtomicUsize::new(0), Instant::now());
    let stories = stories();
    // Each thread takes the next story; what they do does not depend on each other.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((name, story)) = stories.get(next.fetch_add(1, Ordering::Relaxed)) {
                    println!("{name}");
                    let steps = tell(story, None);
                    for fuse in 0..steps {
                        effects.fetch_add(tell(story, Some(fuse)), Ordering::Relaxed);
                        runs.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let runs = runs.into_inner();
    println!("{runs} kills, {} effects, {:?}", effects.into_inner(), start.elapsed());
    assert!(runs > 250, "{runs}");
}

#[test]
fn the_kubelet_may_also_give_up_after_a_kill() {
    for (name, story) in stories() {
        println!("{name}");
        for fuse in 0.. {
            let mut world = World::new();
            world.fuse = Some(fuse);
            let killed = story.iter().find_map(|line| match line {
                Line::Call(call, _) => world.call(*call).err().map(|_| *call),
                other => {
                    play(&mut world, other);
                    None
                }
            });
            world.fuse = None;
            world.restart();
            for number in 0..CLAIMS {
                world.call(Unprepare(number)).unwrap();
            }
            world.check_clean();
            if killed.is_none() {
                break;
            }
        }
    }
}

#[test]
fn a_claim_may_change_after_a_kill() {
    let one = Line::Call(Prepare(0), Any);
    for fuse in 0.. {
        let mut world = World::new();
        world.allocate(0, &[(0, Exclusive)]);
        world.fuse = Some(fuse);
        world.retries = false;
        play(&mut world, &one);
        let killed = world.fuse.take().is_none_or(|fuse| fuse > world.steps);
        world.allocate(0, &[(1, Exclusive)]);
        play(&mut world, &prepare(0));
        // The first GPU is free.
        world.allocate(1, &[(0, Exclusive)]);
        play(&mut world, &prepare(1));
        play(&mut world, &unprepare(0));
        play(&mut world, &unprepare(1));
        world.check_clean();
        if killed {
            break;
        }
    }
}

//! Stories that nobody thought of.

use proptest::prelude::*;

use super::allocation::Access::{Admin, Exclusive, Shared};
use super::crash_tests::End::Any;
use super::crash_tests::Line::{
    self, Allocate, ApiDown, DamageRecord, DamageSpec, LoseSpec, Reboot, Take, Upgrade, Use,
};
use super::crash_tests::play;
use super::world::Call::{Prepare, Reconcile, Unprepare};
use super::world::{CLAIMS, World};

fn call() -> impl Strategy<Value = Line> {
    (0..4_usize, 0..7_u8).prop_map(|(number, kind)| {
        let call = match kind {
            0..4 => Prepare(number),
            4..6 => Unprepare(number),
            _ => Reconcile(number),
        };
        Line::Call(call, Any)
    })
}

fn line() -> impl Strategy<Value = Line> {
    let access = prop_oneof![4 => Just(Exclusive), 1 => Just(Admin), 1 => Just(Shared)];
    let pids = || prop_oneof![2 => Just(vec![]), 1 => Just(vec![7])];
    prop_oneof![
        12 => call(),
        6 => (0..4_usize, prop::collection::btree_map(0..3_usize, access, 1..3))
            .prop_map(|(number, gpus)| Allocate(number, gpus.into_iter().collect())),
        2 => (0..4_usize).prop_map(Take),
        2 => (0..3_usize, pids(), pids()).prop_map(|(gpu, users, open)| Use(gpu, users, open)),
        1 => (0..4_usize).prop_map(DamageSpec),
        1 => (0..4_usize).prop_map(LoseSpec),
        1 => (0..4_usize).prop_map(DamageRecord),
        1 => Just(Reboot),
        1 => Just(Upgrade),
        1 => any::<bool>().prop_map(ApiDown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Several claims on several devices, in any order, killed at any of the steps, several times.
    #[test]
    fn any_story_keeps_the_invariants(
        story in prop::collection::vec(
            (line(), prop::option::weighted(0.3, 0..6_usize), any::<bool>()),
            1..30,
        ),
    ) {
        let mut world = World::new();
        for (line, fuse, retries) in story {
            world.fuse = fuse.map(|steps| world.steps + steps);
            world.retries = retries;
            play(&mut world, &line);
            world.fuse = None;
        }
        world.users.clear();
        world.open.clear();
        for number in 0..CLAIMS {
            world.call(Unprepare(number)).unwrap();
        }
        world.check_clean();
    }
}

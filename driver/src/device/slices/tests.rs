use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;

fn pool() -> Pool {
    Pool {
        driver: "gpu.example.com".into(),
        node: "worker-1".into(),
        node_uid: "7b1c".into(),
        name: "worker-1/gpu".into(),
    }
}

fn device(name: &str) -> Device {
    Device { name: name.into(), ..Device::default() }
}

fn tainted(name: &str, value: &str, second: i64) -> Device {
    let time = Timestamp::from_second(second).unwrap();
    let taint = DeviceTaint {
        key: "gpu.example.com/fault".into(),
        value: Some(value.into()),
        effect: "NoSchedule".into(),
        time_added: Some(Time(time)),
    };
    Device { taints: Some(vec![taint]), ..device(name) }
}

fn wanted(slices: &[&[&str]]) -> Vec<Vec<Device>> {
    slices.iter().map(|names| names.iter().map(|name| device(name)).collect()).collect()
}

/// An API server, as far as slices go.
#[derive(Clone, Debug, Default)]
struct Server {
    slices: Vec<ResourceSlice>,
    writes: i64,
}

impl Server {
    fn with(slices: Vec<ResourceSlice>) -> Self {
        let mut server = Self::default();
        for slice in slices {
            server.store(slice);
        }
        server
    }

    fn store(&mut self, mut slice: ResourceSlice) {
        self.writes += 1;
        slice.metadata.resource_version = Some(self.writes.to_string());
        slice.metadata.uid.get_or_insert(format!("uid-{}", self.writes));
        self.slices.push(slice);
    }

    fn take(&mut self, name: &Option<String>, version: &Option<String>) -> ResourceSlice {
        let at = self.slices.iter().position(|slice| slice.metadata.name == *name);
        let slice = self.slices.remove(at.expect("there is a slice of this name"));
        assert_eq!(slice.metadata.resource_version, *version, "the slice is still as it was");
        slice
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Create(slice) => {
                let name = slice.metadata.name.as_ref();
                assert!(
                    self.slices.iter().all(|other| other.metadata.name.as_ref() != name),
                    "{name:?} is free"
                );
                assert!(name.is_some_and(|name| name.len() <= MOST_NAME));
                self.store((**slice).clone());
            }
            Write::Update(slice) => {
                let before = self.take(&slice.metadata.name, &slice.metadata.resource_version);
                assert_eq!(before.metadata.uid, slice.metadata.uid);
                assert!(before.spec.pool.generation <= slice.spec.pool.generation, "generations only grow");
                self.store((**slice).clone());
            }
            Write::Delete(doomed) => {
                let gone = self.take(&Some(doomed.name.clone()), &doomed.resource_version);
                assert_eq!(gone.metadata.uid, doomed.uid);
            }
        }
    }

    /// The pool as somebody sees it who takes it for complete as soon as any of its slices lets him: the devices of
    /// the slices of the newest generation, by name of slice.
    fn complete(&self) -> Option<Vec<Option<Vec<Device>>>> {
        let pool = |slice: &&ResourceSlice| slice.spec.pool.name == pool().name;
        let newest = self.slices.iter().filter(pool).map(|slice| slice.spec.pool.generation).max()?;
        let mut slices: Vec<&ResourceSlice> =
            self.slices.iter().filter(pool).filter(|slice| slice.spec.pool.generation == newest).collect();
        slices.sort_by_key(|slice| slice.metadata.name.clone());
        let count = i64::try_from(slices.len()).unwrap();
        let complete = slices.iter().any(|slice| slice.spec.pool.resource_slice_count == count);
        complete.then(|| slices.into_iter().map(|slice| slice.spec.devices.clone()).collect())
    }

    /// Applies the writes one by one and says how many of which kind they were, as "+create ~update -delete".
    fn publish(&mut self, wanted: &[Vec<Device>]) -> String {
        let writes = writes(&pool(), wanted, &self.slices, &BTreeSet::new());
        let goal = Some(
            wanted.iter().map(|devices| (!devices.is_empty()).then(|| devices.clone())).collect::<Vec<_>>(),
        );
        let before = self.complete();
        for write in &writes {
            self.apply(write);
            let now = self.complete();
            assert!(now.is_none() || now == before || now == goal, "a mixture is seen: {now:#?}");
        }
        assert_eq!(self.complete(), goal);
        assert_eq!(super::writes(&pool(), wanted, &self.slices, &BTreeSet::new()), [], "it is done");
        let number = |kind: fn(&&Write) -> bool| writes.iter().filter(kind).count();
        format!(
            "+{} ~{} -{}",
            number(|write| matches!(write, Write::Create(_))),
            number(|write| matches!(write, Write::Update(_))),
            number(|write| matches!(write, Write::Delete(_)))
        )
    }

    fn generation(&self) -> i64 {
        self.slices.iter().map(|slice| slice.spec.pool.generation).max().unwrap_or(0)
    }
}

fn named(name: &str, generation: i64, count: i64, devices: &[Device]) -> ResourceSlice {
    let mut slice = pool().slice(devices, generation, count, None).unwrap();
    slice.metadata.name = Some(name.into());
    slice
}

#[test]
fn what_is_published_is_the_newest_generation_in_the_order_of_the_slices() {
    let pool = pool();
    let slice = |name: &str, generation: i64, devices: &[&str]| {
        let mut slice = pool.slice(&wanted(&[devices])[0], generation, 2, None).unwrap();
        slice.metadata.name = Some(name.to_owned());
        slice
    };
    let mut other = slice("a", 9, &["cpu"]);
    other.spec.pool.name = "worker-1/cpu".into();
    let existing =
        [slice("c", 2, &["gpu-2"]), slice("b", 2, &["gpu-0", "gpu-1"]), slice("a", 1, &["gpu-3"]), other];
    let names: Vec<_> = published(&pool.name, &existing).into_iter().map(|device| device.name).collect();
    assert_eq!(names, ["gpu-0", "gpu-1", "gpu-2"]);
    assert_eq!(published("worker-2/gpu", &existing), []);
}

#[test]
fn a_node_without_devices_has_one_empty_slice() {
    let slices = layout(&[]);
    assert_eq!(slices, [vec![]]);
    let mut server = Server::default();
    assert_eq!(server.publish(&slices), "+1 ~0 -0");
    let slice = &server.slices[0];
    assert_eq!(slice.spec.devices, None);
    assert_eq!((slice.spec.pool.generation, slice.spec.pool.resource_slice_count), (1, 1));
    assert_eq!(slice.spec.node_name.as_deref(), Some("worker-1"));
    let owner = &slice.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("Node", "7b1c", Some(true)));
}

#[test]
fn devices_beyond_the_apis_limit_go_into_more_slices_in_order() {
    let devices: Vec<Device> = (0..129).map(|number| device(&format!("gpu-{number}"))).collect();
    let slices = layout(&devices);
    assert_eq!(slices.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 1]);
    assert_eq!(slices.concat(), devices);
}

#[test]
fn each_change_takes_the_fewest_writes() {
    let one = wanted(&[&["a", "b"]]);
    let two = wanted(&[&["a", "b"], &["c"]]);
    let cases = [
        ("nothing is there", vec![], one.clone(), "+1 ~0 -0", 1),
        ("all is there", one.clone(), one.clone(), "+0 ~0 -0", 1),
        ("a device is lost", one.clone(), wanted(&[&["a"]]), "+0 ~1 -0", 1),
        ("the last device is lost", one.clone(), wanted(&[&[]]), "+0 ~1 -0", 1),
        ("one slice of two changes", two.clone(), wanted(&[&["a"], &["c"]]), "+0 ~1 -0", 1),
        ("both change", two.clone(), wanted(&[&["a"], &["b", "c"]]), "+0 ~2 -0", 2),
        ("one more is needed", one.clone(), two.clone(), "+1 ~1 -0", 2),
        ("one fewer is needed", two, one, "+0 ~1 -1", 2),
    ];
    for (name, before, after, counts, generation) in cases {
        let mut server = Server::default();
        if !before.is_empty() {
            server.publish(&before);
        }
        assert_eq!(server.publish(&after), counts, "{name}");
        assert_eq!(server.generation(), generation, "{name}");
    }
}

#[test]
fn what_strangers_did_is_undone() {
    let content = wanted(&[&["a"], &["b"]]);
    let mut published = Server::default();
    published.publish(&content);
    let edit = |edit: fn(&mut Vec<ResourceSlice>)| {
        let mut server = published.clone();
        edit(&mut server.slices);
        server
    };
    let cases = [
        ("one deleted", edit(|slices| drop(slices.remove(0))), "+1 ~0 -0", 1),
        ("all deleted", edit(Vec::clear), "+2 ~0 -0", 1),
        ("one emptied", edit(|slices| slices[1].spec.devices = None), "+0 ~1 -0", 1),
        ("a wrong count", edit(|slices| slices[0].spec.pool.resource_slice_count = 3), "+0 ~1 -0", 1),
        ("no owner", edit(|slices| slices[0].metadata.owner_references = None), "+0 ~1 -0", 1),
        (
            "another owner",
            edit(|slices| slices[0].metadata.owner_references.as_mut().unwrap()[0].uid = "old".into()),
            "+0 ~1 -0",
            1,
        ),
        (
            "a second for the first place",
            edit(|slices| {
                let double = ResourceSlice {
                    metadata: ObjectMeta { name: Some("00000-double".into()), ..ObjectMeta::default() },
                    spec: slices[0].spec.clone(),
                };
                slices.insert(0, double);
            }),
            "+0 ~0 -1",
            1,
        ),
        (
            "one of another pool",
            edit(|slices| {
                let mut other = slices[0].clone();
                other.metadata.name = Some("00000-other".into());
                other.spec.pool.name = "worker-1".into();
                slices.push(other);
            }),
            "+0 ~0 -1",
            1,
        ),
        ("one renamed", edit(|slices| slices[0].metadata.name = Some("renamed".into())), "+1 ~1 -1", 2),
        (
            "one that is kept by a finalizer",
            edit(|slices| slices[0].metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH))),
            "+1 ~1 -0",
            2,
        ),
        (
            "a generation that leaves no room",
            edit(|slices| {
                let mut high = slices[0].clone();
                high.metadata.name = Some("00000-high".into());
                high.spec.pool.generation = i64::MAX;
                slices.push(high);
            }),
            "+0 ~0 -1",
            1,
        ),
    ];
    for (name, mut server, counts, generation) in cases {
        assert_eq!(server.publish(&content), counts, "{name}");
        let generations = server.slices.iter().map(|slice| slice.spec.pool.generation);
        assert_eq!(generations.max(), Some(generation), "{name}");
    }
}

#[test]
fn slices_of_upstreams_controller_are_adopted() {
    let devices = [device("a")];
    let mut server = Server::with(vec![named("00000-gpu.example.com-worker-1-x7k2p", 4, 1, &devices)]);
    assert_eq!(server.publish(&[devices.to_vec()]), "+0 ~0 -0");
    assert_eq!(server.publish(&wanted(&[&["a", "b"]])), "+0 ~1 -0");
    assert_eq!(server.slices[0].metadata.name.as_deref(), Some("00000-gpu.example.com-worker-1-x7k2p"));
    assert_eq!(server.generation(), 4);
}

#[test]
fn slices_of_other_drivers_and_nodes_are_left_alone() {
    let mut other_driver = named("00000-a", 1, 1, &[device("a")]);
    other_driver.spec.driver = "other.example.com".into();
    let mut other_node = named("00000-b", 1, 1, &[device("a")]);
    other_node.spec.node_name = Some("worker-2".into());
    let existing = [other_driver, other_node];
    let writes = writes(&pool(), &wanted(&[&["a"]]), &existing, &BTreeSet::new());
    assert!(matches!(writes.as_slice(), [Write::Create(_)]), "{writes:?}");
}

#[test]
fn a_taint_keeps_the_time_at_which_it_was_added() {
    let mut server = Server::default();
    server.publish(&[vec![tainted("a", "reset", 100)]]);
    let again = [vec![tainted("a", "reset", 200)]];
    assert_eq!(writes(&pool(), &again, &server.slices, &BTreeSet::new()), []);
    let worse = [vec![tainted("a", "lost", 200)]];
    let writes = writes(&pool(), &worse, &server.slices, &BTreeSet::new());
    let [Write::Update(update)] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!(update.spec.devices.as_ref(), Some(&worse[0]));
}

#[test]
fn what_the_server_dropped_is_noticed() {
    let sent = named("00000-a", 1, 1, &[device("a"), tainted("b", "lost", 100)]);
    let stripped = named("00000-a", 1, 1, &[device("a"), device("b")]);
    let retimed = named("00000-a", 1, 1, &[device("a"), tainted("b", "lost", 101)]);
    let emptied = named("00000-a", 1, 1, &[]);
    let cases = [
        ("nothing", &sent, false, false),
        ("the time", &retimed, false, false),
        ("the taints", &stripped, true, true),
        ("the devices", &emptied, false, true),
    ];
    for (name, stored, taints, different) in cases {
        assert_eq!(dropped_taints(&sent, stored), taints, "{name}");
        assert_eq!(stored_differently(&sent, stored), different, "{name}");
    }
}

#[test]
fn names_order_slices_and_are_the_pools_own() {
    let pool = pool();
    assert!(pool.name_of(9, 0) < pool.name_of(10, 0));
    assert_eq!(index_of(&pool.name_of(0xabcde, 0)), Some(0xabcde));
    let long = Pool { node: format!("{}.{}", "n".repeat(222), "m".repeat(30)), ..pool.clone() };
    let name = long.name_of(0, 0);
    assert!(name.len() <= 253 && !name.contains(".-") && !name.contains("--"), "{name}");
    let run_together = Pool { driver: "gpu.example.com-worker".into(), node: "1".into(), ..pool.clone() };
    assert_ne!(run_together.name_of(0, 0), pool.name_of(0, 0));
    let taken = BTreeSet::from([pool.name_of(0, 0)]);
    let writes = writes(&pool, &wanted(&[&["a"]]), &[], &taken);
    let [Write::Create(create)] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!(create.metadata.name, Some(pool.name_of(0, 1)));
}

fn any_content() -> impl Strategy<Value = Vec<Vec<Device>>> {
    let slice = prop::collection::btree_set("[a-d]", 0..3);
    prop::collection::vec(slice, 1..4).prop_map(|slices| {
        slices.into_iter().map(|names| names.iter().map(|n| device(n)).collect()).collect()
    })
}

fn any_slice() -> impl Strategy<Value = ResourceSlice> {
    let name = prop_oneof![
        (0..4_usize).prop_map(|index| pool().name_of(index, 0)),
        "0000[0-3]-x[a-c]",
        "strange-[a-c]"
    ];
    let devices = prop::collection::btree_set("[a-d]", 0..3);
    let pools = prop_oneof![4 => Just("worker-1/gpu"), 1 => Just("worker-1")];
    (name, pools, 0..4_i64, 1..4_i64, devices, prop::bool::weighted(0.1)).prop_map(
        |(name, in_pool, generation, count, devices, leaving)| {
            let devices: Vec<Device> = devices.iter().map(|name| device(name)).collect();
            let mut slice = named(&name, generation, count, &devices);
            in_pool.clone_into(&mut slice.spec.pool.name);
            slice.metadata.deletion_timestamp = leaving.then_some(Time(Timestamp::UNIX_EPOCH));
            slice
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// From whatever there is: no mixture is ever seen, the writes lead to what is wanted, and then there are none.
    #[test]
    fn writes_lead_from_anything_to_what_is_wanted(
        existing in prop::collection::vec(any_slice(), 0..6),
        contents in prop::collection::vec(any_content(), 1..4),
    ) {
        let mut names = BTreeSet::new();
        let existing = existing.into_iter().filter(|slice| names.insert(slice.metadata.name.clone()));
        let mut server = Server::with(existing.collect());
        for content in contents {
            server.publish(&content);
        }
    }
}

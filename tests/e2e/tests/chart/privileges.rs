//! Each right, mount and privilege of the plugin is taken away in turn, and something is missed: docs/privileges.md has
//! the table. What is missed is not missed where nothing is taken away.

use e2e::gpu::kubelet;
use fake_node::inject::{GpuSelector, Injection};
use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::{Duration, sleep};

use crate::scene::{Act, Missed, Scene, Without};

/// How many plugins run at a time.
const AT_ONCE: usize = 4;
const CASES: [(Without, Act, Missed); 20] = [
    (
        Without::Verb("resourceclaims", "get"),
        Act::Pod,
        Missed::Log("check that the plugin's ServiceAccount may get resourceclaims"),
    ),
    (
        Without::Verb("resourceslices", "list"),
        Act::Nothing,
        Missed::Log("cannot list this node's ResourceSlices"),
    ),
    (
        Without::Verb("resourceslices", "watch"),
        Act::Nothing,
        Missed::Log("cannot watch this node's ResourceSlices"),
    ),
    (Without::Verb("resourceslices", "create"), Act::Nothing, Missed::Log("cannot create ResourceSlice")),
    (Without::Verb("resourceslices", "update"), Act::ChangeSlice, Missed::Log("cannot update ResourceSlice")),
    (Without::Verb("resourceslices", "delete"), Act::AddSlice, Missed::Log("cannot delete ResourceSlice")),
    (Without::Verb("nodes", "get"), Act::Nothing, Missed::Log("cannot read Node")),
    (Without::Verb("nodes", "watch"), Act::Nothing, Missed::Log("the node's label is not followed")),
    (Without::Verb("events", "create"), Act::LoseGpu, Missed::Log("Event not sent")),
    (Without::Verb("daemonsets", "get"), Act::RemoveForGood, Missed::Removal),
    (
        Without::Mount("registry"),
        Act::Nothing,
        Missed::Log("cannot listen on /var/lib/kubelet/plugins_registry/"),
    ),
    (Without::Mount("plugins"), Act::Nothing, Missed::Log("is the kubelet's folder mounted writable?")),
    (Without::Mount("cdi"), Act::Nothing, Missed::Log("mount the folder writable into the plugin's pod")),
    (Without::Mount("state"), Act::Nothing, Missed::Log("check --state-root")),
    (
        Without::Mount("driver-root"),
        Act::Nothing,
        Missed::Log("the driver root /driver-root is not a folder"),
    ),
    (Without::Mount("dev"), Act::NewNode, Missed::File),
    (Without::Propagation, Act::MountDriver, Missed::File),
    (Without::Privileged, Act::Nothing, Missed::Log("NVML cannot be used")),
    (Without::Root, Act::Nothing, Missed::Log("Permission denied")),
    (Without::HostPid, Act::PodAfterLostUnprepare, Missed::Log("run the plugin's pod with hostPID")),
];

/// Folders that the plugin writes to: mounted for reading, they are missed as if they were not there.
const WRITTEN: [(&str, &str); 4] = [
    ("registry", "Read-only file system"),
    ("plugins", "is the kubelet's folder mounted writable?"),
    ("cdi", "mount the folder writable into the plugin's pod"),
    ("state", "check --state-root"),
];

#[tokio::test]
async fn each_privilege_of_the_plugin_is_missed_when_it_is_taken_away() {
    let _kubelet = kubelet().await;
    let written = WRITTEN.map(|(mount, text)| (Without::Writing(mount), Act::Nothing, Missed::Log(text)));
    let all: Vec<_> = CASES.into_iter().chain(written).collect();
    // The same is looked for where nothing is taken away.
    let whole = all.iter().map(|(_, act, missed)| (Without::Nothing, *act, *missed));
    let acts = whole.filter(|(_, act, _)| !matches!(act, Act::Nothing)).collect::<Vec<_>>();
    let failed: Vec<String> = iter(all.into_iter().chain(acts))
        .map(|(without, act, missed)| async move {
            let scene = Scene::new(without).await;
            let is_missed = scene.play(act, missed).await;
            let wrong = is_missed == matches!(without, Without::Nothing);
            let log = scene.remove().await;
            wrong.then(|| format!("without {without:?}, {act:?}: missed: {is_missed}, by {missed:?}\n{log}"))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |failed| failed)
        .collect()
        .await;
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// The same Event is counted on only after a minute.
#[tokio::test]
#[ignore = "long: waits until an Event may be repeated"]
async fn the_right_to_patch_events_is_missed_when_one_comes_again() {
    let _kubelet = kubelet().await;
    for without in [Without::Verb("events", "patch"), Without::Nothing] {
        let scene = Scene::new(without).await;
        scene.published().await;
        let lost = Injection::Lost(GpuSelector::Slot(0));
        let back = Injection::Returned { gpu: GpuSelector::Slot(0), uuid: None };
        scene.fake.inject(&lost).unwrap();
        scene.tainted(1).await;
        sleep(Duration::from_secs(65)).await;
        scene.fake.inject(&back).unwrap();
        scene.tainted(0).await;
        scene.fake.inject(&lost).unwrap();
        let is_missed = scene.is_missed(Missed::Log("Event not sent"), Act::LoseGpuAgain).await;
        assert_eq!(is_missed, !matches!(without, Without::Nothing), "{without:?}:\n{}", scene.log().await);
        scene.remove().await;
    }
}

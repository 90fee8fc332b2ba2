//! A plugin of the chart's with GPUs of its own on the cluster's node, whose pod may lack something.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::api::{GUARD, Space, delete, gone, make, make_global, phase, uid, unique, wait};
use e2e::cluster::Cluster;
use e2e::gpu::IMAGE;
use fake_node::inject::{GpuSelector, Injection};
use fake_node::{CreateOptions, Description};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::release::{apply, run};

/// How often a log is read.
const PACE: Duration = Duration::from_millis(200);
/// Where the node's real devices are.
const DEV: &str = "/dev";
/// The plugin's DaemonSet.
const SET: &str = "dra-driver-kubelet-plugin";

/// What is taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Without {
    Nothing,
    /// A verb of the plugin's roles, for a resource.
    Verb(&'static str, &'static str),
    /// A mount of the container's.
    Mount(&'static str),
    /// The right to write to a mount.
    Writing(&'static str),
    /// News of mounts that come later.
    Propagation,
    Privileged,
    Root,
    HostPid,
}

/// What is done when the plugin runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Nothing,
    /// Somebody changes the plugin's slice.
    ChangeSlice,
    /// A slice of the node's is there that the plugin did not make.
    AddSlice,
    /// A GPU falls off the bus, which is worth an Event.
    LoseGpu,
    /// The same GPU falls off again, which is counted on the same Event.
    LoseGpuAgain,
    /// A pod claims a GPU.
    Pod,
    /// A GPU of which a record says that a claim holds it which is gone is claimed again.
    PodAfterLostUnprepare,
    /// A device node appears on the host.
    NewNode,
    /// A driver container mounts the driver.
    MountDriver,
    /// The plugin's DaemonSet is deleted.
    RemoveForGood,
}

/// Where what is missed is seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missed {
    /// A line of the plugin's log.
    Log(&'static str),
    /// A file that the plugin does not see.
    File,
    /// A file that the plugin leaves when it is removed for good.
    Removal,
}

/// A plugin with GPUs of its own, whose pod lacks something.
pub(crate) struct Scene {
    without: Without,
    pub(crate) fake: fake_node::Node,
    driver: String,
    space: Space,
    /// What was applied.
    objects: String,
    /// Where the plugin's pods have the driver root.
    driver_root: PathBuf,
    /// What a test has mounted or made outside its folder.
    made: std::sync::Mutex<Vec<PathBuf>>,
    _folder: TempDir,
}

impl Scene {
    pub(crate) async fn new(without: Without) -> Self {
        let cluster = Cluster::current();
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("node");
        let description = Description::builtin("h100-nvl-2").unwrap();
        let fake = fake_node::Node::create(&description, &path, &CreateOptions::default()).unwrap();
        let space = Space::create(cluster.client().await, "privilege", json!({})).await;
        let driver = format!("{}.example.com", unique("privilege"));
        let driver_root = folder.path().join("driver-root");
        fs::create_dir(&driver_root).unwrap();
        // As a driver container does it. The propagation's own case does it later.
        let mut scene = Self {
            without,
            fake,
            driver,
            space,
            objects: String::new(),
            driver_root,
            made: std::sync::Mutex::default(),
            _folder: folder,
        };
        if !matches!(without, Without::Propagation) {
            scene.mount_driver().await;
        }
        let mut objects = scene.render(&path);
        take_away(&mut objects, without);
        scene.objects = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        apply(&scene.space.name, &scene.objects).await;
        scene
    }

    /// The chart's objects for the plugin.
    fn render(&self, fake: &Path) -> Vec<Value> {
        let values = json!({
            "image": {"registry": "registry.local", "pullPolicy": "Never"},
            "driver": {"name": self.driver},
            "nvidiaDriverRoot": self.driver_root,
            "deviceClasses": {"alias": {"create": false}},
            "webhook": {"enabled": false},
            "controller": {"enabled": false},
            "kubeletPlugin": {
                "extraEnv": [
                    {"name": "SYSFS_ROOT", "value": "/fake/sys"}, {"name": "PROCFS_ROOT", "value": "/fake/proc"},
                ],
                "extraVolumes": [{"name": "fake", "hostPath": {"path": fake}}],
                "extraVolumeMounts": [{"name": "fake", "mountPath": "/fake", "readOnly": true}],
            },
        });
        let file = fake.with_file_name("values.yaml");
        fs::write(&file, values.to_string()).unwrap();
        let arguments =
            ["--namespace", &self.space.name, "--no-hooks", "--values", &file.display().to_string()];
        chart::helm::objects(&chart::helm::render(&arguments).unwrap()).unwrap()
    }

    async fn mount_driver(&self) {
        let (from, to) =
            (self.fake.driver_root().display().to_string(), self.driver_root.display().to_string());
        run("mount", &["--bind", &from, &to], "").await.unwrap();
        self.made.lock().unwrap().push(self.driver_root.clone());
    }

    /// Does it, and returns whether something is missed.
    pub(crate) async fn play(&self, act: Act, missed: Missed) -> bool {
        match act {
            Act::Nothing => {}
            Act::ChangeSlice => self.change_slice().await,
            Act::AddSlice => self.add_slice().await,
            Act::LoseGpu | Act::LoseGpuAgain => {
                self.published().await;
                self.fake.inject(&Injection::Lost(GpuSelector::Slot(0))).unwrap();
            }
            Act::Pod => self.pod("user").await,
            Act::PodAfterLostUnprepare => self.pod_after_lost_unprepare().await,
            Act::NewNode => {
                self.running().await;
                let node = Path::new(DEV).join(unique("dra-test"));
                fs::write(&node, "").unwrap();
                self.made.lock().unwrap().push(node);
            }
            Act::MountDriver => {
                self.running().await;
                if self.made.lock().unwrap().is_empty() {
                    self.mount_driver().await;
                }
            }
            Act::RemoveForGood => {
                self.published().await;
                let sets = self.space.api::<DaemonSet>();
                let set = sets.get(SET).await.unwrap();
                sets.delete(SET, &DeleteParams::foreground()).await.unwrap();
                gone(&sets, SET, &uid(&set)).await;
            }
        }
        self.is_missed(missed, act).await
    }

    /// Waits until something is missed, or until it is clear that it is not.
    pub(crate) async fn is_missed(&self, missed: Missed, act: Act) -> bool {
        let end = Instant::now() + GUARD;
        loop {
            let seen = match missed {
                Missed::Log(text) => self.log().await.contains(text),
                Missed::File => {
                    let made = self.made.lock().unwrap().last().cloned().expect("something was made");
                    let inside =
                        if made == self.driver_root { PathBuf::from("/driver-root/usr") } else { made };
                    let root = PathBuf::from(format!("/proc/{}/root", self.running().await));
                    return !root.join(inside.strip_prefix("/").unwrap()).exists();
                }
                Missed::Removal => return Path::new("/run").join(&self.driver).exists(),
            };
            if seen {
                return true;
            }
            if self.is_well(act).await {
                return false;
            }
            assert!(
                Instant::now() < end,
                "without {:?}: neither {missed:?} nor what {act:?} should lead to:\n{}",
                self.without,
                self.log().await
            );
            sleep(PACE).await;
        }
    }

    /// Whether what was done has led to what it should.
    async fn is_well(&self, act: Act) -> bool {
        match act {
            Act::Nothing | Act::NewNode | Act::MountDriver | Act::RemoveForGood => false,
            Act::ChangeSlice | Act::AddSlice => {
                let slices = self.slices().await;
                slices.len() == 1 && slices[0].spec.pool.resource_slice_count == 1
            }
            Act::LoseGpu => !self.events().await.is_empty(),
            Act::LoseGpuAgain => self.events().await.iter().any(|event| event.series.is_some()),
            Act::Pod | Act::PodAfterLostUnprepare => {
                let pod = self.space.api::<Pod>().get("user").await.unwrap();
                phase(Some(&pod)) == Some("Running")
            }
        }
    }

    /// The plugin's Events about its node.
    async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.space.client.clone(), "default");
        let own = ListParams::default().fields(&format!("reportingComponent={}", self.driver));
        events.list(&own).await.unwrap().items
    }

    /// Waits until so many devices have a taint.
    pub(crate) async fn tainted(&self, wanted: usize) {
        let end = Instant::now() + GUARD;
        loop {
            let slice = self.published().await;
            let tainted = slice.spec.devices.iter().flatten().filter(|device| device.taints.is_some());
            if tainted.count() == wanted {
                return;
            }
            assert!(Instant::now() < end, "{wanted} devices should be tainted:\n{}", self.log().await);
            sleep(PACE).await;
        }
    }

    async fn slices(&self) -> Vec<ResourceSlice> {
        let slices: Api<ResourceSlice> = Api::all(self.space.client.clone());
        let own = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.list(&own).await.unwrap().items
    }

    /// Waits until there is a slice, and returns it.
    pub(crate) async fn published(&self) -> ResourceSlice {
        let end = Instant::now() + GUARD;
        loop {
            if let Some(slice) = self.slices().await.pop() {
                return slice;
            }
            assert!(Instant::now() < end, "without {:?}: no slice:\n{}", self.without, self.log().await);
            sleep(PACE).await;
        }
    }

    async fn change_slice(&self) {
        let name = self.published().await.metadata.name.unwrap();
        let slices: Api<ResourceSlice> = Api::all(self.space.client.clone());
        let patch = Patch::Merge(json!({"spec": {"pool": {"resourceSliceCount": 2}}}));
        slices.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn add_slice(&self) {
        let mut slice = self.published().await;
        slice.metadata = serde_json::from_value(json!({"name": unique("surplus")})).unwrap();
        make_global::<ResourceSlice>(&self.space.client, serde_json::to_value(slice).unwrap()).await;
    }

    /// Makes a pod with a claim for any GPU.
    async fn pod(&self, name: &str) {
        let class = format!("gpu.{}", self.driver);
        let devices = json!({"requests": [{"name": "gpu", "exactly": {"deviceClassName": class}}]});
        make::<ResourceClaim>(
            &self.space.api(),
            json!({"metadata": {"name": name}, "spec": {"devices": devices}}),
        )
        .await;
        let spec = json!({
            "terminationGracePeriodSeconds": 0,
            "resourceClaims": [{"name": "gpu", "resourceClaimName": name}],
            "containers": [{
                "name": "main", "image": IMAGE, "command": ["sleep", "86400"],
                "resources": {"claims": [{"name": "gpu"}]},
            }],
        });
        self.space.pod(name, "", spec).await;
    }

    /// Puts the record of a claim that is gone back, as if its unprepare had never come, and claims its GPU again.
    async fn pod_after_lost_unprepare(&self) {
        self.pod("first").await;
        let pods = self.space.api::<Pod>();
        let runs = |pod: Option<&Pod>| phase(pod) == Some("Running");
        wait(&pods, "first", "run", runs).await;
        let records = PathBuf::from("/run").join(&self.driver).join("claims");
        let record = fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path());
        let record = record.into_iter().find(|path| path.extension().is_some_and(|end| end == "json"));
        let record = record.expect("the claim has a record");
        let kept = fs::read(&record).unwrap();
        delete(&pods, "first").await;
        delete(&self.space.api::<ResourceClaim>(), "first").await;
        fs::write(&record, kept).unwrap();
        // The scheduler takes the first GPU that is free, which is the same.
        self.pod("user").await;
    }

    /// Waits until the plugin's process is there, and returns its number.
    async fn running(&self) -> u32 {
        let end = Instant::now() + GUARD;
        let variable = format!("DRIVER_NAME={}", self.driver);
        loop {
            for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
                if environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes()) {
                    return pid;
                }
            }
            assert!(Instant::now() < end, "without {:?}: the plugin does not run", self.without);
            sleep(PACE).await;
        }
    }

    /// What the plugin's containers have said, the one that failed last included.
    pub(crate) async fn log(&self) -> String {
        let pods = self.space.api::<Pod>();
        let plugins = ListParams::default().labels("app.kubernetes.io/component=kubelet-plugin");
        let mut log = String::new();
        for pod in pods.list(&plugins).await.unwrap() {
            for previous in [true, false] {
                let params = LogParams { previous, ..LogParams::default() };
                log += &pods.logs(pod.metadata.name.as_deref().unwrap(), &params).await.unwrap_or_default();
            }
        }
        log
    }

    /// Removes all of it, and returns the log.
    pub(crate) async fn remove(self) -> String {
        let log = self.log().await;
        let pods = self.space.api::<Pod>();
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for pod in ["first", "user"] {
            if pods.get_opt(pod).await.unwrap().is_some() {
                pods.delete(pod, &now).await.unwrap();
            }
        }
        let gone = [
            "delete",
            "--ignore-not-found",
            "--wait=false",
            "--namespace",
            &self.space.name,
            "--filename",
            "-",
        ];
        run("kubectl", &gone, &self.objects).await.unwrap();
        let class: Api<DeviceClass> = Api::all(self.space.client.clone());
        delete(&class, &format!("gpu.{}", self.driver)).await;
        let slices: Api<ResourceSlice> = Api::all(self.space.client.clone());
        let own = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.delete_collection(&DeleteParams::default(), &own).await.unwrap();
        for made in self.made.into_inner().unwrap() {
            if made == self.driver_root {
                run("umount", &["--lazy", &made.display().to_string()], "").await.unwrap();
            } else {
                fs::remove_file(made).unwrap();
            }
        }
        self.space.remove().await;
        log
    }
}

/// Takes something away from the chart's objects.
fn take_away(objects: &mut [Value], without: Without) {
    if let Without::Verb(resource, verb) = without {
        take_right(objects, resource, verb);
        return;
    }
    let set = objects.iter_mut().find(|object| object["kind"] == "DaemonSet").unwrap();
    let pod = &mut set["spec"]["template"]["spec"];
    let mounts = |container: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        change(container["volumeMounts"].as_array_mut().unwrap());
    };
    let container = &mut pod["containers"][0];
    match without {
        Without::Nothing | Without::Verb(..) => {}
        Without::Mount(name) => mounts(container, &|all| all.retain(|mount| mount["name"] != name)),
        Without::Writing(name) => mounts(container, &|all| {
            let mount = all.iter_mut().find(|mount| mount["name"] == name).unwrap();
            mount["readOnly"] = json!(true);
        }),
        Without::Propagation => mounts(container, &|all| {
            let mount = all.iter_mut().find(|mount| mount["name"] == "driver-root").unwrap();
            mount["mountPropagation"] = json!("None");
        }),
        Without::Privileged => container["securityContext"]["privileged"] = json!(false),
        Without::Root => container["securityContext"]["runAsUser"] = json!(65532),
        Without::HostPid => pod["hostPID"] = json!(false),
    }
}

/// Takes a verb for a resource away from all roles.
pub(crate) fn take_right(objects: &mut [Value], resource: &str, verb: &str) {
    let is_role = |object: &&mut Value| object["kind"] == "ClusterRole" || object["kind"] == "Role";
    for role in objects.iter_mut().filter(is_role) {
        let rules = role["rules"].as_array_mut().unwrap();
        for rule in rules.iter_mut().filter(|rule| rule["resources"][0] == resource) {
            rule["verbs"].as_array_mut().unwrap().retain(|one| one != verb);
        }
        // A rule needs a verb.
        rules.retain(|rule| rule["verbs"] != json!([]));
    }
}

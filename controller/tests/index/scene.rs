//! A cluster that is told piece by piece, and a clock that the test sets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dra_controller::allocator::Features;
use dra_controller::cel;
use dra_controller::cluster::Name;
use dra_controller::explain::{Asked, Blocker, Explanation};
use dra_controller::index::{Index, Now, Said, Settings, Task};
use dra_controller::observe::metrics::{Metrics, Options};
use dra_controller::watch::{Change, News};
use serde_json::{Value, json};

pub(crate) const DRIVER: &str = "gpu.example.com";
/// The wall's clock when the controller starts.
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) struct Scene {
    pub(crate) index: Index,
    /// Seconds since the controller's start, by the clock that does not jump.
    pub(crate) ticks: u64,
    /// How far the wall's clock is off.
    pub(crate) jump: i64,
}

impl Scene {
    /// Nothing was read yet.
    pub(crate) fn unread() -> Self {
        let settings = Settings {
            driver: DRIVER.into(),
            classes: std::iter::empty().collect(),
            grace: Duration::from_secs(10),
        };
        let mut index = Index::new(settings, Arc::new(cel::Cache::default()));
        index.set_features(Features::of_server(1, 36));
        index.lead(true);
        Self { index, ticks: 0, jump: 0 }
    }

    /// One node with two GPUs and the class of them; claims and pods are there as given, and all has been read.
    pub(crate) fn read(claims: Vec<Value>, pods: Vec<Value>) -> Self {
        let mut scene = Self::unread();
        scene.list_slices(vec![slice()]);
        scene.list_classes(vec![class()]);
        scene.list_nodes(vec![json!({"metadata": {"name": "node-a"}})]);
        scene.list_claims(claims);
        scene.list_pods(pods);
        scene
    }

    pub(crate) fn now(&self) -> Now {
        let second = START + i64::try_from(self.ticks).unwrap() + self.jump;
        Now { ticks: Duration::from_secs(self.ticks), wall: jiff::Timestamp::from_second(second).unwrap() }
    }

    pub(crate) fn change(&mut self, change: Change) {
        let now = self.now();
        self.index.change(change, now);
    }

    pub(crate) fn list_slices(&mut self, all: Vec<Value>) {
        self.list(all, Change::Slice);
    }

    pub(crate) fn list_classes(&mut self, all: Vec<Value>) {
        self.list(all, Change::Class);
    }

    pub(crate) fn list_nodes(&mut self, all: Vec<Value>) {
        self.list(all, Change::Node);
    }

    pub(crate) fn list_claims(&mut self, all: Vec<Value>) {
        self.list(all, Change::Claim);
    }

    pub(crate) fn list_pods(&mut self, all: Vec<Value>) {
        self.list(all, Change::Pod);
    }

    fn list<T: serde::de::DeserializeOwned>(&mut self, all: Vec<Value>, change: fn(News<T>) -> Change) {
        self.change(change(News::ListBegan));
        for one in all {
            self.change(change(News::Listed(serde_json::from_value(one).unwrap())));
        }
        self.change(change(News::ListEnded));
    }

    pub(crate) fn claim(&mut self, claim: Value) {
        self.change(Change::Claim(News::Changed(serde_json::from_value(claim).unwrap())));
    }

    pub(crate) fn claim_gone(&mut self, claim: Value) {
        self.change(Change::Claim(News::Deleted(serde_json::from_value(claim).unwrap())));
    }

    pub(crate) fn pod(&mut self, pod: Value) {
        self.change(Change::Pod(News::Changed(serde_json::from_value(pod).unwrap())));
    }

    pub(crate) fn due(&mut self) -> Vec<String> {
        let now = self.now();
        self.index.due(now, 10).into_iter().map(|task| task.pod.to_string()).collect()
    }

    /// A pod is found to wait for this.
    pub(crate) fn explained(&mut self, pod: &str, blocker: Blocker) -> Vec<Said> {
        let now = self.now();
        let tasks = self.index.due(now, 10);
        let task = tasks.into_iter().find(|task| &*task.pod.name == pod).expect("the pod is due");
        self.finished(&task, blocker)
    }

    pub(crate) fn finished(&mut self, task: &Task, blocker: Blocker) -> Vec<Said> {
        let now = self.now();
        let explanation = Explanation { blocker, ..Explanation::unexplained(&Asked::default()) };
        self.index.explained(task, &explanation, now)
    }

    pub(crate) fn errors(&self, blocker: Blocker) -> u64 {
        self.index.tallies().errors().find(|(of, _)| *of == blocker).unwrap().1
    }

    pub(crate) fn pending(&self) -> Vec<String> {
        self.index.claims().pending().map(|(name, _)| name.name.to_string()).collect()
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.index.claims().oldest(self.now()).as_secs()
    }

    /// The scrape. It takes the scene, as the endpoint shares the index with the watches.
    pub(crate) fn scrape(self) -> String {
        self.scrape_of(100)
    }

    pub(crate) fn scrape_of(self, claim_info_limit: usize) -> String {
        let options = Options { claim_info_limit, ordered_names: true };
        let clock = || Now { ticks: Duration::from_secs(100), wall: jiff::Timestamp::UNIX_EPOCH };
        let metrics = Metrics::new(Arc::new(Mutex::new(self.index)), clock, options, DRIVER, "1.2.3");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
        text
    }

    /// How often, and for how many seconds in all, a histogram was told something.
    pub(crate) fn times(self, histogram: &str) -> (u64, f64) {
        let text = self.scrape();
        let value = |suffix: &str| {
            let start = format!("{histogram}_{suffix}{{");
            let line = text.lines().find(|line| line.starts_with(&start));
            line.map_or("0".to_owned(), |line| line.rsplit(' ').next().unwrap().to_owned())
        };
        (value("count").parse().unwrap(), value("sum").parse().unwrap())
    }
}

pub(crate) fn name(of: &str) -> Name {
    Name::new(&"team".into(), &of.into())
}

fn time(ticks: i64) -> String {
    jiff::Timestamp::from_second(START + ticks).unwrap().to_string()
}

fn slice() -> Value {
    let device = |name: &str| json!({"name": name, "capacity": {"memory": {"value": "80Gi"}}});
    json!({
        "metadata": {"name": "node-a-gpu"},
        "spec": {
            "driver": DRIVER, "nodeName": "node-a",
            "pool": {"name": "node-a/gpu", "generation": 1, "resourceSliceCount": 1},
            "devices": [device("gpu-0"), device("gpu-1")],
        },
    })
}

pub(crate) fn class() -> Value {
    let expression = format!("device.driver == '{DRIVER}'");
    json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

/// A claim for one GPU, made this many seconds after the controller's start.
pub(crate) fn claim(name: &str, made: i64) -> Value {
    claim_of(name, made, "gpu")
}

pub(crate) fn claim_of(name: &str, made: i64, class: &str) -> Value {
    let exactly = json!({"deviceClassName": class, "allocationMode": "ExactCount", "count": 1});
    json!({
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("uid-{name}"), "creationTimestamp": time(made),
        },
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
    })
}

/// A claim that has a device.
pub(crate) fn has(device: &str, mut claim: Value) -> Value {
    let result = json!({"request": "gpu", "driver": DRIVER, "pool": "node-a/gpu", "device": device});
    claim["status"] = json!({"allocation": {"devices": {"results": [result]}}});
    claim
}

/// The scheduler says when it allocated a claim.
pub(crate) fn at(ticks: i64, mut claim: Value) -> Value {
    claim["status"]["allocation"]["allocationTimestamp"] = time(ticks).into();
    claim
}

/// A pod may use a claim.
pub(crate) fn reserved(pod: &str, mut claim: Value) -> Value {
    claim["status"]["reservedFor"] = json!([{"resource": "pods", "name": pod, "uid": format!("uid-{pod}")}]);
    claim
}

/// A pod with one claim.
pub(crate) fn pod(name: &str, claim: &str, made: i64) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("uid-{name}"), "creationTimestamp": time(made),
        },
        "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]},
        "status": {"phase": "Pending"},
    })
}

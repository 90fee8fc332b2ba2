//! Claims and pods as the scenarios write them, and the manifests that the API server takes.

use serde_json::{Value, json};

use crate::api::IMAGE;

/// The pool of every device of the scenarios.
pub const POOL: &str = "pool";

/// A ResourceClaim with the devices that are allocated to it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name, which is also its name in the pods that use it.
    pub name: &'static str,
    /// What is allocated.
    pub devices: Vec<Allocated>,
    /// Whether it asks for administrators' access.
    pub admin: bool,
}

/// One device of an allocation.
#[derive(Clone, Debug)]
pub struct Allocated {
    /// The request, or `request/subrequest`.
    pub request: &'static str,
    /// The driver by the short name that the scenario gave it.
    pub driver: &'static str,
    /// The device's name.
    pub device: &'static str,
}

impl Allocated {
    /// The request without the subrequest, as plugins name it.
    #[must_use]
    pub fn main_request(&self) -> &'static str {
        self.request.split_once('/').map_or(self.request, |(main, _)| main)
    }
}

impl Claim {
    /// A claim to which `(request, driver, device)` are allocated.
    #[must_use]
    pub fn new(name: &'static str, devices: &[(&'static str, &'static str, &'static str)]) -> Self {
        let devices = devices.iter().map(|&(request, driver, device)| Allocated { request, driver, device });
        Self { name, devices: devices.collect(), admin: false }
    }

    /// The claim with administrators' access.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// The object to create. The class need not exist: nothing here schedules.
    #[must_use]
    pub fn manifest(&self) -> Value {
        let mut requests: Vec<Value> = Vec::new();
        for device in &self.devices {
            if requests.iter().any(|r| r["name"] == device.main_request()) {
                continue;
            }
            requests.push(match device.request.split_once('/') {
                Some((main, sub)) => json!({"name": main, "firstAvailable": [
                    {"name": "rather", "deviceClassName": "any"}, {"name": sub, "deviceClassName": "any"},
                ]}),
                None => json!({"name": device.request, "exactly": {
                    "deviceClassName": "any", "allocationMode": "All", "adminAccess": self.admin,
                }}),
            });
        }
        json!({"metadata": {"name": self.name}, "spec": {"devices": {"requests": requests}}})
    }

    /// The allocation, as the scheduler would write it. `driver` turns a short name into the full one.
    #[must_use]
    pub fn allocation(&self, mut driver: impl FnMut(&str) -> String) -> Value {
        let result = |d: &Allocated| {
            let mut result = json!({
                "request": d.request, "driver": driver(d.driver), "pool": POOL, "device": d.device,
            });
            if self.admin {
                result["adminAccess"] = json!(true);
            }
            result
        };
        json!({"devices": {"results": self.devices.iter().map(result).collect::<Vec<_>>()}})
    }

    /// The rule with which a recording plugin prepares this claim's devices of one driver; none of them, no rule.
    #[must_use]
    pub fn rule(&self, short: &str, driver: &str) -> Option<Value> {
        let own = self.devices.iter().filter(|d| d.driver == short);
        let devices: Vec<Value> = own
            .map(|d| {
                json!({
                    "requests": [d.main_request()], "pool": POOL, "device": d.device,
                    "cdi": [format!("{driver}/device={}-{}", self.name, d.device)],
                })
            })
            .collect();
        (!devices.is_empty())
            .then(|| json!({"method": "NodePrepareResources", "claim": self.name, "devices": devices}))
    }
}

/// A pod whose containers print the devices that they got and then wait to be ended.
#[derive(Clone, Debug)]
pub struct PodPlan {
    /// Its name.
    pub name: String,
    /// The claims that it uses.
    pub claims: Vec<&'static str>,
    /// Its containers, init containers first.
    pub containers: Vec<ContainerPlan>,
}

/// One container of a pod.
#[derive(Clone, Debug)]
pub struct ContainerPlan {
    /// Its name.
    pub name: &'static str,
    /// Whether it runs before the others.
    pub init: bool,
    /// The claims that it names, each with one of its requests where it names one.
    pub claims: Vec<(&'static str, Option<&'static str>)>,
}

impl PodPlan {
    /// A pod of one container, `main`, that gets everything of these claims.
    #[must_use]
    pub fn new(name: impl Into<String>, claims: &[&'static str]) -> Self {
        let all = claims.iter().map(|&claim| (claim, None)).collect();
        Self {
            name: name.into(),
            claims: claims.to_vec(),
            containers: vec![ContainerPlan { name: "main", init: false, claims: all }],
        }
    }

    /// A pod with these claims and containers.
    #[must_use]
    pub fn of(name: &str, claims: &[&'static str], containers: &[ContainerPlan]) -> Self {
        Self { name: name.to_owned(), claims: claims.to_vec(), containers: containers.to_vec() }
    }

    /// The object to create. No scheduler serves its scheduler's name, so it stays where the test puts it.
    #[must_use]
    pub fn manifest(&self) -> Value {
        const REPORT: &str = "env | grep ^GOT_; echo end";
        let container = |c: &ContainerPlan| {
            let script = if c.init {
                REPORT.to_owned()
            } else {
                format!("{REPORT}; trap 'exit 0' TERM; sleep 600 & wait")
            };
            let claims = c.claims.iter().map(|(claim, request)| match request {
                Some(request) => json!({"name": claim, "request": request}),
                None => json!({"name": claim}),
            });
            json!({
                "name": c.name, "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", script],
                "resources": {"claims": claims.collect::<Vec<_>>()},
            })
        };
        let of = |init| self.containers.iter().filter(|c| c.init == init).map(container).collect::<Vec<_>>();
        let claims = self.claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim}));
        json!({"metadata": {"name": self.name}, "spec": {
            "schedulerName": "nobody",
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "resourceClaims": claims.collect::<Vec<_>>(),
            "initContainers": of(true),
            "containers": of(false),
        }})
    }
}

impl ContainerPlan {
    /// An ordinary container.
    #[must_use]
    pub fn new(name: &'static str, claims: &[(&'static str, Option<&'static str>)]) -> Self {
        Self { name, init: false, claims: claims.to_vec() }
    }

    /// A container that runs before the ordinary ones.
    #[must_use]
    pub fn init(name: &'static str, claims: &[(&'static str, Option<&'static str>)]) -> Self {
        Self { name, init: true, claims: claims.to_vec() }
    }
}

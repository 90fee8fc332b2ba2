//! What cases contain and what came out of them, counted: a suite that is agreed with because it asks nothing would be
//! none.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::answer::Answer;
use crate::case::Case;
use crate::look::list;

/// How many of 20,000 cases have each part at least.
pub const LEAST_OF_EACH: usize = 1000;

/// Counts over many cases.
#[derive(Debug, Default, Clone)]
pub struct Coverage {
    /// Cases in all.
    pub cases: usize,
    /// Cases that fit, by upstream's answer.
    pub solved: usize,
    /// Cases in which upstream took back a device that it had chosen.
    pub backtracked: usize,
    /// Cases that have a part, by its name.
    pub parts: BTreeMap<&'static str, usize>,
    /// By the profile that cases were made with: how many, solved, with backtracking, ended with an error.
    pub profiles: BTreeMap<&'static str, [usize; 4]>,
}

impl Coverage {
    /// Adds a case, upstream's answer, and how many devices upstream took back.
    pub fn add(&mut self, case: &Case, profile: &'static str, upstream: &Answer, taken_back: u64) {
        self.cases += 1;
        self.solved += usize::from(matches!(upstream, Answer::Fits(_)));
        self.backtracked += usize::from(taken_back > 0);
        let error = matches!(upstream, Answer::Error { .. });
        let counts = [true, matches!(upstream, Answer::Fits(_)), taken_back > 0, error];
        let of_profile = self.profiles.entry(profile).or_default();
        for (sum, counts) in of_profile.iter_mut().zip(counts) {
            *sum += usize::from(counts);
        }
        for (part, has) in parts(case, upstream) {
            *self.parts.entry(part).or_default() += usize::from(has);
        }
    }

    /// Which of the shares that the suite promises are missed, in words; for a run of any length.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut require = |what: &str, have: usize, least_of_20_000: usize| {
            if have * 20_000 < least_of_20_000 * self.cases {
                missing.push(format!(
                    "{what}: {have} of {} cases, but {least_of_20_000} of 20000 are due",
                    self.cases
                ));
            }
        };
        require("solved", self.solved, 8000);
        require("with backtracking", self.backtracked, 6000);
        for (part, have) in &self.parts {
            require(part, *have, LEAST_OF_EACH);
        }
        missing
    }
}

/// The parts that are counted, and whether a case has them. A feature counts where it is on and the case contains what it is about.
fn parts(case: &Case, upstream: &Answer) -> [(&'static str, bool); 28] {
    let on = |feature: &str| case.features.iter().any(|name| name == feature);
    let spec = |slice: &Value| slice["spec"].clone();
    let specs: Vec<Value> = case.slices.iter().map(spec).collect();
    let devices: Vec<&Value> = specs.iter().flat_map(|spec| list(&spec["devices"])).collect();
    let claims: Vec<&Value> = case.claims.iter().map(|claim| &claim["spec"]["devices"]).collect();
    let requests: Vec<&Value> = claims.iter().flat_map(|claim| list(&claim["requests"])).collect();
    let wanted: Vec<&Value> = requests
        .iter()
        .flat_map(|request| std::iter::once(&request["exactly"]).chain(list(&request["firstAvailable"])))
        .filter(|wanted| wanted.is_object())
        .collect();
    let constraints: Vec<&Value> = claims.iter().flat_map(|claim| list(&claim["constraints"])).collect();
    let device_has = |field: &str| devices.iter().any(|device| !device[field].is_null());
    let wanted_has = |field: &str| wanted.iter().any(|wanted| !wanted[field].is_null());
    let spec_has = |field: &str| specs.iter().any(|spec| !spec[field].is_null());
    let is_shared = devices.iter().any(|device| device["allowMultipleAllocations"] == true);
    let has_lists = devices.iter().any(|device| {
        device["attributes"]
            .as_object()
            .is_some_and(|all| all.values().any(|value| !value["strings"].is_null()))
    });
    let has_policy = devices.iter().any(|device| {
        device["capacity"]
            .as_object()
            .is_some_and(|all| all.values().any(|value| !value["requestPolicy"].is_null()))
    });
    let of_pool = |field: &str| {
        let mut values: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for spec in &specs {
            let id = format!("{}/{}", spec["driver"], spec["pool"]["name"]);
            values.entry(id).or_default().push(&spec["pool"][field]);
        }
        values
    };
    let several_generations =
        of_pool("generation").values().any(|values| values.iter().any(|v| *v != values[0]));
    let incomplete = of_pool("resourceSliceCount")
        .values()
        .any(|values| values[0].as_u64() != u64::try_from(values.len()).ok());
    [
        ("AdminAccess", on("AdminAccess") && wanted.iter().any(|wanted| wanted["adminAccess"] == true)),
        ("PrioritizedList", on("PrioritizedList") && requests.iter().any(|r| !r["firstAvailable"].is_null())),
        ("PartitionableDevices", on("PartitionableDevices") && device_has("consumesCounters")),
        ("DeviceTaints", on("DeviceTaints") && device_has("taints")),
        ("DeviceBindingAndStatus", on("DeviceBindingAndStatus") && device_has("bindingConditions")),
        ("ConsumableCapacity", on("ConsumableCapacity") && is_shared),
        ("ListTypeAttributes", on("ListTypeAttributes") && has_lists),
        ("all devices", wanted.iter().any(|wanted| wanted["allocationMode"] == "All")),
        ("several claims", case.claims.len() > 1),
        ("matchAttribute", constraints.iter().any(|constraint| !constraint["matchAttribute"].is_null())),
        (
            "distinctAttribute",
            constraints.iter().any(|constraint| !constraint["distinctAttribute"].is_null()),
        ),
        (
            "constraint of some requests",
            constraints.iter().any(|constraint| !constraint["requests"].is_null()),
        ),
        ("tolerations", wanted_has("tolerations")),
        ("capacity requests", wanted_has("capacity")),
        ("capacity policies", has_policy),
        ("class configuration", case.classes.iter().any(|class| !class["spec"]["config"].is_null())),
        ("claim configuration", claims.iter().any(|claim| !claim["config"].is_null())),
        ("node selector of a pool", spec_has("nodeSelector")),
        ("per-device node selection", spec_has("perDeviceNodeSelection")),
        ("devices for all nodes", spec_has("allNodes")),
        ("several generations", several_generations),
        ("incomplete pool", incomplete),
        ("expressions", wanted_has("selectors")),
        ("allocated devices", !case.allocated_devices.is_empty()),
        ("allocated shares", !case.allocated_shared_devices.is_empty()),
        ("binds to node", device_has("bindsToNode")),
        ("result with share", has_share(upstream)),
        ("error", matches!(upstream, Answer::Error { .. })),
    ]
}

fn has_share(upstream: &Answer) -> bool {
    let Answer::Fits(allocations) = upstream else { return false };
    let results = allocations.iter().flat_map(|allocation| list(&allocation["devices"]["results"]));
    results.into_iter().any(|result| !result["shareID"].is_null())
}

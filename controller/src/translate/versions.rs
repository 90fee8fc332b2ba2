//! Objects of `resource.k8s.io` as they were before v1.
//!
//! v1alpha1 and v1alpha2 had classes with a driver and claims with parameters. v1alpha3 and v1beta1 had requests
//! without `exactly`. v1beta2 is v1 under another name.

use serde_json::{Map, Value, json};

use super::convert::{Converting, Parametrized};
use super::parameters::{Parameters, Purpose, is_object_name};
use super::pods::node_type;

/// The version that is written.
pub(super) const VERSION: &str = "resource.k8s.io/v1";

/// A version of `resource.k8s.io` that is not v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// Drivers and parameters.
    Classic,
    /// Requests without `exactly`.
    Flat,
    /// As v1.
    Same,
}

impl Old {
    /// The version that a document's `apiVersion` names, if it is an old one.
    pub(super) fn of(api_version: &str) -> Option<Self> {
        match api_version.strip_prefix("resource.k8s.io/")? {
            "v1alpha1" | "v1alpha2" => Some(Self::Classic),
            "v1alpha3" | "v1beta1" => Some(Self::Flat),
            "v1beta2" => Some(Self::Same),
            _ => None,
        }
    }
}

/// What a `ResourceClass` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldClass {
    pub(super) driver: String,
    pub(super) cpu: bool,
}

impl OldClass {
    /// Reads a class: its fields stood at the top, and in some manifests in `spec`.
    pub(super) fn of(object: &Value, driver: &str) -> Self {
        let fields = fields(object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let driver = fields.get("driverName").and_then(Value::as_str).unwrap_or(driver).to_owned();
        let nodes = fields.get("suitableNodes").and_then(node_type);
        Self { driver, cpu: is_for_cpus(name) || nodes.is_some_and(|value| value == "cpu") }
    }
}

/// Whether a class of this name is for CPUs, as the guide names classes.
pub(super) fn is_for_cpus(class: &str) -> bool {
    class == "cpu" || class.starts_with("cpu-")
}

fn fields(object: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object["spec"].as_object().or_else(|| object.as_object()).unwrap_or(&NONE)
}

/// The expression of the chart's class of GPUs.
pub(super) fn class_expression(driver: &str, device_type: &str) -> String {
    format!("device.driver == '{driver}' && device.attributes['{driver}'].type == '{device_type}'")
}

/// A DeviceClass's selectors.
pub(super) fn selectors(expressions: Vec<String>) -> Value {
    expressions.into_iter().map(|expression| json!({"cel": {"expression": expression}})).collect()
}

/// A claim's spec that asks for `count` devices of a class.
pub(super) fn claim_spec(request: &str, class: &str, count: u32, expressions: Vec<String>) -> Value {
    let mut exactly = json!({"deviceClassName": class, "allocationMode": "ExactCount", "count": count});
    if !expressions.is_empty() {
        exactly["selectors"] = selectors(expressions);
    }
    json!({"devices": {"requests": [{"name": request, "exactly": exactly}]}})
}

impl Converting<'_> {
    /// A `ResourceClass` as a `DeviceClass`.
    pub(super) fn class(&mut self, object: &Value) -> Value {
        let class = OldClass::of(object, self.driver());
        let fields = fields(object).clone();
        if !object["metadata"]["name"].is_string() {
            self.error("metadata.name", "the class has no name", "Write one, such as gpu-compute-class");
        }
        for (key, value) in &fields {
            match key.as_str() {
                "driverName" | "parametersRef" | "apiVersion" | "kind" | "metadata" => {}
                "suitableNodes" => {
                    let labels = node_type(value).map(|value| format!(" (node-type={value})"));
                    self.warn(
                        "spec.suitableNodes",
                        &format!("a DeviceClass selects no nodes{}", labels.unwrap_or_default()),
                        "Nothing is to be done where only such nodes have devices; else write a nodeSelector into the \
                         pods",
                    );
                }
                key => self.warn(&format!("spec.{key}"), "v1 has no such field", "Take it out"),
            }
        }
        if !is_object_name(&class.driver) {
            let what = format!("{:?} is no driver's name", class.driver);
            self.error("spec.driverName", &what, "Write the name that the driver was installed with");
            return Value::Null;
        }
        let expressions = if class.driver != self.driver() {
            let what = format!(
                "the driver is {}, and not {}: the class selects all devices of it",
                class.driver,
                self.driver()
            );
            let fix =
                format!("Add --driver-name {} if this driver was installed with that name", class.driver);
            self.warn("spec.driverName", &what, &fix);
            vec![format!("device.driver == '{}'", class.driver)]
        } else if class.cpu {
            self.warn(
                "spec.driverName",
                "this version of the driver has no devices for CPUs, so claims with this class wait",
                "Ask for CPUs in the pods' resources.requests, and take class and claims out",
            );
            vec![class_expression(&class.driver, "cpu")]
        } else {
            let mut expressions = vec![class_expression(&class.driver, "gpu")];
            let asked = fields.get("parametersRef").and_then(|reference| self.class_parameters(reference));
            expressions.extend(asked.unwrap_or_default().expressions(&class.driver));
            expressions
        };
        json!({
            "apiVersion": VERSION,
            "kind": "DeviceClass",
            "metadata": object["metadata"],
            "spec": {"selectors": selectors(expressions)},
        })
    }

    fn class_parameters(&mut self, reference: &Value) -> Option<Parameters> {
        match self.parameters(reference, "spec.parametersRef", Purpose::Class, None) {
            Parametrized::Read(parameters) => return Some(parameters),
            Parametrized::Wrong => {}
            Parametrized::Missing(name) => self.warn(
                "spec.parametersRef",
                &format!("ConfigMap {name} is not in the input: the class selects every GPU"),
                "Nothing is to be done if that is meant; else add the ConfigMap to the input",
            ),
        }
        None
    }

    /// A claim's spec of v1alpha2 as v1 has it. `path` is where it is in the document.
    pub(super) fn classic_claim(&mut self, spec: &Value, path: &str, namespace: Option<&str>) -> Value {
        let at = |field: &str| format!("{path}.{field}");
        for (key, value) in spec.as_object().into_iter().flatten() {
            match key.as_str() {
                "resourceClassName" | "parametersRef" => {}
                "allocationMode" if value == "WaitForFirstConsumer" => {}
                "allocationMode" => self.warn(
                    &at(key),
                    "v1 allocates a claim when a pod needs it, and never before",
                    "Take it out; where devices have to be kept free, start a pod that holds them",
                ),
                key => self.warn(&at(key), "v1 has no such field", "Take it out"),
            }
        }
        let Some(class) = spec["resourceClassName"].as_str().filter(|name| is_object_name(name)) else {
            self.error(
                &at("resourceClassName"),
                "it names no class",
                "Write a name, such as gpu-compute-class",
            );
            return Value::Null;
        };
        let (driver, cpu) = match self.class_named(class) {
            Some(known) => (known.driver.clone(), known.cpu),
            None => (self.driver().to_owned(), is_for_cpus(class)),
        };
        let reference = &spec["parametersRef"];
        let mut asked = Parameters::default();
        if cpu {
            let what = format!(
                "{class} is for CPUs, and this version of the driver has no devices for them: the claim waits"
            );
            self.warn(&at("resourceClassName"), &what, "Ask for CPUs in the pods' resources.requests");
        } else if !reference.is_null() && driver != self.driver() {
            let what = format!("parameters of driver {driver} are not known here");
            let fix = format!(
                "Add --driver-name {driver} if this driver was installed with that name, or take it out"
            );
            self.error(&at("parametersRef"), &what, &fix);
        } else if !reference.is_null() {
            match self.parameters(reference, &at("parametersRef"), Purpose::Claim, namespace) {
                Parametrized::Read(parameters) => asked = parameters,
                Parametrized::Wrong => {}
                Parametrized::Missing(name) => self.error(
                    &at("parametersRef"),
                    &format!("ConfigMap {name} is not in the input"),
                    "Add it to the input, or take parametersRef out, which asks for any one GPU",
                ),
            }
        }
        if let Some(other) = asked.class.as_deref().filter(|other| *other != class) {
            let what = format!("its ConfigMap has device-class {other}, and here stands {class}");
            self.error(&at("resourceClassName"), &what, "Leave the one that is meant");
        }
        let request = if cpu { "cpu" } else { "gpu" };
        claim_spec(request, class, asked.count.unwrap_or(1), asked.expressions(&driver))
    }

    /// A claim's spec of v1alpha3 or v1beta1 as v1 has it.
    pub(super) fn flat_claim(&mut self, mut spec: Value, path: &str) -> Value {
        let removed = spec.as_object_mut().and_then(|spec| spec.shift_remove("controller"));
        if removed.is_some() {
            let what = "v1 has no allocation by a driver's controller";
            self.warn(&format!("{path}.controller"), what, "Take it out");
        }
        let requests = spec.pointer_mut("/devices/requests").and_then(Value::as_array_mut);
        for request in requests.into_iter().flatten().filter_map(Value::as_object_mut) {
            if request.contains_key("exactly") || request.contains_key("firstAvailable") {
                continue;
            }
            let name = request.shift_remove("name");
            let exactly = std::mem::take(request);
            request.extend(name.map(|name| ("name".to_owned(), name)));
            request.insert("exactly".to_owned(), Value::Object(exactly));
        }
        spec
    }

    /// A DeviceClass of v1alpha3 or v1beta1 as v1 has it.
    pub(super) fn flat_class(&mut self, mut spec: Value) -> Value {
        let removed = spec.as_object_mut().and_then(|spec| spec.shift_remove("suitableNodes"));
        if removed.is_some() {
            let fix = "Nothing is to be done where only such nodes have devices; else write a nodeSelector into the pods";
            self.warn("spec.suitableNodes", "a DeviceClass selects no nodes", fix);
        }
        spec
    }
}

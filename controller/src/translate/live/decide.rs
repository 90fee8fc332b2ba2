//! What is to be done about a ConfigMap: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::resource::v1::{
    CELDeviceSelector, DeviceClass, DeviceClassSpec, DeviceRequest, DeviceSelector, DeviceSubRequest,
    ExactDeviceRequest, ResourceClaimSpec, ResourceClaimTemplate, ResourceClaimTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Settings;
use crate::translate::parameters::{ParameterError, Parameters, Purpose};
use crate::translate::versions::class_expression;

/// A ConfigMap's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn of(config: &ConfigMap) -> Self {
        let ObjectMeta { namespace, name, .. } = &config.metadata;
        Self { namespace: namespace.clone().unwrap_or_default(), name: name.clone().unwrap_or_default() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What is to be done about an object that a ConfigMap asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step<T> {
    /// It is as it should be.
    Nothing,
    /// It is not there.
    Create(T),
    /// It says something else: the object of this UID and version gives way.
    Replace { old: Old, new: T },
    /// Somebody else has made an object of this name.
    Foreign,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Old {
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
}

impl Old {
    fn of(metadata: &ObjectMeta) -> Self {
        Self { uid: metadata.uid.clone(), version: metadata.resource_version.clone() }
    }
}

/// The template that a ConfigMap asks for.
pub(super) fn template(
    config: &ConfigMap,
    settings: &Settings,
) -> Result<(ResourceClaimTemplate, Parameters), Vec<ParameterError>> {
    let parameters = parameters(config, Purpose::Claim)?;
    let exactly = ExactDeviceRequest {
        device_class_name: parameters.class.clone().unwrap_or_else(|| settings.device_class.clone()),
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(parameters.count.unwrap_or(1).into()),
        selectors: some(selectors(parameters.expressions(&settings.driver))),
        ..ExactDeviceRequest::default()
    };
    let request = DeviceRequest {
        name: "gpu".to_owned(),
        exactly: Some(exactly),
        first_available: None::<Vec<DeviceSubRequest>>,
    };
    let claim =
        k8s_openapi::api::resource::v1::DeviceClaim { requests: Some(vec![request]), ..Default::default() };
    let spec =
        ResourceClaimTemplateSpec { metadata: None, spec: Some(ResourceClaimSpec { devices: Some(claim) }) };
    let mut metadata = metadata(config, &settings.driver, &spec);
    metadata.namespace.clone_from(&config.metadata.namespace);
    metadata.owner_references = Some(vec![owner(config)]);
    Ok((ResourceClaimTemplate { metadata, spec: Some(spec) }, parameters))
}

/// The class that a ConfigMap asks for.
pub(super) fn class(
    config: &ConfigMap,
    settings: &Settings,
) -> Result<(DeviceClass, Parameters), Vec<ParameterError>> {
    let parameters = parameters(config, Purpose::Class)?;
    let mut expressions = vec![class_expression(&settings.driver, "gpu")];
    expressions.extend(parameters.expressions(&settings.driver));
    let spec = DeviceClassSpec { selectors: some(selectors(expressions)), ..DeviceClassSpec::default() };
    let metadata = metadata(config, &settings.driver, &spec);
    Ok((DeviceClass { metadata, spec: Some(spec) }, parameters))
}

fn parameters(config: &ConfigMap, purpose: Purpose) -> Result<Parameters, Vec<ParameterError>> {
    let text = |(key, value): (&String, &String)| (key.clone(), Value::from(value.as_str()));
    let data: BTreeMap<String, Value> = config.data.iter().flatten().map(text).collect();
    let binary = config.binary_data.iter().flatten().map(|(key, _)| (key.clone(), Value::Null)).collect();
    Parameters::read(&Key::of(config).to_string(), purpose, &data, &binary)
}

fn selectors(expressions: Vec<String>) -> Vec<DeviceSelector> {
    let selector = |expression| DeviceSelector { cel: Some(CELDeviceSelector { expression }) };
    expressions.into_iter().map(selector).collect()
}

fn some<T>(all: Vec<T>) -> Option<Vec<T>> {
    if all.is_empty() { None } else { Some(all) }
}

/// The label that says that an object was made here.
pub(super) fn label(driver: &str) -> String {
    format!("{driver}/translated")
}

/// The annotation that says of what.
pub(super) fn from(driver: &str) -> String {
    format!("{driver}/translated-from")
}

/// The annotation that says what was written, so that nothing is written again.
fn hash(driver: &str) -> String {
    format!("{driver}/translated-hash")
}

fn metadata(config: &ConfigMap, driver: &str, spec: &impl Serialize) -> ObjectMeta {
    let text = serde_json::to_string(spec).unwrap_or_default();
    let digest = Sha256::digest(text.as_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    ObjectMeta {
        name: config.metadata.name.clone(),
        labels: Some([(label(driver), "true".to_owned())].into()),
        annotations: Some([(from(driver), Key::of(config).to_string()), (hash(driver), short)].into()),
        ..ObjectMeta::default()
    }
}

fn owner(config: &ConfigMap) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: config.metadata.name.clone().unwrap_or_default(),
        uid: config.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Whether an object was made here of this ConfigMap, or of one of its name before.
pub(super) fn is_ours(metadata: &ObjectMeta, config: &Key, driver: &str) -> bool {
    let labels = metadata.labels.as_ref();
    let labelled = labels.and_then(|labels| labels.get(&label(driver))).is_some_and(|value| value == "true");
    labelled && made_of(metadata, driver) == Some(config.to_string().as_str())
}

/// What an object was made of.
pub(super) fn made_of<'a>(metadata: &'a ObjectMeta, driver: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(&from(driver)).map(String::as_str)
}

/// What is to be done about a template.
pub(super) fn template_step(
    wanted: ResourceClaimTemplate,
    there: Option<&ResourceClaimTemplate>,
    config: &Key,
    driver: &str,
) -> Step<ResourceClaimTemplate> {
    let Some(there) = there else { return Step::Create(wanted) };
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    let owned =
        owners(&there.metadata).iter().any(|owner| owner.kind == "ConfigMap" && owner.name == config.name);
    // One whose ConfigMap was deleted, and made again, is about to be collected.
    let of_this = owners(&there.metadata) == owners(&wanted.metadata);
    if !owned || !is_ours(&there.metadata, config, driver) {
        Step::Foreign
    } else if of_this && same(&there.metadata, &wanted.metadata, driver) {
        Step::Nothing
    } else {
        Step::Replace { old: Old::of(&there.metadata), new: wanted }
    }
}

/// What is to be done about a class.
pub(super) fn class_step(
    mut wanted: DeviceClass,
    there: Option<&DeviceClass>,
    config: &Key,
    driver: &str,
) -> Step<DeviceClass> {
    let Some(there) = there else { return Step::Create(wanted) };
    if !is_ours(&there.metadata, config, driver) {
        return Step::Foreign;
    }
    if same(&there.metadata, &wanted.metadata, driver) {
        return Step::Nothing;
    }
    let old = Old::of(&there.metadata);
    wanted.metadata.resource_version.clone_from(&old.version);
    Step::Replace { old, new: wanted }
}

fn same(there: &ObjectMeta, wanted: &ObjectMeta, driver: &str) -> bool {
    let key = hash(driver);
    let of = |metadata: &ObjectMeta| metadata.annotations.as_ref()?.get(&key).cloned();
    of(there) == of(wanted)
}

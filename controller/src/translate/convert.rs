//! Documents, one by one, and what they name of each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::parameters::{ParameterError, Parameters, Purpose};
use super::pods;
use super::text::{self, SyntaxError};
use super::told::{Told, called};
use super::versions::{Old, OldClass, VERSION};

/// What the API server writes into objects: a manifest that was got from a cluster has it.
const WRITTEN_BY_SERVER: [&str; 6] =
    ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How deep lists may be in lists.
const DEEPEST: usize = 8;

/// Why documents cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The text is no YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A value of a ConfigMap that a claim or class names.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Another field.
    #[error("{0}")]
    Field(Told),
    /// What came out cannot be written.
    #[error("cannot write the converted documents: {0}")]
    Write(String),
}

/// Documents as v1 has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    documents: Vec<Document>,
    /// What does not mean what it meant, or cannot work.
    pub warnings: Vec<Told>,
}

#[derive(Debug, Clone, PartialEq)]
struct Document {
    /// Its text, where it is as it was.
    text: Option<String>,
    value: Value,
}

/// Converts documents for the driver of this name. Those that need no change keep their text.
///
/// # Errors
/// All that is wrong in the documents.
pub fn convert(text: &str, driver: &str) -> Result<Converted, Vec<ConvertError>> {
    let mut errors = Vec::new();
    let mut documents = Vec::new();
    for source in text::documents(text) {
        match source.read() {
            Ok(value) => documents.push((source, value)),
            Err(error) => errors.push(error.into()),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut known = Known::default();
    for (_, value) in &documents {
        known.learn(value, driver, 0);
    }
    let mut converting = Converting {
        driver,
        known: &known,
        called: String::new(),
        used: BTreeMap::new(),
        warnings: vec![],
        errors,
    };
    let mut converted = Vec::new();
    for (source, value) in documents {
        let mut changed = false;
        let object = converting.object(value.clone(), source.line, &mut changed, 0);
        let text = (!changed).then(|| source.text.to_owned());
        converted.extend(object.map(|value| Document { text, value }));
    }
    converting.tell_used();
    let Converting { warnings, errors, .. } = converting;
    if errors.is_empty() { Ok(Converted { documents: converted, warnings }) } else { Err(errors) }
}

impl Converted {
    /// The documents, as YAML.
    ///
    /// # Errors
    /// When a document cannot be written as YAML.
    pub fn yaml(&self) -> Result<String, ConvertError> {
        let mut text = String::new();
        for document in &self.documents {
            text.push_str("---");
            match &document.text {
                Some(original) => {
                    if !original.starts_with([' ', '\t', '\r', '\n']) {
                        text.push('\n');
                    }
                    text.push_str(original);
                }
                None => {
                    text.push('\n');
                    // Expressions stay on a line.
                    let options = serde_saphyr::ser_options! { folded_wrap_chars: 400 };
                    serde_saphyr::to_fmt_writer_with_options(&mut text, &document.value, options)
                        .map_err(|error| ConvertError::Write(error.to_string()))?;
                }
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// The documents, as JSON: a `List` where it is not one alone.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn json(&self) -> Result<String, ConvertError> {
        let text = match self.documents.as_slice() {
            [one] => serde_json::to_string_pretty(&one.value),
            all => {
                let items: Vec<&Value> = all.iter().map(|document| &document.value).collect();
                serde_json::to_string_pretty(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
            }
        };
        text.map(|text| text + "\n").map_err(|error| ConvertError::Write(error.to_string()))
    }

    /// The documents.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.documents.iter().map(|document| &document.value)
    }
}

/// What documents name of each other.
#[derive(Debug, Default)]
struct Known {
    classes: BTreeMap<String, OldClass>,
    configs: BTreeMap<String, Vec<Value>>,
}

impl Known {
    fn learn(&mut self, object: &Value, driver: &str, depth: usize) {
        let (api_version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str());
        let name = || object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match (Old::of(api_version), kind) {
            (Some(Old::Classic), Some("ResourceClass")) => {
                self.classes.insert(name(), OldClass::of(object, driver));
            }
            (None, Some("ConfigMap")) if api_version == "v1" => {
                self.configs.entry(name()).or_default().push(object.clone());
            }
            _ if depth < DEEPEST => {
                items(object).iter().for_each(|item| self.learn(item, driver, depth + 1));
            }
            _ => {}
        }
    }
}

/// What is asked for by parameters.
pub(super) enum Parametrized {
    /// This.
    Read(Parameters),
    /// Nothing: the ConfigMap of this name is not in the input.
    Missing(String),
    /// Nothing that can be read: the errors are told.
    Wrong,
}

/// Documents that are being converted.
pub(super) struct Converting<'a> {
    driver: &'a str,
    known: &'a Known,
    /// How messages call the document that it is at.
    called: String,
    /// ConfigMaps that were read, and by whom.
    used: BTreeMap<String, BTreeSet<String>>,
    warnings: Vec<Told>,
    errors: Vec<ConvertError>,
}

impl Converting<'_> {
    pub(super) fn driver(&self) -> &str {
        self.driver
    }

    pub(super) fn class_named(&self, name: &str) -> Option<&OldClass> {
        self.known.classes.get(name)
    }

    pub(super) fn warn(&mut self, field: &str, what: &str, fix: &str) {
        let told = self.told(field, what, fix);
        self.warnings.push(told);
    }

    pub(super) fn error(&mut self, field: &str, what: &str, fix: &str) {
        let told = self.told(field, what, fix);
        self.errors.push(ConvertError::Field(told));
    }

    fn told(&self, field: &str, what: &str, fix: &str) -> Told {
        Told {
            object: self.called.clone(),
            field: field.to_owned(),
            what: what.to_owned(),
            fix: fix.to_owned(),
        }
    }

    /// An object as v1 has it, or nothing where v1 has none such.
    fn object(&mut self, object: Value, line: usize, changed: &mut bool, depth: usize) -> Option<Value> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        if kind.ends_with("List") && object["items"].is_array() && depth < DEEPEST {
            return Some(self.list(object, line, changed, depth));
        }
        self.called = called(&object, line);
        if let Some(old) = Old::of(&api_version) {
            return self.old(old, &kind, object, changed);
        }
        let mut object = object;
        let pods = pods::convert(&mut object, &self.called);
        self.warnings.extend(pods.warnings);
        self.errors.extend(pods.errors.into_iter().map(ConvertError::Field));
        if pods.changed {
            *changed = true;
            clean(&mut object);
        }
        Some(object)
    }

    /// A list, and what is in it. Lists of a kind of their own become `List`, which can have anything.
    fn list(&mut self, list: Value, line: usize, changed: &mut bool, depth: usize) -> Value {
        let mut within = false;
        let mut converted = Vec::new();
        for item in items(&list) {
            converted.extend(self.object(item, line, &mut within, depth + 1));
        }
        if !within {
            return list;
        }
        *changed = true;
        json!({"apiVersion": "v1", "kind": "List", "items": converted})
    }

    fn old(&mut self, old: Old, kind: &str, mut object: Value, changed: &mut bool) -> Option<Value> {
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        let spec = object["spec"].clone();
        let new = match (old, kind) {
            (Old::Classic, "ResourceClass") => self.class(&object),
            (Old::Classic, "ResourceClaim") => {
                let spec = self.classic_claim(&spec, "spec", namespace.as_deref());
                with_spec(object, spec)
            }
            (Old::Classic, "ResourceClaimTemplate") => {
                let claim = self.classic_claim(&spec["spec"], "spec.spec", namespace.as_deref());
                let spec = template(&spec, claim);
                with_spec(object, spec)
            }
            (Old::Flat, "ResourceClaim") => {
                let spec = self.flat_claim(spec, "spec");
                with_spec(object, spec)
            }
            (Old::Flat, "ResourceClaimTemplate") => {
                let claim = self.flat_claim(spec["spec"].clone(), "spec.spec");
                let spec = template(&spec, claim);
                with_spec(object, spec)
            }
            (Old::Flat, "DeviceClass") => {
                let spec = self.flat_class(spec);
                with_spec(object, spec)
            }
            (Old::Same, "ResourceClaim" | "ResourceClaimTemplate" | "DeviceClass") => with_spec(object, spec),
            // It has versions of its own that are served.
            (_, "DeviceTaintRule") => return Some(object),
            (_, "ResourceSlice") => {
                let what = "drivers write ResourceSlices, and API servers may not take this version: it is left as it is";
                self.warn("kind", what, "Take it out of the file");
                return Some(object);
            }
            (_, kind) => {
                let what = format!("v1 has no {kind}: the document is left out");
                self.warn("kind", &what, "Take it out of the file");
                *changed = true;
                return None;
            }
        };
        *changed = true;
        object = new;
        clean(&mut object);
        Some(object)
    }

    /// What the ConfigMap says that `reference` names.
    pub(super) fn parameters(
        &mut self,
        reference: &Value,
        field: &str,
        purpose: Purpose,
        namespace: Option<&str>,
    ) -> Parametrized {
        let kind = reference["kind"].as_str().unwrap_or("ConfigMap");
        let Some(name) = reference["name"].as_str().filter(|_| kind == "ConfigMap") else {
            let what = format!("parameters of kind {kind} cannot be read");
            self.error(
                field,
                &what,
                "Write the name of a ConfigMap, or take it out and write selectors by hand",
            );
            return Parametrized::Wrong;
        };
        let namespace = reference["namespace"].as_str().or(namespace);
        let known = self.known;
        let mut named = known.configs.get(name).into_iter().flatten();
        let config = named.find(|config| {
            let its = config["metadata"]["namespace"].as_str();
            its == namespace || its.is_none() || namespace.is_none()
        });
        let Some(config) = config else {
            let full = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
            return Parametrized::Missing(full);
        };
        let object = called(config, 0);
        let object = object.strip_prefix("ConfigMap ").unwrap_or(&object).to_owned();
        let map = |key: &str| -> BTreeMap<String, Value> {
            let fields: Option<&Map<String, Value>> = config[key].as_object();
            fields.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let first = self.used.entry(object.clone()).or_default().insert(self.called.clone());
        match Parameters::read(&object, purpose, &map("data"), &map("binaryData")) {
            Ok(parameters) => {
                if let Some((key, words)) = parameters.surprise().filter(|_| first) {
                    let told = Told {
                        object: format!("ConfigMap {object}"),
                        field: format!("data.{key}"),
                        what: words,
                        fix: "The claim asks for what stands there".to_owned(),
                    };
                    self.warnings.push(told);
                }
                Parametrized::Read(parameters)
            }
            Err(errors) => {
                for error in errors.into_iter().map(ConvertError::Parameter) {
                    if !self.errors.contains(&error) {
                        self.errors.push(error);
                    }
                }
                Parametrized::Wrong
            }
        }
    }

    /// Says of ConfigMaps that were read that they do nothing any more.
    fn tell_used(&mut self) {
        for (config, by) in std::mem::take(&mut self.used) {
            self.called = format!("ConfigMap {config}");
            let by: Vec<String> = by.into_iter().collect();
            let what =
                format!("its values are in {} now, and changes to it change nothing there", by.join(", "));
            let label = format!("{}/claim-parameters: \"true\"", self.driver);
            let fix = format!(
                "Delete it; or give it the label {label}, and the controller makes a ResourceClaimTemplate of its own \
                 name from it, anew after each change"
            );
            self.warn("data", &what, &fix);
        }
    }
}

/// What is in a list. In a list of a kind of its own, items need not say what they are.
fn items(list: &Value) -> Vec<Value> {
    let kind =
        list["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).filter(|kind| !kind.is_empty());
    let mut items = list["items"].as_array().cloned().unwrap_or_default();
    if let Some(kind) = kind {
        for fields in items.iter_mut().filter_map(Value::as_object_mut) {
            fields.entry("apiVersion").or_insert_with(|| list["apiVersion"].clone());
            fields.entry("kind").or_insert_with(|| kind.into());
        }
    }
    items
}

fn template(old: &Value, claim: Value) -> Value {
    let mut spec = json!({"spec": claim});
    if !old["metadata"].is_null() {
        spec["metadata"] = old["metadata"].clone();
    }
    spec
}

fn with_spec(mut object: Value, spec: Value) -> Value {
    object["spec"] = spec;
    object
}

/// Takes out what the API server and kubectl have written, and sets the version of our group.
fn clean(object: &mut Value) {
    if object["apiVersion"].as_str().is_some_and(|version| version.starts_with("resource.k8s.io/")) {
        object["apiVersion"] = VERSION.into();
    }
    let Some(fields) = object.as_object_mut() else { return };
    fields.shift_remove("status");
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for key in WRITTEN_BY_SERVER {
        metadata.shift_remove(key);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
}

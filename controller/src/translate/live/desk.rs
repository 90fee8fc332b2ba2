//! What is read and written about one ConfigMap.

use std::collections::BTreeMap;
use std::time::Duration;

use dra_runtime::events::{Event, Events};
use dra_runtime::lease::Leadership;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::time::timeout;

use super::decide::{self, Key, Step, class_step, is_ours, label, made_of, template_step};
use super::{Settings, Which, Wrote};
use crate::translate::parameters::{ParameterError, Parameters};

/// The Events' reasons.
const TRANSLATED: &str = "ParametersTranslated";
const INVALID: &str = "ParametersInvalid";
/// What was being done.
const ACTION: &str = "Translate";
/// How long the API server may take for what has to be done about one ConfigMap.
const ANSWER: Duration = Duration::from_secs(20);
/// The kinds, as metrics call them.
const TEMPLATE: &str = "resourceclaimtemplate";
const CLASS: &str = "deviceclass";

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeskError {
    #[error("cannot {attempt}: {source}")]
    Refused { attempt: String, source: Box<kube::Error> },
    #[error("no answer from the API server within {} s; check the link to it", ANSWER.as_secs())]
    NoAnswer,
    #[error("this replica does not act any more")]
    NotLeading,
}

fn refused(attempt: String) -> impl FnOnce(kube::Error) -> DeskError {
    move |source| DeskError::Refused { attempt, source: Box::new(source) }
}

/// Reads and writes.
pub(super) struct Desk {
    client: Client,
    settings: Settings,
    events: Events,
    leadership: Leadership,
    wrote: Wrote,
    /// What was last told about a ConfigMap that is wrong.
    told: BTreeMap<(Which, Key), String>,
}

impl Desk {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        events: Events,
        leadership: Leadership,
        wrote: Wrote,
    ) -> Self {
        Self { client, settings, events, leadership, wrote, told: BTreeMap::new() }
    }

    fn templates(&self, namespace: &str) -> Api<ResourceClaimTemplate> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn classes(&self) -> Api<DeviceClass> {
        Api::all(self.client.clone())
    }

    /// The ConfigMaps that the classes which are there were made of.
    pub(super) async fn classes_there(&self) -> Vec<Key> {
        let driver = &self.settings.driver;
        let made = ListParams::default().labels(&format!("{}=true", label(driver)));
        match timeout(ANSWER, self.classes().list(&made)).await {
            Ok(Ok(classes)) => {
                let key = |class: &DeviceClass| {
                    let (namespace, name) = made_of(&class.metadata, driver)?.split_once('/')?;
                    Some(Key { namespace: namespace.to_owned(), name: name.to_owned() })
                };
                classes.items.iter().filter_map(key).collect()
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot list the DeviceClasses; those whose ConfigMap is gone may stay");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(
                    "no answer to a list of DeviceClasses; those whose ConfigMap is gone may stay"
                );
                Vec::new()
            }
        }
    }

    /// Brings what a ConfigMap asks for into being; without one, takes away what it asked for.
    pub(super) async fn settle(
        &mut self,
        which: Which,
        key: &Key,
        config: Option<&ConfigMap>,
    ) -> Result<(), DeskError> {
        let done = async {
            match (which, config) {
                (Which::Template, Some(config)) => self.template(key, config).await,
                (Which::Class, Some(config)) => self.class(key, config).await,
                (Which::Template, None) => self.remove_template(key).await,
                (Which::Class, None) => self.remove_class(key).await,
            }
        };
        timeout(ANSWER, done).await.map_err(|_| DeskError::NoAnswer)?
    }

    async fn template(&mut self, key: &Key, config: &ConfigMap) -> Result<(), DeskError> {
        let which = Which::Template;
        let (wanted, parameters) = match decide::template(config, &self.settings) {
            Ok(wanted) => wanted,
            Err(errors) => {
                self.invalid(which, key, config, &errors);
                return Ok(());
            }
        };
        let api = self.templates(&key.namespace);
        let there =
            api.get_opt(&key.name).await.map_err(refused(format!("get ResourceClaimTemplate {key}")))?;
        let (old, new) = match template_step(wanted, there.as_ref(), key, &self.settings.driver) {
            Step::Nothing => {
                self.told.remove(&(which, key.clone()));
                return Ok(());
            }
            Step::Foreign => {
                let note = format!(
                    "ResourceClaimTemplate {} was not made of this ConfigMap, so it is left as it is: delete it, or give \
                     the ConfigMap another name",
                    key.name
                );
                self.complain(which, key, config, note);
                return Ok(());
            }
            Step::Create(new) => (None, new),
            Step::Replace { old, new } => (Some(old), new),
        };
        let replaced = old.is_some();
        if let Some(old) = old {
            self.leading()?;
            let done = gone(api.delete(&key.name, &exactly(old.uid)).await)
                .map_err(refused(format!("delete ResourceClaimTemplate {key}")));
            self.count(TEMPLATE, done)?;
        }
        self.leading()?;
        let done = api.create(&PostParams::default(), &new).await;
        self.count(TEMPLATE, done.map(drop).map_err(refused(format!("create ResourceClaimTemplate {key}"))))?;
        let verb = if replaced { "was made anew: claims of new pods follow it" } else { "was made of it" };
        self.translated(
            which,
            key,
            config,
            &format!("ResourceClaimTemplate {} {verb}", key.name),
            &parameters,
        );
        Ok(())
    }

    async fn class(&mut self, key: &Key, config: &ConfigMap) -> Result<(), DeskError> {
        let which = Which::Class;
        if key.namespace != self.settings.namespace {
            let note = "parameters of classes count only in the namespace of the driver's controller, because DeviceClasses \
                        are for all namespaces: take the label class-parameters away; claim-parameters makes a template here";
            self.complain(which, key, config, note.to_owned());
            return Ok(());
        }
        let (wanted, parameters) = match decide::class(config, &self.settings) {
            Ok(wanted) => wanted,
            Err(errors) => {
                self.invalid(which, key, config, &errors);
                return Ok(());
            }
        };
        let (api, name) = (self.classes(), &key.name);
        let there = api.get_opt(name).await.map_err(refused(format!("get DeviceClass {name}")))?;
        let step = class_step(wanted, there.as_ref(), key, &self.settings.driver);
        let (verb, done) = match step {
            Step::Nothing => {
                self.told.remove(&(which, key.clone()));
                return Ok(());
            }
            Step::Foreign => {
                let note = format!(
                    "DeviceClass {name} was not made of this ConfigMap, so it is left as it is: give the ConfigMap another \
                     name"
                );
                self.complain(which, key, config, note);
                return Ok(());
            }
            Step::Create(new) => {
                self.leading()?;
                let done = api.create(&PostParams::default(), &new).await;
                ("was made of it", done.map_err(refused(format!("create DeviceClass {name}"))))
            }
            Step::Replace { new, .. } => {
                self.leading()?;
                let done = api.replace(name, &PostParams::default(), &new).await;
                ("was changed", done.map_err(refused(format!("update DeviceClass {name}"))))
            }
        };
        self.count(CLASS, done.map(drop))?;
        self.translated(which, key, config, &format!("DeviceClass {name} {verb}"), &parameters);
        Ok(())
    }

    async fn remove_template(&mut self, key: &Key) -> Result<(), DeskError> {
        self.told.remove(&(Which::Template, key.clone()));
        let api = self.templates(&key.namespace);
        let there =
            api.get_opt(&key.name).await.map_err(refused(format!("get ResourceClaimTemplate {key}")))?;
        let Some(there) = there.filter(|there| self.made_here(&there.metadata, key)) else { return Ok(()) };
        self.leading()?;
        let done = gone(api.delete(&key.name, &exactly(there.metadata.uid)).await);
        self.count(TEMPLATE, done.map_err(refused(format!("delete ResourceClaimTemplate {key}"))))
    }

    async fn remove_class(&mut self, key: &Key) -> Result<(), DeskError> {
        self.told.remove(&(Which::Class, key.clone()));
        let (api, name) = (self.classes(), &key.name);
        let there = api.get_opt(name).await.map_err(refused(format!("get DeviceClass {name}")))?;
        let Some(there) = there.filter(|there| self.made_here(&there.metadata, key)) else { return Ok(()) };
        self.leading()?;
        let done = gone(api.delete(name, &exactly(there.metadata.uid)).await);
        self.count(CLASS, done.map_err(refused(format!("delete DeviceClass {name}"))))?;
        tracing::info!(name, config_map = %key, "deleted the DeviceClass of a ConfigMap that is gone");
        Ok(())
    }

    fn made_here(&self, metadata: &ObjectMeta, key: &Key) -> bool {
        is_ours(metadata, key, &self.settings.driver)
    }

    /// Nothing is written by a replica that does not act.
    fn leading(&self) -> Result<(), DeskError> {
        if self.leadership.is_held() { Ok(()) } else { Err(DeskError::NotLeading) }
    }

    fn count(&self, kind: &'static str, done: Result<(), DeskError>) -> Result<(), DeskError> {
        (self.wrote)(kind, done.is_ok());
        done
    }

    fn translated(
        &mut self,
        which: Which,
        key: &Key,
        config: &ConfigMap,
        done: &str,
        parameters: &Parameters,
    ) {
        tracing::info!(config_map = %key, "{done}");
        self.told.remove(&(which, key.clone()));
        self.send(config, false, TRANSLATED, done.to_owned());
        if let Some((field, words)) = parameters.surprise() {
            self.complain(which, key, config, format!("data.{field}: {words}"));
        }
    }

    fn invalid(&mut self, which: Which, key: &Key, config: &ConfigMap, errors: &[ParameterError]) {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let note = format!("{}. Nothing was changed by these {}", all.join("; "), which.purpose());
        self.complain(which, key, config, note);
    }

    /// Says what is wrong, once.
    fn complain(&mut self, which: Which, key: &Key, config: &ConfigMap, note: String) {
        let told = self.told.insert((which, key.clone()), note.clone());
        if told.as_ref() != Some(&note) {
            tracing::warn!(config_map = %key, "{note}");
            self.send(config, true, INVALID, note);
        }
    }

    fn send(&self, config: &ConfigMap, warning: bool, reason: &'static str, note: String) {
        let ObjectMeta { namespace, name, uid, .. } = config.metadata.clone();
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            namespace,
            name,
            uid,
            ..ObjectReference::default()
        };
        self.events.send(Event { about, warning, reason, action: ACTION, note });
    }
}

/// Deletes this object and none that came after it.
fn exactly(uid: Option<String>) -> DeleteParams {
    let preconditions = Some(Preconditions { uid, resource_version: None });
    DeleteParams { preconditions, ..DeleteParams::default() }
}

/// What is gone needs no deletion.
fn gone<T>(done: kube::Result<T>) -> kube::Result<()> {
    match done {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}

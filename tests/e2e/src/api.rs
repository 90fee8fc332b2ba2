//! Objects in the cluster: making them from manifests, and waiting until they are as a test needs them.

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{DeleteParams, LogParams, PostParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long anything in the cluster may take before the test takes it for hung; more than the 90 s after which the
/// kubelet tries again what failed.
pub const GUARD: Duration = Duration::from_secs(120);

/// The image that the test cluster brings: busybox.
pub const IMAGE: &str = "registry.local/test:1";

/// A name that no other test and no earlier run has: `stem` and six letters and digits.
#[must_use]
pub fn unique(stem: &str) -> String {
    /// What the last name was made of: tests that begin together would make theirs of the same microsecond.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is later than 1970");
    let now = u64::try_from(now.as_nanos() >> 10).expect("the clock is earlier than 500000 AD");
    let mut number = now;
    let next = |last: u64| {
        number = now.max(last + 1);
        Some(number)
    };
    // It always has a next value.
    let _ = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    format!("{stem}-{:06x}", number & 0xff_ffff)
}

/// A namespace of a test.
#[derive(Clone)]
pub struct Space {
    /// The client that everything here is done with.
    pub client: Client,
    /// The namespace's name.
    pub name: String,
}

impl Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Space {
    /// Makes a namespace and waits until pods can be made in it, which takes its ServiceAccount.
    pub async fn create(client: Client, stem: &str, labels: Value) -> Self {
        let name = unique(stem);
        make::<Namespace>(&Api::all(client.clone()), json!({"metadata": {"name": name, "labels": labels}}))
            .await;
        let space = Self { client, name };
        space.let_kubelets_read_claims().await;
        wait(&space.api::<ServiceAccount>(), "default", "exist", |account: Option<&ServiceAccount>| {
            account.is_some()
        })
        .await;
        space
    }

    /// Lets all kubelets read the namespace's claims, whatever pods they run. Without that, a kubelet that hears of
    /// a pod sooner than the API server's node authorizer does is refused the pod's claims, and tries again only
    /// after 60 to 90 s.
    async fn let_kubelets_read_claims(&self) {
        let name = "kubelets-read-claims";
        make::<Role>(
            &self.api(),
            json!({"metadata": {"name": name}, "rules": [
                {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["get"]},
            ]}),
        )
        .await;
        make::<RoleBinding>(
            &self.api(),
            json!({
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [
                    {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"},
                ],
            }),
        )
        .await;
    }

    /// The objects of one kind in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes a pod of one container that runs a shell script once; `spec` is merged over it.
    pub async fn pod(&self, name: &str, script: &str, spec: Value) -> Pod {
        let mut manifest = json!({
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                    "command": ["/bin/sh", "-c", script],
                }],
            },
        });
        merge(&mut manifest["spec"], spec);
        make(&self.api(), manifest).await
    }

    /// Waits until a pod has run to its end and returns its phase, `Succeeded` or `Failed`.
    pub async fn ended(&self, name: &str) -> String {
        let pod = wait(&self.api::<Pod>(), name, "end", |pod: Option<&Pod>| {
            matches!(phase(pod), Some("Succeeded" | "Failed"))
        })
        .await
        .expect("the condition is about a pod that exists");
        phase(Some(&pod)).expect("an ended pod has a phase").to_owned()
    }

    /// What a container has written so far.
    pub async fn log(&self, pod: &str, container: &str) -> String {
        let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        self.api::<Pod>().logs(pod, &params).await.unwrap_or_else(|e| panic!("read the log of {pod}: {e}"))
    }

    /// Deletes an object and waits until it is gone.
    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
        K::DynamicType: Default,
    {
        delete(&self.api::<K>(), name).await;
    }

    /// Removes the namespace, without waiting until it is empty.
    pub async fn remove(self) {
        let namespaces: Api<Namespace> = Api::all(self.client);
        namespaces.delete(&self.name, &DeleteParams::default()).await.expect("delete the test's namespace");
    }
}

/// The phase of a pod.
#[must_use]
pub fn phase(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.phase.as_deref()
}

/// The uid of an object that the API server has.
#[must_use]
pub fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().expect("an object of the API server has a uid")
}

/// Makes an object from a manifest.
pub async fn make<K>(api: &Api<K>, manifest: Value) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(manifest).expect("the manifest is one of this kind");
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let name = object.meta().name.clone().unwrap_or_default();
    api.create(&PostParams::default(), &object).await.unwrap_or_else(|e| panic!("create {kind} {name}: {e}"))
}

/// Makes a cluster-wide object from a manifest.
pub async fn make_global<K>(client: &Client, manifest: Value) -> K
where
    K: Resource<Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    K::DynamicType: Default,
{
    make(&Api::all(client.clone()), manifest).await
}

/// Deletes an object and waits until it is gone.
pub async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let Some(uid) = delete_begin(api, name).await else { return };
    gone(api, name, &uid).await;
}

/// Asks for an object's deletion and returns its uid; `None` where there is no such object.
pub async fn delete_begin<K>(api: &Api<K>, name: &str) -> Option<String>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let found = api.get_opt(name).await.unwrap_or_else(|e| panic!("read {name}: {e}"))?;
    api.delete(name, &DeleteParams::default()).await.unwrap_or_else(|e| panic!("delete {name}: {e}"));
    Some(uid(&found))
}

/// Waits until the object with this uid is gone.
pub async fn gone<K>(api: &Api<K>, name: &str, uid: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    wait(api, name, "be gone", conditions::is_deleted(uid)).await;
}

/// Waits until a condition holds for an object; `None` is what the condition sees of an object that is not there.
///
/// # Panics
///
/// When it does not come to hold within [`GUARD`], with the object as it is then.
pub async fn wait<K>(api: &Api<K>, name: &str, what: &str, condition: impl Condition<K>) -> Option<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    match timeout(GUARD, await_condition(api.clone(), name, condition)).await {
        Ok(result) => result.unwrap_or_else(|e| panic!("watch {kind} {name}: {e}")),
        Err(_) => {
            let now = api.get_opt(name).await;
            panic!("{kind} {name} did not {what} within {GUARD:?}; it is now {now:#?}")
        }
    }
}

/// The texts of a pod's events with a reason, oldest first.
pub async fn event_texts(space: &Space, pod: &str, reason: &str) -> Vec<String> {
    let params =
        kube::api::ListParams::default().fields(&format!("involvedObject.name={pod},reason={reason}"));
    let list = space.api::<Event>().list(&params).await.expect("list the events of the test's namespace");
    list.items.into_iter().filter_map(|event| event.message).collect()
}

/// Puts the fields of `over` into `base`; lists and plain values are replaced.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// Follows a container's log until it is as a test needs it, and returns what there is then.
pub async fn log_until(
    space: &Space,
    pod: &str,
    container: &str,
    what: &str,
    condition: impl Fn(&str) -> bool,
) -> String {
    let params = LogParams { container: Some(container.to_owned()), follow: true, ..LogParams::default() };
    let pods = space.api::<Pod>();
    let mut log = String::new();
    let follow = async {
        let stream =
            pods.log_stream(pod, &params).await.unwrap_or_else(|e| panic!("follow the log of {pod}: {e}"));
        let mut lines = stream.lines();
        while let Some(line) = lines.try_next().await.unwrap_or_else(|e| panic!("read the log of {pod}: {e}"))
        {
            log.push_str(&line);
            log.push('\n');
            if condition(&log) {
                return true;
            }
        }
        false
    };
    let seen = timeout(GUARD, follow).await;
    assert!(seen == Ok(true), "the log of {pod}/{container} has not {what}: {log}");
    log
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::unique;

    #[test]
    fn names_that_are_made_at_once_differ() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..1000).map(|_| unique("x")).collect::<Vec<_>>()))
            .collect();
        let names = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        assert_eq!(names.collect::<BTreeSet<_>>().len(), 4000);
    }
}

//! The life of a release, with pods on its GPUs.

use std::sync::atomic::{AtomicBool, Ordering};

use e2e::api::{GUARD, Space, delete, wait};
use e2e::cluster::Cluster;
use e2e::gpu::{IMAGE, kubelet, program};
use futures_util::future::join;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::pods::{allocated, containers, failed_prepares, pod, sees, template};
use crate::release::{Release, apply, run};

/// The command of the user's guide, as it is typed in the folder of the repository.
const GUIDE: &str = "install dra-driver ./deploy/helm/dra-driver --namespace kube-system \
    --set driver.name=eks-hybrid-dra --set driver.enableGPU=true --set driver.enableCPU=true";

/// Lets the kubelet read the claim of the release's own test, as [`Space`] does for others: one that hears of a pod
/// sooner than the API server's node authorizer would try again only after a minute.
const KUBELETS_READ_CLAIMS: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: kubelets-read-claims}
rules:
- {apiGroups: [resource.k8s.io], resources: [resourceclaims], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: kubelets-read-claims}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: kubelets-read-claims}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:nodes}
";

/// Where the repository lies.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The example `training-job` in a namespace, with the cluster's image.
fn training_job(namespace: &str) -> String {
    let text = fs_err::read_to_string(format!("{REPOSITORY}/deploy/examples/training-job.yaml")).unwrap();
    text.replace("ml-workloads", namespace)
        .replace("pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", IMAGE)
        .replace(r#"["python", "train.py"]"#, r#"["sh", "-c", "nvidia-smi -L && echo end"]"#)
}

#[tokio::test]
async fn a_release_from_install_to_uninstall() {
    let _kubelet = kubelet().await;
    let release = Release::new("kube-system", "eks-hybrid-dra").await;
    let space = Space::create(release.client.clone(), "chart", json!({})).await;
    apply("kube-system", KUBELETS_READ_CLAIMS).await;

    // The guide's command, and the pod of its job at once: it waits for the driver.
    let began = Instant::now();
    let words: Vec<&str> = GUIDE.split_whitespace().collect();
    let words: Vec<String> = words.iter().map(|word| word.replace("./", &format!("{REPOSITORY}/"))).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let notes = release.with_values(&words, &[]).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(notes.contains("helm test dra-driver --namespace kube-system"), "{notes}");
    apply(&space.name, &training_job(&space.name)).await;
    let jobs = space.api::<Job>();
    wait(&jobs, "ml-training-job", "complete", |job: Option<&Job>| {
        job.and_then(|job| job.status.as_ref()).and_then(|status| status.succeeded) == Some(1)
    })
    .await;
    println!("{:?} from `helm install` to the end of the first job that had a GPU", began.elapsed());
    let of_job = space.api::<Pod>().list(&ListParams::default().labels("app=ml-training")).await.unwrap();
    let [first] = &of_job.items[..] else { panic!("the job should need one pod: {of_job:#?}") };
    assert_eq!(sees(&space, first.metadata.name.as_deref().unwrap(), "training").await.len(), 1);

    // The API server takes every manifest as it stands, hooks included.
    let objects = release.objects().await;
    let dry = ["apply", "--server-side", "--dry-run=server", "--force-conflicts", "--namespace=kube-system"];
    run("kubectl", &[&dry[..], &["--filename", "-"]].concat(), &objects)
        .await
        .unwrap_or_else(|error| panic!("{error}"));

    // The release's own test claims a GPU.
    let tested = release.helm(&["test"], &[]).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(tested.contains("Succeeded"), "{tested}");

    // Pods come and go while the plugin is replaced, by an upgrade and by a rollback; one stays.
    template(&space, "gpu-compute-class").await;
    pod(&space, "stays", "exec sleep 86400").await;
    let seen = sees(&space, "stays", "main").await;
    assert_eq!(seen.len(), 1);
    let before = containers(&space, "stays").await;
    let generation = async || release.daemon_set().await.metadata.generation.unwrap();
    let first = generation().await;
    let upgraded = while_pods_come_and_go(&space, "upgrade", async {
        release.upgrade(&["--set", "kubeletPlugin.logLevel=debug"]).await
    });
    upgraded.await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(generation().await, first + 1, "the changed value should make new pods");
    let rolled_back = while_pods_come_and_go(&space, "rollback", async {
        release.helm(&["rollback"], &["1", "--wait"]).await
    });
    rolled_back.await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(generation().await, first + 2, "the rollback should make new pods");
    assert_eq!(failed_prepares(&space).await, Vec::<String>::new());
    assert_eq!(containers(&space, "stays").await, before, "a running pod feels nothing");

    let claim = allocated(&space).await.pop().expect("the pod that stays has a claim").0;
    let holder = format!("{}/{claim}", space.name);
    is_well(&space, &holder).await;

    // Another name of the driver would leave the pod with a driver that is gone.
    let renamed = release.upgrade(&["--set", "driver.name=other"]).await.unwrap_err();
    assert!(renamed.contains("driver.name cannot be changed from eks-hybrid-dra to other"), "{renamed}");
    assert!(renamed.contains(&holder), "{renamed}");

    // Nor can it be uninstalled; nothing has happened then.
    let set = release.daemon_set().await;
    let refused = release.uninstall().await.unwrap_err();
    assert!(refused.contains(&holder), "the claim {holder} should be named: {refused}");
    assert!(refused.contains("stays"), "the pod should be named: {refused}");
    let still = release.daemon_set().await;
    assert_eq!((still.metadata.uid, still.metadata.deletion_timestamp), (set.metadata.uid, None));
    assert_eq!(containers(&space, "stays").await, before);
    pod(&space, "later", "").await;
    assert_eq!(sees(&space, "later", "main").await.len(), 1, "the driver goes on");

    // Without pods nothing of it is left, and it can be installed again.
    let objects = release.objects().await;
    space.api::<Pod>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    delete(&jobs, "ml-training-job").await;
    for name in ["stays", "later"] {
        wait(&space.api::<Pod>(), name, "be gone", |pod: Option<&Pod>| pod.is_none()).await;
    }
    assert!(!release.files().is_empty(), "the check for files looks in the wrong place");
    release.uninstall().await.unwrap_or_else(|error| panic!("{error}"));
    release.nothing_is_left(&objects).await;
    release.install(&[]).await;
    pod(&space, "again", "").await;
    assert_eq!(sees(&space, "again", "main").await.len(), 1);
    delete(&space.api::<Pod>(), "again").await;
    release.uninstall().await.unwrap_or_else(|error| panic!("{error}"));
    release.nothing_is_left(&objects).await;
    let role = ["delete", "--namespace=kube-system", "--filename", "-"];
    run("kubectl", &role, KUBELETS_READ_CLAIMS).await.unwrap();
    space.remove().await;
}

/// `kubectl-dra` finds nothing wrong, knows who has a GPU, and gathers the logs of all programs.
async fn is_well(space: &Space, holder: &str) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("gathered.tar.gz");
    let ask = async |words: &[&str]| {
        let mut command = Command::new(program().with_file_name("kubectl-dra"));
        let output = timeout(GUARD, command.args(words).output()).await.expect("it ends").unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl-dra {words:?}: {out}{error}");
        out.into_owned()
    };
    let checks: Vec<Value> = serde_json::from_str(&ask(&["doctor", "--output=json"]).await).unwrap();
    for name in ["Kubernetes", "DeviceClasses", "ResourceSlices", "plugin", "controller", "webhook"] {
        let found: Vec<_> = checks.iter().filter(|check| check["name"] == name).collect();
        assert!(!found.is_empty(), "{name} was not looked at: {checks:#?}");
        assert!(found.iter().all(|check| check["level"] == "ok"), "{name}: {found:#?}");
    }
    let gpus: Vec<Value> = serde_json::from_str(&ask(&["gpus", "--output=json"]).await).unwrap();
    assert_eq!(gpus.len(), 8, "{gpus:#?}");
    assert!(json!(gpus).to_string().contains(holder), "{holder} has one: {gpus:#?}");

    let told = ask(&["gather", "--file", archive.to_str().unwrap()]).await;
    for part in ["kubelet-plugin", "controller", "webhook"] {
        assert!(told.lines().any(|line| line.contains(part) && line.contains(".log")), "{part}: {told}");
    }
    let list = run("tar", &["-xzf", archive.to_str().unwrap(), "--to-stdout"], "").await.unwrap();
    assert!(!list.contains(&space.name), "the namespace of a user is gathered: {}", space.name);
}

/// Runs something while pods with GPUs come and go, one after another; each must see its GPU.
async fn while_pods_come_and_go<T>(space: &Space, stem: &str, act: impl Future<Output = T>) -> T {
    let over = AtomicBool::new(false);
    let acting = async {
        let result = act.await;
        over.store(true, Ordering::Relaxed);
        result
    };
    let coming = async {
        for number in 0.. {
            let name = format!("{stem}-{number}");
            pod(space, &name, "").await;
            assert_eq!(sees(space, &name, "main").await.len(), 1);
            delete(&space.api::<Pod>(), &name).await;
            if over.load(Ordering::Relaxed) {
                return number + 1;
            }
        }
        0
    };
    let (result, pods) = join(acting, coming).await;
    println!("{pods} pods came and went during the {stem}");
    result
}

#[tokio::test]
async fn a_forced_uninstall_ends_the_pods_that_use_gpus() {
    let _kubelet = kubelet().await;
    let namespace = "chart-forced";
    let release = Release::new(namespace, "forced.example.com").await;
    let space = Space::create(release.client.clone(), "forced", json!({})).await;
    release.install(&["--create-namespace", "--set", "deviceClasses.alias.create=false"]).await;
    template(&space, "gpu.forced.example.com").await;
    pod(&space, "holder", "exec sleep 86400").await;
    assert_eq!(sees(&space, "holder", "main").await.len(), 1);
    let objects = release.objects().await;

    release.upgrade(&["--set", "uninstall.force=true"]).await.unwrap_or_else(|error| panic!("{error}"));
    release.uninstall().await.unwrap_or_else(|error| panic!("{error}"));
    release.nothing_is_left(&objects).await;
    wait(&space.api::<Pod>(), "holder", "be gone", |pod: Option<&Pod>| pod.is_none()).await;
    assert_eq!(allocated(&space).await, Vec::new());
    space.remove().await;
    Space { client: Cluster::current().client().await, name: namespace.to_owned() }.remove().await;
}

//! The components of a cluster and their command lines: pure functions of its settings.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::binaries::{Kubernetes, Level};
use crate::cluster::state::{Cluster, Settings};

/// The node's name in the API.
pub(crate) const NODE: &str = "node1";
/// The node's address inside its network namespace.
pub(crate) const NODE_ADDRESS: &str = "10.89.0.1";
/// The ClusterIP of the API server: the first address of [`SERVICES`].
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// The range that ClusterIPs come from.
const SERVICES: &str = "10.96.0.0/16";

/// Where containerd listens inside the namespaces.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// The kubelet's port for the API server: its default.
pub(crate) const KUBELET_PORT: u16 = 10250;

/// A component of the cluster; the order is that of starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ComponentName {
    Etcd,
    Containerd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
}

impl ComponentName {
    /// The component's program, as upstream calls it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
        }
    }

    /// The components of a cluster, in the order of starting.
    pub(crate) fn of(level: Level) -> impl Iterator<Item = Self> {
        Self::value_variants()
            .iter()
            .copied()
            .filter(move |name| level == Level::Node || !matches!(name, Self::Containerd | Self::Kubelet))
    }
}

/// How a component is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) name: ComponentName,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// How `name` is run in this cluster.
pub(crate) fn component(name: ComponentName, cluster: &Cluster, settings: &Settings) -> Component {
    let folder = match name {
        ComponentName::Kubelet => settings.programs.kubelet.as_ref(),
        ComponentName::Containerd => settings.programs.containerd.as_ref(),
        _ => None,
    };
    let folder = folder.unwrap_or(&settings.programs.kubernetes);
    let arguments = match name {
        ComponentName::Etcd => etcd(cluster),
        ComponentName::Containerd => containerd(cluster),
        ComponentName::KubeApiserver => api_server(cluster, settings),
        ComponentName::KubeControllerManager => controller_manager(cluster, settings),
        ComponentName::KubeScheduler => scheduler(cluster, settings),
        ComponentName::Kubelet => kubelet(cluster),
    };
    Component { name, program: folder.join(name.text()), arguments }
}

fn etcd(cluster: &Cluster) -> Vec<String> {
    vec![flag("config-file", &cluster.configuration().join("etcd.yaml"))]
}

fn containerd(cluster: &Cluster) -> Vec<String> {
    vec!["--config".to_owned(), cluster.configuration().join("containerd.toml").display().to_string()]
}

fn api_server(cluster: &Cluster, settings: &Settings) -> Vec<String> {
    let certificates = cluster.certificates();
    let pem = |name: &str| certificates.join(name);
    let (bind, advertise) = match settings.wish.level {
        Level::Node => ("0.0.0.0", NODE_ADDRESS),
        Level::ControlPlane => ("127.0.0.1", "127.0.0.1"),
    };
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", settings.ports.etcd),
        format!("--bind-address={bind}"),
        format!("--advertise-address={advertise}"),
        format!("--secure-port={}", settings.ports.api_server),
        format!("--service-cluster-ip-range={SERVICES}"),
        flag("client-ca-file", &pem("ca.crt")),
        flag("tls-cert-file", &pem("apiserver.crt")),
        flag("tls-private-key-file", &pem("apiserver.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        flag("service-account-key-file", &pem("service-accounts.pub")),
        flag("service-account-signing-key-file", &pem("service-accounts.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        // There is no kube-proxy: webhooks are reached at their endpoints' own addresses.
        "--enable-aggregator-routing=true".to_owned(),
        // Nothing is aggregated, but without these the other components log an error each minute.
        flag("requestheader-client-ca-file", &pem("ca.crt")),
        "--requestheader-allowed-names=front-proxy".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
    ];
    if settings.wish.level == Level::Node {
        arguments.push(flag("kubelet-client-certificate", &pem("apiserver-kubelet-client.crt")));
        arguments.push(flag("kubelet-client-key", &pem("apiserver-kubelet-client.key")));
        arguments.push("--kubelet-preferred-address-types=InternalIP".to_owned());
    } else {
        // On loopback alone there is no address that a Service could have.
        arguments.push("--endpoint-reconciler-type=none".to_owned());
    }
    if !settings.wish.runtime_config.is_empty() {
        arguments.push(format!("--runtime-config={}", settings.wish.runtime_config.join(",")));
    }
    arguments.extend(gates(settings));
    arguments
}

fn controller_manager(cluster: &Cluster, settings: &Settings) -> Vec<String> {
    let certificates = cluster.certificates();
    let mut arguments = client(cluster, "kube-controller-manager", settings.ports.controller_manager);
    arguments.extend([
        flag("root-ca-file", &certificates.join("ca.crt")),
        flag("service-account-private-key-file", &certificates.join("service-accounts.key")),
        "--use-service-account-credentials=true".to_owned(),
        flag("cluster-signing-cert-file", &certificates.join("ca.crt")),
        flag("cluster-signing-key-file", &certificates.join("ca.key")),
        // Its default is a folder of the host, and it would be made.
        flag("flex-volume-plugin-dir", &cluster.folder.join("volume-plugins")),
    ]);
    arguments.extend(gates(settings));
    arguments
}

fn scheduler(cluster: &Cluster, settings: &Settings) -> Vec<String> {
    let mut arguments = client(cluster, "kube-scheduler", settings.ports.scheduler);
    arguments.extend(gates(settings));
    arguments
}

/// What the controller manager and the scheduler have in common. Their default of 20 requests a second alone
/// would hold the first ServiceAccount back for five seconds.
fn client(cluster: &Cluster, user: &str, port: u16) -> Vec<String> {
    let kubeconfig = cluster.kubeconfig(user);
    vec![
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=500".to_owned(),
    ]
}

fn kubelet(cluster: &Cluster) -> Vec<String> {
    vec![
        flag("config", &cluster.configuration().join("kubelet.yaml")),
        flag("kubeconfig", &cluster.kubeconfig("kubelet")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={NODE_ADDRESS}"),
        "--root-dir=/var/lib/kubelet".to_owned(),
        "--v=2".to_owned(),
    ]
}

fn gates(settings: &Settings) -> Option<String> {
    let gates: Vec<&str> = gates_of(&settings.wish.feature_gates, settings.wish.kubernetes).collect();
    (!gates.is_empty()).then(|| format!("--feature-gates={}", gates.join(",")))
}

/// Feature gates of device allocation that Kubernetes 1.34 does not know yet, by upstream's
/// `pkg/features/kube_features.go` of 1.36; a component refuses to start with a gate that it does not know.
const SINCE_1_35: [&str; 7] = [
    "DRADeviceTaintRules",
    "DRAListTypeAttributes",
    "DRANodeAllocatableResources",
    "DRAResourceClaimGranularStatusAuthorization",
    "DRAResourcePoolStatus",
    "DRAWorkloadResourceClaims",
    "ResourceHealthStatusMessage",
];

/// The gates, of those asked for, that a component of this release is given. A kubelet may be older than its
/// control plane, and does not have to know all that the control plane is asked for.
pub(crate) fn gates_of(asked: &[String], release: Kubernetes) -> impl Iterator<Item = &str> {
    asked.iter().map(String::as_str).filter(move |gate| {
        let name = gate.split('=').next().unwrap_or_default();
        release != Kubernetes::V1_34 || !SINCE_1_35.contains(&name)
    })
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::state::tests::{cluster, settings};

    fn lines(level: Level) -> String {
        let (cluster, settings) = (cluster(), settings(level));
        let line = |name| {
            let Component { program, arguments, .. } = component(name, &cluster, &settings);
            format!("{}\n  {}\n", program.display(), arguments.join("\n  "))
        };
        ComponentName::of(level).map(line).collect()
    }

    #[test]
    fn a_release_gets_no_gate_that_it_does_not_know() {
        // By upstream's kube_features.go of 1.34.4 and 1.36.3.
        let asked = ["DRADeviceTaintRules=true", "DRADeviceTaints=true"].map(str::to_owned);
        for (release, given) in [
            (Kubernetes::V1_34, vec!["DRADeviceTaints=true"]),
            (Kubernetes::V1_36, vec!["DRADeviceTaintRules=true", "DRADeviceTaints=true"]),
            (Kubernetes::V1_37, vec!["DRADeviceTaintRules=true", "DRADeviceTaints=true"]),
        ] {
            assert_eq!(gates_of(&asked, release).collect::<Vec<_>>(), given, "{release:?}");
        }
    }

    #[test]
    fn the_command_lines_of_a_node() {
        insta::assert_snapshot!(lines(Level::Node));
    }

    #[test]
    fn the_command_lines_of_a_control_plane() {
        insta::assert_snapshot!(lines(Level::ControlPlane));
    }
}

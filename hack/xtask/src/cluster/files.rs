//! The components' configuration files and kubeconfigs: pure functions of the cluster's settings.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::binaries::{Containerd, Level};
use crate::cluster::components::{self, API_SERVICE, NODE, NODE_ADDRESS};
use crate::cluster::state::{Cluster, Settings};

/// Who speaks to the API server: the kubeconfig's name, the certificate's common name and organisation.
pub(crate) const USERS: [(&str, &str, Option<&str>); 4] = [
    ("admin", "admin", Some("system:masters")),
    ("kube-controller-manager", "system:kube-controller-manager", None),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kubelet", "system:node:node1", Some("system:nodes")),
];

/// The image that holds a pod's namespaces.
const PAUSE: &str = "registry.local/pause:1";

/// A file and what it holds. JSON serves as YAML where the component reads YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// All files of a cluster but its keys and certificates.
pub(crate) fn files(cluster: &Cluster, settings: &Settings) -> Vec<File> {
    let configuration = cluster.configuration();
    let file = |name: &str, text: String| File { path: configuration.join(name), text };
    let mut files = vec![file("etcd.yaml", pretty(&etcd(cluster, settings)))];
    for (user, ..) in
        USERS.iter().filter(|(user, ..)| settings.wish.level == Level::Node || *user != "kubelet")
    {
        let text = pretty(&kubeconfig(cluster, settings, user));
        files.push(File { path: cluster.kubeconfig(user), text });
    }
    if settings.wish.level == Level::Node {
        files.push(file("containerd.toml", containerd(cluster, settings)));
        files.push(file("cni/10-bridge.conflist", pretty(&bridge())));
        files.push(file("kubelet.yaml", pretty(&kubelet(cluster, settings))));
        // The host's own may be a link into /run, which is empty inside.
        files.push(file("resolv.conf", format!("nameserver {CLUSTER_DNS}\n")));
    }
    files
}

/// Where the cluster's DNS would be; there is none.
const CLUSTER_DNS: &str = "10.96.0.10";

fn etcd(cluster: &Cluster, settings: &Settings) -> Value {
    let clients = format!("http://127.0.0.1:{}", settings.ports.etcd);
    let peers = format!("http://127.0.0.1:{}", settings.ports.etcd_peer);
    json!({
        "name": "etcd",
        "data-dir": cluster.folder.join("etcd"),
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": format!("etcd={peers}"),
        // The data is worth nothing after the cluster's end.
        "unsafe-no-fsync": true,
        "log-level": "warn",
        // Without a duration (in ns) every request would be logged as a slow one.
        "warning-unary-request-duration": 300_000_000,
    })
}

fn kubeconfig(cluster: &Cluster, settings: &Settings, user: &str) -> Value {
    let pem = |name: String| cluster.certificates().join(name);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster.name,
        "clusters": [{"name": cluster.name, "cluster": {
            "server": format!("https://127.0.0.1:{}", settings.ports.api_server),
            "certificate-authority": pem("ca.crt".to_owned()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": pem(format!("{user}.crt")),
            "client-key": pem(format!("{user}.key")),
        }}],
        "contexts": [{"name": cluster.name, "context": {"cluster": cluster.name, "user": user}}],
    })
}

/// Pods on a bridge of the node's own network namespace; nothing leaves it.
fn bridge() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-ipam",
                "ranges": [[{"subnet": "10.244.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn kubelet(cluster: &Cluster, settings: &Settings) -> Value {
    let certificates = cluster.certificates();
    let mut gates = serde_json::Map::new();
    let wanted = components::gates_of(&settings.wish.feature_gates, settings.wish.kubelet);
    for (name, on) in wanted.filter_map(|gate| gate.split_once('=')) {
        gates.insert(name.to_owned(), Value::Bool(on == "true"));
    }
    let mut configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": certificates.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": certificates.join("kubelet-server.crt"),
        "tlsPrivateKeyFile": certificates.join("kubelet-server.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", settings.cgroup),
        "failSwapOn": false,
        "enforceNodeAllocatable": ["pods"],
        "makeIPTablesUtilChains": false,
        "resolvConf": cluster.configuration().join("resolv.conf"),
        // There is no DNS; without an address every pod gets an event that says so.
        "clusterDNS": [CLUSTER_DNS],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"},
        // Its images are in no registry: one that is collected is gone.
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "serializeImagePulls": false,
        // Its default is a folder of the host.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "featureGates": gates,
    });
    if settings.cgroup_v1 {
        // From 1.35 on, a kubelet refuses cgroup v1 unless it is told not to.
        configuration["failCgroupV1"] = Value::Bool(false);
    }
    configuration
}

fn containerd(cluster: &Cluster, settings: &Settings) -> String {
    let quoted = |path: PathBuf| Value::from(path.display().to_string()).to_string();
    let root = quoted(cluster.folder.join("containerd"));
    let cni = quoted(cluster.configuration().join("cni"));
    let (runc, plugins) = (quoted(settings.runc.clone()), quoted(settings.cni.clone()));
    let cdi = settings.wish.cdi;
    let snapshotter = if settings.overlayfs { "overlayfs" } else { "native" };
    // Where CAP_SYS_RESOURCE is missing, runc cannot give the pause container its oom_score_adj and fails.
    let oom = "restrict_oom_score_adj = true";
    let common = format!("root = {root}\nstate = \"/run/containerd\"\n");
    match settings.wish.containerd {
        Containerd::V2 => format!(
            r#"version = 3
{common}disabled_plugins = [{unused}, "io.containerd.snapshotter.v1.erofs"]

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
  enable_cdi = {cdi}
  cdi_spec_dirs = ["/etc/cdi", "/var/run/cdi"]
  {oom}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [{plugins}]
    conf_dir = {cni}
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = {runc}
      SystemdCgroup = false
"#,
            unused = UNUSED,
        ),
        Containerd::V1_7 => format!(
            r#"version = 2
{common}disabled_plugins = [{unused}, "io.containerd.snapshotter.v1.aufs"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  enable_cdi = {cdi}
  cdi_spec_dirs = ["/etc/cdi", "/var/run/cdi"]
  {oom}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {cni}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = {runc}
        SystemdCgroup = false
"#,
            unused = UNUSED,
        ),
    }
}

/// Plugins of containerd: one that makes folders in the host's /opt, and those that would only say in the log
/// that they cannot run here.
const UNUSED: &str = r#""io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile""#;

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The names and addresses that the API server's certificate is for.
pub(crate) fn api_server_names() -> Vec<String> {
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        NODE_ADDRESS,
        API_SERVICE,
    ];
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The names and addresses that the kubelet's serving certificate is for.
pub(crate) fn kubelet_names() -> Vec<String> {
    [NODE, NODE_ADDRESS, "127.0.0.1"].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::state::tests::{cluster, settings};

    fn text(settings: &Settings) -> String {
        let files = files(&cluster(), settings);
        files.iter().map(|file| format!("== {} ==\n{}", file.path.display(), file.text)).collect()
    }

    #[test]
    fn the_files_of_a_node() {
        insta::assert_snapshot!(text(&settings(Level::Node)));
    }

    #[test]
    fn the_files_of_a_control_plane() {
        insta::assert_snapshot!(text(&settings(Level::ControlPlane)));
    }

    #[test]
    fn containerd_1_7_has_a_configuration_of_its_own() {
        let mut settings = settings(Level::Node);
        settings.wish.containerd = Containerd::V1_7;
        settings.wish.cdi = false;
        insta::assert_snapshot!(containerd(&cluster(), &settings));
    }
}

//! Which crate may depend on which: the layers of the architecture, held by a check.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::Value;

use crate::command;

/// A crate that ships, and what it must never reach through ordinary dependencies, directly or not.
#[derive(Debug)]
struct Shipped {
    package: &'static str,
    /// Crate names; a `*` at the end stands for any rest.
    never_reaches: &'static [&'static str],
    /// A library's rules hold whichever of its features a program turns on.
    all_features: bool,
}

const SHIPPED: [Shipped; 7] = [
    // The heart is synchronous and knows no cluster.
    Shipped {
        package: "dra-driver",
        never_reaches: &["tokio", "kube", "kube-*", "tonic", "axum", "cel"],
        all_features: true,
    },
    // An interface alone: messages, clients and servers.
    Shipped {
        package: "dra-kubelet-proto",
        never_reaches: &["kube", "kube-*", "k8s-openapi", "axum", "cel"],
        all_features: true,
    },
    // CEL is the controller's: the kubelet hands the plugin finished allocations.
    Shipped { package: "dra-kubelet-plugin", never_reaches: &["cel"], all_features: false },
    Shipped { package: "dra-runtime", never_reaches: &["cel"], all_features: true },
    // The controller runs where there is no GPU.
    Shipped {
        package: "dra-controller",
        never_reaches: &["nvml-wrapper", "nvml-wrapper-sys"],
        all_features: false,
    },
    // It runs as root beside hostile images: the kernel's calls and JSON, and nothing that waits or connects.
    Shipped {
        package: "dra-cdi-hook",
        never_reaches: &["tokio", "kube", "kube-*", "tonic", "axum", "cel", "dra-*"],
        all_features: false,
    },
    // It runs where people work.
    Shipped {
        package: "kubectl-dra",
        never_reaches: &["nvml-wrapper", "nvml-wrapper-sys"],
        all_features: false,
    },
];

/// No program that ships knows that there is a fake or a stand-in.
const NEVER_SHIPS: [&str; 3] = ["fake-node", "fake-nvml", "support"];

/// Crates that the product is required to be built on.
const REQUIRED: [&str; 9] = [
    "kube",
    "k8s-openapi",
    "tonic",
    "prost",
    "nvml-wrapper",
    "tokio",
    "serde_json",
    "prometheus-client",
    "tracing",
];

/// What the rules look at in one package of the workspace.
#[derive(Debug, Default)]
struct Package {
    name: String,
    has_program: bool,
    /// Ordinary dependencies that its own manifest names.
    direct: BTreeSet<String>,
    /// Ordinary dependencies, and theirs, without end.
    reached: BTreeSet<String>,
    /// The text of its `src` folder.
    source: String,
}

/// Checks this workspace; the error lists every violation.
pub(crate) fn check() -> Result<()> {
    let packages = packages()?;
    let violations = violations(&packages);
    if violations.is_empty() {
        println!("The crates' dependencies keep to the {} layers checked.", SHIPPED.len());
        return Ok(());
    }
    bail!("dependencies that must not be, or are missing:\n  {}", violations.join("\n  "))
}

/// The packages among those that ship which hold a program.
pub(crate) fn shipped_programs() -> Result<Vec<String>> {
    let packages = packages()?;
    Ok(packages.into_iter().filter(|package| package.has_program).map(|package| package.name).collect())
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for rule in &SHIPPED {
        match packages.iter().find(|package| package.name == rule.package) {
            Some(package) => found.extend(forbidden_reach(rule, package)),
            // Its rules would go with it.
            None => found.push(format!("{} is not in the workspace; was it renamed?", rule.package)),
        }
    }
    for required in REQUIRED {
        if !packages.iter().any(|package| uses(package, required)) {
            found.push(format!("no crate that ships both depends on {required} directly and uses it"));
        }
    }
    found
}

fn forbidden_reach(rule: &Shipped, package: &Package) -> Vec<String> {
    let forbidden = rule.never_reaches.iter().chain(&NEVER_SHIPS);
    let reached = |pattern: &&&str| package.reached.iter().any(|name| matches(pattern, name));
    forbidden
        .filter(reached)
        .map(|pattern| {
            let package = rule.package;
            format!("{package} must not depend on {pattern}: see `cargo tree -e normal -p {package}`")
        })
        .collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Whether a package names a crate in its manifest and in its code. Code that is generated when it is built cannot be
/// looked into: there, the manifest decides.
fn uses(package: &Package, required: &str) -> bool {
    let path = format!("{}::", required.replace('-', "_"));
    let in_line = |line: &str| {
        line.match_indices(&path).any(|(start, _)| {
            let before = line.get(..start).and_then(|before| before.chars().next_back());
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    let generated = package.source.contains("env!(\"OUT_DIR\")");
    package.direct.contains(required)
        && (generated
            || package.source.lines().filter(|line| !line.trim_start().starts_with("//")).any(in_line))
}

/// Reads, for every crate that ships and exists, what the rules look at.
fn packages() -> Result<Vec<Package>> {
    let metadata =
        command::output(Command::new("cargo").args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("`cargo metadata` printed no JSON")?;
    let mut packages = Vec::new();
    for found in metadata["packages"].as_array().into_iter().flatten() {
        let Some(rule) = SHIPPED.iter().find(|rule| found["name"] == rule.package) else {
            continue;
        };
        let mut package = manifest_facts(found);
        package.reached = reached(rule)?;
        let manifest = found["manifest_path"].as_str().context("`cargo metadata` names no manifest")?;
        read_sources(&Path::new(manifest).with_file_name("src"), &mut package.source)?;
        packages.push(package);
    }
    Ok(packages)
}

/// What `cargo metadata` says of one package's own manifest.
fn manifest_facts(package: &Value) -> Package {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let targets = package["targets"].as_array().into_iter().flatten();
    let is_program =
        |target: &Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "bin"));
    Package {
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        has_program: targets.into_iter().any(is_program),
        // An ordinary dependency is of no kind; the others are "dev" and "build".
        direct: dependencies
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect(),
        ..Package::default()
    }
}

/// `cargo tree` instead of `cargo metadata`, because it resolves the features of this one package, not those
/// of the whole workspace together.
fn reached(rule: &Shipped) -> Result<BTreeSet<String>> {
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--edges=normal", "--prefix=none", "--format={p}", "--package", rule.package]);
    if rule.all_features {
        tree.arg("--all-features");
    }
    Ok(names(&command::output(&mut tree)?).skip(1).collect())
}

/// The crate names of `cargo tree`'s lines ("name v1.2.3 (*)"), the package itself first.
fn names(tree: &str) -> impl Iterator<Item = String> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned)
}

/// Collects the code of a folder, less the test modules that close its files.
fn read_sources(folder: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            into.push_str(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The smallest workspace that breaks no rule.
    fn sound() -> Vec<Package> {
        let heart = Package {
            name: "dra-driver".to_owned(),
            direct: set(&["nvml-wrapper", "tracing"]),
            reached: set(&["nvml-wrapper", "tracing", "libloading"]),
            source: "use nvml_wrapper::Nvml;\nfn f() {\n    tracing::info!(\"x\");\n}\n".to_owned(),
            ..Package::default()
        };
        let plugin = Package {
            name: "dra-kubelet-plugin".to_owned(),
            has_program: true,
            direct: set(&["dra-driver", "serde_json"]),
            reached: set(&["dra-driver", "serde_json", "tokio", "kube", "tonic"]),
            source: "fn print() { serde_json::to_string(&1) }\n".to_owned(),
        };
        let proto = Package {
            name: "dra-kubelet-proto".to_owned(),
            direct: set(&["prost"]),
            source: "include!(concat!(env!(\"OUT_DIR\"), \"/v1.rs\"));\n".to_owned(),
            ..Package::default()
        };
        let runtime = Package {
            name: "dra-runtime".to_owned(),
            direct: set(&["kube", "k8s-openapi", "tonic", "tokio", "prometheus-client"]),
            source:
                "use kube::A; use k8s_openapi::B; use tonic::C; use tokio::D; use prometheus_client::E;\n"
                    .to_owned(),
            ..Package::default()
        };
        let controller =
            Package { name: "dra-controller".to_owned(), has_program: true, ..Package::default() };
        let kubectl = Package { name: "kubectl-dra".to_owned(), has_program: true, ..Package::default() };
        let hook = Package { name: "dra-cdi-hook".to_owned(), has_program: true, ..Package::default() };
        vec![heart, plugin, proto, runtime, controller, kubectl, hook]
    }

    #[test]
    fn a_sound_workspace_has_no_violation() {
        assert_eq!(violations(&sound()), Vec::<String>::new());
    }

    #[test]
    fn each_broken_rule_is_one_violation_that_names_both_crates() {
        type Break = fn(&mut Vec<Package>);
        let cases: [(&str, Break, [&str; 2]); 15] = [
            ("tokio in the heart", |p| p[0].reached = set(&["tokio"]), ["dra-driver", "tokio"]),
            ("a part of kube in the heart", |p| p[0].reached = set(&["kube-core"]), ["dra-driver", "kube-*"]),
            ("cel in the heart", |p| p[0].reached = set(&["cel"]), ["dra-driver", "cel"]),
            ("a cluster in the hook", |p| p[6].reached = set(&["kube"]), ["dra-cdi-hook", "kube"]),
            ("cel in the plugin", |p| p[1].reached = set(&["cel"]), ["dra-kubelet-plugin", "cel"]),
            (
                "a fake in the plugin",
                |p| p[1].reached = set(&["fake-nvml"]),
                ["dra-kubelet-plugin", "fake-nvml"],
            ),
            ("a fake in the heart", |p| p[0].reached = set(&["fake-node"]), ["dra-driver", "fake-node"]),
            (
                "NVML in the controller",
                |p| p[4].reached = set(&["nvml-wrapper-sys"]),
                ["dra-controller", "nvml-wrapper-sys"],
            ),
            (
                "a cluster in the interface",
                |p| p[2].reached = set(&["kube-client"]),
                ["dra-kubelet-proto", "kube-*"],
            ),
            ("a renamed crate", |p| p[1].name = "plugin".to_owned(), ["dra-kubelet-plugin", "renamed"]),
            (
                "a required crate that is only reached",
                |p| p[1].direct = set(&["dra-driver"]),
                ["serde_json", "directly"],
            ),
            ("generated code without its crate", |p| p[2].direct = BTreeSet::new(), ["prost", "directly"]),
            (
                "a required crate that is never named in the code",
                |p| p[1].source = "fn print() {}\n".to_owned(),
                ["serde_json", "uses"],
            ),
            (
                "a required crate that only a comment names",
                |p| p[1].source = "    /// like serde_json::to_string\n".to_owned(),
                ["serde_json", "uses"],
            ),
            (
                "a required crate whose name is part of another's",
                |p| {
                    p[0].source = "use my_nvml_wrapper::A; use nvml_wrapper_sys::B;\ntracing::info!(\"x\");\n"
                        .to_owned()
                },
                ["nvml-wrapper", "uses"],
            ),
        ];
        for (name, break_it, words) in cases {
            let mut packages = sound();
            break_it(&mut packages);
            let found = violations(&packages);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(words.iter().all(|word| found[0].contains(word)), "{name}: {found:?}");
        }
    }

    #[test]
    fn only_ordinary_dependencies_of_the_manifest_count() {
        let package = serde_json::json!({
            "name": "dra-kubelet-plugin",
            "targets": [{ "kind": ["bin"] }],
            "dependencies": [
                { "name": "tracing", "kind": null },
                { "name": "tempfile", "kind": "dev" },
                { "name": "prost-build", "kind": "build" },
            ],
        });
        let facts = manifest_facts(&package);
        assert_eq!(facts.name, "dra-kubelet-plugin");
        assert!(facts.has_program);
        assert_eq!(facts.direct, set(&["tracing"]));
    }

    #[test]
    fn the_tree_is_read_by_crate_names() {
        let tree =
            "dra-driver v0.1.0 (/src/driver)\nfs-err v3.3.2\nthiserror v1.0.69\nthiserror v1.0.69 (*)\n";
        assert_eq!(names(tree).collect::<Vec<_>>(), ["dra-driver", "fs-err", "thiserror", "thiserror"]);
    }

    #[test]
    fn the_code_of_test_modules_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let code = "fn product() {}\n#[cfg(test)]\nmod tests { use tracing::info; }\n";
        fs::create_dir(folder.path().join("deeper")).unwrap();
        fs::write(folder.path().join("deeper/lib.rs"), code).unwrap();
        let mut text = String::new();
        read_sources(folder.path(), &mut text).unwrap();
        assert_eq!(text, "fn product() {}\n");
    }
}

//! What the chart renders, by the real helm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use chart::helm::{helm, notes, objects, render};
use serde_json::Value;

/// The command of the user's guide.
const GUIDE: [&str; 3] =
    ["--set=driver.name=eks-hybrid-dra", "--set=driver.enableGPU=true", "--set=driver.enableCPU=true"];

/// Values that turn everything on that is off.
const EVERYTHING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/everything.yaml");

/// A render without the chart's version, which changes with every release.
fn without_version(rendered: &str) -> String {
    rendered.replace(env!("CARGO_PKG_VERSION"), "<version>")
}

#[test]
fn the_defaults() {
    insta::assert_snapshot!(without_version(&render(&[]).unwrap()));
}

#[test]
fn the_guides_command_renders_the_defaults() {
    assert_eq!(render(&GUIDE).unwrap(), render(&[]).unwrap());
}

#[test]
fn everything_on() {
    let everything = render(&["--values", EVERYTHING]).unwrap();
    insta::assert_snapshot!(without_version(&new_lines(&everything, &render(&[]).unwrap())));
}

#[test]
fn in_place_of_nvidias_driver() {
    let drop_in = render(&["--set=driver.name=gpu.nvidia.com"]).unwrap();
    insta::assert_snapshot!(new_lines(&drop_in, &render(&[]).unwrap()));
    assert!(!drop_in.contains("eks-hybrid-dra"), "all follows from driver.name");
}

/// The lines of a render that another one has not, object by object.
fn new_lines(render: &str, other: &str) -> String {
    let mut found = String::new();
    let others: Vec<(String, &str)> = documents(other);
    for (name, document) in documents(render) {
        let before = others.iter().find(|(one, _)| *one == name).map_or("", |(_, document)| *document);
        let before: Vec<&str> = before.lines().collect();
        // Dashboards and rules are files of their own; tests/contract.rs compares them.
        let own = document.lines().take_while(|line| !["data:", "groups:"].contains(&line.trim()));
        let new: Vec<&str> = own.filter(|line| !before.contains(line)).collect();
        if !new.is_empty() {
            found += &format!("--- {name}\n{}\n", new.join("\n"));
        }
    }
    found
}

/// The documents of a render, by kind and place.
fn documents(render: &str) -> Vec<(String, &str)> {
    let name = |document: &str| {
        let object = objects(document).unwrap().pop()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // A class is called after the driver.
        Some(match text(&object["kind"]).as_str() {
            "DeviceClass" if object["metadata"]["name"] != "gpu-compute-class" => {
                "DeviceClass of the GPUs".to_owned()
            }
            kind => format!("{kind} {}", text(&object["metadata"]["name"])),
        })
    };
    render.split("\n---\n").filter_map(|document| Some((name(document)?, document))).collect()
}

#[test]
fn helm_lint_finds_nothing() {
    let chart = chart::folder().display().to_string();
    for values in [&[][..], &["--values", EVERYTHING]] {
        helm(&[&["lint", "--strict", &chart][..], values].concat()).unwrap();
    }
}

#[test]
fn the_notes_say_what_comes_next() {
    type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 6] = [
        (
            "the guide's command",
            &GUIDE,
            &[
                "helm test dra-driver --namespace kube-system",
                "kubectl get resourceslices --field-selector spec.driver=eks-hybrid-dra",
                "gpu.eks-hybrid-dra or gpu-compute-class.",
                "driver.enableCPU=true has no effect yet",
                "kubectl get events --all-namespaces --field-selector reason=CannotAllocate",
                "kubectl dra explain claim NAME --namespace NAMESPACE",
                "ConfigMaps with the label eks-hybrid-dra/claim-parameters: \"true\" are translated",
            ],
            &["WARNING", "controller.enabled"],
        ),
        (
            "no controller",
            &["--set=controller.enabled=false"],
            &["NOTE: controller.enabled=false", "kubectl dra explain"],
            &["CannotAllocate", "are translated"],
        ),
        (
            "no translation",
            &["--set=controller.translation.enabled=false"],
            &["CannotAllocate"],
            &["are translated"],
        ),
        ("no CPUs", &[], &["helm test"], &["enableCPU", "WARNING"]),
        (
            "an extended resource",
            &["--set=deviceClasses.gpu.extendedResourceName=nvidia.com/gpu"],
            &["Pods that ask for nvidia.com/gpu get GPUs of the class gpu.eks-hybrid-dra."],
            &["enableCPU"],
        ),
        (
            "less care than by default",
            &["--set=webhook.failurePolicy=Fail", "--set=uninstall.enabled=false"],
            &["WARNING: webhook.failurePolicy=Fail", "WARNING: uninstall.enabled=false"],
            &[],
        ),
    ];
    for (name, arguments, there, absent) in cases {
        let notes = notes(arguments).unwrap();
        for text in there {
            assert!(notes.contains(text), "{name}: the notes lack {text:?}:\n{notes}");
        }
        for text in absent {
            assert!(!notes.contains(text), "{name}: the notes have {text:?}:\n{notes}");
        }
    }
}

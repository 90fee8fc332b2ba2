//! The list of everything in the image (software bill of materials), in CycloneDX 1.6.
//!
//! By <https://cyclonedx.org/docs/1.6/json/>. It has no time and no serial number, which the format allows: the same
//! image has the same list.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::crates::Crate;
use super::packages::{Package, System};

/// What the list is made of.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    /// The image's name and version.
    pub(super) image: (&'a str, &'a str),
    /// The programs' names and SHA-256.
    pub(super) programs: &'a [(String, String)],
    /// By cargo's identifiers.
    pub(super) crates: &'a BTreeMap<String, Crate>,
    /// The version of the Rust compiler, whose standard library the programs hold.
    pub(super) rust: &'a str,
    pub(super) packages: &'a [Package],
    pub(super) system: &'a System,
}

/// The list's JSON.
pub(super) fn list(contents: &Contents) -> Value {
    let (name, version) = contents.image;
    let rust = json!({
        "type": "library",
        "bom-ref": format!("rust-std@{}", contents.rust),
        "name": "rust-std",
        "version": contents.rust,
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    });
    let mut components: Vec<Value> = contents.crates.values().map(|one| krate(one, contents)).collect();
    components.push(rust.clone());
    components.extend(contents.packages.iter().map(|one| package(one, contents.system)));
    components.sort_by_key(|component| component["bom-ref"].to_string());

    let mut dependencies: Vec<Value> = contents
        .crates
        .values()
        .map(|one| {
            let mut uses: Vec<Value> = one
                .uses
                .iter()
                .filter_map(|id| contents.crates.get(id))
                .map(|used| json!(reference(used)))
                .collect();
            if contents.programs.iter().any(|(program, _)| *program == one.name) {
                uses.push(rust["bom-ref"].clone());
                uses.extend(contents.packages.iter().map(|one| json!(package_url(one, contents.system))));
            }
            json!({ "ref": reference(one), "dependsOn": uses })
        })
        .collect();
    let image = format!("{name}@{version} (image)");
    let programs: Vec<String> =
        contents.crates.values().filter(|one| hash(one, contents).is_some()).map(reference).collect();
    dependencies.push(json!({ "ref": image, "dependsOn": programs }));
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": { "type": "container", "bom-ref": image, "name": name, "version": version },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// The SHA-256 of the program that a crate is, if it is one.
fn hash<'a>(one: &Crate, contents: &'a Contents) -> Option<&'a String> {
    contents.programs.iter().find(|(program, _)| *program == one.name).map(|(_, sha256)| sha256)
}

fn krate(one: &Crate, contents: &Contents) -> Value {
    let program = hash(one, contents);
    let mut component = json!({
        "type": if program.is_some() { "application" } else { "library" },
        "bom-ref": reference(one),
        "name": one.name,
        "version": one.version,
        "licenses": [{ "expression": one.licence }],
    });
    if let Some(sha256) = program.or(one.sha256.as_ref()) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    if one.sha256.is_some() {
        component["purl"] = json!(reference(one));
    }
    if let Some(repository) = &one.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

/// A crate of crates.io by its package URL, and one of this workspace by name and version.
fn reference(one: &Crate) -> String {
    let registry = if one.sha256.is_some() { "pkg:cargo/" } else { "" };
    format!("{registry}{}@{}", one.name, encoded(&one.version))
}

fn package(one: &Package, system: &System) -> Value {
    let url = package_url(one, system);
    json!({
        "type": "library",
        "bom-ref": url,
        "name": one.name,
        "version": one.version,
        "purl": url,
        // The whole truth is in its file of copyrights, which the image has.
        "licenses": [{ "license": { "name": format!("see /usr/share/doc/{}/copyright", one.name) } }],
    })
}

fn package_url(one: &Package, system: &System) -> String {
    let System { id, version } = system;
    let Package { name, version: of_package, architecture, .. } = one;
    format!("pkg:deb/{id}/{name}@{}?arch={architecture}&distro={id}-{version}", encoded(of_package))
}

/// As package URLs want it: a plus sign is the one character of versions that has another meaning there.
fn encoded(version: &str) -> String {
    version.replace('+', "%2B")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::image::{crates, libraries, packages};
    use crate::{command, edges};

    /// What the schema of CycloneDX 1.6 demands of the parts that we write.
    fn check(list: &Value) {
        assert_eq!([&list["bomFormat"], &list["specVersion"]], ["CycloneDX", "1.6"]);
        assert!(list["version"].as_u64().unwrap() >= 1);
        let own = &list["metadata"]["component"];
        let components: Vec<&Value> =
            list["components"].as_array().unwrap().iter().chain(std::iter::once(own)).collect();
        let mut references = BTreeSet::new();
        for component in components {
            assert!(["application", "container", "library"].contains(&component["type"].as_str().unwrap()));
            assert!(!component["name"].as_str().unwrap().is_empty(), "{component}");
            assert!(references.insert(component["bom-ref"].as_str().unwrap()), "twice: {component}");
            for hash in component["hashes"].as_array().into_iter().flatten() {
                let content = hash["content"].as_str().unwrap();
                assert_eq!((&hash["alg"], content.len()), (&json!("SHA-256"), 64), "{component}");
                assert!(content.bytes().all(|c| c.is_ascii_hexdigit()), "{component}");
            }
            for licence in component["licenses"].as_array().into_iter().flatten() {
                // One of the two, never both.
                assert_eq!(licence.as_object().unwrap().len(), 1, "{component}");
                assert!(
                    licence["expression"].is_string() || licence["license"]["name"].is_string(),
                    "{component}"
                );
            }
            if let Some(url) = component["purl"].as_str() {
                assert!(url.starts_with("pkg:cargo/") || url.starts_with("pkg:deb/"), "{url}");
                assert!(!url.contains('+'), "{url}");
            }
        }
        let mut described = BTreeSet::new();
        for dependency in list["dependencies"].as_array().unwrap() {
            let reference = dependency["ref"].as_str().unwrap();
            assert!(references.contains(reference) && described.insert(reference), "{reference}");
            let uses: Vec<&str> = dependency["dependsOn"]
                .as_array()
                .unwrap()
                .iter()
                .map(|used| used.as_str().unwrap())
                .collect();
            assert_eq!(uses.len(), uses.iter().collect::<BTreeSet<_>>().len(), "{reference} uses one twice");
            assert!(uses.iter().all(|used| references.contains(used)), "{reference} uses what is not listed");
        }
    }

    #[test]
    fn the_list_of_the_programs_names_all_they_hold() {
        let names = edges::shipped_programs().unwrap();
        let crates = crates::of(&command::workspace_root().unwrap(), &names).unwrap();
        let programs: Vec<(String, String)> =
            names.into_iter().map(|name| (name, "0123456789abcdef".repeat(4))).collect();
        let files = libraries::files();
        let contents = Contents {
            image: ("dra-driver", "1.2.3"),
            programs: &programs,
            crates: &crates,
            rust: "1.89.0",
            packages: &packages::owners(files.iter().map(|file| file.as_path())).unwrap(),
            system: &packages::system().unwrap(),
        };
        let list = list(&contents);
        check(&list);
        let named: Vec<&str> =
            list["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(named.len(), crates.len() + 3);
        for name in
            ["dra-kubelet-plugin", "dra-driver", "tokio", "nvml-wrapper", "rust-std", "libc6", "libgcc-s1"]
        {
            assert!(named.contains(&name), "{name} is not in {named:?}");
        }
    }

    #[test]
    fn a_package_is_named_by_its_url() {
        let crates = BTreeMap::from([(
            "id".to_owned(),
            Crate {
                name: "protobuf-src".to_owned(),
                version: "2.1.0+27.1".to_owned(),
                licence: "Apache-2.0".to_owned(),
                repository: Some("https://example.com/source".to_owned()),
                sha256: Some("00".repeat(32)),
                folder: "/nowhere".into(),
                uses: BTreeSet::from(["a crate of another platform".to_owned()]),
            },
        )]);
        let system = System { id: "debian".to_owned(), version: "12".to_owned() };
        let contents = Contents {
            image: ("image", "1"),
            programs: &[],
            crates: &crates,
            rust: "1.89.0",
            packages: &[],
            system: &system,
        };
        assert_eq!(
            list(&contents)["components"][0],
            json!({
                "type": "library",
                "bom-ref": "pkg:cargo/protobuf-src@2.1.0%2B27.1",
                "name": "protobuf-src",
                "version": "2.1.0+27.1",
                "licenses": [{ "expression": "Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": "00".repeat(32) }],
                "purl": "pkg:cargo/protobuf-src@2.1.0%2B27.1",
                "externalReferences": [{ "type": "vcs", "url": "https://example.com/source" }],
            })
        );
    }
}

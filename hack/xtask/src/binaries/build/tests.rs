use super::*;

/// A stand-in for Go: answers `go env`, and makes the file after `-o` or fails, as `behaviour` says.
fn fake_go(folder: &Path, behaviour: &str) -> Go {
    let (text, program) = (folder.join("go.sh"), folder.join("go"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = env ]; then echo '{0}'; echo '{0}'; exit; fi\n\
         while [ \"$1\" != -o ]; do shift; done\n{behaviour}\n",
        folder.display()
    );
    fs::write(&text, script).unwrap();
    // Another process writes the program: a file that this one has open, if only through a child that another
    // test is just starting, cannot be run.
    command::output(Command::new("install").arg("--mode=755").arg(&text).arg(&program)).unwrap();
    Go::at(program)
}

/// A module in `folder` and the recipe of its one program.
fn recipe(folder: &Path) -> Recipe {
    fs::write(folder.join("go.mod"), "module m.test\n\nrequire example.test/dep v1.2.3\n").unwrap();
    fs::write(folder.join("go.sum"), "example.test/dep v1.2.3 h1:x=\n").unwrap();
    fs::write(folder.join("main.go"), "package main\n").unwrap();
    recipe_as_it_is(folder)
}

fn recipe_as_it_is(folder: &Path) -> Recipe {
    let output = Output::Program { name: "all", package: ".", links: &[&["one", "two"], &["three"]] };
    let cost = Cost { minutes: 1, memory_mb: 0, build_cache_mb: 0, modules_mb: 0, result_mb: 0 };
    Recipe::new("Tool", "v1.2.3", folder, "go.mod", vec!["build".to_owned()], output, cost).unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_build_fills_the_cache_once() {
    let (module, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recipe = recipe(module.path());
    // What a run has left that was killed half-way.
    let unfinished = cache.path().join(format!(".{}.12345", recipe.entry));
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("all"), "half").unwrap();

    let go = || Ok(fake_go(module.path(), "echo program > \"$2\""));
    let folders = provide_with(go, cache.path(), std::slice::from_ref(&recipe)).unwrap();
    assert_eq!(folders, [cache.path().join(&recipe.entry)]);
    assert_eq!(names_in(&folders[0]), ["all", "one", "three", "two"]);
    assert_eq!(fs::read_to_string(folders[0].join("three")).unwrap(), "program\n");
    assert_eq!(names_in(cache.path()), [".building", recipe.entry.as_str()]);

    let no_go = || anyhow::bail!("built twice");
    assert_eq!(provide_with(no_go, cache.path(), &[recipe]).unwrap(), folders);
}

#[test]
fn a_failed_build_is_named_and_leaves_nothing() {
    let (module, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recipe = recipe(module.path());
    let go = || Ok(fake_go(module.path(), "echo half > \"$2\"; echo 'main.go:1: no' >&2; exit 2"));
    let error = format!("{:#}", provide_with(go, cache.path(), &[recipe]).unwrap_err());
    assert!(error.starts_with("cannot build Tool 1.2.3; what Go says about it stands above"), "{error}");
    assert!(error.ends_with("failed (exit status: 2)"), "{error}");
    assert_eq!(names_in(cache.path()), [".building"]);
}

#[test]
fn whatever_a_build_depends_on_changes_its_cache_entry() {
    let module = tempfile::tempdir().unwrap();
    let original = recipe(module.path()).entry;
    assert!(original.starts_with("tool-1.2.3-"), "{original}");
    assert_eq!(recipe(module.path()).entry, original);
    for (file, contents, changes) in [
        ("main.go", "package main // edited\n", true),
        ("other.go", "package main\n", true),
        ("go.mod", "module m.test\n", true),
        ("go.sum", "example.test/dep v1.2.3 h1:y=\n", true),
        ("other-release.mod", "module m.test\n", false),
        ("README.md", "words\n", false),
    ] {
        recipe(module.path());
        fs::write(module.path().join(file), contents).unwrap();
        assert_eq!(recipe_as_it_is(module.path()).entry != original, changes, "{file}");
        fs::remove_file(module.path().join(file)).unwrap();
    }
}

#[test]
fn the_pinned_version_is_the_one_that_is_required() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("go.mod");
    for (name, text, expected) in [
        ("in a block", "require (\n\tk8s.io/kubernetes v1.36.3\n)\n", Some("v1.36.3")),
        ("in a line", "require k8s.io/kubernetes v1.34.4 // indirect\n", Some("v1.34.4")),
        ("another module alone", "require k8s.io/kubernetes-more v1.0.0\n", None),
        ("replaced alone", "replace k8s.io/kubernetes => ../x\n", None),
        ("replaced in a block alone", "replace (\n\tk8s.io/kubernetes => ../x\n)\n", None),
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(pinned_version(&file, "k8s.io/kubernetes").ok().as_deref(), expected, "{name}");
    }
}

#[test]
fn progress_counts_packages_and_modules_and_passes_messages_on() {
    let mut progress = Progress::default();
    for line in ["go: downloading k8s.io/api v0.36.3", "k8s.io/api/core/v1", "fmt"] {
        assert_eq!(progress.take(line), None, "{line}");
    }
    assert_eq!(progress, Progress { modules: 1, packages: 2 });
    for line in
        ["# k8s.io/api/core/v1", "main.go:3:2: undefined: x", "link: signal: killed", "go: no such tool"]
    {
        assert_eq!(progress.take(line), Some(line));
    }
    assert_eq!(progress, Progress { modules: 1, packages: 2 });
}

#[test]
fn kubernetes_programs_are_told_their_version() {
    let flags = kubernetes_ldflags("v1.34.4");
    for expected in [
        "-X k8s.io/component-base/version.gitVersion=v1.34.4",
        "-X k8s.io/client-go/pkg/version.gitMajor=1",
        "-X k8s.io/client-go/pkg/version.gitMinor=34",
    ] {
        assert!(flags.contains(expected), "{expected}");
    }
}

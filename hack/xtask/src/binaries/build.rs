//! Builds the programs from upstream's sources, which the Go modules of `hack/cluster` pin and verify.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use sha2::{Digest, Sha256};

use super::go::Go;
use super::room::{self, Need};
use super::{ALLOCATOR_ORACLE, CEL_ORACLE, CONTROL_PLANE, Containerd, KUBELET, Kubernetes};
use crate::{command, store};

/// How often a build says that it is alive.
const TICK: Duration = Duration::from_secs(15);

/// What a build takes where Go's caches are empty; measured on two cores, with reserve.
#[derive(Debug, Clone, Copy)]
struct Cost {
    minutes: u32,
    memory_mb: u64,
    /// For Go's build cache.
    build_cache_mb: u64,
    /// For Go's module cache.
    modules_mb: u64,
    /// For our own cache.
    result_mb: u64,
}

/// How one cache entry is built.
#[derive(Debug)]
pub(super) struct Recipe {
    title: String,
    entry: String,
    /// The folder of the Go module.
    module: PathBuf,
    arguments: Vec<String>,
    /// What `arguments` make in the entry's folder.
    output: Output,
    cost: Cost,
}

#[derive(Debug, Clone, Copy)]
enum Output {
    /// One program, of a package in the module, and links to it by the names that it goes by.
    Program { name: &'static str, package: &'static str, links: &'static [&'static [&'static str]] },
    /// What the module's tool lines name.
    Tools,
}

impl Recipe {
    /// etcd, the control plane and the kubelet of one release.
    pub(super) fn kubernetes(modules: &Path, release: Kubernetes) -> Result<Self> {
        let modfile = match release {
            Kubernetes::V1_36 => "go.mod".to_owned(),
            Kubernetes::V1_34 | Kubernetes::V1_37 => format!("kubernetes-{}.mod", release.minor()),
        };
        let version = pinned_version(&modules.join(&modfile), "k8s.io/kubernetes")?;
        let mut arguments = vec!["build".to_owned(), "-ldflags".to_owned(), kubernetes_ldflags(&version)];
        if modfile != "go.mod" {
            arguments.push(format!("-modfile={modfile}"));
        }
        let cost =
            Cost { minutes: 12, memory_mb: 3200, build_cache_mb: 2700, modules_mb: 1000, result_mb: 150 };
        let output = Output::Program { name: "kube", package: ".", links: &[&CONTROL_PLANE, &KUBELET] };
        Self::new("Kubernetes", &version, modules, &modfile, arguments, output, cost)
    }

    /// containerd, its runc shim and ctr.
    pub(super) fn containerd(modules: &Path, release: Containerd) -> Result<Self> {
        let (folder, package) = match release {
            Containerd::V1_7 => ("containerd-1.7", "github.com/containerd/containerd"),
            Containerd::V2 => ("containerd-2", "github.com/containerd/containerd/v2"),
        };
        let folder = modules.join(folder);
        let version = pinned_version(&folder.join("go.mod"), package)?;
        let ldflags = format!("-s -w -X {package}/version.Version={version}");
        let arguments = vec!["install".to_owned(), "-ldflags".to_owned(), ldflags];
        let cost = Cost { minutes: 4, memory_mb: 1000, build_cache_mb: 700, modules_mb: 500, result_mb: 100 };
        Self::new("containerd", &version, &folder, "go.mod", arguments, Output::Tools, cost)
    }

    /// The program of the image `pause`.
    pub(super) fn pause(modules: &Path) -> Result<Self> {
        let arguments = ["build", "-ldflags", "-s -w"].map(str::to_owned).to_vec();
        let cost = Cost { minutes: 1, memory_mb: 300, build_cache_mb: 100, modules_mb: 0, result_mb: 2 };
        let output = Output::Program { name: "pause", package: ".", links: &[] };
        Self::new("pause", "v1", &modules.join("pause"), "go.mod", arguments, output, cost)
    }

    /// The program that answers with the scheduler's allocator.
    pub(super) fn allocator_oracle(modules: &Path) -> Result<Self> {
        let version = pinned_version(&modules.join("go.mod"), "k8s.io/dynamic-resource-allocation")?;
        let arguments = ["build", "-ldflags", "-s -w"].map(str::to_owned).to_vec();
        let cost = Cost { minutes: 4, memory_mb: 1000, build_cache_mb: 600, modules_mb: 400, result_mb: 30 };
        let output = Output::Program { name: ALLOCATOR_ORACLE, package: "./allocator-oracle", links: &[] };
        Self::new(ALLOCATOR_ORACLE, &version, modules, "go.mod", arguments, output, cost)
    }

    /// The program that answers with the scheduler's compiler of device selectors.
    pub(super) fn cel_oracle(modules: &Path) -> Result<Self> {
        let version = pinned_version(&modules.join("go.mod"), "k8s.io/dynamic-resource-allocation")?;
        let arguments = ["build", "-ldflags", "-s -w"].map(str::to_owned).to_vec();
        let cost = Cost { minutes: 4, memory_mb: 1000, build_cache_mb: 600, modules_mb: 400, result_mb: 30 };
        let output = Output::Program { name: CEL_ORACLE, package: "./cel-oracle", links: &[] };
        Self::new(CEL_ORACLE, &version, modules, "go.mod", arguments, output, cost)
    }

    fn new(
        what: &str,
        version: &str,
        module: &Path,
        modfile: &str,
        mut arguments: Vec<String>,
        output: Output,
        cost: Cost,
    ) -> Result<Self> {
        arguments.extend(["-v", "-trimpath", "-buildvcs=false"].map(str::to_owned));
        let (package, sources) = match output {
            Output::Program { package, .. } => (package, module.join(package)),
            Output::Tools => ("tool", module.to_owned()),
        };
        arguments.push(package.to_owned());
        let version = version.trim_start_matches('v');
        let inputs = inputs(module, modfile, &sources)?;
        Ok(Self {
            title: format!("{what} {version}"),
            entry: format!("{}-{version}-{}", what.to_lowercase(), fingerprint(&arguments, &inputs)?),
            module: module.to_owned(),
            arguments,
            output,
            cost,
        })
    }

    fn fill(&self, go: &Go, folder: &Path) -> Result<()> {
        // Go runs in the module's folder, so a relative path would name another place.
        let folder = std::path::absolute(folder)?;
        let mut build = go.command(&self.module);
        build.args(&self.arguments[..1]);
        match self.output {
            Output::Program { name, .. } => build.arg("-o").arg(folder.join(name)),
            Output::Tools => build.env("GOBIN", &folder),
        };
        build.args(&self.arguments[1..]);
        watch(&mut build, &self.title)?;
        if let Output::Program { name, links, .. } = self.output {
            for link in links.iter().copied().flatten() {
                fs::os::unix::fs::symlink(name, folder.join(link))?;
            }
        }
        Ok(())
    }
}

/// Provides the recipes' results in their order, building what the cache lacks.
pub(super) fn provide(cache: &Path, recipes: &[Recipe]) -> Result<Vec<PathBuf>> {
    provide_with(Go::find, cache, recipes)
}

fn provide_with(
    find_go: impl FnOnce() -> Result<Go>,
    cache: &Path,
    recipes: &[Recipe],
) -> Result<Vec<PathBuf>> {
    let missing: Vec<&Recipe> = recipes.iter().filter(|recipe| !cache.join(&recipe.entry).is_dir()).collect();
    if !missing.is_empty() {
        announce(&missing, cache);
        fs::create_dir_all(cache)?;
        // Two builds at once would take twice the memory and make everything twice.
        let _lock = lock(&cache.join(".building"))?;
        let go = find_go()?;
        require_room(&missing, cache, &go)?;
        for recipe in &missing {
            remove_unfinished(cache, &recipe.entry)?;
            let built = store::folder_in(cache, &recipe.entry, |folder| recipe.fill(&go, folder));
            built.with_context(|| {
                format!(
                    "cannot build {}; what Go says about it stands above (the build needs {} MB of memory)",
                    recipe.title, recipe.cost.memory_mb
                )
            })?;
        }
    }
    Ok(recipes.iter().map(|recipe| cache.join(&recipe.entry)).collect())
}

fn announce(missing: &[&Recipe], cache: &Path) {
    eprintln!(
        "These programs are not in the cache of this machine yet; they are built once, without privileges:"
    );
    for Recipe { title, cost, .. } in missing {
        eprintln!(
            "  {title:<20} up to {} min on 2 cores, {} MB of memory, {} MB of disk for Go's caches, {} MB in {}",
            cost.minutes,
            cost.memory_mb,
            cost.build_cache_mb + cost.modules_mb,
            cost.result_mb,
            cache.display()
        );
    }
}

fn require_room(missing: &[&Recipe], cache: &Path, go: &Go) -> Result<()> {
    let caches = command::output(go.command(Path::new(".")).args(["env", "GOCACHE", "GOMODCACHE"]))?;
    let (build_cache, modules) =
        caches.trim_end().split_once('\n').context("`go env` named no folders for its caches")?;
    let sum = |part: fn(&Cost) -> u64| missing.iter().map(|recipe| part(&recipe.cost)).sum();
    room::require(&[
        Need { folder: cache, megabytes: sum(|cost| cost.result_mb) },
        Need { folder: Path::new(build_cache), megabytes: sum(|cost| cost.build_cache_mb) },
        Need { folder: Path::new(modules), megabytes: sum(|cost| cost.modules_mb) },
    ])?;
    let memory = missing.iter().map(|recipe| recipe.cost.memory_mb).max().unwrap_or(0);
    if room::available_memory_mb().is_some_and(|available| available < memory) {
        eprintln!("warning: less than {memory} MB of memory are free; the kernel may end the linker.");
    }
    Ok(())
}

/// Held until the file is dropped; the kernel frees it where a run is killed.
fn lock(file: &Path) -> Result<fs::File> {
    let lock = fs::File::create(file)?;
    if lock.file().try_lock().is_err() {
        eprintln!("Another run builds; waiting for it ({}).", file.display());
        lock.file().lock().with_context(|| format!("cannot lock {}", file.display()))?;
    }
    Ok(lock)
}

/// Removes what runs have left that were killed while they built the entry; the lock is held.
fn remove_unfinished(cache: &Path, entry: &str) -> Result<()> {
    let prefix = format!(".{entry}.");
    for found in fs::read_dir(cache)? {
        let found = found?;
        if found.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(found.path())?;
        }
    }
    Ok(())
}

/// Runs `go … -v`, which names each package as it is compiled, and says every [`TICK`] how far it is.
fn watch(build: &mut Command, title: &str) -> Result<()> {
    eprintln!("$ {}", command::line(build));
    let started = Instant::now();
    let mut child = build
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", command::line(build)))?;
    let stderr = child.stderr.take().context("the build's messages are not to be had")?;
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
            // The receiver lives until the sender is dropped.
            let _ = sender.send(line);
        }
    });
    let mut progress = Progress::default();
    let mut next = TICK;
    loop {
        match receiver.recv_timeout(next.saturating_sub(started.elapsed())) {
            Ok(line) => {
                if let Some(message) = progress.take(&line) {
                    eprintln!("  {message}");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("  {title}: {}, {}", duration(started.elapsed()), progress.text());
                next = started.elapsed() + TICK;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    // The channel is closed, so the reader has nothing left to do.
    let _ = reader.join();
    ensure!(status.success(), "`{}` failed ({status})", command::line(build));
    eprintln!("  {title}: built in {}, {}", duration(started.elapsed()), progress.text());
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    modules: u32,
    packages: u32,
}

impl Progress {
    /// Counts a line, or returns it where it is a message for the user.
    fn take<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        if line.starts_with("go: downloading ") {
            self.modules += 1;
        } else if !line.contains([' ', '\t', ':']) {
            self.packages += 1;
        } else {
            return Some(line);
        }
        None
    }

    fn text(&self) -> String {
        format!("{} packages compiled, {} modules fetched", self.packages, self.modules)
    }
}

fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}

/// What Go's linker writes into Kubernetes' programs; without it they call themselves v0.0.0-master, and
/// charts that ask for a version are refused.
fn kubernetes_ldflags(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in
            [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")]
        {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

/// The version of `module` that the file requires, such as `v1.36.3`.
fn pinned_version(modfile: &Path, module: &str) -> Result<String> {
    let text = fs::read_to_string(modfile)?;
    let required = text.lines().find_map(|line| {
        let line = line.trim();
        let mut words = line.strip_prefix("require ").unwrap_or(line).split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten()
    });
    required
        .filter(|version| version.starts_with('v'))
        .map(str::to_owned)
        .with_context(|| format!("{} requires no version of {module}", modfile.display()))
}

/// The files that a build depends on: our own sources, in a folder of the module, its requirements and their digests.
fn inputs(module: &Path, modfile: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![module.join(modfile)];
    let sums = files[0].with_extension("sum");
    if sums.exists() {
        files.push(sums);
    }
    let mut sources: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "go") {
            sources.push(path);
        }
    }
    sources.sort();
    files.extend(sources);
    Ok(files)
}

/// Twelve digits that change with anything that the build depends on.
fn fingerprint(arguments: &[String], files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for argument in arguments {
        hash.update(argument);
        hash.update([0]);
    }
    for file in files {
        let bytes = fs::read(file)?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(format!("{:x}", hash.finalize())[..12].to_owned())
}

#[cfg(test)]
mod tests;

//! What the kernel and the file system say about the driver and its GPUs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol};
use serde_json::{Map, Value};

use crate::answer::{Class, Entry, Field, Section, fact, identity, valued, volatile};

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// What the kernel shows as `/proc`.
    pub(crate) proc: PathBuf,
    /// What the kernel shows as `/sys`.
    pub(crate) sys: PathBuf,
}

/// The entry with the names that the library exports. The fake must export them all, and may export more.
pub(crate) const SYMBOLS: &str = "exported symbols";

/// One thing to look at.
pub(crate) struct Look {
    /// The GPU that it is about.
    pub(crate) gpu: Option<u32>,
    /// How it is recorded.
    pub(crate) name: String,
    read: Box<dyn Fn() -> Result<Vec<Field>, String>>,
}

impl Look {
    fn new(gpu: Option<u32>, name: &str, read: impl Fn() -> Result<Vec<Field>, String> + 'static) -> Self {
        Self { gpu, name: name.to_owned(), read: Box::new(read) }
    }

    /// A file, and what its text says.
    fn file(gpu: Option<u32>, name: &str, path: PathBuf, fields: fn(&str) -> Vec<Field>) -> Self {
        Self::new(gpu, name, move || read(&path).map(|text| fields(&text)))
    }

    /// An entry without an answer so far.
    pub(crate) fn entry(&self) -> Entry {
        Entry::new(Section::Files, self.gpu, self.name.as_str())
    }

    /// Looks. A file of a driver that is stuck may not let go of who reads it.
    pub(crate) fn look(&self) -> Entry {
        let mut entry = self.entry();
        match (self.read)() {
            Ok(fields) => {
                entry.code = Some(0);
                entry.with(fields)
            }
            Err(reason) => {
                entry.none = Some(reason);
                entry
            }
        }
    }
}

/// The library's file, what lies beside it, what `/proc` and `/sys` say of the node, and of the GPUs at these
/// addresses ("00000000:1B:00.0").
pub(crate) fn looks(library: &Path, roots: &Roots, gpus: &[(u32, String)]) -> Vec<Look> {
    let nvidia = roots.proc.join("driver/nvidia");
    let (file, folder, listed) = (library.to_owned(), library.to_owned(), nvidia.clone());
    let mut looks = vec![
        Look::new(None, SYMBOLS, move || Ok(vec![fact("names", symbols(&file)?)])),
        Look::new(None, "driver files beside the library", move || beside(&folder)),
        Look::new(None, "/proc/driver/nvidia", move || Ok(vec![fact("names", names(&listed)?)])),
        Look::file(None, "/proc/driver/nvidia/version", nvidia.join("version"), version),
        Look::file(None, "/proc/driver/nvidia/params", nvidia.join("params"), params),
        Look::file(None, "/proc/devices", roots.proc.join("devices"), devices),
        Look::file(
            None,
            "/proc/driver/nvidia-caps/mig-minors",
            roots.proc.join("driver/nvidia-caps/mig-minors"),
            minors,
        ),
        Look::file(None, "/sys/module/nvidia/version", roots.sys.join("module/nvidia/version"), |text| {
            vec![fact("value", text.trim())]
        }),
    ];
    for capability in ["mig/config", "mig/monitor", "fabric-imex-mgmt"] {
        let name = format!("/proc/driver/nvidia/capabilities/{capability}");
        let path = nvidia.join("capabilities").join(capability);
        looks.push(Look::file(None, &name, path, |text| {
            vec![fact("lines", text.lines().collect::<Vec<_>>())]
        }));
    }
    for (gpu, address) in gpus {
        let address = kernel_address(address);
        let name = "/proc/driver/nvidia/gpus/<address>/information";
        let path = nvidia.join("gpus").join(&address).join("information");
        looks.push(Look::file(Some(*gpu), name, path, information_fields));
        let device = roots.sys.join("bus/pci/devices").join(&address);
        let name = "/sys/bus/pci/devices/<address>";
        looks.push(Look::new(Some(*gpu), name, move || pci_device(&device)));
    }
    looks
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = fs_err::read(path).map_err(|error| kind(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let listed = fs_err::read_dir(folder).map_err(|error| kind(&error))?;
    let names = listed.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Only the kind: the message would name this machine's paths.
fn kind(error: &std::io::Error) -> String {
    error.kind().to_string()
}

/// "00000000:1B:00.0" as the kernel writes it: "0000:1b:00.0".
fn kernel_address(address: &str) -> String {
    let address = address.to_ascii_lowercase();
    match address.split_once(':') {
        // At least four digits.
        Some((domain, rest)) if domain.len() == 8 => {
            let digits = domain.trim_start_matches('0');
            format!("{digits:0>4}:{rest}")
        }
        _ => address,
    }
}

fn symbols(library: &Path) -> Result<Vec<String>, String> {
    let bytes = fs_err::read(library).map_err(|error| kind(&error))?;
    let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    let names: BTreeSet<String> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .filter_map(|symbol| Some(symbol.name().ok()?.to_owned()))
        .filter(|name| name.starts_with("nvml"))
        .collect();
    Ok(names.into_iter().collect())
}

/// The driver's files in the library's folder: by their names, or by their versions.
fn beside(library: &Path) -> Result<Vec<Field>, String> {
    let library = library.canonicalize().map_err(|error| kind(&error))?;
    let file = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version = file.split_once(".so.").map_or("", |(_, version)| version).to_owned();
    let folder = library.parent().unwrap_or(Path::new("/"));
    let drivers = |name: &String| {
        (version.contains('.') && name.ends_with(&version))
            || ["libnvidia", "libcuda.", "libcudadebugger", "libnvcuvid", "libnvoptix"]
                .iter()
                .any(|start| name.starts_with(start))
    };
    let mut names = names(folder)?;
    names.retain(drivers);
    Ok(vec![identity("library", file), identity("names", names)])
}

fn version(text: &str) -> Vec<Field> {
    let first = text.lines().next().unwrap_or_default();
    let number = first
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    vec![
        fact("driver", number),
        identity("open", first.contains("Open Kernel Module")),
        identity("lines", text.lines().collect::<Vec<_>>()),
    ]
}

fn params(text: &str) -> Vec<Field> {
    let pairs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let keys: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
    let values: Map<String, Value> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    vec![fact("keys", keys), identity("values", values)]
}

fn devices(text: &str) -> Vec<Field> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| line.contains("nvidia")).collect();
    let names: BTreeSet<&str> = lines.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    vec![fact("names", names.into_iter().collect::<Vec<_>>()), identity("lines", lines)]
}

fn minors(text: &str) -> Vec<Field> {
    let lines: Vec<&str> = text.lines().collect();
    vec![
        fact("lines", lines.len()),
        fact("first", lines.iter().take(14).copied().collect::<Vec<_>>()),
        fact("last", lines.last().copied()),
    ]
}

/// Lines of "key: value". The exact beginnings of the lines matter to those who parse them.
fn information_fields(text: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut beginnings = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let blanks = value.len() - value.trim_start().len();
        beginnings.push(format!("{key}:{}", &value[..blanks]));
        let known = match key {
            "Model" => Some((Class::Fact, "Model")),
            "Bus Type" => Some((Class::Fact, "Bus Type")),
            "DMA Size" => Some((Class::Fact, "DMA Size")),
            "DMA Mask" => Some((Class::Fact, "DMA Mask")),
            "GPU Firmware" => Some((Class::Fact, "GPU Firmware")),
            "GPU Excluded" => Some((Class::Fact, "GPU Excluded")),
            "IRQ" => Some((Class::Identity, "IRQ")),
            "GPU UUID" => Some((Class::Identity, "GPU UUID")),
            "Video BIOS" => Some((Class::Identity, "Video BIOS")),
            "Bus Location" => Some((Class::Identity, "Bus Location")),
            "Device Minor" => Some((Class::Identity, "Device Minor")),
            _ => None,
        };
        if let Some((class, name)) = known {
            fields.push(valued(class, name, value.trim()));
        }
    }
    fields.push(fact("beginnings of lines", beginnings));
    fields
}

fn pci_device(folder: &Path) -> Result<Vec<Field>, String> {
    let value = |name: &str| read(&folder.join(name)).map(|text| text.trim().to_owned());
    let path = folder.canonicalize().map_err(|error| kind(&error))?;
    // Below the host bridge, whatever the root is.
    let path: Vec<String> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .skip_while(|part| !part.starts_with("pci"))
        .collect();
    let mut fields = vec![identity("path", path.join("/"))];
    for (class, name) in [
        (Class::Fact, "vendor"),
        (Class::Fact, "device"),
        (Class::Fact, "subsystem_vendor"),
        (Class::Fact, "subsystem_device"),
        (Class::Fact, "class"),
        (Class::Fact, "max_link_speed"),
        (Class::Fact, "max_link_width"),
        (Class::Volatile, "current_link_speed"),
        (Class::Volatile, "current_link_width"),
        (Class::Identity, "numa_node"),
        (Class::Identity, "local_cpulist"),
    ] {
        fields.push(match value(name) {
            Ok(text) => valued(class, name, text),
            Err(reason) => valued(class, name, reason),
        });
    }
    let driver = folder.join("driver").canonicalize();
    let driver = driver.ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    fields.push(volatile("driver", driver));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_kernel_does() {
        for (nvml, kernel) in [
            ("00000000:1B:00.0", "0000:1b:00.0"),
            ("00010000:01:00.0", "10000:01:00.0"),
            ("0000:1B:00.0", "0000:1b:00.0"),
        ] {
            assert_eq!(kernel_address(nvml), kernel, "{nvml}");
        }
    }

    #[test]
    fn the_version_is_found_in_the_lines_of_both_kernel_modules() {
        // Published first lines of /proc/driver/nvidia/version.
        for (line, driver, open) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023",
                "535.129.03",
                false,
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (root@host)",
                "550.54.15",
                true,
            ),
        ] {
            let entry = Entry::new(Section::Files, None, "version").with(version(line));
            assert_eq!(entry.fact["driver"], driver);
            assert_eq!(entry.identity["open"], open);
        }
    }
}

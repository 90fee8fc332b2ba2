//! What the kernel says about a GPU in `/sys`.

use std::io;
use std::path::{Component, Path};

use super::PciAddress;

/// What the kernel says about one PCI function, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysfsFacts {
    /// Content of `numa_node`: −1 where the firmware names none.
    pub numa_node: Result<i32, String>,
    /// Content of `local_cpulist`.
    pub local_cpus: Result<String, String>,
    /// The host bridge: "pci0000:15".
    pub pcie_root: Result<String, String>,
}

/// An NVIDIA GPU on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnBus {
    /// Where.
    pub address: PciAddress,
    /// The kernel driver that it is bound to.
    pub driver: Option<String>,
}

impl SysfsFacts {
    /// The facts of a function about which nothing can be asked.
    pub fn none(reason: &str) -> Self {
        Self {
            numa_node: Err(reason.to_owned()),
            local_cpus: Err(reason.to_owned()),
            pcie_root: Err(reason.to_owned()),
        }
    }

    /// Asks the kernel.
    pub fn read(sysfs: &Path, address: PciAddress) -> Self {
        let folder = sysfs.join(format!("bus/pci/devices/{address}"));
        Self {
            numa_node: text(&folder.join("numa_node")).and_then(|text| {
                text.parse()
                    .map_err(|_| format!("{}: '{text}' is no number", folder.join("numa_node").display()))
            }),
            local_cpus: text(&folder.join("local_cpulist")),
            pcie_root: pcie_root(&folder),
        }
    }
}

/// All NVIDIA GPUs on the PCI bus, also those that NVML does not see.
///
/// # Errors
/// The bus cannot be listed.
pub fn gpus_on_bus(sysfs: &Path) -> io::Result<Vec<OnBus>> {
    let mut found: Vec<OnBus> = fs_err::read_dir(sysfs.join("bus/pci/devices"))?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let address = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path();
            let is_gpu = text(&folder.join("vendor")).ok()? == "0x10de"
                // Display controllers: VGA (00) and 3D (02).
                && ["0x0300", "0x0302"].contains(&text(&folder.join("class")).ok()?.get(..6)?);
            let driver = fs_err::read_link(folder.join("driver"))
                .ok()
                .and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
            is_gpu.then_some(OnBus { address, driver })
        })
        .collect();
    found.sort_by_key(|gpu| gpu.address);
    Ok(found)
}

/// How many CPUs are online, hyper-threads included: what clouds bill as vCPUs.
///
/// # Errors
/// The kernel does not say.
pub fn online_cpus(sysfs: &Path) -> Result<u32, String> {
    let file = sysfs.join("devices/system/cpu/online");
    let list = text(&file)?;
    cpus_in(&list).ok_or_else(|| format!("{}: '{list}' is no list of CPUs", file.display()))
}

/// How many CPUs a list such as "0-3,8" has.
fn cpus_in(list: &str) -> Option<u32> {
    list.split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

fn text(file: &Path) -> Result<String, String> {
    fs_err::read_to_string(file).map(|text| text.trim().to_owned()).map_err(|error| error.to_string())
}

/// The entry on the bus is a link to `devices/pci<domain>:<bus>/<bridges>/<function>`.
fn pcie_root(folder: &Path) -> Result<String, String> {
    let real = fs_err::canonicalize(folder).map_err(|error| error.to_string())?;
    real.components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .find(|name| is_host_bridge(name))
        .map(str::to_owned)
        .ok_or_else(|| format!("{} lies below no host bridge (pci<domain>:<bus>)", real.display()))
}

fn is_host_bridge(name: &str) -> bool {
    let hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix("pci")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(domain, bus)| domain.len() >= 4 && hex(domain) && bus.len() == 2 && hex(bus))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A function below `devices/<path>`, linked from the bus as the kernel does.
    fn function(sysfs: &Path, path: &str, files: &[(&str, &str)]) {
        let folder = sysfs.join("devices").join(path);
        fs_err::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            fs_err::write(folder.join(name), content).unwrap();
        }
        let bus = sysfs.join("bus/pci/devices");
        fs_err::create_dir_all(&bus).unwrap();
        let name = Path::new(path).file_name().unwrap();
        symlink(Path::new("../../../devices").join(path), bus.join(name)).unwrap();
    }

    #[test]
    fn cpus_are_counted_as_the_kernel_lists_them() {
        let cases = [
            ("0", Some(1)),
            ("0-223", Some(224)),
            ("0-55,112-167", Some(112)),
            ("0,2,4-5", Some(4)),
            ("", None),
            ("0-", None),
            ("5-4", None),
            ("0-4294967295", None),
        ];
        for (list, wanted) in cases {
            assert_eq!(cpus_in(list), wanted, "'{list}'");
        }
        let sysfs = tempfile::tempdir().unwrap();
        let error = online_cpus(sysfs.path()).unwrap_err();
        assert!(error.contains("devices/system/cpu/online"), "{error}");
        fs_err::create_dir_all(sysfs.path().join("devices/system/cpu")).unwrap();
        fs_err::write(sysfs.path().join("devices/system/cpu/online"), "0-7\n").unwrap();
        assert_eq!(online_cpus(sysfs.path()), Ok(8));
    }

    #[test]
    fn reads_what_the_kernel_says() {
        let sysfs = tempfile::tempdir().unwrap();
        function(
            sysfs.path(),
            "pci0000:15/0000:15:01.0/0000:16:00.0/0000:1b:00.0",
            &[("numa_node", "0\n"), ("local_cpulist", "0-55,112-167\n")],
        );
        function(sysfs.path(), "pci10000:00/10000:00:01.0", &[("numa_node", "-1\n")]);
        function(sysfs.path(), "LNXSYSTM:00/0000:43:00.0", &[("numa_node", "many\n")]);

        let facts = |address: &str| SysfsFacts::read(sysfs.path(), address.parse().unwrap());
        assert_eq!(
            facts("0000:1b:00.0"),
            SysfsFacts {
                numa_node: Ok(0),
                local_cpus: Ok("0-55,112-167".into()),
                pcie_root: Ok("pci0000:15".into()),
            }
        );

        let bare = facts("10000:00:01.0");
        assert_eq!(bare.numa_node, Ok(-1));
        assert_eq!(bare.pcie_root, Ok("pci10000:00".into()));
        assert!(bare.local_cpus.unwrap_err().contains("local_cpulist"));

        let odd = facts("0000:43:00.0");
        assert!(odd.numa_node.unwrap_err().contains("'many' is no number"));
        assert!(odd.pcie_root.unwrap_err().contains("no host bridge"));

        let missing = facts("0000:99:00.0");
        assert!(missing.numa_node.unwrap_err().contains("0000:99:00.0"));
        assert!(missing.pcie_root.unwrap_err().contains("0000:99:00.0"));
    }

    #[test]
    fn finds_nvidias_gpus_on_the_bus_and_nothing_else() {
        let sysfs = tempfile::tempdir().unwrap();
        let gpu = [("vendor", "0x10de\n"), ("class", "0x030200\n")];
        function(sysfs.path(), "pci0000:37/0000:43:00.0", &gpu);
        function(sysfs.path(), "pci0000:15/0000:1b:00.0", &gpu);
        function(sysfs.path(), "pci0000:00/0000:05:00.0", &[("vendor", "0x10de\n"), ("class", "0x068000\n")]);
        function(sysfs.path(), "pci0000:00/0000:06:00.0", &[("vendor", "0x1a03\n"), ("class", "0x030000\n")]);
        function(sysfs.path(), "pci0000:00/0000:07:00.0", &[]);
        symlink(
            "../../../../bus/pci/drivers/vfio-pci",
            sysfs.path().join("devices/pci0000:37/0000:43:00.0/driver"),
        )
        .unwrap();

        let on = |address: &str, driver: Option<&str>| OnBus {
            address: address.parse().unwrap(),
            driver: driver.map(str::to_owned),
        };
        assert_eq!(
            gpus_on_bus(sysfs.path()).unwrap(),
            [on("0000:1b:00.0", None), on("0000:43:00.0", Some("vfio-pci"))]
        );
        assert!(gpus_on_bus(&sysfs.path().join("absent")).is_err());
    }
}

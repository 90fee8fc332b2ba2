//! The command line, which is that of `nvidia-cdi-hook`.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

/// What is printed beside an error of the command line.
pub const HELP: &str = "\
usage: dra-cdi-hook COMMAND [FLAGS], with the OCI state of a container on standard input

  create-symlinks --link TARGET::LINK ...     make links
  update-ldcache --folder FOLDER ...          make the loader's cache name the driver's libraries in folders
  enable-cuda-compat --host-driver-version V  prefer the image's CUDA compatibility libraries where they are newer
  disable-device-node-modification            keep programs from making or changing device nodes

  --container-spec FILE                       the container's state from a file, not from standard input";

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
    /// Where the OCI state is, if not on standard input.
    pub container_spec: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make links.
    CreateSymlinks {
        /// Which.
        links: Vec<Link>,
    },
    /// Make the loader's cache name the driver's libraries.
    UpdateLdcache {
        /// The folders that have them, as the container sees them.
        folders: Vec<PathBuf>,
    },
    /// Prefer the image's CUDA compatibility libraries.
    EnableCudaCompat {
        /// The version of the host's driver, such as 550.163.01.
        host_driver_version: String,
    },
    /// Keep programs from making or changing device nodes.
    DisableDeviceNodeModification,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it says.
    pub target: String,
    /// Where it is, as the container sees it.
    pub path: PathBuf,
}

/// What is wrong with a command line.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// There is no command.
    #[error("a command is missing")]
    NoCommand,
    /// A word that is not UTF-8.
    #[error("'{0}' is not UTF-8")]
    NotText(String),
    /// A command that is not known.
    #[error("there is no command '{0}'")]
    UnknownCommand(String),
    /// A flag that is not the command's.
    #[error("'{command}' has no flag '{flag}'")]
    UnknownFlag {
        /// The command.
        command: String,
        /// The flag.
        flag: String,
    },
    /// A flag without its value.
    #[error("'{0}' needs a value")]
    NoValue(String),
    /// A link without its two halves.
    #[error("--link {0}: it should be TARGET::LINK, such as libcuda.so.1::/usr/lib64/libcuda.so")]
    NotALink(String),
    /// A flag that has to be there.
    #[error("'{command}' needs {flag}")]
    Missing {
        /// The command.
        command: &'static str,
        /// The flag.
        flag: &'static str,
    },
}

impl Arguments {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// Any [`ArgumentError`].
    pub fn parse(words: Vec<OsString>) -> Result<Self, ArgumentError> {
        let text = |word: OsString| {
            word.into_string().map_err(|word| ArgumentError::NotText(word.to_string_lossy().into_owned()))
        };
        let mut words = words.into_iter().map(text);
        let name = words.next().transpose()?.ok_or(ArgumentError::NoCommand)?;
        let known: &[&str] = match name.as_str() {
            "create-symlinks" => &["--link"],
            // NVIDIA's hook runs the ldconfig that this names; here nothing is run.
            "update-ldcache" => &["--folder", "--ldconfig-path"],
            "enable-cuda-compat" => &["--host-driver-version"],
            "disable-device-node-modification" => &[],
            _ => return Err(ArgumentError::UnknownCommand(name)),
        };
        let mut flags: Vec<(String, String)> = Vec::new();
        while let Some(word) = words.next().transpose()? {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            if flag != "--container-spec" && !known.contains(&flag.as_str()) {
                return Err(ArgumentError::UnknownFlag { command: name, flag });
            }
            let value = match value {
                Some(value) => value,
                None => words.next().transpose()?.ok_or_else(|| ArgumentError::NoValue(flag.clone()))?,
            };
            flags.push((flag, value));
        }
        let values = |wanted: &str| {
            let fitting = flags.iter().filter(|(flag, _)| flag == wanted);
            fitting.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let command = match name.as_str() {
            "create-symlinks" => {
                let links = values("--link").into_iter().map(link).collect::<Result<_, _>>()?;
                Command::CreateSymlinks { links }
            }
            "update-ldcache" => {
                let folders = values("--folder").into_iter().map(PathBuf::from).collect();
                Command::UpdateLdcache { folders }
            }
            "enable-cuda-compat" => {
                let flag = "--host-driver-version";
                let missing = ArgumentError::Missing { command: "enable-cuda-compat", flag };
                let host_driver_version = values(flag).pop().ok_or(missing)?;
                Command::EnableCudaCompat { host_driver_version }
            }
            _ => Command::DisableDeviceNodeModification,
        };
        Ok(Self { command, container_spec: values("--container-spec").pop().map(PathBuf::from) })
    }
}

fn link(text: String) -> Result<Link, ArgumentError> {
    match text.split_once("::") {
        Some((target, path)) if !target.is_empty() && path.starts_with('/') => {
            Ok(Link { target: target.to_owned(), path: path.into() })
        }
        _ => Err(ArgumentError::NotALink(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        let words = line.split_whitespace().map(OsString::from).collect();
        Arguments::parse(words).map_err(|error| error.to_string())
    }

    /// The lines that `nvidia-ctk cdi generate` writes for an H100 node.
    #[test]
    fn the_lines_of_nvidias_specs_are_understood() {
        let command = |line: &str| parsed(line).unwrap().command;
        assert_eq!(
            command(
                "create-symlinks --link ../libnvidia-allocator.so.1::/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so \
                 --link libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so"
            ),
            Command::CreateSymlinks {
                links: vec![
                    Link {
                        target: "../libnvidia-allocator.so.1".into(),
                        path: "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so".into(),
                    },
                    Link {
                        target: "libcuda.so.1".into(),
                        path: "/usr/lib/x86_64-linux-gnu/libcuda.so".into()
                    },
                ]
            }
        );
        assert_eq!(
            command(
                "update-ldcache --folder /usr/lib/x86_64-linux-gnu --folder=/usr/lib/x86_64-linux-gnu/vdpau"
            ),
            Command::UpdateLdcache {
                folders: vec!["/usr/lib/x86_64-linux-gnu".into(), "/usr/lib/x86_64-linux-gnu/vdpau".into()]
            }
        );
        assert_eq!(
            command("enable-cuda-compat --host-driver-version=550.163.01"),
            Command::EnableCudaCompat { host_driver_version: "550.163.01".into() }
        );
        let spec = parsed("disable-device-node-modification --container-spec /state.json").unwrap();
        assert_eq!(spec.command, Command::DisableDeviceNodeModification);
        assert_eq!(spec.container_spec, Some("/state.json".into()));
    }

    #[test]
    fn other_lines_are_refused_with_what_is_wrong() {
        for (line, wanted) in [
            ("", "a command is missing"),
            ("chmod --mode 0755", "there is no command 'chmod'"),
            ("create-symlinks --folder /lib", "'create-symlinks' has no flag '--folder'"),
            ("create-symlinks --link", "'--link' needs a value"),
            ("create-symlinks --link libcuda.so", "--link libcuda.so: it should be TARGET::LINK"),
            ("create-symlinks --link a::relative", "--link a::relative: it should be TARGET::LINK"),
            ("create-symlinks --link ::/lib/x", "--link ::/lib/x: it should be TARGET::LINK"),
            ("enable-cuda-compat", "'enable-cuda-compat' needs --host-driver-version"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.starts_with(wanted), "{line}: {error}");
        }
    }
}

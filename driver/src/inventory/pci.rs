//! PCI addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A text is no PCI address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not a PCI address such as 0000:1b:00.0")]
pub struct NotAnAddress(String);

/// A PCI address: what a GPU's name is made from, because it stays as long as the GPU stays in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Domain (segment).
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device, below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl PciAddress {
    /// The name of the DRA device that the GPU at this address is: "gpu-0000-1b-00-0".
    pub fn gpu_name(self) -> String {
        format!("gpu-{:04x}-{:02x}-{:02x}-{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl fmt::Display for PciAddress {
    /// The kernel's form: "0000:1b:00.0", lower case, at least four digits of domain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl FromStr for PciAddress {
    type Err = NotAnAddress;

    /// Reads the kernel's form and NVML's, "00000000:1B:00.0".
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAnAddress(text.to_owned());
        let (domain, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (bus, rest) = rest.split_once(':').ok_or_else(wrong)?;
        let (device, function) = rest.split_once('.').ok_or_else(wrong)?;
        let hex = |digits: &str, most: usize| {
            let valid =
                (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            valid.then(|| u32::from_str_radix(digits, 16).ok()).flatten().ok_or_else(wrong)
        };
        let byte = |digits: &str, most: usize, below: u8| {
            let number = u8::try_from(hex(digits, most)?).map_err(|_| wrong())?;
            if number < below { Ok(number) } else { Err(wrong()) }
        };
        Ok(Self {
            domain: hex(domain, 8)?,
            bus: u8::try_from(hex(bus, 2)?).map_err(|_| wrong())?,
            device: byte(device, 2, 32)?,
            function: byte(function, 1, 8)?,
        })
    }
}

impl Serialize for PciAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form_and_one_name() {
        let cases = [
            ("NVML's form", "00000000:1B:00.0", "0000:1b:00.0", "gpu-0000-1b-00-0"),
            ("the kernel's form", "0000:df:1f.7", "0000:df:1f.7", "gpu-0000-df-1f-7"),
            ("a domain of Azure's", "00000001:00:00.0", "0001:00:00.0", "gpu-0001-00-00-0"),
            ("a domain above 16 bits", "00010000:01:00.0", "10000:01:00.0", "gpu-10000-01-00-0"),
        ];
        for (name, text, normal, gpu) in cases {
            let address: PciAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), normal, "{name}");
            assert_eq!(address.gpu_name(), gpu, "{name}");
            assert_eq!(normal.parse(), Ok(address), "{name}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "1b:00.0",
            "0000:1b:00",
            "0000:1b:20.0",
            "0000:1b:00.8",
            "0000:100:00.0",
            "0000:+1:00.0",
            "0000:1g:00.0",
            ":1b:00.0",
            "000000000:1b:00.0",
            "0000:1b:00.0\n",
        ] {
            assert_eq!(text.parse::<PciAddress>(), Err(NotAnAddress(text.into())));
        }
    }
}

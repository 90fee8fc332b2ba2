//! Internet addresses.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::cost::Budget;
use super::super::value::{Fault, Outcome, Value};
use super::Function;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("ip", ip),
    ("isIP", is_ip),
    ("ip.isCanonical", is_canonical),
    ("family", |arguments, _| Ok(Value::Int(if address(arguments)?.is_ipv4() { 4 } else { 6 }))),
    ("isUnspecified", |arguments, _| Ok(Value::Bool(address(arguments)?.is_unspecified()))),
    ("isLoopback", |arguments, _| Ok(Value::Bool(address(arguments)?.is_loopback()))),
    ("isLinkLocalMulticast", |arguments, _| Ok(Value::Bool(link_local_multicast(address(arguments)?)))),
    ("isLinkLocalUnicast", |arguments, _| Ok(Value::Bool(link_local_unicast(address(arguments)?)))),
    ("isGlobalUnicast", |arguments, _| Ok(Value::Bool(global_unicast(address(arguments)?)))),
    ("cidr", cidr),
    ("isCIDR", is_cidr),
    ("containsIP", contains_ip),
    ("containsCIDR", contains_cidr),
    ("prefixLength", |arguments, _| Ok(Value::Int(i64::from(network(arguments.first())?.bits)))),
    ("masked", |arguments, _| Ok(Value::Cidr(network(arguments.first())?.masked()))),
];

/// An address and how many of its bits name a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// The bytes that the network's bits reach into.
    pub(in super::super) fn size(&self) -> usize {
        usize::from(self.bits.div_ceil(8))
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, bits: self.bits }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self { address, bits: self.bits }.masked() == self.masked()
    }
}

impl Display for Cidr {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

/// An address; not one of the fourth version written as one of the sixth, and none with a zone.
fn parsed(text: &str) -> Result<IpAddr, Fault> {
    let wrong = || Fault::new(format!("IP Address {text:.100?} parse error during conversion from string"));
    let address: IpAddr = text.parse().map_err(|_| wrong())?;
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => Err(wrong()),
        other => Ok(other),
    }
}

fn parsed_cidr(text: &str) -> Result<Cidr, Fault> {
    let wrong =
        || Fault::new(format!("network address parse error during conversion from string: {text:.100?}"));
    let (address, bits) = text.rsplit_once('/').ok_or_else(wrong)?;
    let address = parsed(address)?;
    let canonical = bits == "0" || (!bits.starts_with('0') && bits.bytes().all(|byte| byte.is_ascii_digit()));
    let bits: u8 = canonical.then(|| bits.parse().ok()).flatten().ok_or_else(wrong)?;
    if bits > if address.is_ipv4() { 32 } else { 128 } {
        return Err(wrong());
    }
    Ok(Cidr { address, bits })
}

fn address(arguments: &[Value<'_>]) -> Result<IpAddr, Fault> {
    match arguments {
        [Value::Ip(address)] => Ok(*address),
        _ => Err(Fault::no_such_overload()),
    }
}

fn network(argument: Option<&Value<'_>>) -> Result<Cidr, Fault> {
    match argument {
        Some(Value::Cidr(cidr)) => Ok(*cidr),
        _ => Err(Fault::no_such_overload()),
    }
}

/// An address from a text, or the address of a network.
fn ip<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => parsed(text).map(Value::Ip),
        [Value::Cidr(cidr)] => Ok(Value::Ip(cidr.address)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn is_ip<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::Bool(parsed(text).is_ok())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn is_canonical<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::Bool(parsed(text)?.to_string() == **text)),
        _ => Err(Fault::no_such_overload()),
    }
}

fn link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
        IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    !(broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || link_local_unicast(address))
}

fn cidr<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => parsed_cidr(text).map(Value::Cidr),
        _ => Err(Fault::no_such_overload()),
    }
}

fn is_cidr<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::Bool(parsed_cidr(text).is_ok())),
        _ => Err(Fault::no_such_overload()),
    }
}

fn contains_ip<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let within = network(arguments.first())?;
    let address = match arguments.get(1) {
        Some(Value::Ip(address)) => *address,
        Some(Value::String(text)) => parsed(text)?,
        _ => return Err(Fault::no_such_overload()),
    };
    Ok(Value::Bool(within.contains(address)))
}

fn contains_cidr<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let within = network(arguments.first())?;
    let other = match arguments.get(1) {
        Some(Value::Cidr(cidr)) => *cidr,
        Some(Value::String(text)) => parsed_cidr(text)?,
        _ => return Err(Fault::no_such_overload()),
    };
    Ok(Value::Bool(within.bits <= other.bits && within.contains(other.address)))
}

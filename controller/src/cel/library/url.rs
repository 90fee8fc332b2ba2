//! URLs, read as Go reads them: absolute ones and absolute paths.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::cost::Budget;
use super::super::map::Map;
use super::super::value::{Fault, Outcome, Value};
use super::Function;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("url", url),
    ("isURL", is_url),
    ("getScheme", |arguments, _| Ok(Value::string(&of(arguments)?.scheme))),
    ("getHost", |arguments, _| Ok(Value::string(&of(arguments)?.host))),
    ("getHostname", |arguments, _| Ok(Value::string(of(arguments)?.hostname_and_port().0))),
    ("getPort", |arguments, _| Ok(Value::string(of(arguments)?.hostname_and_port().1))),
    ("getEscapedPath", |arguments, _| Ok(Value::string(&of(arguments)?.path))),
    ("getQuery", query),
];

/// The parts of a URL.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Url {
    text: String,
    scheme: String,
    host: String,
    /// With its escapes.
    path: String,
    query: String,
}

impl Url {
    fn hostname_and_port(&self) -> (&str, &str) {
        let (host, port) = match self.host.rfind(':') {
            Some(colon) if valid_port(&self.host[colon..]) => (&self.host[..colon], &self.host[colon + 1..]),
            _ => (self.host.as_str(), ""),
        };
        (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
    }
}

/// A URL, or why a text is none.
pub(super) fn parsed(text: &str) -> Result<Url, &'static str> {
    if text.is_empty() {
        return Err("empty url");
    }
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("invalid control character in URL");
    }
    // What follows "#" is read apart from the rest, but must not make the rest wrong.
    parts(text)?;
    let (before, fragment) =
        text.split_once('#').map_or((text, None), |(before, fragment)| (before, Some(fragment)));
    if let Some(fragment) = fragment {
        unescaped(fragment, |_| true)?;
    }
    let mut url = parts(before)?;
    text.clone_into(&mut url.text);
    Ok(url)
}

fn parts(text: &str) -> Result<Url, &'static str> {
    let mut url = Url {
        text: String::new(),
        scheme: String::new(),
        host: String::new(),
        path: String::new(),
        query: String::new(),
    };
    if text == "*" {
        "*".clone_into(&mut url.path);
        return Ok(url);
    }
    let (scheme, rest) = scheme(text)?;
    url.scheme = scheme.to_ascii_lowercase();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    query.clone_into(&mut url.query);
    if !rest.starts_with('/') {
        // With a scheme, anything may follow ("mailto:someone").
        return if url.scheme.is_empty() { Err("invalid URI for request") } else { Ok(url) };
    }
    let path = match rest.strip_prefix("//").filter(|_| !url.scheme.is_empty()) {
        Some(authority) => {
            let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
            url.host = host(&url.scheme, authority)?;
            path
        }
        None => rest,
    };
    url.path = escaped_path(path)?;
    Ok(url)
}

fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn host(scheme: &str, authority: &str) -> Result<String, &'static str> {
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if let Some(user) = user {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
        if !user.bytes().all(allowed) {
            return Err("invalid userinfo");
        }
        unescaped(user, |_| true)?;
    }
    match host.rfind('[') {
        Some(0) => {
            let close = host.rfind(']').ok_or("missing ']' in host")?;
            if !valid_port(&host[close + 1..]) {
                return Err("invalid port after host");
            }
            let inside = unescaped(&host[1..close], |_| true)?;
            let address = inside.split_once('%').map_or(inside.as_str(), |(address, _)| address);
            return match address.parse::<IpAddr>() {
                Ok(IpAddr::V6(_)) => Ok(format!("[{inside}]{}", &host[close + 1..])),
                _ => Err("invalid host"),
            };
        }
        Some(_) => return Err("invalid IP-literal"),
        None => {}
    }
    if let Some(first) = host.find(':') {
        let web = matches!(scheme, "http" | "https");
        let colon = if web { first } else { host.rfind(':').unwrap_or(first) };
        if !valid_port(&host[colon..]) {
            return Err("invalid port after host");
        }
    }
    let allowed =
        |byte: u8| byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
    if !host.bytes().all(allowed) {
        return Err("invalid character in host name");
    }
    unescaped(host, |byte| byte >= 0x80)
}

fn valid_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The text without its escapes, each of which must be of a byte that may be escaped.
fn unescaped(text: &str, may_be: impl Fn(u8) -> bool) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).ok_or("invalid URL escape")?;
        let byte =
            u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')).ok_or("invalid URL escape")?;
        if !may_be(byte) && byte != b'%' {
            return Err("invalid URL escape");
        }
        bytes.push(byte);
        rest = &after[2..];
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The path as written where that is a valid way to write it, and escaped anew elsewhere.
fn escaped_path(path: &str) -> Result<String, &'static str> {
    unescaped(path, |_| true)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte);
    let as_written = path.bytes().all(|byte| plain(byte) || b"!'()*[]%".contains(&byte));
    if as_written {
        return Ok(path.to_owned());
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => {
                rest = &after[2..];
                let digit = |of: u8| {
                    char::from(of).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default()
                };
                digit(*high) << 4 | digit(*low)
            }
            _ => *first,
        };
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

fn of<'s>(arguments: &'s [Value<'_>]) -> Result<&'s Url, Fault> {
    match arguments {
        [Value::Url(url)] => Ok(url),
        _ => Err(Fault::no_such_overload()),
    }
}

fn url<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => parsed(text)
            .map(|url| Value::Url(Arc::new(url)))
            .map_err(|why| Fault::new(format!("URL parse error during conversion from string: {why}"))),
        _ => Err(Fault::no_such_overload()),
    }
}

fn is_url<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::Bool(parsed(text).is_ok())),
        _ => Err(Fault::no_such_overload()),
    }
}

/// The parameters of a URL, each with all its values.
fn query<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let url = of(arguments)?;
    budget.work(url.query.len() as u64)?;
    let decoded = |text: &str| unescaped(&text.replace('+', " "), |_| true).ok();
    let mut parameters: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decoded(name), decoded(value)) else { continue };
        let value = Value::string(&value);
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => parameters.push((name, vec![value])),
        }
        budget.work(parameters.len() as u64)?;
    }
    let mut map = Map::default();
    for (name, values) in parameters {
        map.set(Value::string(&name), Value::list(values));
    }
    Ok(Value::Map(Arc::new(map)))
}

//! An explanation in words.
//!
//! The first sentence says what is in the way, the second what would help, the third what else was seen. So whoever
//! shows only the beginning shows what matters.

use std::collections::HashSet;
use std::fmt::Write;

use super::finding::{Finding, Held, What};
use super::remedy::{Change, Remedy};
use super::{Audience, Blocker, Explanation};
use crate::cluster::Name;

/// How long the first sentence may be, in bytes, before what else was seen goes behind the remedy.
const FIRST: usize = 500;
/// How long all that was seen may be.
const ALL: usize = 3_000;
/// How long a note is.
const NOTE: usize = 1_000;
/// How many characters of a part of a selector are shown.
const PART: usize = 200;
/// How many claims are named.
const NAMED: usize = 3;
/// How many ways in which a selector is false are told.
const PARTS: usize = 2;

impl Explanation {
    /// The explanation in words. Its first 1000 bytes make sense alone: see [`Explanation::note`].
    #[must_use]
    pub fn text(&self, audience: &Audience<'_>) -> String {
        let seen = self.seen_by(audience);
        if seen.findings.is_empty() {
            return format!("{}.", capital(seen.blocker.meaning()));
        }
        let words = Words { audience, is_one: is_about_one_request(&seen.findings) };
        let mut known = HashSet::new();
        let said = seen.findings.iter().map(|finding| words.finding(finding));
        let mut said = said.filter(|said| known.insert(said.clone())).peekable();
        let mut text = seen.beginning();
        text.push_str(&said.next().unwrap_or_default());
        while let Some(next) = said.next_if(|next| text.len() + next.len() < FIRST) {
            text.push_str("; ");
            text.push_str(&next);
        }
        text.push('.');
        if let Some(remedy) = &seen.remedy {
            text.push(' ');
            text.push_str(&words.remedy(remedy));
        }
        let mut more = 0;
        let mut rest: Vec<String> = Vec::new();
        for next in said {
            if text.len() + rest.iter().map(String::len).sum::<usize>() + next.len() < ALL {
                rest.push(next);
            } else {
                more += 1;
            }
        }
        if !rest.is_empty() {
            text.push_str(" Also: ");
            text.push_str(&rest.join("; "));
            text.push('.');
        }
        if more > 0 {
            // Writing into a text cannot fail.
            let _ = write!(text, " And {}.", counted(more, "more reason", "more reasons"));
        }
        text
    }

    /// What an Event can hold: whole sentences of the text, up to 1000 bytes.
    #[must_use]
    pub fn note(&self, audience: &Audience<'_>) -> String {
        let text = self.text(audience);
        if text.len() <= NOTE {
            return text;
        }
        let room = (0..=NOTE - 3).rfind(|end| text.is_char_boundary(*end)).unwrap_or_default();
        match text[..room].rfind(". ") {
            Some(end) => text[..=end].to_owned(),
            None => format!("{}...", &text[..room]),
        }
    }

    /// The same, less what an audience may not see: names of other namespaces and of what is in them.
    #[must_use]
    pub fn seen_by(&self, audience: &Audience<'_>) -> Self {
        let mut seen = self.clone();
        let Audience::Namespace(namespace) = audience else { return seen };
        let is_foreign = |name: &Name| *name.namespace != **namespace;
        if seen.claim.as_ref().is_some_and(is_foreign) {
            // Asked about something that this audience may know nothing of.
            return Self { claim: None, findings: Vec::new(), remedy: None, ..seen };
        }
        for finding in &mut seen.findings {
            match &mut finding.what {
                What::InUse(held) | What::Counter { held, .. } | What::Capacity { held, .. } => {
                    let before = held.by.len();
                    held.by.retain(|name| !is_foreign(name));
                    held.others += before - held.by.len();
                }
                _ => {}
            }
        }
        for change in seen.remedy.iter_mut().flat_map(|remedy| &mut remedy.changes) {
            if let Change::Release { claim, .. } = change
                && claim.as_ref().is_some_and(is_foreign)
            {
                *claim = None;
            }
        }
        seen
    }

    fn beginning(&self) -> String {
        match self.blocker {
            Blocker::Scheduler => {
                let fitting = self.findings.iter().find(|one| matches!(one.what, What::Fits { .. }));
                format!("{}/{}: ", fitting.map_or(0, |one| one.nodes), counted(self.nodes, "node", "nodes"))
            }
            _ => format!("0/{}: ", counted(self.nodes, "node", "nodes")),
        }
    }
}

/// Whether all that was found is about one request, so that it need not be named each time.
fn is_about_one_request(findings: &[Finding]) -> bool {
    let mut requests = findings.iter().filter_map(|one| Some((&one.claim, one.request.as_ref()?)));
    let first = requests.next();
    requests.all(|other| Some(other) == first)
}

struct Words<'a> {
    audience: &'a Audience<'a>,
    is_one: bool,
}

impl Words<'_> {
    fn finding(&self, finding: &Finding) -> String {
        let Finding { devices, nodes, .. } = finding;
        let request = finding.request.as_deref().unwrap_or_default();
        let there = match (&finding.node, nodes) {
            (Some(node), 1) => format!("on {node}"),
            _ => format!("on {}", counted(*nodes, "node", "nodes")),
        };
        let device = counted(*devices, "device", "devices");
        let are = if *devices == 1 { "is" } else { "are" };
        let of = |name: &str| format!("{name} of request {request}");
        let said = match &finding.what {
            What::ClassMissing { class, nearest } => {
                let nearest = nearest.as_ref().map(|name| format!(" (the nearest name is {name})"));
                return format!(
                    "DeviceClass {class}, which request {request} names, does not exist{}",
                    nearest.unwrap_or_default()
                );
            }
            What::Selector { class, number, of: all, parts } => {
                let which = match (class, all) {
                    (Some(class), 1) => format!("the selector of DeviceClass {class}"),
                    (Some(class), _) => format!("selector {number} of DeviceClass {class}"),
                    (None, 1) => of("the selector"),
                    (None, _) => of(&format!("selector {number}")),
                };
                return format!("{which} is false on {device}{}", why(parts));
            }
            What::Error { message, device: None } => return message.to_string(),
            What::Error { message, device: Some(first) } => match devices {
                0 | 1 => return format!("{message} (device {first})"),
                _ => return format!("{message} ({device}, the first is {first})"),
            },
            What::InUse(held) => format!("{device} {there} {are} in use{}", self.held(held)),
            What::Taint { taint } => format!("{device} {there} {are} tainted {taint}"),
            What::Counter { counter, set, short, needed, held } => {
                let needed = format!("{device} {there} {} {needed} of it", plural(*devices, "needs", "need"));
                format!("counter {counter} of {set} is short by {short}: {needed}{}", self.held(held))
            }
            What::Capacity { capacity, wanted, there: all, left, held } => match (all, left) {
                (None, _) => {
                    format!("{device} {there} {} no capacity {capacity}", plural(*devices, "has", "have"))
                }
                (Some(all), Some(left)) => format!(
                    "capacity {capacity}: {left} of {all} {are} left on {device} {there}, and {wanted} is asked for{}",
                    self.held(held)
                ),
                (Some(all), None) => {
                    format!(
                        "capacity {capacity}: {device} {there} {} {all}, and {wanted} is asked for",
                        plural(*devices, "has", "have")
                    )
                }
            },
            What::Constraint { rule, attribute, values } if *devices > 0 || values.is_empty() => format!(
                "{device} {there} {} no attribute {attribute}, which constraint {rule} compares",
                plural(*devices, "has", "have")
            ),
            What::Constraint { rule, attribute, values } => {
                let values = values.iter().map(|(value, count)| {
                    let value = value.as_ref().map_or("no value", |value| value);
                    format!("{value} on {}", counted(*count, "device", "devices"))
                });
                let values: Vec<String> = values.collect();
                format!(
                    "constraint {rule} {attribute} does not hold for free devices {there}: {}",
                    values.join(", ")
                )
            }
            What::TooFew { wanted, most, free } => {
                let free = if free == most { String::new() } else { format!(", {free} of them free") };
                format!(
                    "{} {} asked for on one node, and none of these nodes has more than {most} that {}{free}",
                    counted(*wanted, "device", "devices"),
                    plural(*wanted, "is", "are"),
                    plural(*most, "matches", "match"),
                )
            }
            What::TooMany { wanted, most } => {
                format!("at least {wanted} devices are asked for, and a claim holds {most} at most")
            }
            What::PoolIncomplete { pool, there, of } => {
                return format!("pool {pool} is incomplete ({there} of {of} slices)");
            }
            What::PoolInvalid { pool, problem } => return format!("pool {pool} is invalid: {problem}"),
            What::Unusable { why } => format!("{device} {there} {why}"),
            What::NoDevices => match (&finding.node, nodes) {
                (Some(node), 1) => return format!("{node} has no devices"),
                _ => return format!("{nodes} nodes have no devices"),
            },
            What::Node { rules, has_devices } => {
                let (node, rules) = match (&finding.node, nodes) {
                    (Some(node), 1) => (node.to_string(), rules.iter().map(ToString::to_string).collect()),
                    _ => (
                        counted(*nodes, "node", "nodes"),
                        rules.iter().map(|rule| of_several(rule)).collect(),
                    ),
                };
                let rules: Vec<String> = rules;
                let devices = if *has_devices { ", though the devices would fit there" } else { "" };
                return format!("{node} {}{devices}", rules.join(", and "));
            }
            What::Elsewhere { bound, nodes } => {
                let nodes = match nodes.as_slice() {
                    [] => "on no node that is there".to_owned(),
                    [one] => format!("on {one} only"),
                    [first, rest @ ..] => {
                        format!("on {first} and {} only", counted(rest.len(), "more node", "more nodes"))
                    }
                };
                return format!("claim {} is allocated already, and can be used {nodes}", self.name(bound));
            }
            What::Together { requests } => {
                let what = match requests {
                    1 => "enough devices match, but not together".to_owned(),
                    more => format!(
                        "each of the {more} requests finds enough devices by itself, but not all together"
                    ),
                };
                format!("{what} {there}")
            }
            What::ReservedFull { full } => {
                return format!(
                    "claim {} is reserved for 256 consumers, and a claim can have no more",
                    self.name(full)
                );
            }
            What::Fits { held_by } if held_by.is_empty() => {
                return "the devices fit, so something else holds the pod back: see the scheduler's own Events"
                    .to_owned();
            }
            What::Fits { held_by } => {
                let held_by: Vec<&str> = held_by.iter().map(|by| &**by).collect();
                let fit = if *nodes > 0 { "the devices fit, but " } else { "" };
                return format!("{fit}{}", held_by.join(", and "));
            }
            What::NoAnswer { looked_at } => {
                return format!("the time for an answer was over when {looked_at} nodes had been looked at");
            }
        };
        match (&finding.request, &finding.claim) {
            (Some(request), Some(claim)) if !self.is_one => {
                format!("request {request} of claim {}: {said}", claim.name)
            }
            _ => said,
        }
    }

    fn name(&self, name: &Name) -> String {
        match self.audience {
            Audience::Namespace(_) => name.name.to_string(),
            Audience::Everything => name.to_string(),
        }
    }

    /// Who has it, behind what is said of it.
    fn held(&self, held: &Held) -> String {
        if held.claims() == 0 {
            return String::new();
        }
        let claims = counted(held.claims(), "claim", "claims");
        let names: Vec<String> = held.by.iter().take(NAMED).map(|name| self.name(name)).collect();
        match names.as_slice() {
            [] => format!(" ({claims})"),
            all if all.len() == held.claims() => format!(" ({claims}: {})", all.join(", ")),
            some => format!(" ({claims}, among them {})", some.join(", ")),
        }
    }

    fn remedy(&self, remedy: &Remedy) -> String {
        let mut wishes: Vec<String> = Vec::new();
        let mut released: Vec<&Change> = Vec::new();
        for change in &remedy.changes {
            match change {
                Change::Release { .. } => released.push(change),
                other => wishes.push(self.wish(other)),
            }
        }
        if !released.is_empty() {
            wishes.push(self.released(&released));
        }
        let place = remedy.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        format!("It would fit{place} if {}.", wishes.join(", and "))
    }

    fn released(&self, released: &[&Change]) -> String {
        let is_unused =
            released.iter().all(|change| matches!(change, Change::Release { is_unreserved: true, .. }));
        let named = released.iter().filter_map(|change| match change {
            Change::Release { claim: Some(name), .. } => Some(self.name(name)),
            _ => None,
        });
        let names: Vec<String> = named.collect();
        let hidden = released.len() - names.len();
        let mut who = Vec::new();
        if !names.is_empty() {
            let more = names.len().saturating_sub(2 * NAMED);
            let shown = names.iter().take(2 * NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            who.push(format!("{} {shown}{more}", plural(names.len(), "claim", "claims")));
        }
        if hidden > 0 {
            who.push(format!(
                "{} of {}",
                counted(hidden, "claim", "claims"),
                plural(hidden, "another namespace", "other namespaces")
            ));
        }
        let unused = if is_unused { ", which nobody uses," } else { "" };
        format!("{}{unused} gave back {} devices", who.join(" and "), plural(released.len(), "its", "their"))
    }

    fn wish(&self, change: &Change) -> String {
        match change {
            Change::FinishPool { pool } => format!("the driver published the missing slices of pool {pool}"),
            Change::MendPool { pool } => format!("the driver published pool {pool} without contradictions"),
            Change::Tolerate { request, key, value, effect, .. } => {
                let taint = super::rules::taint_text(key, value, effect);
                format!("the taint {taint} were gone from the devices, or request {request} tolerated it")
            }
            Change::Release { .. } => String::new(),
            Change::UseClass { request, class, .. } => format!("request {request} named DeviceClass {class}"),
            Change::Count { request, count, .. } => {
                format!("request {request} asked for {}", counted(*count, "device", "devices"))
            }
            Change::Capacity { request, capacity, amount, .. } => {
                format!("request {request} asked for {amount} of {capacity}")
            }
            Change::Selector { request, class, number, part, becomes, .. } => {
                let owner = match (request, class) {
                    (Some(request), _) => format!("request {request}"),
                    (None, Some(class)) => format!("DeviceClass {class}"),
                    (None, None) => "the claim".to_owned(),
                };
                match becomes {
                    Some(becomes) => {
                        format!(
                            "selector {number} of {owner} had {} instead of {}",
                            short(becomes),
                            short(part)
                        )
                    }
                    None => format!("selector {number} of {owner} were without {}", short(part)),
                }
            }
            Change::DropConstraint { claim, attribute, .. } => {
                format!("claim {} had no constraint about {attribute}", self.name(claim))
            }
            Change::DropNodeRule { label: Some(label) } => {
                format!("the pod's nodeSelector did not ask for {label}, or the node had that label")
            }
            Change::DropNodeRule { label: None } => "the pod had no required node affinity".to_owned(),
            Change::TolerateNode { key, value, effect } => {
                let taint = super::rules::taint_text(key, value, effect);
                format!("the node's taint {taint} were gone, or the pod tolerated it")
            }
            Change::Uncordon { .. } => "the node were uncordoned".to_owned(),
            Change::NodeReady { .. } => "the node were Ready".to_owned(),
            Change::FreeReservation { claim } => {
                format!("claim {} had one consumer less", self.name(claim))
            }
            Change::OpenGates => "the pod's scheduling gates were removed".to_owned(),
        }
    }
}

/// Why a selector is false.
fn why(parts: &[(std::sync::Arc<str>, usize)]) -> String {
    let told: Vec<String> = match parts {
        [] => return String::new(),
        [(only, _)] => vec![only.to_string()],
        several => {
            let some = several.iter().take(PARTS);
            some.map(|(part, devices)| format!("{part} ({devices})")).collect()
        }
    };
    let more = if parts.len() > PARTS { ", and others" } else { "" };
    format!(": {}{more}", told.join(", "))
}

/// What is said of one node, said of several.
fn of_several(rule: &str) -> String {
    for (one, several) in [("lacks ", "lack "), ("is ", "are "), ("has ", "have ")] {
        if let Some(rest) = rule.strip_prefix(one) {
            return format!("{several}{rest}");
        }
    }
    rule.to_owned()
}

/// A part of a selector, or its beginning.
fn short(part: &str) -> String {
    match part.char_indices().nth(PART) {
        Some((end, _)) => format!("{} [...]", &part[..end]),
        None => part.to_owned(),
    }
}

fn plural(count: usize, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

fn counted(count: usize, one: &'static str, several: &'static str) -> String {
    format!("{count} {}", plural(count, one, several))
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

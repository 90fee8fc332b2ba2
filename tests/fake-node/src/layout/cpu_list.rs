//! Lists of CPUs in the kernel's two forms.

/// The ranges of a list like "0-55,112-167", ends included. None if it is no such list.
pub fn cpu_ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect()
}

/// One list of all CPUs of several lists: what the kernel shows for a device without a NUMA node.
pub(super) fn union(lists: &[String]) -> String {
    let mut ranges: Vec<(u32, u32)> = lists.iter().filter_map(|list| cpu_ranges(list)).flatten().collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if previous.1 + 1 >= first => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let ranges: Vec<String> = merged
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    ranges.join(",")
}

/// How many CPUs the node has, if they are numbered without gaps.
pub(super) fn count(lists: &[String]) -> u32 {
    let last = lists.iter().filter_map(|list| cpu_ranges(list)).flatten().map(|(_, last)| last);
    last.max().map_or(0, |last| last + 1)
}

/// The list as the kernel's mask: words of 32 bits, the highest first, as wide as `count` CPUs need.
pub(super) fn mask(list: &str, count: u32) -> String {
    let ranges = cpu_ranges(list).unwrap_or_default();
    let words: Vec<String> = (0..count.div_ceil(32).max(1))
        .rev()
        .map(|word| {
            let value = (0..32).fold(0u32, |value, bit| {
                let cpu = word * 32 + bit;
                let member = ranges.iter().any(|(first, last)| (*first..=*last).contains(&cpu));
                value | u32::from(member) << bit
            });
            let bits = (count - word * 32).clamp(1, 32);
            let digits = usize::try_from(bits.div_ceil(4)).unwrap_or(8);
            format!("{value:0digits$x}")
        })
        .collect();
    words.join(",")
}

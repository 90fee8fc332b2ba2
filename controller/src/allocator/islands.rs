//! Devices that take from the same counters.

use foldhash::HashMap;

use super::problem::{Problem, Verdict};

/// Devices that share counters, such as a GPU and all partitions that it may have; a device without counters is one by
/// itself.
#[derive(Debug)]
pub(super) struct Island {
    /// The number of the pool.
    pub(super) pool: usize,
    /// The devices in order.
    pub(super) devices: Vec<usize>,
    /// The counters, in the order in which the devices name them.
    pub(super) counters: Vec<usize>,
}

/// Where devices are: the island, and the place in it.
pub(super) type Places = Vec<(usize, usize)>;

/// All islands, and where each device is.
pub(super) fn islands(problem: &Problem<'_>) -> (Vec<Island>, Places) {
    let devices = problem.field.devices.len();
    let mut roots = Roots((0..devices).collect());
    let mut first_with: HashMap<(usize, usize), usize> = HashMap::default();
    for device in 0..devices {
        let pool = problem.field.device(device).pool;
        for (counter, _) in problem.field.counters_of(device) {
            let first = *first_with.entry((pool, *counter)).or_insert(device);
            roots.join(first, device);
        }
    }
    let (mut islands, mut places) = (Vec::<Island>::new(), Places::new());
    let mut numbers: HashMap<usize, usize> = HashMap::default();
    for device in 0..devices {
        let number = *numbers.entry(roots.of(device)).or_insert(islands.len());
        if number == islands.len() {
            let pool = problem.field.device(device).pool;
            islands.push(Island { pool, devices: Vec::new(), counters: Vec::new() });
        }
        let island = &mut islands[number];
        places.push((number, island.devices.len()));
        island.devices.push(device);
        for (counter, _) in problem.field.counters_of(device) {
            if !island.counters.contains(counter) {
                island.counters.push(*counter);
            }
        }
    }
    (islands, places)
}

/// Which things belong together.
struct Roots(Vec<usize>);

impl Roots {
    fn of(&mut self, mut one: usize) -> usize {
        while self.0[one] != one {
            self.0[one] = self.0[self.0[one]];
            one = self.0[one];
        }
        one
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}

impl Island {
    /// What does not change of a device, whoever asks for it: it is the same for devices that are alike.
    pub(super) fn nature(&self, problem: &Problem<'_>, device: usize) -> Nature {
        let candidate = problem.field.device(device);
        let counters = problem.field.counters_of(device).iter();
        let place = |counter| self.counters.iter().position(|known| *known == counter).unwrap_or_default();
        let capacity = candidate.device.shape.capacity.iter().map(|(name, capacity)| {
            let taken = candidate.capacity_taken.and_then(|taken| taken.get(name));
            (capacity.value.nanos(), taken.map(|taken| taken.nanos()))
        });
        Nature {
            takes_counters: !candidate.device.shape.counters.is_empty(),
            is_overdrawn: problem.field.pool_of(device).counters().is_overdrawn,
            is_taken: candidate.is_taken,
            is_shared: candidate.is_shared,
            has_shares: candidate.capacity_taken.is_some(),
            counters: counters.map(|(counter, amount)| (place(*counter), *amount)).collect(),
            capacity: if candidate.is_shared { capacity.collect() } else { Vec::new() },
        }
    }
}

/// What does not change of a device, whoever asks for it.
#[derive(Debug, Hash)]
pub(super) struct Nature {
    takes_counters: bool,
    is_overdrawn: bool,
    is_taken: bool,
    is_shared: bool,
    has_shares: bool,
    counters: Vec<(usize, i128)>,
    capacity: Vec<(i128, Option<i128>)>,
}

/// What an ask finds a device to be; nothing where it never looks at it.
pub(super) fn looked_at(problem: &Problem<'_>, ask: usize, device: usize) -> Option<Verdict> {
    if problem.field.device(device).is_taken && !problem.asks[ask].is_admin && problem.asks[ask].all.is_none()
    {
        return None;
    }
    Some(problem.verdict(ask, device).unwrap_or(Verdict::Error))
}

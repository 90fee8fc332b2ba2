//! What kinds of cases there are, and how often each has what.

use super::dice::Dice;

/// Chances in a hundred and sizes; what a case is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    /// For people.
    pub(crate) name: &'static str,
    /// How many of a hundred cases are of this kind.
    pub(crate) share: u32,
    /// Pools are whole nodes with eight H100, some of them partitioned.
    pub(crate) hgx: u32,
    /// The pool is one of [`room`](super::room).
    pub(crate) room: bool,
    pub(crate) pools: (usize, usize),
    pub(crate) slices: (usize, usize),
    /// In each slice.
    pub(crate) devices: (usize, usize),
    pub(crate) claims: (usize, usize),
    /// In each claim.
    pub(crate) requests: (usize, usize),
    /// Devices that one request asks for, at most.
    pub(crate) count: usize,
    /// A pool with counters.
    pub(crate) counters: u32,
    /// A device that several claims may share.
    pub(crate) shared: u32,
    /// A pool some of whose devices are tainted.
    pub(crate) taints: u32,
    /// A pool some of whose devices wait for conditions.
    pub(crate) binding: u32,
    /// A pool whose devices say themselves on which node they are.
    pub(crate) per_device: u32,
    /// A pool that contradicts itself or is not whole.
    pub(crate) broken_pool: u32,
    /// A request with alternatives.
    pub(crate) alternatives: u32,
    /// A request for all devices.
    pub(crate) all: u32,
    /// A request of an administrator.
    pub(crate) admin: u32,
    /// A request with selectors of its own.
    pub(crate) selectors: u32,
    /// A claim with constraints.
    pub(crate) constraints: u32,
    /// A device that belongs to another claim.
    pub(crate) allocated: u32,
    /// A selector, class or constraint that ends in an error.
    pub(crate) errors: u32,
    /// A pool some of whose devices lack attributes.
    pub(crate) gaps: u32,
    /// The requests of a claim compete for the same few devices.
    pub(crate) tangle: u32,
    /// A case in which there is more of everything than is asked for.
    pub(crate) ease: u32,
    /// It is one.
    pub(crate) plenty: bool,
}

const PLAIN: Profile = Profile {
    name: "plain",
    share: 11,
    hgx: 0,
    room: false,
    pools: (1, 3),
    slices: (1, 2),
    devices: (1, 5),
    claims: (1, 2),
    requests: (1, 3),
    count: 3,
    counters: 0,
    shared: 0,
    taints: 20,
    binding: 10,
    per_device: 10,
    broken_pool: 3,
    alternatives: 15,
    all: 10,
    admin: 12,
    selectors: 60,
    constraints: 30,
    allocated: 15,
    errors: 1,
    gaps: 4,
    tangle: 30,
    ease: 70,
    plenty: false,
};

pub(crate) const PROFILES: [Profile; 9] = [
    PLAIN,
    Profile {
        name: "hgx",
        share: 18,
        hgx: 100,
        pools: (1, 2),
        claims: (1, 2),
        requests: (1, 3),
        count: 2,
        counters: 100,
        taints: 15,
        binding: 5,
        alternatives: 30,
        constraints: 35,
        allocated: 12,
        gaps: 0,
        tangle: 0,
        ..PLAIN
    },
    Profile {
        name: "tangle",
        share: 30,
        pools: (1, 2),
        slices: (1, 2),
        devices: (2, 4),
        claims: (1, 2),
        requests: (2, 3),
        count: 2,
        counters: 25,
        shared: 10,
        taints: 20,
        binding: 12,
        alternatives: 20,
        all: 4,
        admin: 5,
        constraints: 60,
        allocated: 6,
        errors: 0,
        gaps: 12,
        tangle: 95,
        ..PLAIN
    },
    Profile {
        name: "shares",
        share: 14,
        devices: (1, 4),
        claims: (1, 3),
        requests: (1, 3),
        counters: 20,
        shared: 85,
        taints: 10,
        constraints: 20,
        allocated: 20,
        tangle: 40,
        ..PLAIN
    },
    Profile {
        name: "alternatives",
        share: 10,
        requests: (1, 3),
        counters: 15,
        shared: 20,
        alternatives: 80,
        constraints: 40,
        tangle: 70,
        ..PLAIN
    },
    Profile {
        name: "counters",
        share: 7,
        pools: (1, 1),
        slices: (1, 2),
        devices: (3, 5),
        claims: (1, 1),
        requests: (2, 3),
        count: 2,
        counters: 100,
        shared: 4,
        taints: 5,
        binding: 0,
        per_device: 5,
        alternatives: 6,
        all: 2,
        admin: 3,
        selectors: 8,
        constraints: 6,
        allocated: 12,
        errors: 0,
        gaps: 0,
        tangle: 0,
        ease: 10,
        ..PLAIN
    },
    Profile {
        name: "room",
        share: 4,
        room: true,
        pools: (1, 1),
        claims: (1, 1),
        requests: (2, 3),
        counters: 100,
        alternatives: 0,
        all: 0,
        admin: 0,
        constraints: 10,
        allocated: 4,
        errors: 0,
        ease: 0,
        ..PLAIN
    },
    Profile {
        name: "limits",
        share: 3,
        pools: (1, 1),
        slices: (1, 2),
        devices: (18, 34),
        claims: (1, 1),
        requests: (2, 3),
        count: 18,
        taints: 0,
        binding: 5,
        per_device: 0,
        broken_pool: 0,
        alternatives: 60,
        all: 25,
        admin: 3,
        selectors: 5,
        constraints: 0,
        allocated: 0,
        errors: 0,
        gaps: 0,
        tangle: 0,
        ..PLAIN
    },
    Profile {
        name: "broken",
        share: 8,
        counters: 30,
        shared: 20,
        broken_pool: 45,
        errors: 6,
        gaps: 30,
        all: 30,
        ..PLAIN
    },
];

/// A profile that asks for more than so many devices at once is about limits.
const MANY: usize = 8;

impl Profile {
    /// One of them, as often as their shares say.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let all: u32 = PROFILES.iter().map(|profile| profile.share).sum();
        let mut left = dice.range(1, all as usize);
        for profile in PROFILES {
            match left.checked_sub(profile.share as usize) {
                None | Some(0) => return profile,
                Some(rest) => left = rest,
            }
        }
        PLAIN
    }

    /// The same where most things fit.
    pub(crate) fn with_plenty(self) -> Self {
        let (least, most) = self.devices;
        Self {
            pools: (self.pools.0, self.pools.1 + 1),
            devices: (least + 2, most + 3),
            claims: (1, self.claims.1.min(2)),
            count: if self.count > MANY { self.count } else { self.count.min(2) },
            all: self.all / 2,
            constraints: self.constraints * 3 / 4,
            allocated: self.allocated / 2,
            errors: self.errors / 2,
            plenty: true,
            ..self
        }
    }
}

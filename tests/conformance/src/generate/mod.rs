//! Makes cases: clusters, classes, claims and what is allocated already, with all of upstream's features.
//!
//! Everything is drawn from few names and few values, so that devices are equal, requests compete and constraints
//! meet. Objects are such as the API server admits, except where a case is about those that it would not.

mod claims;
mod dice;
mod expressions;
mod features;
mod hgx;
mod pools;
mod profile;
mod room;
mod state;
mod words;

use dice::Dice;
use features::Features;
use pools::Pools;
use profile::Profile;

use crate::case::Case;

/// A case, and what kind it is.
#[derive(Debug)]
pub struct Made {
    /// The case.
    pub case: Case,
    /// The profile that it was made with.
    pub profile: &'static str,
}

/// Makes the case of a number: the same for the same seed and number, whatever else is made.
pub fn case(seed: u64, index: u64) -> Made {
    let mut dice = Dice::of_case(seed, index);
    let features = Features::any(&mut dice);
    let whole = Profile::any(&mut dice);
    let mut profile = features.fit(whole, &mut dice);
    if dice.chance(profile.ease) {
        profile = profile.with_plenty();
    }
    let mut pools = Pools::default();
    let many = dice.range(profile.pools.0, profile.pools.1);
    let partitioned = dice.chance(profile.counters.min(75));
    for number in 0..many {
        if profile.hgx > 0 {
            hgx::node(&mut dice, &profile, partitioned, number, &mut pools);
        } else if profile.room {
            room::pool(&mut dice, &mut pools);
        } else {
            pools::pool(&mut dice, &profile, &features, number, &mut pools);
        }
    }
    dice.shuffle(&mut pools.slices);
    let zone = *dice.pick(&words::ZONES);
    let mut case = Case {
        features: features.names(),
        classes: claims::classes(&mut dice, &profile, &features),
        slices: pools.slices,
        claims: claims::claims(&mut dice, &profile, &features, partitioned),
        node: words::node(zone),
        allocated_devices: Vec::new(),
        allocated_shared_devices: Vec::new(),
        consumed_capacity: Vec::new(),
    };
    state::allocate(&mut dice, &profile, &pools.devices, &mut case);
    Made { case, profile: whole.name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_same_whenever_it_is_made() {
        for index in [0, 1, 77] {
            assert_eq!(case(5, index).case, case(5, index).case);
        }
        assert_ne!(case(5, 1).case, case(5, 2).case);
        assert_ne!(case(5, 1).case, case(6, 1).case);
    }
}

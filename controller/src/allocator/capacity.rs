//! How much of a capacity a request gets.

use dra_driver::quantity::{Format, Quantity};

use crate::model::object::{Capacity, CapacityPolicy, CapacityRange};

use super::planted::{self, Planted};

/// What a request takes of a capacity: what it asks for, raised to what the policy offers. None where the policy offers
/// nothing that is enough.
pub(super) fn taken(requested: Option<&Quantity>, capacity: &Capacity) -> Option<Quantity> {
    let policy = capacity.request_policy.as_ref();
    let default = policy.and_then(|policy| policy.default);
    let amount = match (requested, policy) {
        (None, _) => default.unwrap_or(capacity.value),
        (Some(requested), None) => *requested,
        (Some(requested), Some(policy)) => raised(requested, policy)?,
    };
    let is_offered = default == Some(amount) || policy.is_none_or(|policy| offers(policy, &amount));
    is_offered.then_some(amount)
}

/// The least amount that is enough.
fn raised(requested: &Quantity, policy: &CapacityPolicy) -> Option<Quantity> {
    if let Some(CapacityRange { min: Some(min), step, .. }) = &policy.valid_range {
        if requested < min {
            return Some(*min);
        }
        let Some(step) = step else { return Some(*requested) };
        let (least, step) = (i128::from(min.rounded()), i128::from(step.rounded()));
        let above = i128::from(requested.rounded()) - least;
        let is_between = above.checked_rem(step)? != 0 && !planted::is(Planted::LowerStep);
        let steps = above.checked_div(step)? + i128::from(is_between);
        let amount = i64::try_from(least + steps * step).ok()?;
        return Some(Quantity::of_integer(amount, Format::BinarySi));
    }
    let values = policy.valid_values.iter().flatten();
    Some(values.copied().find(|value| value >= requested).unwrap_or(*requested))
}

fn offers(policy: &CapacityPolicy, amount: &Quantity) -> bool {
    if let Some(range) = &policy.valid_range {
        let is_low_enough = range.max.as_ref().is_none_or(|max| amount <= max);
        let is_on_step = range.step.as_ref().is_none_or(|step| {
            let least = range.min.as_ref().map_or(0, Quantity::rounded);
            let above = i128::from(amount.rounded()) - i128::from(least);
            above.checked_rem(i128::from(step.rounded())) == Some(0)
        });
        return is_low_enough && is_on_step;
    }
    match policy.valid_values.as_deref() {
        None | Some([]) => true,
        Some(values) => values.contains(amount),
    }
}

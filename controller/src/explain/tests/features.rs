//! What schedulers of different releases can do.

use crate::allocator::Features;

#[test]
fn what_is_behind_closed_gates_before_1_36_does_not_count() {
    let old = Features::of_server(1, 34);
    assert_eq!(old, Features::of_server(1, 35));
    let said = (old.admin_access, old.prioritized_list, old.partitionable_devices, old.device_taints);
    assert_eq!(said, (true, true, false, false));
    assert!(!old.consumable_capacity && !old.device_binding && !old.list_attributes);
    for (major, minor) in [(1, 36), (1, 37), (1, 40), (2, 0)] {
        assert_eq!(Features::of_server(major, minor), Features::default(), "{major}.{minor}");
    }
    assert_eq!(Features::of_server(1, 33), Features::none());
}

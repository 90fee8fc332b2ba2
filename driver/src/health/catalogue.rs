//! NVIDIA's XID catalogue, by what has to be done.
//!
//! Source: the columns "Applies to H100" and "Resolution Bucket (Immediate Action)" of
//! <https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html> as of October 2025. Where the bucket
//! is a workflow for people, the outcome is entered that keeps new claims off a GPU that may be damaged: 48
//! (double-bit ECC error) and 74 (NVLink error) end in a reset. 45 follows from other XIDs. 154 announces
//! that the recovery action changed, which is read itself.

use super::Class;

/// What the catalogue has for an XID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The application has to be restarted, or nothing has to be done: the GPU can be given to the next claim.
    Application,
    /// The GPU or the node has to be cured first.
    Fault(Class),
    /// The catalogue has no advice for the GPU. It is logged; the recovery action tells whether it matters.
    Unknown,
}

/// An XID that makes a GPU unfit for new claims.
struct Entry {
    xid: u64,
    class: Class,
    /// What happened.
    meaning: &'static str,
}

const fn reset(xid: u64, meaning: &'static str) -> Entry {
    Entry { xid, class: Class::Reset, meaning }
}

const fn reboot(xid: u64, meaning: &'static str) -> Entry {
    Entry { xid, class: Class::Reboot, meaning }
}

/// `RESET_GPU`, `RESTART_BM`, `RESTART_VM`, `CHECK_MECHANICALS`, and the workflows named above.
const FAULTS: [Entry; 19] = [
    reset(46, "the GPU stopped processing"),
    reset(48, "double-bit ECC error"),
    reboot(54, "the board's power cables are not attached"),
    reset(62, "an internal micro-controller halted"),
    reset(64, "memory could not be remapped"),
    reset(74, "NVLink error"),
    reboot(79, "the GPU fell off the bus"),
    reset(95, "uncontained memory error"),
    reset(109, "context switch timed out"),
    reset(110, "security fault"),
    reset(119, "the GPU's system processor (GSP) timed out"),
    reset(120, "the GPU's system processor (GSP) failed"),
    reset(136, "link training failed"),
    reset(140, "unrecovered ECC error"),
    reset(143, "the GPU could not be initialised"),
    reboot(151, "encryption keys could not be renewed"),
    reset(155, "NVLink error found by software"),
    reset(156, "memory was retired"),
    reset(158, "fatal timeout"),
];

/// `RESTART_APP`, `IGNORE`, and what only follows from others (45, 154), as ranges.
const APPLICATION: [(u64, u64); 24] = [
    (8, 8),
    (11, 11),
    (13, 14),
    (25, 25),
    (31, 32),
    (37, 41),
    (43, 45),
    (60, 60),
    (63, 63),
    (66, 72),
    (75, 77),
    (80, 80),
    (82, 86),
    (88, 89),
    (92, 94),
    (96, 108),
    (121, 121),
    (126, 135),
    (137, 137),
    (139, 139),
    (141, 141),
    (152, 154),
    (157, 157),
    (160, 161),
];

/// What has to be done after an XID.
#[must_use]
pub fn advice(xid: u64) -> Advice {
    if let Some(entry) = FAULTS.iter().find(|entry| entry.xid == xid) {
        Advice::Fault(entry.class)
    } else if APPLICATION.iter().any(|(first, last)| (*first..=*last).contains(&xid)) {
        Advice::Application
    } else {
        Advice::Unknown
    }
}

/// What an XID that makes a GPU unfit means, for people.
pub(super) fn meaning(xid: u64) -> Option<&'static str> {
    FAULTS.iter().find(|entry| entry.xid == xid).map(|entry| entry.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The catalogue's immediate actions for H100, copied from NVIDIA's page.
    #[test]
    fn the_table_is_nvidias() {
        use Advice::{Application, Fault, Unknown};
        let restart_app = [
            8, 11, 13, 25, 31, 32, 39, 40, 41, 60, 68, 69, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84, 85, 86,
            88, 89, 94, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 126, 127, 128, 129, 130, 131, 132, 133,
            134, 135, 139,
        ];
        let ignore =
            [14, 37, 38, 43, 44, 63, 66, 67, 92, 93, 106, 107, 108, 121, 137, 141, 152, 153, 157, 160, 161];
        let reset_gpu = [46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158];
        let contact_support = [1, 9, 12, 33, 42, 47, 56, 61, 65, 73, 81, 87, 90, 111, 118, 122, 138, 142];
        let cases = [
            ("RESTART_APP", &restart_app[..], Application),
            ("IGNORE", &ignore, Application),
            ("RESET_GPU", &reset_gpu, Fault(Class::Reset)),
            ("RESTART_BM", &[79], Fault(Class::Reboot)),
            ("RESTART_VM", &[151], Fault(Class::Reboot)),
            ("CHECK_MECHANICALS", &[54], Fault(Class::Reboot)),
            ("workflows that end in a reset", &[48, 74], Fault(Class::Reset)),
            ("what follows from another XID", &[45, 154], Application),
            ("CONTACT_SUPPORT: nothing is said about the GPU", &contact_support, Unknown),
            ("NVML's number for one that it does not know, and no XID at all", &[0, 999], Unknown),
        ];
        for (bucket, xids, wanted) in cases {
            for xid in xids {
                assert_eq!(advice(*xid), wanted, "{bucket}: XID {xid}");
            }
        }
    }
}

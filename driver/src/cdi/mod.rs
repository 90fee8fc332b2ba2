//! CDI: what of the driver's files a container gets, and the spec files that say so.
//!
//! A container that gets a device is given two CDI devices: the device itself from its claim's spec, which is
//! small and lives as long as the claim, and the driver's files from one spec that all claims share. The shared
//! edits stand at the top of that spec, so that they are applied once however many devices a container gets.

pub mod spec;

/// The CDI device of a device that was prepared for a claim.
#[must_use]
pub fn claim_device_id(driver: &str, claim_uid: &str, device: &str) -> String {
    format!("{driver}/claim={claim_uid}-{device}")
}

/// The CDI device that brings the driver's files.
#[must_use]
pub fn driver_files_id(driver: &str) -> String {
    format!("{driver}/driver=files")
}

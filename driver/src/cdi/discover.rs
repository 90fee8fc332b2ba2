//! Finds the driver's files under the driver root.

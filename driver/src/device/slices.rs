//! The slices of a pool.

//! The pure heart of the DRA driver.

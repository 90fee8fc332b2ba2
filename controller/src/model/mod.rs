//! What the controller knows of the cluster, in a slim form.

pub mod attribute;

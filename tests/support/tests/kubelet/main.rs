//! The kubelet stand-in against plugins that a tonic server serves.

mod health;
mod plugin;
mod pods;
mod prepare;
mod read_pod;
mod registration;
mod setup;
mod unprepare;
mod wiping;

//! Speaking with the kubelet: sockets, registration, the DRA and health services.

/// What is known of the kubelet's connection to this plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How many times the kubelet has confirmed the registration.
    pub registrations: u64,
    /// Whether the kubelet holds a connection to the DRA socket.
    pub connected: bool,
}

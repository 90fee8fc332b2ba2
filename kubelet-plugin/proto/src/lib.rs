//! The gRPC interfaces between the kubelet and a DRA driver's plugin on a node, clients and servers.
//!
//! The messages are those of `k8s.io/kubelet/pkg/apis`: what a field means stands in the files under `proto`.

/// Names that a plugin lists in [`registration::PluginInfo::supported_versions`], and its type there. They are
/// not the names of the services on the wire.
pub mod names {
    /// The type of plugin that a DRA driver registers.
    pub const DRA_PLUGIN_TYPE: &str = "DRAPlugin";
    /// [`dra::v1`](crate::dra::v1), Kubernetes 1.34 and newer.
    pub const DRA_V1: &str = "v1.DRAPlugin";
    /// [`dra::v1beta1`](crate::dra::v1beta1), Kubernetes 1.32 and newer.
    pub const DRA_V1BETA1: &str = "v1beta1.DRAPlugin";
    /// [`health::v1`](crate::health::v1), Kubernetes 1.37 and newer.
    pub const HEALTH_V1: &str = "v1.DRAResourceHealth";
    /// [`health::v1alpha1`](crate::health::v1alpha1), Kubernetes 1.34 to 1.36.
    pub const HEALTH_V1ALPHA1: &str = "v1alpha1.DRAResourceHealth";
}

/// Declares a module of generated code.
macro_rules! generated {
    ($(#[$documentation:meta])* $module:ident, $file:literal) => {
        $(#[$documentation])*
        #[allow(
            missing_docs,
            missing_debug_implementations,
            unreachable_pub,
            clippy::all,
            reason = "generated code; the protocol files say what it means"
        )]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), $file));
        }
    };
}

generated! {
    /// How a plugin makes itself known to the kubelet.
    registration, "/registration/pluginregistration.rs"
}

/// Preparing and unpreparing claims.
pub mod dra {
    generated! {
        /// The stable interface, since Kubernetes 1.34.
        v1, "/dra_v1/k8s.io.kubelet.pkg.apis.dra.v1.rs"
    }
    generated! {
        /// The interface of Kubernetes 1.32 and 1.33: without share IDs.
        v1beta1, "/dra_v1beta1/k8s.io.kubelet.pkg.apis.dra.v1beta1.rs"
    }
}

/// Reporting the health of devices.
pub mod health {
    generated! {
        /// Since Kubernetes 1.37.
        v1, "/health_v1/v1.rs"
    }
    generated! {
        /// Kubernetes 1.34 to 1.36.
        v1alpha1, "/health_v1alpha1/v1alpha1.rs"
    }
}

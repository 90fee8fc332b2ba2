//! Pods, as far as the kubelet's handling of claims needs them.

/// A pod on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The pod's namespace, also that of its claims.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// `spec.resourceClaims`, each with the ResourceClaim that it means.
    pub claims: Vec<PodClaim>,
    /// Init containers and ordinary ones.
    pub containers: Vec<Container>,
}

/// One entry of a pod's `spec.resourceClaims` and its ResourceClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodClaim {
    /// The entry's name, to which containers refer.
    pub pod_claim_name: String,
    /// The ResourceClaim's name.
    pub name: String,
    /// The ResourceClaim's UID.
    pub uid: String,
    /// UIDs of the pods in the ResourceClaim's `status.reservedFor`.
    pub reserved_for: Vec<String>,
    /// The ResourceClaim's `status.allocation.devices.results`.
    pub results: Vec<AllocationResult>,
}

/// A device that a ResourceClaim was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocationResult {
    /// The name of the device's driver.
    pub driver: String,
    /// The device's pool.
    pub pool: String,
    /// The device's name.
    pub device: String,
    /// The request, or `request/subrequest`.
    pub request: String,
    /// The share of a device that several claims may share.
    pub share_id: Option<String>,
    /// Whether this is access for administration.
    pub admin_access: bool,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The container's name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// `resources.claims`.
    pub claims: Vec<ContainerClaim>,
}

/// One entry of a container's `resources.claims`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerClaim {
    /// The name of the pod's entry.
    pub claim: String,
    /// One request of the claim; all of them if absent.
    pub request: Option<String>,
}

/// What a prepared pod's containers get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The pod's containers, in its order.
    pub containers: Vec<PreparedContainer>,
}

/// What one container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreparedContainer {
    /// The container's name.
    pub name: String,
    /// The names of its CDI devices, in order of the pod's claims. As with the kubelet, one may come twice.
    pub cdi_devices: Vec<String>,
}

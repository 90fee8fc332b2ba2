//! Claims: the shell around [`dra_driver::claim`]. It fetches claims, keeps records, carries out effects.

use std::collections::BTreeMap;

use dra_driver::claim::{ClaimRef, PreparedDevice};
use tokio::time::Instant;

/// Prepares and unprepares claims. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Claims {}

impl Claims {
    /// Prepares claims. Each has its own answer under its UID: its devices, or why not, for the kubelet's Event.
    /// Answers before `deadline`, whatever happens.
    pub async fn prepare(
        &self,
        claims: Vec<ClaimRef>,
        _deadline: Instant,
    ) -> BTreeMap<String, Result<Vec<PreparedDevice>, String>> {
        claims.into_iter().map(|claim| (claim.uid, Err("not built yet".to_owned()))).collect()
    }

    /// Unprepares claims, each with its own answer under its UID. Answers before `deadline`.
    pub async fn unprepare(
        &self,
        claims: Vec<ClaimRef>,
        _deadline: Instant,
    ) -> BTreeMap<String, Result<(), String>> {
        claims.into_iter().map(|claim| (claim.uid, Err("not built yet".to_owned()))).collect()
    }
}

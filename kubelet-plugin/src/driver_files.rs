//! Keeps the CDI spec of the driver's files right: from the start, so that the first claim need not wait for it, and
//! when another driver is loaded, so that containers that are restarted then get files that exist.

use std::sync::Arc;
use std::time::Duration;

use dra_driver::cdi::DriverFiles;
use dra_driver::cdi::folder::Folder;
use dra_driver::node::{Epoch, View};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks after one that failed: an installation that is under way is over some time.
const AGAIN: Duration = Duration::from_secs(2);

/// Looks after the spec whenever the node's epoch changes, until `cancel`. Claims look after it, too, when they are
/// prepared; so what goes wrong here is only logged, once for each reason.
pub async fn keep(
    files: DriverFiles,
    folder: Folder,
    views: watch::Receiver<Arc<View>>,
    cancel: CancellationToken,
) {
    cancel.run_until_cancelled(follow(files, folder, views)).await;
}

async fn follow(files: DriverFiles, folder: Folder, mut views: watch::Receiver<Arc<View>>) {
    let mut right_in: Option<Epoch> = None;
    let mut said = String::new();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let due = view.was_asked() && view.without_nvml.is_none() && right_in.as_ref() != Some(&view.epoch);
        if due {
            let (files, folder) = (files.clone(), folder.clone());
            let ensured = tokio::task::spawn_blocking(move || files.ensure(&folder)).await;
            match ensured {
                Ok(Ok(())) => {
                    right_in = Some(view.epoch.clone());
                    said.clear();
                    continue;
                }
                Ok(Err(error)) if error.to_string() != said => {
                    said = error.to_string();
                    tracing::warn!(%error, "containers cannot be given the driver's files yet");
                }
                Ok(Err(_)) => {}
                Err(error) => tracing::error!(%error, "looking for the driver's files failed"),
            }
        }
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if due => {}
        }
    }
}

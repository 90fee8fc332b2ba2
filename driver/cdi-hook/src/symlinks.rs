//! `create-symlinks`.

use crate::HookError;
use crate::arguments::Link;
use crate::root::{Root, parted, unless_mounted};

/// Makes links, and the folders that they are in. What had the name before is replaced, unless it is mounted; nothing is
/// made where a folder is mounted from elsewhere.
pub(crate) fn create(root: &Root, links: &[Link]) -> Result<(), HookError> {
    for link in links {
        let (folder, name) = parted(&link.path).ok_or_else(|| HookError::Folder {
            path: link.path.clone(),
            why: "it is no plain path to a name",
        })?;
        let failed =
            |attempt| move |source| HookError::Container { attempt, path: link.path.clone(), source };
        let folder = unless_mounted(root.make_folder(&folder));
        if let Some(folder) = folder.map_err(failed("open the folder of the link"))? {
            folder.put_link(&name, &link.target).map_err(failed("make the link"))?;
        }
    }
    Ok(())
}

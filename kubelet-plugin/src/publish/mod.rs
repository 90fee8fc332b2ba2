//! Publishing: the node's ResourceSlices in the API server, kept as they should be.

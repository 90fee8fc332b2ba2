//! CDI: what of the driver's files a container gets, and the spec files that say so.

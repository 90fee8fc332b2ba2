//! The model of a GPU node.

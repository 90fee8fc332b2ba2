//! A libnvidia-ml.so.1 over the model of a GPU node.

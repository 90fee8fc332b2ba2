//! What the node offers: inventory and faults made into DRA devices, pools and ResourceSlices.

pub mod taint;

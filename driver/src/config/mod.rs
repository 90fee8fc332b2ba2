//! Opaque configuration of claims and DeviceClasses: strict decoding, precedence, settings.

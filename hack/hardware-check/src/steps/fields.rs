//! `nvmlDeviceGetFieldValues`, one field at a time: each has a code of its own.

use nvml_wrapper_sys::bindings::field_id as id;

use super::{Gpu, Step};
use crate::answer::Class::{Fact, Volatile};
use crate::answer::{Asked, Class, code_name, fact, valued};
use crate::raw::{self, Got};

macro_rules! fields {
    ($($class:ident $name:ident)*) => { [$(($class, stringify!($name), id::$name)),*] };
}

/// Fields of whole GPUs that clients read, and the class of each.
#[rustfmt::skip]
const FIELDS: [(Class, &str, u32); 76] = fields! {
    Volatile NVML_FI_DEV_ECC_CURRENT
    Volatile NVML_FI_DEV_ECC_PENDING
    Volatile NVML_FI_DEV_ECC_SBE_VOL_TOTAL
    Volatile NVML_FI_DEV_ECC_DBE_VOL_TOTAL
    Volatile NVML_FI_DEV_ECC_SBE_AGG_TOTAL
    Volatile NVML_FI_DEV_ECC_DBE_AGG_TOTAL
    Volatile NVML_FI_DEV_ECC_SBE_VOL_L2
    Volatile NVML_FI_DEV_ECC_DBE_VOL_DEV
    Volatile NVML_FI_DEV_RETIRED_SBE
    Volatile NVML_FI_DEV_RETIRED_DBE
    Volatile NVML_FI_DEV_RETIRED_PENDING
    Volatile NVML_FI_DEV_RETIRED_PENDING_SBE
    Volatile NVML_FI_DEV_RETIRED_PENDING_DBE
    Volatile NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL
    Volatile NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL
    Volatile NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL
    Volatile NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL
    Volatile NVML_FI_DEV_PERF_POLICY_POWER
    Volatile NVML_FI_DEV_PERF_POLICY_THERMAL
    Volatile NVML_FI_DEV_PERF_POLICY_SYNC_BOOST
    Volatile NVML_FI_DEV_MEMORY_TEMP
    Volatile NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION
    Fact     NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON
    Fact     NVML_FI_DEV_NVLINK_LINK_COUNT
    Volatile NVML_FI_DEV_PCIE_REPLAY_COUNTER
    Volatile NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER
    Volatile NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX
    Volatile NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX
    Volatile NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_TX
    Volatile NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_RX
    Volatile NVML_FI_DEV_REMAPPED_COR
    Volatile NVML_FI_DEV_REMAPPED_UNC
    Volatile NVML_FI_DEV_REMAPPED_PENDING
    Volatile NVML_FI_DEV_REMAPPED_FAILURE
    Fact     NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT
    Volatile NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY
    Volatile NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY
    Volatile NVML_FI_DEV_NVLINK_ERROR_DL_CRC
    Fact     NVML_FI_DEV_NVLINK_GET_SPEED
    Fact     NVML_FI_DEV_NVLINK_GET_STATE
    Fact     NVML_FI_DEV_NVLINK_GET_VERSION
    Volatile NVML_FI_DEV_NVLINK_GET_POWER_STATE
    Volatile NVML_FI_DEV_NVLINK_GET_POWER_THRESHOLD
    Fact     NVML_FI_DEV_C2C_LINK_COUNT
    Volatile NVML_FI_DEV_PCIE_L0_TO_RECOVERY_COUNTER
    Volatile NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS
    Volatile NVML_FI_DEV_PCIE_COUNT_NAKS_RECEIVED
    Volatile NVML_FI_DEV_PCIE_COUNT_RECEIVER_ERROR
    Volatile NVML_FI_DEV_PCIE_COUNT_BAD_TLP
    Volatile NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR
    Volatile NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR
    Fact     NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED
    Volatile NVML_FI_DEV_POWER_AVERAGE
    Volatile NVML_FI_DEV_POWER_INSTANT
    Fact     NVML_FI_DEV_POWER_MIN_LIMIT
    Fact     NVML_FI_DEV_POWER_MAX_LIMIT
    Fact     NVML_FI_DEV_POWER_DEFAULT_LIMIT
    Volatile NVML_FI_DEV_POWER_CURRENT_LIMIT
    Volatile NVML_FI_DEV_POWER_REQUESTED_LIMIT
    Volatile NVML_FI_DEV_ENERGY
    Fact     NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT
    Fact     NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT
    Fact     NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT
    Fact     NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT
    Volatile NVML_FI_DEV_PCIE_COUNT_TX_BYTES
    Volatile NVML_FI_DEV_PCIE_COUNT_RX_BYTES
    Fact     NVML_FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE
    Volatile NVML_FI_DEV_NVLINK_COUNT_RAW_BER
    Volatile NVML_FI_DEV_RESET_STATUS
    Volatile NVML_FI_DEV_DRAIN_AND_RESET_STATUS
    Fact     NVML_FI_DEV_PCIE_OUTBOUND_ATOMICS_MASK
    Fact     NVML_FI_DEV_PCIE_INBOUND_ATOMICS_MASK
    Volatile NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
    Volatile NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN
    Volatile NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN
    Volatile NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN
};

const FUNCTION: &str = "nvmlDeviceGetFieldValues";
/// A field that no driver knows.
const NO_FIELD: u32 = 60_000;

/// The steps.
pub(crate) fn steps() -> Vec<Step<Gpu>> {
    let mut steps = Vec::new();
    for (class, name, id) in FIELDS {
        steps.push(Step::new(FUNCTION, name, move |on: &Gpu| ask(on, class, id, 0)));
    }
    // The scope of power fields: 0 the GPU, 1 the module, 2 the memory.
    for (scope, label) in [(1, "module"), (2, "memory")] {
        for (name, id) in [
            ("NVML_FI_DEV_POWER_AVERAGE", id::NVML_FI_DEV_POWER_AVERAGE),
            ("NVML_FI_DEV_POWER_INSTANT", id::NVML_FI_DEV_POWER_INSTANT),
            ("NVML_FI_DEV_POWER_DEFAULT_LIMIT", id::NVML_FI_DEV_POWER_DEFAULT_LIMIT),
        ] {
            let label = format!("{name}, {label}");
            steps.push(Step::new(FUNCTION, &label, move |on: &Gpu| ask(on, Volatile, id, scope)));
        }
    }
    for link in [17, 18] {
        let label = format!("NVML_FI_DEV_NVLINK_GET_STATE, link {link}");
        steps.push(Step::new(FUNCTION, &label, move |on: &Gpu| {
            ask(on, Fact, id::NVML_FI_DEV_NVLINK_GET_STATE, link)
        }));
    }
    steps.push(Step::new(FUNCTION, "no such field", |on: &Gpu| ask(on, Fact, NO_FIELD, 0)));
    steps.push(Step::new(FUNCTION, "count 0", |on: &Gpu| {
        let got = raw::field(on.library, on.device, id::NVML_FI_DEV_ECC_CURRENT, 0, 0);
        Asked::on_success(got, |_| Vec::new())
    }));
    steps
}

/// The field's own code is a fact: 0, or why there is no value.
fn ask(on: &Gpu, class: Class, id: u32, scope: u32) -> Asked {
    let got = raw::field(on.library, on.device, id, scope, 1);
    if let Got::Code(0, field) = &got
        && field.code == 0
    {
        let value = match field.whole {
            // JSON's whole numbers end at 64 bits, as NVML's do.
            Some(whole) => u64::try_from(whole)
                .map(serde_json::Value::from)
                .or_else(|_| i64::try_from(whole).map(serde_json::Value::from))
                .unwrap_or_default(),
            None => field.value.into(),
        };
        let fields =
            vec![fact("code", code_name(0)), fact("type", field.kind), valued(class, "value", value)];
        return Asked { code: Some(0), fields };
    }
    Asked::on_success(got, |field| vec![fact("code", code_name(field.code))])
}

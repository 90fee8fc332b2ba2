//! The admin endpoints: `/metrics` in OpenMetrics text, `/healthz`, `/readyz`.

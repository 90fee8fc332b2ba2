//! The service `DRAResourceHealth`: the health of all devices, which the kubelet shows in the status of pods.
//!
//! The kubelet forgets a driver's devices when its stream ends, and takes a device for unknown that it hears nothing
//! of for some time. So the whole list is sent at once when a stream begins, whenever something changes, and again
//! before that time is over.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dra_driver::node::View;
use dra_kubelet_proto::health::{v1, v1alpha1};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How long what is said holds.
const HOLDS: Duration = Duration::from_secs(30);
/// How often it is said again: three times in that time, so that one message may be lost on a busy node.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest message that the kubelet keeps whole, in bytes.
const LONGEST: usize = 1024;
/// Lists that wait for a slow kubelet. Each is whole, so more than one would be stale.
const QUEUE: usize = 1;

/// What is said of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceHealth {
    pub(super) device: String,
    pub(super) healthy: bool,
    pub(super) message: String,
}

/// The health of every device that is known: those of the inventory, and those that have a fault and are not there. Of
/// GPUs that the driver keeps away from it knows nothing, and says nothing: the kubelet shows them as unknown.
pub(super) fn of_view(view: &View) -> Vec<DeviceHealth> {
    if view.yielding.is_some() {
        return Vec::new();
    }
    let known = view.inventory.gpus.iter().filter_map(|gpu| gpu.name.as_deref());
    let missing = view.faults.keys().map(String::as_str).filter(|device| view.gpu(device).is_none());
    known.chain(missing).map(|device| of_device(view, device)).collect()
}

fn of_device(view: &View, device: &str) -> DeviceHealth {
    let faults = view.faults_of(device);
    let usable = view.gpu(device).is_some_and(|gpu| gpu.usable);
    let mut messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    if faults.is_empty() && !usable {
        let problems = view.inventory.problems.iter().filter(|problem| problem.subject == device);
        messages.extend(problems.map(|problem| problem.message.as_str()));
    }
    DeviceHealth {
        device: device.to_owned(),
        healthy: faults.is_empty() && usable,
        message: shortened(messages.join("; ")),
    }
}

/// The text, cut at a character where it is too long.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        let most = LONGEST - "…".len();
        let end = text.char_indices().map(|(start, _)| start).take_while(|start| *start <= most).last();
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

/// Both versions of the service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) pool: String,
    pub(super) cancel: CancellationToken,
}

impl Service {
    /// A stream of lists, each made by `message`, until the kubelet or the plugin goes.
    fn stream<M: Send + 'static>(
        &self,
        message: impl Fn(&str, Vec<DeviceHealth>, Timestamp) -> M + Send + 'static,
    ) -> ReceiverStream<Result<M, Status>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let Self { mut views, pool, cancel } = self.clone();
        tokio::spawn(async move {
            loop {
                let list = of_view(&views.borrow_and_update());
                let message = Ok(message(&pool, list, Timestamp::now()));
                tokio::select! {
                    sent = sender.send(message) => if sent.is_err() { return },
                    () = cancel.cancelled() => return,
                }
                tokio::select! {
                    changed = views.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(AGAIN) => {}
                    () = sender.closed() => return,
                    () = cancel.cancelled() => return,
                }
            }
        });
        ReceiverStream::new(receiver)
    }
}

/// Implements one version; their messages are the same.
macro_rules! version {
    ($version:ident) => {
        #[tonic::async_trait]
        impl $version::dra_resource_health_server::DraResourceHealth for Service {
            type NodeWatchResourcesStream =
                Pin<Box<dyn Stream<Item = Result<$version::NodeWatchResourcesResponse, Status>> + Send>>;

            async fn node_watch_resources(
                &self,
                _request: Request<$version::NodeWatchResourcesRequest>,
            ) -> Result<Response<Self::NodeWatchResourcesStream>, Status> {
                let stream = self.stream(|pool, devices, now| {
                    let devices = devices.into_iter().map(|device| $version::DeviceHealth {
                        device: Some($version::DeviceIdentifier {
                            pool_name: pool.to_owned(),
                            device_name: device.device,
                        }),
                        health: if device.healthy {
                            $version::HealthStatus::Healthy.into()
                        } else {
                            $version::HealthStatus::Unhealthy.into()
                        },
                        last_updated_time: now.as_second(),
                        health_check_timeout_seconds: HOLDS.as_secs().cast_signed(),
                        message: device.message,
                    });
                    $version::NodeWatchResourcesResponse { devices: devices.collect() }
                });
                Ok(Response::new(Box::pin(stream)))
            }
        }
    };
}

version!(v1);
version!(v1alpha1);

#[cfg(test)]
mod tests {
    use dra_driver::health::{Class, Fault};
    use dra_driver::inventory::{Gpu, Inventory, Problem, Severity};
    use dra_driver::node::Yielding;

    use super::*;

    fn fault(message: &str) -> Fault {
        Fault {
            class: Class::Reset,
            cause: "xid-95".to_owned(),
            message: message.to_owned(),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn every_known_device_is_in_the_list_with_the_reason_of_its_state() {
        let gpu = |name: &str, usable| Gpu { name: Some(name.to_owned()), usable, ..Gpu::default() };
        let problem = Problem {
            subject: "gpu-c".to_owned(),
            severity: Severity::Unusable,
            message: "does not answer".to_owned(),
        };
        let view = View {
            inventory: Inventory {
                gpus: vec![gpu("gpu-a", true), gpu("gpu-b", true), gpu("gpu-c", false), Gpu::default()],
                problems: vec![problem],
                ..Inventory::default()
            },
            faults: [
                ("gpu-b".to_owned(), vec![fault("uncorrected ECC errors"), fault("reset it")]),
                ("gpu-gone".to_owned(), vec![fault("off the bus")]),
            ]
            .into(),
            ..View::default()
        };
        let list: Vec<_> = of_view(&view).into_iter().map(|of| (of.device, of.healthy, of.message)).collect();
        let wanted = [
            ("gpu-a", true, ""),
            ("gpu-b", false, "uncorrected ECC errors; reset it"),
            ("gpu-c", false, "does not answer"),
            ("gpu-gone", false, "off the bus"),
        ];
        assert_eq!(list, wanted.map(|(device, healthy, said)| (device.to_owned(), healthy, said.to_owned())));

        let yielding = Some(Yielding { reason: String::new(), since: Timestamp::UNIX_EPOCH });
        assert_eq!(of_view(&View { yielding, ..view }), [], "of these nothing is known");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        for length in [LONGEST - 1, LONGEST, LONGEST + 1, 3 * LONGEST] {
            // Two bytes each, so that a cut can fall into one.
            let text = shortened("ä".repeat(length));
            assert!(text.len() <= LONGEST, "{}", text.len());
            assert!(text.ends_with('…'));
        }
        assert_eq!(shortened("short".to_owned()), "short");
    }
}

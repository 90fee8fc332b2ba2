//! A plugin that does as the test says and notes what it is asked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use dra_kubelet_proto::{
    dra::{v1, v1beta1},
    health::v1alpha1::{
        NodeWatchResourcesRequest, NodeWatchResourcesResponse,
        dra_resource_health_server::{DraResourceHealth, DraResourceHealthServer},
    },
    names::{DRA_PLUGIN_TYPE, DRA_V1},
    registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{Registration, RegistrationServer},
    },
};
use tokio::{net::UnixListener, runtime::Runtime, sync::mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};

/// How long anything may take before a test is called stuck.
pub(crate) const SOON: Duration = Duration::from_secs(20);

type Health = Result<NodeWatchResourcesResponse, Status>;
type Answer<R> = Pin<Box<dyn Future<Output = Result<R, Status>> + Send>>;
type Handler<Q, R> = Arc<dyn Fn(Q) -> Answer<R> + Send + Sync>;

/// What a plugin says and does.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) info: PluginInfo,
    /// What happens to the first calls of `GetInfo` before they are answered.
    pub(crate) info_trouble: Arc<Mutex<VecDeque<Trouble>>>,
    pub(crate) prepare: Handler<v1::NodePrepareResourcesRequest, v1::NodePrepareResourcesResponse>,
    pub(crate) unprepare: Handler<v1::NodeUnprepareResourcesRequest, v1::NodeUnprepareResourcesResponse>,
    /// The health streams that are opened, in order; without one the service is unimplemented.
    pub(crate) health: Option<mpsc::UnboundedSender<mpsc::UnboundedSender<Health>>>,
}

/// What can happen to a call.
pub(crate) enum Trouble {
    Fails(Status),
    NeverAnswers,
}

impl Script {
    /// A plugin of `driver` that prepares every claim: its device is named after the claim, and so is its CDI
    /// device.
    pub(crate) fn new(driver: &str) -> Self {
        let class = format!("{driver}/gpu");
        Self {
            info: PluginInfo {
                r#type: DRA_PLUGIN_TYPE.to_owned(),
                name: driver.to_owned(),
                endpoint: String::new(),
                supported_versions: vec![DRA_V1.to_owned()],
            },
            info_trouble: Arc::default(),
            prepare: handler(move |request: v1::NodePrepareResourcesRequest| {
                let claims = request.claims.into_iter().map(|claim| {
                    (claim.uid, prepared(vec![device(&[], &[&format!("{class}={}", claim.name)])]))
                });
                Ok(v1::NodePrepareResourcesResponse { claims: claims.collect() })
            }),
            unprepare: handler(|request: v1::NodeUnprepareResourcesRequest| {
                let claims = request.claims.into_iter().map(|claim| (claim.uid, unprepared("")));
                Ok(v1::NodeUnprepareResourcesResponse { claims: claims.collect() })
            }),
            health: None,
        }
    }

    pub(crate) fn versions(mut self, versions: &[&str]) -> Self {
        self.info.supported_versions = versions.iter().map(|&version| version.to_owned()).collect();
        self
    }

    pub(crate) fn info_trouble(self, trouble: impl IntoIterator<Item = Trouble>) -> Self {
        self.info_trouble.lock().unwrap().extend(trouble);
        self
    }

    pub(crate) fn prepare(
        mut self,
        answer: impl Fn(v1::NodePrepareResourcesRequest) -> Result<v1::NodePrepareResourcesResponse, Status>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.prepare = handler(answer);
        self
    }

    pub(crate) fn unprepare(
        mut self,
        answer: impl Fn(v1::NodeUnprepareResourcesRequest) -> Result<v1::NodeUnprepareResourcesResponse, Status>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.unprepare = handler(answer);
        self
    }
}

pub(crate) fn handler<Q, R: Send + 'static>(
    answer: impl Fn(Q) -> Result<R, Status> + Send + Sync + 'static,
) -> Handler<Q, R> {
    Arc::new(move |request| Box::pin(std::future::ready(answer(request))))
}

pub(crate) fn device(request_names: &[&str], cdi: &[&str]) -> v1::Device {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    v1::Device {
        request_names: owned(request_names),
        pool_name: "pool".to_owned(),
        device_name: "device".to_owned(),
        cdi_device_ids: owned(cdi),
        share_id: None,
    }
}

pub(crate) fn prepared(devices: Vec<v1::Device>) -> v1::NodePrepareResourceResponse {
    v1::NodePrepareResourceResponse { devices, error: String::new() }
}

pub(crate) fn unprepared(error: &str) -> v1::NodeUnprepareResourceResponse {
    v1::NodeUnprepareResourceResponse { error: error.to_owned() }
}

/// A call that came, with the names of its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Prepare(Vec<String>),
    Unprepare(Vec<String>),
    /// Prepare, in version v1beta1.
    PrepareOld(Vec<String>),
}

/// What came.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) infos: usize,
    pub(crate) notified: Vec<RegistrationStatus>,
    pub(crate) calls: Vec<Call>,
    /// `grpc-timeout` of each call.
    pub(crate) deadlines: Vec<String>,
}

/// A running plugin. Its connections end with it; its sockets stay, as after a crash.
pub(crate) struct Plugin {
    pub(crate) endpoint: PathBuf,
    registration: PathBuf,
    log: Arc<Mutex<Log>>,
    runtime: Option<Runtime>,
}

impl Plugin {
    /// Serves a plugin on `.<name>-dra.sock` beside `registry`, and its registration on `<name>.sock` in it.
    pub(crate) fn start(registry: &Path, name: &str, mut script: Script) -> Self {
        let endpoint = registry.parent().unwrap().join(format!(".{name}-dra.sock"));
        if script.info.endpoint.is_empty() {
            script.info.endpoint = endpoint.display().to_string();
        }
        let registration = registry.join(format!("{name}.sock"));
        // A runtime of its own: when it ends, so do all connections, as when a process dies.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let log = Arc::<Mutex<Log>>::default();
        for socket in [&endpoint, &registration] {
            let _ = std::fs::remove_file(socket);
            let listener = {
                let _inside = runtime.enter();
                UnixListener::bind(socket).unwrap()
            };
            let service = Service { script: script.clone(), log: Arc::clone(&log) };
            let mut server = Server::builder()
                .add_service(v1::dra_plugin_server::DraPluginServer::new(service.clone()))
                .add_service(v1beta1::dra_plugin_server::DraPluginServer::new(service.clone()))
                .add_service(RegistrationServer::new(service.clone()));
            if script.health.is_some() {
                server = server.add_service(DraResourceHealthServer::new(service));
            }
            runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        }
        Self { endpoint, registration, log, runtime: Some(runtime) }
    }

    /// Ends the plugin.
    pub(crate) fn crash(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Removes the registration socket.
    pub(crate) fn withdraw(&self) {
        std::fs::remove_file(&self.registration).unwrap();
    }

    pub(crate) fn log<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log.lock().unwrap())
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.log(|log| log.calls.clone())
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.crash();
    }
}

#[derive(Clone)]
struct Service {
    script: Script,
    log: Arc<Mutex<Log>>,
}

impl Service {
    fn note(&self, call: Call, metadata: &MetadataMap) {
        let deadline = metadata.get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        let mut log = self.log.lock().unwrap();
        log.calls.push(call);
        log.deadlines.extend(deadline);
    }
}

fn names(claims: &[v1::Claim]) -> Vec<String> {
    claims.iter().map(|claim| claim.name.clone()).collect()
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        self.log.lock().unwrap().infos += 1;
        let trouble = self.script.info_trouble.lock().unwrap().pop_front();
        match trouble {
            Some(Trouble::Fails(status)) => Err(status),
            Some(Trouble::NeverAnswers) => std::future::pending().await,
            None => Ok(Response::new(self.script.info.clone())),
        }
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        self.log.lock().unwrap().notified.push(request.into_inner());
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[tonic::async_trait]
impl v1::dra_plugin_server::DraPlugin for Service {
    async fn node_prepare_resources(
        &self,
        request: Request<v1::NodePrepareResourcesRequest>,
    ) -> Result<Response<v1::NodePrepareResourcesResponse>, Status> {
        self.note(Call::Prepare(names(&request.get_ref().claims)), request.metadata());
        (self.script.prepare)(request.into_inner()).await.map(Response::new)
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<v1::NodeUnprepareResourcesRequest>,
    ) -> Result<Response<v1::NodeUnprepareResourcesResponse>, Status> {
        self.note(Call::Unprepare(names(&request.get_ref().claims)), request.metadata());
        (self.script.unprepare)(request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl v1beta1::dra_plugin_server::DraPlugin for Service {
    async fn node_prepare_resources(
        &self,
        request: Request<v1beta1::NodePrepareResourcesRequest>,
    ) -> Result<Response<v1beta1::NodePrepareResourcesResponse>, Status> {
        let claims = &request.get_ref().claims;
        self.note(
            Call::PrepareOld(claims.iter().map(|claim| claim.name.clone()).collect()),
            request.metadata(),
        );
        let answers = claims.iter().map(|claim| {
            let device = v1beta1::Device {
                request_names: Vec::new(),
                pool_name: "pool".to_owned(),
                device_name: "device".to_owned(),
                cdi_device_ids: vec![format!("old.example.com/gpu={}", claim.name)],
            };
            (
                claim.uid.clone(),
                v1beta1::NodePrepareResourceResponse { devices: vec![device], error: String::new() },
            )
        });
        let claims: BTreeMap<_, _> = answers.collect();
        Ok(Response::new(v1beta1::NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        _: Request<v1beta1::NodeUnprepareResourcesRequest>,
    ) -> Result<Response<v1beta1::NodeUnprepareResourcesResponse>, Status> {
        Err(Status::unimplemented("the tests do not unprepare in this version"))
    }
}

#[tonic::async_trait]
impl DraResourceHealth for Service {
    type NodeWatchResourcesStream = Pin<Box<dyn Stream<Item = Health> + Send>>;

    async fn node_watch_resources(
        &self,
        _: Request<NodeWatchResourcesRequest>,
    ) -> Result<Response<Self::NodeWatchResourcesStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let opened = self.script.health.as_ref().is_some_and(|opened| opened.send(sender).is_ok());
        if !opened {
            return Err(Status::unavailable("the test is over"));
        }
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver).fuse())))
    }
}

//! The layer itself.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use thiserror::Error;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::action::{Action, Answer};
use super::body::Body;
use super::script::{Fate, Script};

/// The connection error that a script makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Lost {
    /// The request never reached the server.
    #[error("the script dropped the connection before the request")]
    Request,
    /// The server has answered.
    #[error("the script dropped the connection before the answer")]
    Answer,
}

/// A transport with a script around it.
#[derive(Debug, Clone)]
pub struct Scripted<S> {
    transport: S,
    script: Script,
}

impl<S> Layer<S> for Script {
    type Service = Scripted<S>;

    fn layer(&self, transport: S) -> Scripted<S> {
        Scripted { transport, script: self.clone() }
    }
}

impl<S, B> Service<Request<kube::client::Body>> for Scripted<S>
where
    S: Service<Request<kube::client::Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    /// Always ready: a held request must not keep others from passing.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let Self { transport, script } = self.clone();
        Box::pin(play(transport, script, request))
    }
}

async fn play<S, B>(
    transport: S,
    script: Script,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, BoxError>
where
    S: Service<Request<kube::client::Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (number, rule) = script.receive(head.method.clone(), head.uri.clone(), body.clone());
    let forward = async {
        let request = Request::from_parts(head, kube::client::Body::from(body.to_vec()));
        let answer = transport.oneshot(request).await.map_err(Into::into);
        if let Err(error) = &answer {
            script.settle(number, Fate::Failed(error.to_string()));
        }
        answer.map(|answer| answer.map(Body::of))
    };

    match rule {
        Some((_, Action::Answer(answer))) => {
            script.settle(number, Fate::Scripted(answer.code.as_u16()));
            return Ok(answer.into_response());
        }
        Some((_, Action::Drop)) => {
            script.settle(number, Fate::Dropped);
            return Err(Lost::Request.into());
        }
        Some((_, Action::BlackHole)) => {
            script.settle(number, Fate::Dropped);
            return std::future::pending().await;
        }
        Some((_, Action::Delay(delay))) => tokio::time::sleep(delay).await,
        Some((rule, Action::Hold)) => script.release_of(rule).await,
        Some((_, Action::LoseAnswer)) => {
            let answer = forward.await?;
            let status = answer.status().as_u16();
            // A whole answer means that the server has done what it was asked to.
            let whole = answer.into_body().collect().await;
            script.settle(number, Fate::AnswerLost(status));
            return Err(whole.err().unwrap_or_else(|| Lost::Answer.into()));
        }
        Some((_, Action::Cut(cut, ending))) => {
            let answer = forward.await?;
            script.settle(number, Fate::Answered(answer.status().as_u16()));
            let (mut head, body) = answer.into_parts();
            // It would be wrong now.
            head.headers.remove(header::CONTENT_LENGTH);
            return Ok(Response::from_parts(head, body.cut(cut, ending)));
        }
        None => {}
    }
    let answer = forward.await?;
    script.settle(number, Fate::Answered(answer.status().as_u16()));
    Ok(answer)
}

impl Answer {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

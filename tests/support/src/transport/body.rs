//! The body of an answer, which may be cut.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower::BoxError;

use super::action::{Cut, Ending};

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    inner: UnsyncBoxBody<Bytes, BoxError>,
    cut: Option<(Cut, Ending)>,
}

impl Body {
    /// A whole body.
    pub(super) fn full(content: impl Into<Bytes>) -> Self {
        Self::of(Full::new(content.into()))
    }

    /// The body of the server's answer.
    pub(super) fn of<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { inner: body.map_err(Into::into).boxed_unsync(), cut: None }
    }

    /// The same body, cut.
    pub(super) fn cut(self, cut: Cut, ending: Ending) -> Self {
        Self { cut: Some((cut, ending)), ..self }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((Cut::Bytes(0) | Cut::Lines(0), ending)) = self.cut {
            return Poll::Ready(match ending {
                Ending::Clean => None,
                Ending::Broken => Some(Err(Box::new(io::Error::new(
                    ErrorKind::ConnectionReset,
                    "the script cut the body of the answer",
                )))),
            });
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready(match (frame, &mut self.cut) {
            (Some(Ok(frame)), Some((cut, _))) => Some(Ok(frame.map_data(|data| cut.shorten(data)))),
            (frame, _) => frame,
        })
    }
}

impl Cut {
    /// What of `data` comes before the cut; `self` becomes the distance that is left.
    fn shorten(&mut self, data: Bytes) -> Bytes {
        let (end, left) = match *self {
            Self::Bytes(limit) => {
                let end = limit.min(data.len());
                (end, Self::Bytes(limit - end))
            }
            Self::Lines(limit) => {
                let ends = data.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
                let ends: Vec<usize> = ends.take(limit).collect();
                let end = if ends.len() == limit { ends.last().copied() } else { None };
                (end.unwrap_or(data.len()), Self::Lines(limit - ends.len()))
            }
        };
        *self = left;
        data.slice(..end)
    }
}

//! Connections as every front end keeps them, and replies whose connection can break at a
//! place of our choosing.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Accepts connections until it is aborted; its connections end with it. Each sees the
/// certificate of its moment, and its requests come with its number. An idle one is closed
/// after `idle`, and all are when `hang_up` is bumped.
pub(crate) async fn accept<H, F>(
    listener: TcpListener,
    tls: &Mutex<Arc<rustls::ServerConfig>>,
    idle: Duration,
    hang_up: &watch::Sender<u64>,
    answer: H,
) where
    H: Fn(Request<Incoming>, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut turn = 0;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        turn += 1;
        let acceptor =
            TlsAcceptor::from(Arc::clone(&tls.lock().unwrap_or_else(PoisonError::into_inner)));
        let (answer, hang_up) = (answer.clone(), hang_up.subscribe());
        let answer = move |request| answer(request, turn);
        connections.spawn(connection(stream, acceptor, idle, hang_up, answer));
    }
}

async fn connection<H, F>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    idle: Duration,
    mut hang_up: watch::Receiver<u64>,
    answer: H,
) where
    H: Fn(Request<Incoming>) -> F + Send + Sync,
    F: Future<Output = Result<Response<Body>, Cut>> + Send,
{
    // Without this, small replies wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let (in_flight, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let service = service_fn(|request| {
        let reply = answer(request);
        let (in_flight, served) = (&in_flight, &served);
        async move {
            in_flight.fetch_add(1, Ordering::SeqCst);
            let reply = reply.await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
            served.fetch_add(1, Ordering::SeqCst);
            reply
        }
    });
    let http =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(http);
    let mut seen = 0;
    loop {
        tokio::select! {
            _ = http.as_mut() => return,
            Ok(()) = hang_up.changed() => http.as_mut().graceful_shutdown(),
            () = tokio::time::sleep(idle) => {
                let now = served.load(Ordering::SeqCst);
                if in_flight.load(Ordering::SeqCst) == 0 && now == seen {
                    http.as_mut().graceful_shutdown();
                }
                seen = now;
            }
        }
    }
}

/// The connection is cut instead of answered.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("connection cut")
    }
}

impl std::error::Error for Cut {}

/// A reply's body: whole, or one whose connection breaks after its first part.
pub(crate) enum Body {
    Whole(Full<Bytes>),
    Broken(Option<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Broken(first) => Poll::Ready(Some(first.take().map(Frame::data).ok_or(Cut))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Broken(_) => SizeHint::default(),
        }
    }
}

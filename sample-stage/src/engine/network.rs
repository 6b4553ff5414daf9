//! Threads for connections alone. Where queries compute, a step may take many seconds, for which
//! everything else on its thread waits, and other machines would take this one for dead.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use tokio::runtime::{Builder, Handle, Runtime};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// The threads.
pub static NETWORK: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a thread can be started")
});

/// A service that is called on these threads and computes on others.
#[derive(Clone)]
pub struct ComputesOn<S> {
    pub service: S,
    pub threads: Handle,
}

impl<S> Service<Request<Body>> for ComputesOn<S>
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<S::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut service = self.service.clone();
        let answer = self.threads.spawn(async move { service.call(request).await });
        answer.map(|answer| answer.expect("requests do not panic")).boxed()
    }
}

impl<S: NamedService> NamedService for ComputesOn<S> {
    const NAME: &'static str = S::NAME;
}

//! Connections to workers, from a stage and from one worker to another: with a limit on how long a
//! machine may be silent, and with the token that all machines share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, WorkerChannel};
use http::{HeaderValue, Request};
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::ServiceBuilder;
use url::Url;

use super::network::NETWORK;

/// Environment variable with the token.
pub const TOKEN: &str = "PIPELINE_WORKER_TOKEN";

/// How long a machine may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After so much silence a machine is asked whether it is there, and so long it may take to answer. A
/// process that ends is noticed at once.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(40);

/// The token that all machines share, as the value of a header.
#[derive(Clone)]
pub struct Token(Option<HeaderValue>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a token" } else { "no token" })
    }
}

impl Token {
    /// The token of the environment.
    ///
    /// # Errors
    ///
    /// If it holds characters that no header may have.
    pub fn of_environment() -> Result<Self, String> {
        let Some(token) = std::env::var_os(TOKEN).filter(|token| !token.is_empty()) else {
            return Ok(Self(None));
        };
        let value = token.to_str().and_then(|token| format!("Bearer {token}").parse().ok());
        let mut value: HeaderValue = value
            .ok_or_else(|| format!("{TOKEN}: expected printable characters without line breaks"))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a request carries it. Every character is compared, so that the time tells nothing.
    pub fn is_in(&self, found: Option<&[u8]>) -> bool {
        let Some(expected) = &self.0 else { return true };
        let (expected, found) = (expected.as_bytes(), found.unwrap_or_default());
        let differs = expected.iter().zip(found).fold(0, |differs, (a, b)| differs | (a ^ b));
        expected.len() == found.len() && differs == 0
    }
}

/// Opens connections and keeps them.
#[derive(Clone)]
pub struct Channels {
    token: Token,
    open: Arc<moka::future::Cache<Url, BoxCloneSyncChannel>>,
}

impl Channels {
    /// Without connections.
    pub fn new(token: Token) -> Self {
        Self { token, open: Arc::new(moka::future::Cache::new(10_000)) }
    }

    async fn connect(&self, url: &Url) -> Result<BoxCloneSyncChannel, DataFusionError> {
        let failed = |err: tonic::transport::Error| {
            let reason = std::error::Error::source(&err).map_or_else(|| err.to_string(), innermost);
            let address = url.authority();
            DataFusionError::External(format!("worker {address}: cannot connect: {reason}").into())
        };
        let endpoint = Endpoint::from_shared(url.to_string()).map_err(failed)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let connecting = NETWORK.spawn(async move { endpoint.connect().await });
        let connected = connecting.await.map_err(|err| DataFusionError::External(err.into()))?;
        let channel = connected.map_err(failed)?;
        let token = self.token.clone();
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Body>| {
                if let Some(token) = &token.0 {
                    request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
                }
                request
            })
            .service(channel);
        Ok(BoxCloneSyncChannel::new(service))
    }
}

/// The innermost reason of an error.
fn innermost(mut err: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = err.source() {
        err = source;
    }
    err.to_string()
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        let channel = self.open.try_get_with_by_ref(url, self.connect(url)).await;
        channel.map(create_worker_client).map_err(DataFusionError::Shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_the_same_token_and_nothing_shows_it() {
        let token = Token(Some(HeaderValue::from_static("Bearer abc")));
        assert!(token.is_in(Some(b"Bearer abc")));
        for wrong in [None, Some(&b"Bearer abd"[..]), Some(b"Bearer ab"), Some(b"Bearer abcd")] {
            assert!(!token.is_in(wrong), "{wrong:?}");
        }
        assert!(Token(None).is_in(None));
        assert_eq!(format!("{token:?}"), "a token");
    }
}

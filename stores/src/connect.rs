//! From a URL to its store, with credentials from the environment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;

use crate::error::{Kind, StoreError};
use crate::pinned::Pinned;
use crate::url::StoreUrl;

/// Whether this build has clients of stores.
pub fn is_built_in() -> bool {
    cfg!(feature = "object-stores")
}

/// The store of a URL; the same for all URLs of a bucket.
///
/// # Errors
///
/// Settings in the environment that no client can be made of, or a build without stores.
pub fn store_of(url: &StoreUrl) -> Result<Arc<dyn ObjectStore>, StoreError> {
    Ok(pinned(url)?)
}

pub(crate) fn pinned(url: &StoreUrl) -> Result<Arc<Pinned>, StoreError> {
    static STORES: Mutex<Option<HashMap<String, Arc<Pinned>>>> = Mutex::new(None);
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let stores = stores.get_or_insert_default();
    if let Some(known) = stores.get(&url.root()) {
        return Ok(known.clone());
    }
    let store = client(url).map_err(|what| StoreError::new(url, Kind::Failed, what))?;
    let store = Arc::new(Pinned::new(store, url.at(&"".into())));
    stores.insert(url.root(), store.clone());
    Ok(store)
}

#[cfg(not(feature = "object-stores"))]
fn client(_: &StoreUrl) -> Result<Arc<dyn ObjectStore>, String> {
    Err("this build reads local files only\n\
         hint: build it with object stores, `make build STORES=yes`"
        .to_owned())
}

#[cfg(feature = "object-stores")]
use clients::client;

#[cfg(feature = "object-stores")]
mod clients {
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    use object_store::http::HttpBuilder;
    use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

    use super::StoreUrl;
    use crate::aws_profile;
    use crate::error::Hints;
    use crate::url::Scheme;

    /// Environment variable: how often a request that failed is sent again.
    const RETRIES: &str = "STORE_RETRIES";

    /// About ten seconds of waiting in all.
    const RETRIES_DEFAULT: usize = 6;

    /// Longest time for a request and its answer, in seconds, unless a variable such as `AWS_TIMEOUT` says
    /// otherwise: what a table needs of a row group may be large, and a connection slow.
    const TIMEOUT: u64 = 120;

    pub fn client(url: &StoreUrl) -> Result<Arc<dyn ObjectStore>, String> {
        let retry = retry()?;
        let place = &url.place;
        let timeout = |variable| std::env::var(variable).unwrap_or(format!("{TIMEOUT}s"));
        let key = ClientConfigKey::Timeout;
        let failed = |err: object_store::Error| {
            let text = err.to_string();
            let plain = text.split_once(" error: ").map_or(text.as_str(), |(_, rest)| rest);
            format!("cannot be opened: {plain}\nhint: {}", Hints::of(url.scheme).credentials)
        };
        Ok(match url.scheme {
            Scheme::S3 => {
                let builder = aws_profile::apply(AmazonS3Builder::from_env())?;
                let builder = builder
                    .with_config(AmazonS3ConfigKey::Client(key), timeout("AWS_TIMEOUT"))
                    .with_bucket_name(place)
                    .with_retry(retry);
                Arc::new(builder.build().map_err(failed)?)
            }
            Scheme::Gs => {
                let builder = GoogleCloudStorageBuilder::from_env()
                    .with_config(GoogleConfigKey::Client(key), timeout("GOOGLE_TIMEOUT"))
                    .with_bucket_name(place)
                    .with_retry(retry);
                Arc::new(builder.build().map_err(failed)?)
            }
            Scheme::Az => {
                let builder = MicrosoftAzureBuilder::from_env()
                    .with_config(AzureConfigKey::Client(key), timeout("AZURE_TIMEOUT"))
                    .with_container_name(place)
                    .with_retry(retry);
                Arc::new(builder.build().map_err(failed)?)
            }
            Scheme::Https | Scheme::Http => {
                let options = ClientOptions::new()
                    .with_allow_http(url.scheme == Scheme::Http)
                    .with_timeout(Duration::from_secs(TIMEOUT));
                let builder = HttpBuilder::new().with_url(url.root()).with_client_options(options);
                Arc::new(builder.with_retry(retry).build().map_err(failed)?)
            }
        })
    }

    fn retry() -> Result<RetryConfig, String> {
        let max_retries = match std::env::var(RETRIES) {
            Err(_) => RETRIES_DEFAULT,
            Ok(text) => text
                .parse()
                .map_err(|_| format!("`{RETRIES}={text}`: expected a whole number, such as 6"))?,
        };
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        };
        Ok(RetryConfig { backoff, max_retries, retry_timeout: Duration::from_mins(10) })
    }
}

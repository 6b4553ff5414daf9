//! What a store says, in words: the URL, what was found, what to do.
//!
//! Only codes and short messages of the store are shown, never a request, whose address may be signed.

use std::error::Error as _;
use std::io;

use object_store::Error;

use crate::url::{Scheme, StoreUrl};

/// Why something at a URL cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{url}: {what}")]
pub struct StoreError {
    /// Of the object, folder or store
    pub url: String,
    /// What is wrong and how to fix it, without the URL
    pub what: String,
    /// For callers
    pub kind: Kind,
}

/// Kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object
    Missing,
    /// The store refuses access
    Denied,
    /// It was changed while it was read
    Changed,
    /// The store cannot be reached or fails
    Failed,
}

impl StoreError {
    pub(crate) fn new(url: &StoreUrl, kind: Kind, what: impl Into<String>) -> Self {
        Self { url: url.to_string(), what: what.into(), kind }
    }

    /// The error of a request.
    pub(crate) fn of(url: &StoreUrl, err: &Error) -> Self {
        let texts = texts(err);
        if let Some(named) = own(err) {
            return named.clone();
        }
        let (kind, what) = match err {
            Error::Precondition { .. } => {
                (Kind::Changed, "it was changed while it was read; run again".to_owned())
            }
            _ => in_words(url, err, &texts),
        };
        Self::new(url, kind, what)
    }

    /// The error of one of this crate's stores in a chain of errors, as of `DataFusion`.
    pub fn find<'a>(err: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(err);
        while let Some(err) = next {
            if let Some(found) = err.downcast_ref::<Self>() {
                return Some(found);
            }
            // An `io::Error` shows the sources of what it holds, not that itself.
            let inner = err.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = inner.map(|inner| inner as _).or_else(|| err.source());
        }
        None
    }
}

impl From<StoreError> for io::Error {
    /// Without the URL, which whoever reads the file adds.
    fn from(err: StoreError) -> Self {
        let kind = match err.kind {
            Kind::Missing => io::ErrorKind::NotFound,
            Kind::Denied => io::ErrorKind::PermissionDenied,
            Kind::Changed => io::ErrorKind::StaleNetworkFileHandle,
            Kind::Failed => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, err.what)
    }
}

fn own(err: &Error) -> Option<&StoreError> {
    let Error::Generic { source, .. } = err else { return None };
    source.downcast_ref()
}

/// Texts of an error and of all that it comes from, the innermost last.
fn texts(err: &Error) -> Vec<String> {
    let mut texts = vec![err.to_string()];
    let mut next = err.source();
    while let Some(source) = next {
        texts.push(source.to_string());
        next = source.source();
    }
    texts
}

/// Addresses at which a machine in a cloud gets credentials: the last resort.
const MACHINE: [&str; 5] = [
    "/latest/api/token",
    "/latest/meta-data",
    "169.254.169.254",
    "metadata.google.internal",
    "169.254.170.2",
];

fn in_words(url: &StoreUrl, err: &Error, texts: &[String]) -> (Kind, String) {
    let all = &texts[0];
    let has = |text: &str| texts.iter().any(|known| known.contains(text));
    let hint = Hints::of(url.scheme);
    if MACHINE.iter().any(|address| has(address)) {
        return (Kind::Denied, format!("no credentials were found\nhint: {}", hint.credentials));
    }
    let answer = Answer::of(texts);
    let status = answer.status.as_str();
    let says = answer.says();
    match answer.code.as_str() {
        "NoSuchBucket" | "ContainerNotFound" => {
            let what = format!(
                "there is no bucket `{}`{says}\nhint: check its name and {}",
                url.place, hint.place
            );
            return (Kind::Missing, what);
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            let what = format!("the bucket is in another region{says}\nhint: set `AWS_REGION`");
            return (Kind::Failed, what);
        }
        "InvalidAccessKeyId"
        | "NotSignedUp"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "AuthenticationFailed" => {
            let what =
                format!("the store refuses the credentials{says}\nhint: {}", hint.credentials);
            return (Kind::Denied, what);
        }
        _ => {}
    }
    if matches!(err, Error::NotFound { .. }) || status.starts_with("404") {
        return (Kind::Missing, format!("there is no such object{says}"));
    }
    if has("redirect without LOCATION") || status.starts_with("301") {
        let what = "the bucket is in another region\nhint: set `AWS_REGION`".to_owned();
        return (Kind::Failed, what);
    }
    let is_denied = matches!(err, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    if is_denied || status.starts_with("403") || status.starts_with("401") {
        let what = format!("access is denied{says}\nhint: {}", hint.permission);
        return (Kind::Denied, what);
    }
    if has("non-partial response") || matches!(err, Error::NotSupported { .. }) {
        let what = "the server does not send parts of files; copy the file first".to_owned();
        return (Kind::Failed, what);
    }
    if matches!(err, Error::NotImplemented { .. }) {
        return (Kind::Failed, "this kind of store cannot do that".to_owned());
    }
    let retries = all.split_once(", after ").and_then(|(_, rest)| rest.split_once(" retries"));
    let retries = retries.map_or_else(String::new, |(n, _)| format!(" after {n} retries"));
    if !status.is_empty() {
        return (Kind::Failed, format!("the store answers {status}{retries}{says}"));
    }
    if has("URL scheme is not allowed") || has("HTTPS") && has("AllowHttp") {
        let what = "the endpoint is `http://`\nhint: allow that with `AWS_ALLOW_HTTP=true`";
        return (Kind::Failed, what.to_owned());
    }
    // The innermost text is of the system and has no address.
    let reason = texts.last().expect("it has one at least");
    let reason: String = if reason.contains("://") {
        "the request failed".to_owned()
    } else {
        reason.chars().take(LONGEST).collect()
    };
    (Kind::Failed, format!("{reason}{retries}\nhint: {}", hint.network))
}

/// Longest text of a store that is shown, in characters.
const LONGEST: usize = 200;

/// What a store answered.
#[derive(Default)]
struct Answer {
    /// As `403 Forbidden`
    status: String,
    /// As `AccessDenied`
    code: String,
    message: String,
}

impl Answer {
    fn of(texts: &[String]) -> Self {
        const STATUS: &str = "Server returned non-2xx status code: ";
        let Some(text) = texts.iter().rev().find_map(|text| text.split_once(STATUS)) else {
            return Self::default();
        };
        let (status, body) = text.1.split_once(':').unwrap_or((text.1, ""));
        let tag = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>"))?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            Some(value.lines().next().unwrap_or_default().chars().take(LONGEST).collect())
        };
        Self {
            status: status.trim().to_owned(),
            code: tag("Code").unwrap_or_default(),
            message: tag("Message").unwrap_or_default(),
        }
    }

    fn says(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => String::new(),
            (code, "") => format!(" (`{code}`)"),
            (code, message) => format!(" (`{code}`: {message})"),
        }
    }
}

/// What to do, by the kind of store.
pub(crate) struct Hints {
    pub(crate) credentials: &'static str,
    permission: &'static str,
    place: &'static str,
    network: &'static str,
}

impl Hints {
    pub(crate) fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::S3 => Self {
                credentials: "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and \
                              `AWS_SESSION_TOKEN`), or `AWS_PROFILE`; for a public bucket \
                              `AWS_SKIP_SIGNATURE=true`",
                permission: "the access key needs `s3:GetObject` to read, `s3:ListBucket` for folders \
                             and patterns, `s3:PutObject` to write; is it the right one?",
                place: "`AWS_ENDPOINT_URL`, if it is not at AWS",
                network: "check `AWS_ENDPOINT_URL` and `AWS_REGION`, and the network",
            },
            Scheme::Gs => Self {
                credentials: "set `GOOGLE_APPLICATION_CREDENTIALS` to a file of credentials; for a \
                              public bucket `GOOGLE_SKIP_SIGNATURE=true`",
                permission: "the account needs `storage.objects.get` to read, `storage.objects.list` \
                             for folders and patterns, `storage.objects.create` to write",
                place: "the project of `GOOGLE_APPLICATION_CREDENTIALS`",
                network: "check the network",
            },
            Scheme::Az => Self {
                credentials: "set `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`, or \
                              another of Azure's variables; for a public container \
                              `AZURE_SKIP_SIGNATURE=true`",
                permission: "the account needs the role Storage Blob Data Reader to read, Contributor \
                             to write",
                place: "`AZURE_STORAGE_ACCOUNT_NAME`",
                network: "check `AZURE_STORAGE_ACCOUNT_NAME` and the network",
            },
            Scheme::Https | Scheme::Http => Self {
                credentials: "only what a server gives to everybody is read",
                permission: "only what a server gives to everybody is read",
                place: "the URL",
                network: "check the URL and the network",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(url: &str, text: &'static str) -> String {
        let err = Error::Generic { store: "S3", source: text.into() };
        StoreError::of(&StoreUrl::parse(url).unwrap(), &err).to_string()
    }

    #[test]
    fn a_store_s_answer_is_a_code_and_a_hint() {
        let denied = message(
            "s3://b/x.csv",
            "Error performing GET http://h/b/x.csv?sig=hush in 1ms - Server returned non-2xx status \
             code: 403 Forbidden: <Error><Code>AccessDenied</Code><Message>No</Message></Error>",
        );
        assert_eq!(
            denied.lines().next().unwrap(),
            "s3://b/x.csv: access is denied (`AccessDenied`: No)"
        );
        assert!(denied.contains("s3:GetObject") && !denied.contains("hush"), "{denied}");
        let bucket = message(
            "s3://b/x.csv",
            "Server returned non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>",
        );
        assert!(bucket.contains("there is no bucket `b`"), "{bucket}");
        let nobody =
            message("s3://b/x", "Error performing PUT http://169.254.169.254/latest/api/token");
        assert!(nobody.contains("no credentials were found\nhint: set `AWS_ACCESS_KEY_ID`"));
    }

    #[test]
    fn an_address_is_never_shown() {
        let text =
            "Error performing GET https://h/x?sig=hush in 2s, after 5 retries, max_retries: 5";
        let found = message("az://b/x", text);
        assert!(found.contains("the request failed after 5 retries"), "{found}");
        assert!(!found.contains("hush"), "{found}");
    }
}

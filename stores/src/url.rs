//! URLs of stores: which store, and which object in it.

use std::fmt;

use object_store::path::Path;
use percent_encoding::percent_decode_str;

/// Where an object or a folder is. Never holds a user, a password or a signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreUrl {
    /// Kind of the store
    pub(crate) scheme: Scheme,
    /// Bucket, container, or host and port
    pub(crate) place: String,
    /// What follows the place, as written, without the slash before it
    pub(crate) key: String,
}

/// Kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    S3,
    Gs,
    Az,
    Https,
    Http,
}

impl Scheme {
    const ALL: [Self; 5] = [Self::S3, Self::Gs, Self::Az, Self::Https, Self::Http];

    fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    /// Whether it is a web server, which has neither folders nor credentials.
    pub(crate) fn is_web(self) -> bool {
        matches!(self, Self::Https | Self::Http)
    }
}

/// Whether a path is a URL.
pub fn is_url(path: &str) -> bool {
    path.contains("://")
}

/// The path of a `file://` URL; `None` for anything else.
///
/// # Errors
///
/// A URL without an absolute path.
pub fn local_path(url: &str) -> Option<Result<String, String>> {
    let path = url.strip_prefix("file://")?;
    let path = path.strip_prefix("localhost").unwrap_or(path);
    if !path.starts_with('/') {
        return Some(Err(format!(
            "`{url}`: expected three slashes and an absolute path, as `file:///data/users.parquet`"
        )));
    }
    Some(Ok(percent_decode_str(path).decode_utf8_lossy().into_owned()))
}

impl StoreUrl {
    /// Parses a URL of a store.
    ///
    /// # Errors
    ///
    /// What is wrong with it; secrets in it are not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.name() == scheme) else {
            return Err(format!(
                "`{}`: stores of the kind `{scheme}://` are not known; there are `s3://`, `gs://`, \
                 `az://`, `https://` and `file://`",
                without_secrets(text)
            ));
        };
        let wrong = |what: &str| Err(format!("`{}`: {what}", without_secrets(text)));
        let (place, key) = rest.split_once('/').unwrap_or((rest, ""));
        if place.contains('@') {
            return wrong(
                "a URL must not name a user or a password, as it is written to records; set them in \
                 the environment",
            );
        }
        if place.is_empty() {
            let what = if scheme.is_web() { "host" } else { "bucket" };
            return wrong(&format!("names no {what}"));
        }
        if scheme.is_web() && rest.contains(['?', '#']) {
            return wrong(
                "a URL must not have a query, which may be a signature and would be written to \
                 records; use the store's own URL, such as `s3://`, with credentials in the \
                 environment",
            );
        }
        let url = Self { scheme, place: place.to_owned(), key: key.to_owned() };
        if let Err(err) = url.path() {
            return wrong(&format!("is not a name of an object: {err}"));
        }
        Ok(url)
    }

    /// The path of the object or folder in its store.
    pub(crate) fn path(&self) -> Result<Path, object_store::path::Error> {
        // A key is taken as it is, as other programs do; a URL of the web is percent-encoded.
        if self.scheme.is_web() { Path::from_url_path(&self.key) } else { Path::parse(&self.key) }
    }

    /// The URL of another path in the same store.
    pub(crate) fn at(&self, path: &Path) -> Self {
        Self { key: path.to_string(), ..self.clone() }
    }

    /// The URL of the store.
    pub fn root(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.place)
    }

    /// The URL of something in this folder.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let folder = self.key.trim_end_matches('/');
        let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        Self { key, ..self.clone() }
    }

    /// The last part of the path; empty if there is none.
    pub fn name(&self) -> &str {
        self.key.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is written as a folder.
    pub fn is_folder(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.root(), self.key)
    }
}

/// A URL for messages, with dots for its user, password and query.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..end].rfind('@') {
        Some(at) => format!("…{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let is_web = scheme.starts_with("http");
    let rest = match rest.split_once(['?', '#']).filter(|_| is_web) {
        Some((before, _)) => format!("{before}?…"),
        None => rest,
    };
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_as_written() {
        for text in ["s3://bucket/log/dt=2024-01-01/a%2Fb.parquet", "gs://b/x", "https://h:8/x"] {
            assert_eq!(StoreUrl::parse(text).unwrap().to_string(), text);
        }
        let folder = StoreUrl::parse("s3://bucket/log/").unwrap();
        assert_eq!(folder.join("part-0").to_string(), "s3://bucket/log/part-0");
        assert_eq!((folder.name(), folder.is_folder()), ("log", true));
    }

    #[test]
    fn keys_are_literal_and_web_paths_are_decoded() {
        let path = |text: &str| StoreUrl::parse(text).unwrap().path().unwrap().to_string();
        assert_eq!(path("s3://bucket/a%20b.csv"), "a%20b.csv");
        assert_eq!(path("https://host/a%20b.csv"), "a b.csv");
    }

    #[test]
    fn secrets_in_a_url_are_refused_and_not_repeated() {
        for text in [
            "https://me:hush@host/users.csv",
            "https://host/users.csv?X-Amz-Signature=hush",
            "s3://AKIA:hush@bucket/users.csv",
            "ftp://me:hush@host/users.csv?hush",
        ] {
            let message = StoreUrl::parse(text).unwrap_err();
            assert!(!message.contains("me:") && !message.contains("AKIA"), "{message}");
            assert!(!message.contains("hush") || text.starts_with("ftp"), "{message}");
        }
    }

    #[test]
    fn what_is_no_store_says_which_there_are() {
        let message = |text: &str| StoreUrl::parse(text).unwrap_err();
        assert!(message("hdfs://host/x").contains("there are `s3://`, `gs://`"));
        assert!(message("s3:///users.csv").contains("names no bucket"));
        assert!(message("s3://bucket/a//b").contains("not a name of an object"));
    }

    #[test]
    fn a_file_url_is_a_local_path() {
        assert_eq!(local_path("file:///a%20b/c.csv").unwrap().unwrap(), "/a b/c.csv");
        assert_eq!(local_path("file://localhost/c.csv").unwrap().unwrap(), "/c.csv");
        assert!(local_path("file://c.csv").unwrap().unwrap_err().contains("three slashes"));
        assert!(local_path("s3://bucket/c.csv").is_none());
    }
}

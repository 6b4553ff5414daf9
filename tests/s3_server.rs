//! An S3 server on loopback whose buckets are folders, and a connection to it that breaks.
//!
//! The protocol is that of the crate `s3s`: signatures are checked, and so is what a key may do.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETagCondition,
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, PutObjectInput, PutObjectOutput, UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;

/// May do everything.
pub const OWNER: (&str, &str) = ("AKIAOWNER", "hush-of-the-owner");
/// May read and list.
pub const READER: (&str, &str) = ("AKIAREADER", "hush-of-the-reader");
/// Is known, and may do nothing.
pub const NOBODY: (&str, &str) = ("AKIANOBODY", "hush-of-nobody");

/// A running server; it ends with the tests.
pub struct Server {
    root: TempDir,
    address: SocketAddr,
}

impl Server {
    /// Starts it with the bucket `lab`.
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lab")).unwrap();
        let files = FileSystem::new(root.path()).unwrap();
        let mut builder =
            S3ServiceBuilder::new(Tagged { files, n_reads_of_failing: AtomicI64::new(0) });
        let mut keys = SimpleAuth::new();
        for (id, secret) in [OWNER, READER, NOBODY] {
            keys.register(id.to_owned(), secret.into());
        }
        builder.set_auth(keys);
        builder.set_access(Permissions);
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let service = service.clone();
                    tokio::spawn(async move {
                        let http = Builder::new(TokioExecutor::new());
                        let _ = http.serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            });
        });
        Self { root, address }
    }

    /// Path of an object of the bucket.
    pub fn path(&self, key: &str) -> PathBuf {
        self.root.path().join("lab").join(key)
    }

    /// Puts an object into the bucket.
    pub fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Environment of a program that uses the server.
    pub fn env(&self, key: (&str, &str)) -> Vec<(String, String)> {
        environment(self.address, key)
    }

    /// The same over connections of which the first `times` break after `n_bytes` of the answers.
    pub fn env_breaking(&self, n_bytes: usize, times: i64) -> Vec<(String, String)> {
        environment(breaking(self.address, n_bytes, times), READER)
    }
}

/// Environment of a program with a key of a server.
pub fn environment(address: SocketAddr, (id, secret): (&str, &str)) -> Vec<(String, String)> {
    let variables = [
        ("AWS_ACCESS_KEY_ID", id.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("STORE_RETRIES", "3".to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A proxy that closes connections in the middle of answers with a body of more than `n_bytes`.
fn breaking(server: SocketAddr, n_bytes: usize, times: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicI64::new(times));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let up = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let (mut from, mut to) = up;
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let left = left.clone();
            thread::spawn(move || pass(server, client, n_bytes, &left));
        }
    });
    address
}

/// Passes answers on, up to the break.
fn pass(mut server: TcpStream, mut client: TcpStream, n_bytes: usize, left: &AtomicI64) {
    let mut bytes = vec![0; 16 << 10];
    let mut passed = 0;
    while let Ok(n) = server.read(&mut bytes) {
        if n == 0 {
            break;
        }
        // A small answer, as to a listing, begins anew.
        passed = if bytes.starts_with(b"HTTP/") { n } else { passed + n };
        let is_broken = passed > n_bytes && left.fetch_sub(1, Ordering::SeqCst) > 0;
        let n = if is_broken { n / 2 } else { n };
        if client.write_all(&bytes[..n]).is_err() || is_broken {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// What each key may do.
struct Permissions;

#[async_trait::async_trait]
impl S3Access for Permissions {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name();
        let reads = ["GetObject", "HeadObject", "ListObjectsV2"].contains(&operation);
        match context.credentials().map(|key| key.access_key.as_str()) {
            Some(id) if id == OWNER.0 || id == READER.0 && reads => Ok(()),
            _ => Err(s3_error!(AccessDenied, "this key may not do that")),
        }
    }
}

/// A server whose lists have tags, and which heeds `If-Match`, as those of the vendors.
struct Tagged {
    files: FileSystem,
    n_reads_of_failing: AtomicI64,
}

/// An object of this name can be inspected: its first bytes, its footer twice. Then the server fails.
pub const FAILING: &str = "failing.parquet";
const READS_OF_FAILING: i64 = 4;

#[async_trait::async_trait]
impl S3 for Tagged {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let n_reads = || self.n_reads_of_failing.fetch_add(1, Ordering::SeqCst);
        if request.input.key.ends_with(FAILING) && n_reads() >= READS_OF_FAILING {
            return Err(s3_error!(InternalError));
        }
        let wanted = request.input.if_match.clone();
        let found = self.files.get_object(request).await?;
        match (wanted, &found.output.e_tag) {
            (Some(ETagCondition::ETag(wanted)), Some(tag)) if wanted != *tag => {
                Err(s3_error!(PreconditionFailed))
            }
            _ => Ok(found),
        }
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let (bucket, base) = (request.input.bucket.clone(), request.clone());
        let mut found = self.files.list_objects_v2(request).await?;
        for object in found.output.contents.iter_mut().flatten() {
            let key = object.key.clone().unwrap();
            let head = HeadObjectInput::builder().bucket(bucket.clone()).key(key).build().unwrap();
            let request = base.clone().map_input(|_| head);
            object.e_tag = self.files.head_object(request).await?.output.e_tag;
        }
        Ok(found)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.files.put_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.files.delete_objects(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(request).await
    }
}

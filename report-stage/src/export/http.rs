//! Requests to a server over plain HTTP, one connection each.
//!
//! A tracking server stands in one's own network or on one's own machine, so there is no TLS here: a library
//! with it would take longer to build than all of this program.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use contract::exit::UsageError;
use serde_json::Value;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;

/// A server.
#[derive(Debug, PartialEq)]
pub struct Server {
    /// Name or address, with brackets if it has colons
    host: String,
    port: u16,
    /// Before each path, without a slash at the end
    prefix: String,
}

/// What a server answers.
pub struct Answer {
    /// 200 if it did what was asked
    pub status: u16,
    pub body: Vec<u8>,
}

impl Server {
    /// The server of an address, `http://HOST[:PORT][/PREFIX]`.
    ///
    /// # Errors
    ///
    /// An address of another form.
    pub fn at(url: &str) -> Result<Self, UsageError> {
        let wrong = |why: &str| UsageError(format!("`--to {url}`: {why}"));
        if url.starts_with("https://") {
            return Err(wrong(
                "https is not supported; name the server within its network by http, or a tunnel to it",
            ));
        }
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| wrong("expected an address such as http://localhost:5000"))?;
        let (authority, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) => {
                (host, port.parse().map_err(|_| wrong("there is no such port"))?)
            }
            _ => (authority, 80),
        };
        let is_sound = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || host.contains('@') || !is_sound(rest) || prefix.contains(['?', '#']) {
            return Err(wrong("expected an address such as http://localhost:5000"));
        }
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), port, prefix })
    }

    /// Sends a request and waits for the answer.
    ///
    /// * `path`: starts with a slash.
    /// * `body`: with its type, as in `application/json`.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or does not answer as HTTP has it.
    pub fn request(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Result<Answer> {
        let Self { host, port, prefix } = self;
        let mut head = format!("{method} {prefix}{path} HTTP/1.0\r\nHost: {host}:{port}\r\n");
        if let Some((kind, body)) = body {
            let length = body.len();
            let _ = write!(head, "Content-Type: {kind}\r\nContent-Length: {length}\r\n");
        }
        // In HTTP 1.0 an answer ends where the connection does, and is never in chunks.
        let answer = self
            .exchange(head + "Connection: close\r\n\r\n", body.map_or(&[], |(_, body)| body))
            .with_context(|| format!("{method} http://{host}:{port}{prefix}{path}"))?;
        parse(&answer).ok_or_else(|| {
            anyhow!("http://{host}:{port}: the answer is not HTTP; is it a tracking server?")
        })
    }

    fn exchange(&self, head: String, body: &[u8]) -> Result<Vec<u8>> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, self.port).to_socket_addrs()?;
        let mut failed = anyhow!("the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(mut stream) => {
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    stream.write_all(head.as_bytes())?;
                    stream.write_all(body)?;
                    let mut answer = Vec::new();
                    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
                    return Ok(answer);
                }
                Err(err) => failed = err.into(),
            }
        }
        Err(failed)
    }

    /// Sends JSON and reads JSON.
    ///
    /// # Errors
    ///
    /// As [`Self::request`]; also if the server refuses, with what it says.
    pub fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = body.map(ToString::to_string);
        let body = bytes.as_ref().map(|text| ("application/json", text.as_bytes()));
        let Answer { status, body } = self.request(method, path, body)?;
        let said = String::from_utf8_lossy(&body);
        ensure!(
            status == 200,
            "{method} {path}: the server answered {status}: {}",
            said.trim().chars().take(500).collect::<String>()
        );
        serde_json::from_slice(&body).with_context(|| format!("{method} {path}: not JSON"))
    }
}

/// Status and body of an answer.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_address_is_a_host_a_port_and_a_prefix() {
        let server = |host: &str, port, prefix: &str| Server {
            host: host.to_owned(),
            port,
            prefix: prefix.to_owned(),
        };
        for (url, expected) in [
            ("http://localhost:5000", server("localhost", 5000, "")),
            ("http://tracking/mlflow/", server("tracking", 80, "/mlflow")),
            ("http://[::1]:5000/a/b", server("[::1]", 5000, "/a/b")),
        ] {
            assert_eq!(Server::at(url).unwrap(), expected, "{url}");
        }
        for (url, why) in [
            ("https://tracking", "https is not supported"),
            ("tracking:5000", "expected an address such as"),
            ("http://", "expected an address such as"),
            ("http://user@tracking", "expected an address such as"),
            ("http://tracking/a b", "expected an address such as"),
            ("http://tracking:99999", "there is no such port"),
        ] {
            let message = Server::at(url).unwrap_err().to_string();
            assert!(message.contains(why), "{url}: {message}");
        }
    }

    /// Answers one request with `answer`; returns its address, and the request at the end. All of the
    /// request is read first: a connection that is closed before is reset.
    fn serve(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(&stream);
            while !request.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut request).unwrap() > 0, "{request}");
            }
            let length = request.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            request + &String::from_utf8(body).unwrap()
        });
        (url, served)
    }

    #[test]
    fn json_goes_there_and_back() {
        let body = "{\"a\":1}";
        let (url, served) = serve("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n{\"b\": 2}");
        let server = Server::at(&url).unwrap();
        let answer = server.json("POST", "/p", Some(&serde_json::from_str(body).unwrap()));
        assert_eq!(answer.unwrap()["b"], 2);
        let request = served.join().unwrap();
        let is_whole = request.starts_with("POST /p HTTP/1.0\r\nHost: 127.0.0.1:");
        assert!(is_whole && request.ends_with(&format!("\r\n\r\n{body}")), "{request}");

        let (url, served) = serve("HTTP/1.1 400 Bad Request\r\n\r\nno such run");
        let message = Server::at(&url).unwrap().json("GET", "/p", None).unwrap_err().to_string();
        assert_eq!(message, "GET /p: the server answered 400: no such run");
        served.join().unwrap();
        let (url, served) = serve("SSH-2.0");
        let message = Server::at(&url).unwrap().json("GET", "/p", None).unwrap_err().to_string();
        assert!(message.contains("is it a tracking server?"), "{message}");
        served.join().unwrap();
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let err = Server::at(&url).unwrap().json("GET", "/p", None).unwrap_err();
        assert!(format!("{err:#}").contains(&format!("GET {url}/p: ")), "{err:#}");
    }
}

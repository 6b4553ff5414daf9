//! A web server on loopback with one file, which has no tag.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Starts it; the file may be replaced later.
pub fn start(file: Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            answer(client.unwrap(), &file.lock().unwrap());
        }
    });
    address
}

fn answer(mut client: TcpStream, file: &[u8]) {
    let request: Vec<String> = BufReader::new(client.try_clone().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let range = request.iter().find_map(|line| {
        let (name, value) = line.split_once(": bytes=")?;
        let (from, to) = value.split_once('-').filter(|_| name.eq_ignore_ascii_case("range"))?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    let is_head = request.first().is_some_and(|line| line.starts_with("HEAD"));
    let (status, bytes) = match range {
        Some((from, to)) => {
            let of =
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{to}/{}", file.len());
            (of, &file[from..=to])
        }
        None => ("200 OK".to_owned(), file),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    let _ = client.write_all(head.as_bytes());
    if !is_head {
        let _ = client.write_all(bytes);
    }
}

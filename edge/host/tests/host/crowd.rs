//! Connections that strangers open and leave.

use crate::support::{get, options, stack};
use http::StatusCode;
use loopmaster_edge_host::Options;
use loopmaster_net::Limits;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_says_nothing_keeps_nobody_waiting() {
    let _ = loopmaster_net::raise_descriptor_limit();
    let limits = options().connections;
    let options = Options { connections: Limits { per_address: 64, ..limits }, ..options() };
    let (running, _api) = stack(&[], options).await;
    assert_eq!(get(running.address, "/livez", &[]).await.status, StatusCode::OK);
    let said: [&[u8]; 4] = [
        b"",
        b"GET / HTTP/1.1\r\nhost: a",
        b"\x16\x03\x01\x02\x00",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
    ];
    let mut crowd = Vec::new();
    for number in 0..1_200 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(said[number % said.len()]).await;
        crowd.push(stream);
    }
    let began = Instant::now();
    let got = get(running.address, "/livez", &[]).await;
    println!("answered beside {} connections after {:?}", crowd.len(), began.elapsed());
    assert_eq!(got.status, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    running.stop().await;
}

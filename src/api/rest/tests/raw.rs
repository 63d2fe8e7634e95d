//! Raw bytes on a connection: what hyper lets through must not make a handler panic, and what it does not let
//! through must not reach one.

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::Desk;

/// Serves one connection that sends `bytes` and closes, and returns all that was answered. A panic in a handler
/// comes through, since it all runs in this task.
async fn exchange(desk: &Desk, bytes: &[u8]) -> Vec<u8> {
    let (mut client, server) = duplex(64 << 10);
    let service = TowerToHyperService::new(desk.app.clone());
    let serve = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
    let talk = async {
        let mut answer = Vec::new();
        // The server may close at the first thing it dislikes: then the rest cannot be sent.
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let send = async {
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        };
        let _ = tokio::join!(send, reader.read_to_end(&mut answer));
        answer
    };
    let (_, answer) = tokio::join!(serve, talk);
    answer
}

fn status(answer: &[u8]) -> &str {
    std::str::from_utf8(answer.get(9..12).unwrap_or(b"")).unwrap()
}

#[tokio::test]
async fn odd_requests() {
    let cases: [(&[u8], &str); 24] = [
        (b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
        (b"GET /livez HTTP/1.0\r\n\r\n", "200"),
        (b"GET http://elsewhere/livez HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
        (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        (b"CONNECT example.com:80 HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        (b"BREW /api/get HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        (b"GET /api/get?key=gr\xc3\xbcn HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
        (b"GET /api/get?key=\xff HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        (b"GET /api/get?key=%ff HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        (b"GET /api/get?key=k HTTP/1.1\r\nx-request-id: \xff\xfe\r\nx-request-id: \x80\r\n\r\n", "200"),
        (b"GET /api/get?key=k HTTP/1.1\r\nx-quorate-timeout-ms: \xff\r\n\r\n", "400"),
        (b"GET /api/get?key=k HTTP/1.1\r\nx-quorate-timeout-ms:   7  \r\n\r\n", "200"),
        (b"GET /api/get?key=k HTTP/1.1\r\nbad header\r\n\r\n", "400"),
        (b"\x00\x01\x02\x03\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (b"GET\r\n\r\n", "400"),
        (b"GET /livez HTTP/9.9\r\n\r\n", "400"),
        (b"POST /api/set HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}{}{}", "400"),
        (b"POST /api/set HTTP/1.1\r\ncontent-length: -1\r\n\r\n{}", "400"),
        (b"POST /api/set HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n", "400"),
        (
            b"POST /api/set HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
              17\r\n{\"key\":\"k\",\"value\":\"v\"}\r\n0\r\n\r\n",
            "200",
        ),
        (
            b"POST /api/set HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
              zz\r\n{}",
            "400",
        ),
        (b"POST /api/set HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"key\"", "400"),
        (
            b"POST /api/set HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{",
            "413",
        ),
    ];
    let desk = Desk::open();
    for (bytes, expected) in cases {
        let answer = exchange(&desk, bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(status(&answer), expected, "{shown:?}: {:?}", String::from_utf8_lossy(&answer));
    }
}

/// What noise may follow, and what may follow noise.
const STARTS: [&[u8]; 6] = [
    b"",
    b"GET /api/get?key=",
    b"GET /",
    b"POST /api/set HTTP/1.1\r\n",
    b"DELETE /api/delete?",
    b"GET /api/list HTTP/1.1\r\nx-quorate-timeout-ms: ",
];
const ENDS: [&[u8]; 3] = [b"", b"\r\n\r\n", b" HTTP/1.1\r\n\r\n"];

thread_local! {
    /// One for all cases: building the API description takes longer than a case.
    static DESK: Desk = Desk::open();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_bytes_on_the_connection(
        start in select(&STARTS[..]),
        noise in proptest::collection::vec(any::<u8>(), 0..120),
        end in select(&ENDS[..]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        DESK.with(|desk| runtime.block_on(async {
            let answer = exchange(desk, &[start, &noise, end].concat()).await;
            assert!(!status(&answer).starts_with('5'), "{:?}", String::from_utf8_lossy(&answer));
            // And the next client is served.
            let answer = exchange(desk, b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(status(&answer), "200");
        }));
    }
}

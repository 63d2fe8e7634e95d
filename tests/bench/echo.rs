//! The ceiling that REST throughput is compared with: the same HTTP stack and the same bodies over a plain map, without
//! consensus and without a disk. Run by `tests/bench/run.py`; `echo ADDR`.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};

type Map = Arc<RwLock<HashMap<String, String>>>;

#[derive(serde::Deserialize)]
struct Set {
    key: String,
    value: String,
}

#[derive(serde::Deserialize)]
struct Get {
    key: String,
}

async fn set(State(map): State<Map>, Json(set): Json<Set>) -> Json<serde_json::Value> {
    map.write().expect("no writer panics").insert(set.key, set.value);
    Json(serde_json::json!({"success": true, "revision": 1}))
}

async fn read(State(map): State<Map>, Query(get): Query<Get>) -> Json<serde_json::Value> {
    let value = map.read().expect("no writer panics").get(&get.key).cloned();
    Json(serde_json::json!({"found": value.is_some(), "value": value, "revision": 1}))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".into());
    let routes =
        Router::new().route("/api/set", post(set)).route("/api/get", get(read)).with_state(Map::default());
    axum::serve(tokio::net::TcpListener::bind(address).await?, routes).await
}

//! `GET /metrics` in Prometheus' text format.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use miroir_telemetry::Metrics;

/// The routes of the metrics port.
pub fn router(metrics: Metrics) -> Router {
    let text = |State(metrics): State<Metrics>| async move { exposition(&metrics).into_response() };
    Router::new().route("/metrics", get(text)).with_state(metrics)
}

/// The metrics as an answer.
pub fn exposition(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}

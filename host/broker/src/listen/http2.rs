//! HTTP/2 within bounds (RFC 9113, section 10.5): what one connection may cost.

use std::time::Duration;

use tonic::transport::Server;

use crate::limits::{
    HEADER_LIST_BYTES_MAX, PING_DEADLINE, PING_INTERVAL, RESETS_BY_ERROR_MAX, RESETS_PENDING_MAX,
    STREAMS_PER_CONNECTION_MAX, WINDOW_BYTES, WINDOW_CONNECTION_BYTES,
};

/// Frames of HTTP/2 at their least: nobody needs larger ones, and larger ones are held in memory.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// A server whose connections are bounded: streams, frames, headers, windows, resets; a connection whose other side does
/// not answer pings is closed. `request` bounds one call until its answer begins.
pub fn server(request: Duration) -> Server {
    Server::builder()
        .timeout(request)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(RESETS_BY_ERROR_MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_CONNECTION_BYTES)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_DEADLINE))
}

//! `serve --socket PATH`: one process for many signatures, over gRPC on a UNIX socket the host chose.
//!
//! The host owns this process: it made the directory, started it, and ends it by closing its stdin.

mod deadline;
mod open_keys;
mod questions;
mod route;
mod service;
mod sign_stream;
mod socket;
mod status;
mod vault_calls;
mod wire;

pub use service::PluginService;
pub use status::{error_from_status, error_from_wire, error_to_wire, status_code, status_from_error};
pub(crate) use vault_calls::VaultCalls;
pub use wire::{CERTIFICATE_PROBLEM, details_from_wire};

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use prokura_proto::plugin::v1::plugin_server::PluginServer;
use tokio::sync::watch;
use tonic::transport::Server;

use crate::error::Error;
use crate::limits::{DRAIN_SECONDS_MAX, GRPC_MESSAGE_BYTES_MAX, GRPC_STREAMS_MAX, SIGNATURES_IN_FLIGHT_MAX};
use crate::message::ErrorResponse;
use crate::protocol_stream::take_stdout;
use crate::serve::Service;

use socket::Socket;

/// The one line on stdout that says the socket accepts connections.
pub const READY_LINE: &str = "ready prokura.plugin.v1\n";

/// Serves until the host closes stdin. Exit code 0 after that, 1 with a JSON error on stderr if it cannot start.
pub(crate) fn serve(path: &Path, service: Service) -> ExitCode {
    // Vendor calls run on the blocking pool; one more thread is enough for the network.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(SIGNATURES_IN_FLIGHT_MAX)
        .thread_name("vault")
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(Error::internal(format!("no runtime: {error}"))),
    };
    let service = PluginService::of(service);
    let outcome = runtime.block_on(serve_until_stdin_closes(path, service));
    // Idle threads are joined: a vendor's library may crash if they end while it is being unloaded. A vendor call that
    // hangs must not keep the process, the host has stopped waiting.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

async fn serve_until_stdin_closes(path: &Path, service: PluginService) -> Result<(), Error> {
    let mut stdout = take_stdout().map_err(|e| Error::internal(format!("stdout cannot be kept: {e}")))?;
    let socket = Socket::bind(path)?;
    let (health, health_server) = tonic_health::server::health_reporter();
    health.set_serving::<PluginServer<PluginService>>().await;
    let plugin_server = PluginServer::new(service)
        .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);

    let stopped = stdin_closed()?;
    let server = Server::builder().max_concurrent_streams(GRPC_STREAMS_MAX).serve_with_incoming_shutdown(
        route::Router::new(plugin_server, health_server),
        socket.connections()?,
        closed(stopped.clone()),
    );
    stdout
        .write_all(READY_LINE.as_bytes())
        .map_err(|e| Error::internal(format!("stdout does not take the ready line: {e}")))?;
    tokio::select! {
        outcome = server => outcome.map_err(|e| Error::internal(format!("the gRPC server failed: {e}"))),
        () = drained(stopped) => Ok(()),
    }
}

/// Becomes true when stdin ends. Reading is left to a thread of its own: it cannot be cancelled.
fn stdin_closed() -> Result<watch::Receiver<bool>, Error> {
    let (sender, receiver) = watch::channel(false);
    let wait = move || {
        let mut discarded = [0; 512];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut discarded).is_ok_and(|n| n > 0) {}
        sender.send_replace(true);
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(wait)
        .map_err(|e| Error::internal(format!("no thread for stdin: {e}")))?;
    Ok(receiver)
}

async fn closed(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it stdin.
    let _ = stopped.wait_for(|closed| *closed).await;
}

async fn drained(stopped: watch::Receiver<bool>) {
    closed(stopped).await;
    tokio::time::sleep(Duration::from_secs(DRAIN_SECONDS_MAX)).await;
}

fn failed(error: Error) -> ExitCode {
    let text = serde_json::to_vec(&ErrorResponse::from(error)).unwrap_or_default();
    let _ = std::io::stderr().write_all(&text);
    ExitCode::FAILURE
}

//! Many signatures over one call: each request is answered on its own, in any order.

use std::sync::Arc;

use prokura_proto::plugin::v1;
use prokura_proto::plugin::v1::sign_digests_response::Outcome;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};

use super::service::PluginService;
use super::status::{error_to_wire, status_from_error};
use crate::error::Error;
use crate::limits::STREAM_REQUESTS_OPEN_MAX;
use crate::request::Deadline;

type Answer = Result<v1::SignDigestsResponse, Status>;

/// Starts reading requests; the answers come through the channel, which closes when all are given.
///
/// At most [`STREAM_REQUESTS_OPEN_MAX`] requests are open at once: then nothing more is read, and HTTP/2 flow control
/// holds the host back.
pub(crate) fn start(
    service: PluginService,
    requests: Streaming<v1::SignDigestsRequest>,
    deadline: Deadline,
) -> mpsc::Receiver<Answer> {
    let (sender, answers) = mpsc::channel(STREAM_REQUESTS_OPEN_MAX);
    tokio::spawn(read(service, requests, deadline, sender));
    answers
}

async fn read(
    service: PluginService,
    mut requests: Streaming<v1::SignDigestsRequest>,
    deadline: Deadline,
    answers: mpsc::Sender<Answer>,
) {
    let open = Arc::new(Semaphore::new(STREAM_REQUESTS_OPEN_MAX));
    loop {
        let Ok(place) = Arc::clone(&open).acquire_owned().await else { return };
        let request = tokio::select! {
            request = requests.message() => request,
            () = answers.closed() => return,
        };
        match request {
            Ok(Some(request)) => {
                let (service, answers) = (service.clone(), answers.clone());
                tokio::spawn(async move {
                    let answer = answer(&service, request, deadline).await;
                    let _ = answers.send(Ok(answer)).await;
                    drop(place);
                });
            }
            Ok(None) => return,
            Err(status) => {
                let _ = answers.send(Err(status)).await;
                return;
            }
        }
        if deadline.check().is_err() {
            let late = Error::timeout("the deadline of the stream passed");
            let _ = answers.send(Err(status_from_error(late))).await;
            return;
        }
    }
}

async fn answer(
    service: &PluginService,
    request: v1::SignDigestsRequest,
    deadline: Deadline,
) -> v1::SignDigestsResponse {
    let v1::SignDigestsRequest { id, request } = request;
    let signed = match request {
        Some(request) => service.sign_one(request, deadline).await,
        None => Err(Error::validation("request is missing, expected a SignDigestRequest")),
    };
    let outcome = match signed {
        Ok(signed) => Outcome::Signed(signed),
        Err(error) => Outcome::Error(error_to_wire(error)),
    };
    v1::SignDigestsResponse { id, outcome: Some(outcome) }
}

//! `SignStream`: many requests over one call, a bounded number under way, each with its own outcome.

use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::sign_stream_response::Outcome;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Broker, Caller, Refusal, RefusalCode, request_id};
use crate::limits::{STREAM_BUFFER, STREAM_WINDOW};

type Answer = Result<v1::SignStreamResponse, Status>;

/// Answers as they are ready. A slow reader is not read from; a caller that goes away has no more requests begun.
pub(super) fn answers(
    broker: Broker,
    caller: Caller,
    requests: Streaming<v1::SignStreamRequest>,
) -> impl Stream<Item = Answer> + Send {
    let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
    tokio::spawn(run(broker, caller, requests, sender));
    ReceiverStream::new(receiver)
}

async fn run(
    broker: Broker,
    caller: Caller,
    mut requests: Streaming<v1::SignStreamRequest>,
    answers: mpsc::Sender<Answer>,
) {
    let mut under_way = FuturesUnordered::new();
    let mut more = true;
    while more || !under_way.is_empty() {
        tokio::select! {
            () = answers.closed() => return,
            Some(answer) = under_way.next() => {
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            request = requests.next(), if more && under_way.len() < STREAM_WINDOW => match request {
                Some(Ok(request)) => under_way.push(one(&broker, &caller, request)),
                Some(Err(status)) => {
                    let _ = answers.send(Err(status)).await;
                    return;
                }
                None => more = false,
            },
        }
    }
}

/// Each item has the whole time of a request, within that of the call.
async fn one(broker: &Broker, caller: &Caller, item: v1::SignStreamRequest) -> v1::SignStreamResponse {
    let request = request_id();
    let until = caller.until.min(Instant::now() + broker.rules().sign_deadline);
    let caller = Caller { peer: caller.peer.clone(), until };
    let answer = match caller.peer.expires_at() {
        Some(end) if end < broker.now() => Err(expired()),
        _ => broker.answer(&caller, item.request.unwrap_or_default(), request.clone()).await,
    };
    let outcome = match answer {
        Ok(signed) => Outcome::Signed(signed),
        Err(refusal) => Outcome::Refusal(Refusal::wire(refusal, &request)),
    };
    v1::SignStreamResponse { id: item.id, outcome: Some(outcome) }
}

/// The evidence ends during a long call.
fn expired() -> Refusal {
    Refusal::new(
        RefusalCode::Unauthenticated,
        "the evidence of the caller has ended since the call began; begin a new call with new evidence",
    )
}

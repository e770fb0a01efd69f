//! The broker's refusal in the details of a failed call: a `google.rpc.Status` that holds it, as gRPC's richer error
//! model has it in `grpc-status-details-bin`.

use prokura_proto::broker::v1::Refusal;
use prost::Message as _;

const TYPE: &str = "type.googleapis.com/prokura.broker.v1.Refusal";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The refusal, if a broker made these details.
pub(super) fn refusal(details: &[u8]) -> Option<Refusal> {
    let status = RpcStatus::decode(details).ok()?;
    let refusal = status.details.iter().find(|detail| detail.type_url == TYPE)?;
    Refusal::decode(refusal.value.as_slice()).ok().filter(|refusal| !refusal.code.is_empty())
}

/// What a broker makes of a refusal.
#[cfg(test)]
pub(crate) fn details(refusal: &Refusal) -> Vec<u8> {
    let detail = Any { type_url: TYPE.to_owned(), value: refusal.encode_to_vec() };
    RpcStatus { code: 7, message: String::new(), details: vec![detail] }.encode_to_vec()
}

//! The switches of the rogue: one per broken rule. The set is closed; the tests go through all of it.

/// What the rogue does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Break {
    /// Nothing: proves that a refusal comes from the switch.
    Nothing,

    /// Ends with exit code 1 and says nothing.
    Dies,
    /// Ends itself by a signal.
    DiesBySignal,
    /// Never answers.
    Hangs,
    /// Never answers, and has a child that keeps stdout open.
    HangsWithGrandchild,
    /// Answers, and leaves a child behind that keeps stdout open. The answer is good.
    LeavesGrandchild,
    /// Answers late, but in time.
    SlowStart,
    /// Writes 65 MiB to stdout.
    FloodsStdout,
    /// Writes 65 MiB to stderr.
    FloodsStderr,
    /// Answers get-plugin-metadata with 65 MiB.
    MetadataFlood,
    /// Looks for what the host must have kept from it, and refuses to sign if it finds it. The answer is good.
    LeakedCredentials,

    /// Writes a line of text before its answer.
    Banner,
    /// Writes a line of text behind its answer.
    TrailingText,
    /// Answers with text that is no JSON.
    NotJson,
    /// Answers with nothing.
    EmptyAnswer,
    /// Answers with a member that comes twice.
    DuplicateMember,
    /// Answers with a member that nests 100,000 arrays.
    DepthBomb,

    /// Describes another key id than was asked for.
    OtherKeyIdDescribed,
    /// Signs for another key id than was asked for.
    OtherKeyId,
    /// Describes a key spec that does not exist.
    UnknownKeySpec,
    /// Describes another key spec than its key has.
    WrongKeySpec,
    /// Describes one key and signs with a new one. Over gRPC, where the key is known before it signs.
    KeyRotates,

    /// Signs with a key that is not the leaf's.
    SignatureByAnotherKey,
    /// Leaves out the last byte of the signature.
    TruncatedSignature,
    /// Sends an ECDSA signature as ASN.1 DER.
    DerSignature,
    /// Signs the digest of the digest.
    HashedTwice,
    /// Pads an RSA signature as PKCS#1 v1.5.
    Pkcs1Signature,
    /// Makes an RSASSA-PSS signature with the longest salt there is room for.
    PssSaltMax,
    /// Names a signing algorithm that does not belong to the key.
    WrongSigningAlgorithm,
    /// Names no signing algorithm.
    MissingSigningAlgorithm,

    /// Sends no certificate.
    NoChain,
    /// Leaves out the root.
    NoRoot,
    /// Sends the root first.
    WrongOrder,
    /// Sends a certificate that does not belong to the chain.
    ExtraCertificate,
    /// Has a CA certificate as leaf.
    CaAsLeaf,
    /// Has a leaf that expired.
    ExpiredLeaf,
    /// Has a leaf for TLS servers.
    ServerAuthLeaf,
    /// Sends a certificate that is none.
    MalformedCertificate,
    /// Sends a hundred certificates.
    TooManyCertificates,

    /// Refuses with an error code that the contract has not.
    UnknownErrorCode,
    /// Refuses with terminal escapes in its message.
    EscapesInError,
    /// Refuses with text instead of JSON on stderr.
    NotJsonError,
    /// Refuses with an error that has no member.
    EmptyError,

    /// Calls itself by another name than its file has.
    OtherName,
    /// Has no version.
    EmptyVersion,
    /// Announces no capability.
    NoCapabilities,
    /// Speaks another contract version only.
    OtherContractVersion,
    /// Has terminal escapes in its description. It is told about and signs nothing wrong.
    EscapesInMetadata,

    /// gRPC: never says that it is ready.
    GrpcNoReadyLine,
    /// gRPC: says something else than that it is ready.
    GrpcWrongReadyLine,
    /// gRPC: is ready, but there is no socket.
    GrpcNoSocket,
    /// gRPC: another process than the one that was started serves the socket.
    GrpcOtherPid,
    /// gRPC: ends when it is asked to sign.
    GrpcDiesWhileSigning,
    /// gRPC: never answers when it is asked to sign.
    GrpcHangsInSign,
    /// gRPC: aborts while it starts, as a vendor's library may.
    GrpcAbortsAtStart,
    /// gRPC: aborts when it is asked to sign.
    GrpcAbortsInSign,
    /// gRPC: is stopped (SIGSTOP) when it is asked to sign: nothing in it runs any more.
    GrpcStopsInSign,
    /// gRPC: closes its connections when it is asked to sign, and lives on.
    GrpcHangsUpInSign,
    /// gRPC: asks for what was hashed (TO_BE_SIGNED.1), changes it and signs the digest of that.
    GrpcSignsOtherBytes,
    /// gRPC: asks for what was hashed and refuses to sign unless it comes with its digest. The answer is good.
    GrpcNeedsBytes,
    /// gRPC: refuses to sign if it is sent what was hashed, for which it did not ask. The answer is good.
    GrpcUnaskedBytes,
    /// gRPC: takes a second to become ready. The answer is good.
    GrpcSlowStart,
    /// gRPC: answers with more than 1 MiB.
    GrpcHugeAnswer,
    /// gRPC: is another plugin on the socket than on stdio.
    GrpcOtherName,
    /// gRPC: does not end when the host closes its stdin. The answer is good.
    GrpcNeverStops,
    /// gRPC: writes to stderr without end. The answer is good.
    GrpcFloodsStderr,
}

impl Break {
    /// The value of plugin config `break`.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it exists over gRPC only.
    pub const fn is_grpc(self) -> bool {
        matches!(
            self,
            Self::GrpcNoReadyLine
                | Self::GrpcWrongReadyLine
                | Self::GrpcNoSocket
                | Self::GrpcOtherPid
                | Self::GrpcDiesWhileSigning
                | Self::GrpcHangsInSign
                | Self::GrpcAbortsAtStart
                | Self::GrpcAbortsInSign
                | Self::GrpcStopsInSign
                | Self::GrpcHangsUpInSign
                | Self::GrpcSignsOtherBytes
                | Self::GrpcNeedsBytes
                | Self::GrpcUnaskedBytes
                | Self::GrpcSlowStart
                | Self::GrpcHugeAnswer
                | Self::GrpcOtherName
                | Self::GrpcNeverStops
                | Self::GrpcFloodsStderr
                | Self::KeyRotates
        )
    }

    /// Whether it is in what is answered rather than in how the process behaves, and so exists over both transports.
    pub const fn is_in_answer(self) -> bool {
        matches!(
            self,
            Self::Nothing
                | Self::OtherKeyIdDescribed
                | Self::OtherKeyId
                | Self::UnknownKeySpec
                | Self::WrongKeySpec
                | Self::SignatureByAnotherKey
                | Self::TruncatedSignature
                | Self::DerSignature
                | Self::HashedTwice
                | Self::Pkcs1Signature
                | Self::PssSaltMax
                | Self::WrongSigningAlgorithm
                | Self::MissingSigningAlgorithm
                | Self::NoChain
                | Self::NoRoot
                | Self::WrongOrder
                | Self::ExtraCertificate
                | Self::CaAsLeaf
                | Self::ExpiredLeaf
                | Self::ServerAuthLeaf
                | Self::MalformedCertificate
                | Self::TooManyCertificates
                | Self::UnknownErrorCode
                | Self::EscapesInError
                | Self::EmptyError
        )
    }
}

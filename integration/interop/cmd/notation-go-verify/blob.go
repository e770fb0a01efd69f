package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// payloadMediaType is the one payload type of the signature specification.
const payloadMediaType = "application/vnd.cncf.notary.payload.v1+json"

// verifyBlob verifies a detached signature with notation-core-go: integrity, certificate rules, trust anchor, expiry,
// then the blob against the signed descriptor. notation-go 1.3 has no blob verification of its own, so trust policy and
// revocation are not part of this.
func (r *request) verifyBlob(context.Context) (*answer, error) {
	roots, err := r.trust.roots()
	if err != nil {
		return nil, err
	}
	envelope, err := os.ReadFile(r.signature)
	if err != nil {
		return nil, err
	}
	mediaType, err := mediaTypeOf(r.signature)
	if err != nil {
		return nil, err
	}
	parsed, err := signature.ParseEnvelope(mediaType, envelope)
	if err != nil {
		return nil, err
	}
	content, err := parsed.Verify()
	if err != nil {
		return nil, err
	}
	if _, err := signature.VerifyAuthenticity(&content.SignerInfo, roots); err != nil {
		return nil, err
	}
	expiry := content.SignerInfo.SignedAttributes.Expiry
	if !expiry.IsZero() && !time.Now().Before(expiry) {
		return nil, fmt.Errorf("digital signature has expired on %q", expiry.Format(time.RFC1123Z))
	}
	result := describe(content)
	result.EnvelopeMediaType = mediaType
	return result, r.compareBlob(content, result)
}

// compareBlob checks the signed descriptor against the file and fills in what it says.
func (r *request) compareBlob(content *signature.EnvelopeContent, result *answer) error {
	if content.Payload.ContentType != payloadMediaType {
		return fmt.Errorf("payload content type is %q, expected %q", content.Payload.ContentType, payloadMediaType)
	}
	var payload struct {
		TargetArtifact ocispec.Descriptor `json:"targetArtifact"`
	}
	decoder := json.NewDecoder(bytes.NewReader(content.Payload.Content))
	if err := decoder.Decode(&payload); err != nil {
		return err
	}
	blob, err := os.ReadFile(r.blob)
	if err != nil {
		return err
	}
	signed := payload.TargetArtifact
	want := digestOf(blob, content.SignerInfo.SignatureAlgorithm.Hash())
	if signed.Digest.String() != want || signed.Size != int64(len(blob)) {
		return fmt.Errorf("the signature covers %s of %d bytes, the file is %s of %d bytes", signed.Digest, signed.Size, want, len(blob))
	}
	if signed.MediaType != r.mediaType {
		return fmt.Errorf("the signature covers media type %q, expected %q", signed.MediaType, r.mediaType)
	}
	for key, value := range r.metadata {
		if signed.Annotations[key] != value {
			return errors.New("unable to find specified metadata in the signature")
		}
	}
	result.Digest = want
	if signed.Annotations != nil {
		result.UserMetadata = signed.Annotations
	}
	return nil
}

// digestOf uses the hash of the key spec: a blob's digest is SHA-384 or SHA-512 under the larger keys.
func digestOf(content []byte, hash crypto.Hash) string {
	hasher := hash.New()
	hasher.Write(content)
	name := strings.ToLower(strings.ReplaceAll(hash.String(), "-", ""))
	return name + ":" + hex.EncodeToString(hasher.Sum(nil))
}

func mediaTypeOf(path string) (string, error) {
	switch {
	case strings.HasSuffix(path, ".jws.sig"):
		return jws.MediaTypeEnvelope, nil
	case strings.HasSuffix(path, ".cose.sig"):
		return cose.MediaTypeEnvelope, nil
	}
	return "", fmt.Errorf("%q ends neither in .jws.sig nor in .cose.sig", path)
}

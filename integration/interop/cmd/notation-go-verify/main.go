// Command notation-go-verify verifies with notation-go what we signed: an artifact in a registry or an OCI image layout,
// or a file with a detached signature.
package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go"

	"prokura.dev/interop/internal/jsonline"
	"prokura.dev/interop/internal/record"
	"prokura.dev/interop/internal/target"
)

type request struct {
	target    target.Options
	trust     trust
	metadata  jsonline.Pairs
	attempts  int
	manifest  string
	blob      string
	signature string
	mediaType string
}

type answer struct {
	Verified          bool              `json:"verified"`
	Digest            string            `json:"digest,omitempty"`
	Manifest          string            `json:"manifest,omitempty"`
	EnvelopeMediaType string            `json:"envelopeMediaType,omitempty"`
	SigningScheme     string            `json:"signingScheme,omitempty"`
	SigningTime       string            `json:"signingTime,omitempty"`
	Expiry            string            `json:"expiry,omitempty"`
	SigningAgent      string            `json:"signingAgent,omitempty"`
	Subject           string            `json:"subject,omitempty"`
	UserMetadata      map[string]string `json:"userMetadata"`
	Results           map[string]string `json:"results,omitempty"`
	Error             string            `json:"error,omitempty"`
}

func main() {
	asked := request{metadata: jsonline.Pairs{}}
	asked.target.Flags(flag.CommandLine)
	asked.trust.flags(flag.CommandLine)
	timeout := flag.Duration("timeout", 2*time.Minute, "deadline of the whole command")
	flag.Var(asked.metadata, "m", "key=value of user metadata that must be in the signature, repeatable")
	flag.IntVar(&asked.attempts, "max-signatures", 100, "how many signatures to try")
	flag.StringVar(&asked.manifest, "manifest", "", "digest of the one signature manifest to try, instead of all")
	flag.StringVar(&asked.blob, "blob", "", "file whose detached -signature is verified, instead of -reference")
	flag.StringVar(&asked.signature, "signature", "", "NAME.jws.sig or NAME.cose.sig of -blob")
	flag.StringVar(&asked.mediaType, "media-type", "application/octet-stream", "media type that -blob must have been signed with")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	verify := asked.verifyArtifact
	if asked.blob != "" {
		verify = asked.verifyBlob
	}
	result, err := verify(ctx)
	if err != nil {
		jsonline.Exit(answer{Error: err.Error(), UserMetadata: map[string]string{}}, false)
	}
	jsonline.Exit(result, true)
}

func (r *request) verifyArtifact(ctx context.Context) (*answer, error) {
	place, err := r.target.Open()
	if err != nil {
		return nil, err
	}
	verifier, err := r.trust.verifier()
	if err != nil {
		return nil, err
	}
	repository := record.New(place.Graph)
	repository.Only = r.manifest
	artifact, outcomes, err := notation.Verify(ctx, verifier, repository, notation.VerifyOptions{
		ArtifactReference:    place.Full,
		PluginConfig:         r.trust.pluginConfig,
		MaxSignatureAttempts: r.attempts,
		UserMetadata:         r.metadata,
	})
	if err != nil {
		return nil, err
	}
	if len(outcomes) != 1 || outcomes[0].EnvelopeContent == nil {
		return nil, errors.New("the trust policy skipped the verification")
	}
	result := describe(outcomes[0].EnvelopeContent)
	result.Digest = artifact.Digest.String()
	result.Manifest = repository.Manifest.Digest.String()
	result.EnvelopeMediaType = repository.EnvelopeMediaType
	if result.UserMetadata, err = outcomes[0].UserMetadata(); err != nil {
		return nil, err
	}
	result.Results = map[string]string{}
	for _, check := range outcomes[0].VerificationResults {
		state := "passed"
		if check.Error != nil {
			state = string(check.Action) + ": " + check.Error.Error()
		}
		result.Results[string(check.Type)] = state
	}
	return result, nil
}

func describe(content *signature.EnvelopeContent) *answer {
	signed := content.SignerInfo.SignedAttributes
	result := &answer{
		Verified:      true,
		SigningScheme: string(signed.SigningScheme),
		SigningTime:   signed.SigningTime.UTC().Format(time.RFC3339),
		SigningAgent:  content.SignerInfo.UnsignedAttributes.SigningAgent,
		Subject:       content.SignerInfo.CertificateChain[0].Subject.String(),
		UserMetadata:  map[string]string{},
	}
	if !signed.Expiry.IsZero() {
		result.Expiry = signed.Expiry.UTC().Format(time.RFC3339)
	}
	return result
}

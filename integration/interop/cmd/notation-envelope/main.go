// Command notation-envelope is a signing plugin made with notation-plugin-framework-go: SIGNATURE_GENERATOR.ENVELOPE
// over a key in a file, with the envelope made by notation-core-go. It shows that a host runs envelope plugins, and with
// pluginConfig tamper=RULE that the host refuses an envelope that breaks one rule (see tamper.go).
//
// Plugin config: keyPath (PEM private key), certPath (PEM chain, leaf first), tamper (optional), signingScheme
// (optional, notary.x509 by default), annotation.NAME=VALUE (signature manifest annotations to return),
// attribute.NAME=VALUE (extended signed attributes), critical.NAME=VALUE (the same, marked critical).
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose"
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-plugin-framework-go/cli"
	"github.com/notaryproject/notation-plugin-framework-go/plugin"

	"prokura.dev/interop/internal/localkey"
)

func main() {
	executable, err := cli.New(envelopePlugin{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	executable.Execute(context.Background(), os.Args)
}

type envelopePlugin struct{}

// GetMetadata announces ENVELOPE signing.
func (envelopePlugin) GetMetadata(context.Context, *plugin.GetMetadataRequest) (*plugin.GetMetadataResponse, error) {
	return &plugin.GetMetadataResponse{
		Name:                      "envelope",
		Description:               "Makes whole envelopes with a key in a file, on the official plugin framework",
		Version:                   "1.0.0",
		URL:                       "https://github.com/notaryproject/notation-plugin-framework-go",
		SupportedContractVersions: []string{plugin.ContractVersion},
		Capabilities:              []plugin.Capability{plugin.CapabilityEnvelopeGenerator},
	}, nil
}

// GenerateEnvelope signs the payload into an envelope of the asked type.
func (envelopePlugin) GenerateEnvelope(ctx context.Context, request *plugin.GenerateEnvelopeRequest) (*plugin.GenerateEnvelopeResponse, error) {
	if request.ContractVersion != plugin.ContractVersion {
		return nil, plugin.NewUnsupportedContractVersionError(request.ContractVersion)
	}
	rule := request.PluginConfig["tamper"]
	if rule != "" && !known(rule) {
		return nil, plugin.NewValidationErrorf("tamper is %q, expected one of %s", rule, strings.Join(rules(), ", "))
	}
	order, err := newOrder(request)
	if err != nil {
		return nil, plugin.NewValidationErrorf("%s", err.Error())
	}
	if err := tamperBefore(rule, order); err != nil {
		return nil, plugin.NewGenericError(err.Error())
	}
	envelope, err := signature.NewEnvelope(order.envelopeType)
	if err != nil {
		return nil, plugin.NewValidationErrorf("%s", err.Error())
	}
	signed, err := envelope.Sign(order.sign.WithContext(ctx))
	if err != nil {
		return nil, plugin.NewGenericError(err.Error())
	}
	response := &plugin.GenerateEnvelopeResponse{
		SignatureEnvelope:     signed,
		SignatureEnvelopeType: request.SignatureEnvelopeType,
		Annotations:           withPrefix(request.PluginConfig, "annotation."),
	}
	if err := tamperAfter(rule, response); err != nil {
		return nil, plugin.NewGenericError(err.Error())
	}
	return response, nil
}

// order is what will be signed, before and after tampering.
type order struct {
	envelopeType string
	sign         *signature.SignRequest
}

func newOrder(request *plugin.GenerateEnvelopeRequest) (*order, error) {
	config := request.PluginConfig
	key, err := localkey.Load(config["keyPath"], config["certPath"])
	if err != nil {
		return nil, err
	}
	local, err := signature.NewLocalSigner(key.Chain, key.Private)
	if err != nil {
		return nil, err
	}
	sign := &signature.SignRequest{
		Payload:       signature.Payload{ContentType: request.PayloadType, Content: request.Payload},
		Signer:        local,
		SigningTime:   time.Now(),
		SigningScheme: signature.SigningSchemeX509,
		SigningAgent:  "notation-envelope/1.0.0",
	}
	if scheme := config["signingScheme"]; scheme != "" {
		sign.SigningScheme = signature.SigningScheme(scheme)
	}
	if seconds := request.ExpiryDurationInSeconds; seconds > 0 {
		sign.Expiry = sign.SigningTime.Add(time.Duration(seconds) * time.Second)
	}
	for name, value := range withPrefix(config, "attribute.") {
		sign.ExtendedSignedAttributes = append(sign.ExtendedSignedAttributes, signature.Attribute{Key: name, Value: value})
	}
	for name, value := range withPrefix(config, "critical.") {
		sign.ExtendedSignedAttributes = append(sign.ExtendedSignedAttributes, signature.Attribute{Key: name, Value: value, Critical: true})
	}
	return &order{envelopeType: request.SignatureEnvelopeType, sign: sign}, nil
}

func withPrefix(config map[string]string, prefix string) map[string]string {
	found := map[string]string{}
	for key, value := range config {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			found[name] = value
		}
	}
	return found
}

// DescribeKey is not announced.
func (envelopePlugin) DescribeKey(context.Context, *plugin.DescribeKeyRequest) (*plugin.DescribeKeyResponse, error) {
	return nil, plugin.NewUnsupportedError("describe-key")
}

// GenerateSignature is not announced.
func (envelopePlugin) GenerateSignature(context.Context, *plugin.GenerateSignatureRequest) (*plugin.GenerateSignatureResponse, error) {
	return nil, plugin.NewUnsupportedError("generate-signature")
}

// VerifySignature is not announced.
func (envelopePlugin) VerifySignature(context.Context, *plugin.VerifySignatureRequest) (*plugin.VerifySignatureResponse, error) {
	return nil, plugin.NewUnsupportedError("verify-signature")
}

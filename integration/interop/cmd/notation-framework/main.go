// Command notation-framework is a signing plugin made with notation-plugin-framework-go: SIGNATURE_GENERATOR.RAW over
// a key in a file. It shows that a host runs plugins written with the official framework.
//
// Plugin config: keyPath (PEM private key) and certPath (PEM chain, leaf first). The key id is any text and is echoed.
package main

import (
	"context"
	"fmt"
	"os"

	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/notaryproject/notation-plugin-framework-go/cli"
	"github.com/notaryproject/notation-plugin-framework-go/plugin"

	"prokura.dev/interop/internal/localkey"
)

func main() {
	executable, err := cli.New(rawPlugin{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	executable.Execute(context.Background(), os.Args)
}

type rawPlugin struct{}

// GetMetadata announces RAW signing.
func (rawPlugin) GetMetadata(context.Context, *plugin.GetMetadataRequest) (*plugin.GetMetadataResponse, error) {
	return &plugin.GetMetadataResponse{
		Name:                      "framework",
		Description:               "Signs with a key in a file, on the official plugin framework",
		Version:                   "1.0.0",
		URL:                       "https://github.com/notaryproject/notation-plugin-framework-go",
		SupportedContractVersions: []string{plugin.ContractVersion},
		Capabilities:              []plugin.Capability{plugin.CapabilitySignatureGenerator},
	}, nil
}

// DescribeKey gives the key spec of the key in the file.
func (rawPlugin) DescribeKey(_ context.Context, request *plugin.DescribeKeyRequest) (*plugin.DescribeKeyResponse, error) {
	key, err := load(request.ContractVersion, request.PluginConfig)
	if err != nil {
		return nil, err
	}
	return &plugin.DescribeKeyResponse{KeyID: request.KeyID, KeySpec: key.Spec}, nil
}

// GenerateSignature signs the payload, hashing it here as the contract has it.
func (rawPlugin) GenerateSignature(_ context.Context, request *plugin.GenerateSignatureRequest) (*plugin.GenerateSignatureResponse, error) {
	key, err := load(request.ContractVersion, request.PluginConfig)
	if err != nil {
		return nil, err
	}
	hash, algorithm := localkey.Algorithms(key.Spec)
	if request.KeySpec != key.Spec {
		return nil, plugin.NewValidationErrorf("keySpec is %s, the key is %s", request.KeySpec, key.Spec)
	}
	if string(request.Hash) != hash.String() {
		return nil, plugin.NewValidationErrorf("hashAlgorithm is %s, %s takes %s", request.Hash, key.Spec, hash)
	}
	raw, err := key.Sign(request.Payload)
	if err != nil {
		return nil, plugin.NewGenericError(err.Error())
	}
	return &plugin.GenerateSignatureResponse{
		KeyID:            request.KeyID,
		Signature:        raw,
		SigningAlgorithm: algorithm,
		CertificateChain: key.DER(),
	}, nil
}

// GenerateEnvelope is not announced.
func (rawPlugin) GenerateEnvelope(context.Context, *plugin.GenerateEnvelopeRequest) (*plugin.GenerateEnvelopeResponse, error) {
	return nil, plugin.NewUnsupportedError("generate-envelope")
}

// VerifySignature is not announced.
func (rawPlugin) VerifySignature(context.Context, *plugin.VerifySignatureRequest) (*plugin.VerifySignatureResponse, error) {
	return nil, plugin.NewUnsupportedError("verify-signature")
}

func load(contractVersion string, config map[string]string) (*localkey.Key, error) {
	if contractVersion != plugin.ContractVersion {
		return nil, plugin.NewUnsupportedContractVersionError(contractVersion)
	}
	key, err := localkey.Load(config["keyPath"], config["certPath"])
	if err != nil {
		return nil, plugin.NewValidationErrorf("pluginConfig keyPath/certPath: %s", err.Error())
	}
	return key, nil
}

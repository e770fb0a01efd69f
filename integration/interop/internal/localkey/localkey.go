// Package localkey reads a PEM key with its certificate chain and signs as the Notary Project asks: the one algorithm
// of the key spec, fixed-width r||s for ECDSA, PSS salt as long as the hash.
package localkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	corex509 "github.com/notaryproject/notation-core-go/x509"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-plugin-framework-go/plugin"
)

// Key is a private key and the chain that belongs to it, leaf first.
type Key struct {
	Private crypto.Signer
	Chain   []*x509.Certificate
	Spec    plugin.KeySpec
}

// Load reads both files and refuses a key outside the six key specs or one that isn't the leaf's.
func Load(keyPath, chainPath string) (*Key, error) {
	if keyPath == "" || chainPath == "" {
		return nil, errors.New("a key file and a certificate chain file are needed")
	}
	private, err := corex509.ReadPrivateKeyFile(keyPath)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	chain, err := corex509.ReadCertificateFile(chainPath)
	if err != nil {
		return nil, fmt.Errorf("certificate chain file: %w", err)
	}
	// NewLocalSigner compares key and leaf; nothing else of it is needed here.
	local, err := signature.NewLocalSigner(chain, private)
	if err != nil {
		return nil, err
	}
	coreSpec, err := local.KeySpec()
	if err != nil {
		return nil, err
	}
	spec, err := specName(coreSpec)
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", private)
	}
	return &Key{Private: signer, Chain: chain, Spec: spec}, nil
}

// Sign signs payload with the algorithm of the key spec.
func (k *Key) Sign(payload []byte) ([]byte, error) {
	hash, _ := Algorithms(k.Spec)
	hasher := hash.New()
	hasher.Write(payload)
	digest := hasher.Sum(nil)
	switch private := k.Private.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		width := (private.Curve.Params().BitSize + 7) / 8
		raw := make([]byte, 2*width)
		r.FillBytes(raw[:width])
		s.FillBytes(raw[width:])
		return raw, nil
	}
	return nil, fmt.Errorf("a %T is neither RSA nor ECDSA", k.Private)
}

// DER is the chain as the plugin contract carries it.
func (k *Key) DER() [][]byte {
	var chain [][]byte
	for _, certificate := range k.Chain {
		chain = append(chain, certificate.Raw)
	}
	return chain
}

// Algorithms gives the hash and the signing algorithm that belong to a key spec.
func Algorithms(spec plugin.KeySpec) (crypto.Hash, plugin.SignatureAlgorithm) {
	switch spec {
	case plugin.KeySpecRSA2048:
		return crypto.SHA256, plugin.SignatureAlgorithmRSASSA_PSS_SHA256
	case plugin.KeySpecRSA3072:
		return crypto.SHA384, plugin.SignatureAlgorithmRSASSA_PSS_SHA384
	case plugin.KeySpecRSA4096:
		return crypto.SHA512, plugin.SignatureAlgorithmRSASSA_PSS_SHA512
	case plugin.KeySpecEC256:
		return crypto.SHA256, plugin.SignatureAlgorithmECDSA_SHA256
	case plugin.KeySpecEC384:
		return crypto.SHA384, plugin.SignatureAlgorithmECDSA_SHA384
	default:
		return crypto.SHA512, plugin.SignatureAlgorithmECDSA_SHA512
	}
}

func specName(spec signature.KeySpec) (plugin.KeySpec, error) {
	name := plugin.KeySpec(fmt.Sprintf("EC-%d", spec.Size))
	if spec.Type == signature.KeyTypeRSA {
		name = plugin.KeySpec(fmt.Sprintf("RSA-%d", spec.Size))
	}
	switch name {
	case plugin.KeySpecRSA2048, plugin.KeySpecRSA3072, plugin.KeySpecRSA4096,
		plugin.KeySpecEC256, plugin.KeySpecEC384, plugin.KeySpecEC521:
		return name, nil
	}
	return "", fmt.Errorf("%s is none of the six key specs", name)
}

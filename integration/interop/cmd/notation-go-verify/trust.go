package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	corex509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/plugin"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"prokura.dev/interop/internal/jsonline"
)

// trust says what to believe: one root given on the command line under a strict policy, or a notation configuration
// directory with its trust policy and trust store files.
type trust struct {
	root           string
	storeType      string
	identity       string
	configDir      string
	pluginDir      string
	skipRevocation bool
	pluginConfig   jsonline.Pairs
}

func (t *trust) flags(flags *flag.FlagSet) {
	t.pluginConfig = jsonline.Pairs{}
	flags.StringVar(&t.root, "trust-root", "", "PEM certificates to trust")
	flags.StringVar(&t.storeType, "trust-store-type", "ca", "trust store type of -trust-root: ca or signingAuthority")
	flags.StringVar(&t.identity, "identity", "*", "trusted identity, such as 'x509.subject: C=US, ST=WA, O=x'")
	flags.StringVar(&t.configDir, "config-dir", "", "notation configuration directory, instead of -trust-root")
	flags.StringVar(&t.pluginDir, "plugin-dir", "", "directory with NAME/notation-NAME, for verification plugins")
	flags.BoolVar(&t.skipRevocation, "skip-revocation", false, "override the revocation check of the strict level")
	flags.Var(t.pluginConfig, "plugin-config", "key=value for the verification plugin, repeatable")
}

func (t *trust) verifier() (notation.Verifier, error) {
	policy, store, err := t.load()
	if err != nil {
		return nil, err
	}
	var plugins plugin.Manager
	if t.pluginDir != "" {
		plugins = plugin.NewCLIManager(dir.NewSysFS(t.pluginDir))
	}
	return verifier.New(policy, store, plugins)
}

func (t *trust) load() (*trustpolicy.Document, truststore.X509TrustStore, error) {
	if t.configDir != "" {
		policy, err := readPolicy(t.configDir)
		return policy, truststore.NewX509TrustStore(dir.NewSysFS(t.configDir)), err
	}
	if t.root == "" {
		return nil, nil, errors.New("-trust-root or -config-dir is missing")
	}
	certificates, err := t.roots()
	return t.strictPolicy(), givenStore{t.storeType, certificates}, err
}

// roots refuses what notation-go would refuse in a trust store directory.
func (t *trust) roots() ([]*x509.Certificate, error) {
	certificates, err := corex509.ReadCertificateFile(t.root)
	if err != nil {
		return nil, err
	}
	return certificates, truststore.ValidateCertificates(certificates)
}

// strictPolicy is the strict level for everything. Certificates without OCSP and CRL addresses pass its revocation
// check as not revokable, so the override is only for those that name a responder that isn't there.
func (t *trust) strictPolicy() *trustpolicy.Document {
	level := trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name}
	if t.skipRevocation {
		level.Override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{
			trustpolicy.TypeRevocation: trustpolicy.ActionSkip,
		}
	}
	return &trustpolicy.Document{
		Version: "1.0",
		TrustPolicies: []trustpolicy.TrustPolicy{{
			Name:                  "interop",
			RegistryScopes:        []string{"*"},
			SignatureVerification: level,
			TrustStores:           []string{t.storeType + ":interop"},
			TrustedIdentities:     []string{t.identity},
		}},
	}
}

// readPolicy takes the file of notation 2 when it is there, else the one of notation 1; both hold the same document.
func readPolicy(configDir string) (*trustpolicy.Document, error) {
	for _, name := range []string{"trustpolicy.oci.json", dir.PathTrustPolicy} {
		content, err := os.ReadFile(filepath.Join(configDir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var policy trustpolicy.Document
		if err := json.Unmarshal(content, &policy); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return &policy, nil
	}
	return nil, fmt.Errorf("no trust policy in %s", configDir)
}

// givenStore is a trust store of the one type, with the certificates from the command line.
type givenStore struct {
	storeType    string
	certificates []*x509.Certificate
}

// GetCertificates gives the certificates for their own store type and an error for any other.
func (s givenStore) GetCertificates(_ context.Context, storeType truststore.Type, name string) ([]*x509.Certificate, error) {
	if string(storeType) != s.storeType {
		return nil, fmt.Errorf("trust store %s:%s does not exist", storeType, name)
	}
	return s.certificates, nil
}

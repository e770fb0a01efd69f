// Command notation-go-sign signs an artifact with notation-go: with a key in a file, or by running a plugin through
// notation-go's own plugin manager. It makes the signatures that we verify, and shows that notation runs our plugins.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/plugin"
	"github.com/notaryproject/notation-go/plugin/proto"
	"github.com/notaryproject/notation-go/signer"

	"prokura.dev/interop/internal/jsonline"
	"prokura.dev/interop/internal/record"
	"prokura.dev/interop/internal/target"
)

type request struct {
	target       target.Options
	key          string
	chain        string
	pluginDir    string
	pluginName   string
	keyID        string
	pluginConfig jsonline.Pairs
	format       string
	expiry       time.Duration
	timeout      time.Duration
	metadata     jsonline.Pairs
	form         string
	envelopeFile string
}

type answer struct {
	Signed            bool              `json:"signed"`
	Digest            string            `json:"digest,omitempty"`
	Manifest          string            `json:"manifest,omitempty"`
	ManifestMediaType string            `json:"manifestMediaType,omitempty"`
	ManifestSize      int64             `json:"manifestSize,omitempty"`
	EnvelopeMediaType string            `json:"envelopeMediaType,omitempty"`
	Warning           string            `json:"warning,omitempty"`
	Error             string            `json:"error,omitempty"`
	ErrorCode         string            `json:"errorCode,omitempty"`
	ErrorMetadata     map[string]string `json:"errorMetadata,omitempty"`
}

func main() {
	asked := request{pluginConfig: jsonline.Pairs{}, metadata: jsonline.Pairs{}}
	asked.target.Flags(flag.CommandLine)
	flag.StringVar(&asked.key, "key", "", "PEM private key, to sign without a plugin")
	flag.StringVar(&asked.chain, "cert", "", "PEM certificate chain of -key, leaf first")
	flag.StringVar(&asked.pluginDir, "plugin-dir", "", "directory with NAME/notation-NAME")
	flag.StringVar(&asked.pluginName, "plugin", "", "plugin name")
	flag.StringVar(&asked.keyID, "key-id", "", "key id for the plugin")
	flag.Var(asked.pluginConfig, "plugin-config", "key=value for the plugin, repeatable")
	flag.StringVar(&asked.format, "format", "jws", "jws or cose")
	flag.DurationVar(&asked.expiry, "expiry", 0, "validity of the signature, such as 24h")
	flag.DurationVar(&asked.timeout, "timeout", 2*time.Minute, "deadline of the whole command")
	flag.Var(asked.metadata, "m", "key=value of user metadata, repeatable")
	flag.StringVar(&asked.form, "manifest-form", "config", "signature manifest form: config (as notation 1.3 writes) or artifact-type")
	flag.StringVar(&asked.envelopeFile, "envelope-file", "", "also write the envelope to this file")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), asked.timeout)
	defer cancel()
	result, err := sign(ctx, &asked)
	if err != nil {
		jsonline.Exit(refusal(err), false)
	}
	jsonline.Exit(result, true)
}

func sign(ctx context.Context, asked *request) (*answer, error) {
	mediaType, err := envelopeMediaType(asked.format)
	if err != nil {
		return nil, err
	}
	place, err := asked.target.Open()
	if err != nil {
		return nil, err
	}
	keyHolder, err := asked.signer(ctx)
	if err != nil {
		return nil, err
	}
	repository := record.New(place.Graph)
	switch asked.form {
	case "config":
	case "artifact-type":
		repository.ArtifactTypeForm = true
	default:
		return nil, fmt.Errorf("-manifest-form is %q, expected config or artifact-type", asked.form)
	}
	signed, err := notation.Sign(ctx, keyHolder, repository, notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{
			SignatureMediaType: mediaType,
			ExpiryDuration:     asked.expiry,
			PluginConfig:       asked.pluginConfig,
		},
		ArtifactReference: place.Full,
		UserMetadata:      asked.metadata,
	})
	if err != nil {
		return nil, err
	}
	if asked.envelopeFile != "" {
		if err := os.WriteFile(asked.envelopeFile, repository.Envelope, 0o600); err != nil {
			return nil, err
		}
	}
	return &answer{
		Signed:            true,
		Digest:            signed.Digest.String(),
		Manifest:          repository.Manifest.Digest.String(),
		ManifestMediaType: repository.Manifest.MediaType,
		ManifestSize:      repository.Manifest.Size,
		EnvelopeMediaType: repository.EnvelopeMediaType,
		Warning:           repository.Warning,
	}, nil
}

func (r *request) signer(ctx context.Context) (notation.Signer, error) {
	if (r.key != "") == (r.pluginName != "") {
		return nil, errors.New("either -key with -cert, or -plugin with -plugin-dir and -key-id")
	}
	if r.key != "" {
		return signer.NewGenericSignerFromFiles(r.key, r.chain)
	}
	if r.pluginDir == "" {
		return nil, errors.New("-plugin-dir is missing")
	}
	installed, err := plugin.NewCLIManager(dir.NewSysFS(r.pluginDir)).Get(ctx, r.pluginName)
	if err != nil {
		return nil, err
	}
	return signer.NewPluginSigner(installed, r.keyID, r.pluginConfig)
}

func envelopeMediaType(format string) (string, error) {
	switch format {
	case "jws":
		return jws.MediaTypeEnvelope, nil
	case "cose":
		return cose.MediaTypeEnvelope, nil
	}
	return "", fmt.Errorf("-format is %q, expected jws or cose", format)
}

// refusal keeps the plugin's error code, which notation itself shows only in its debug log.
func refusal(err error) answer {
	refused := answer{Error: err.Error()}
	var fromPlugin proto.RequestError
	if errors.As(err, &fromPlugin) {
		refused.ErrorCode = string(fromPlugin.Code)
		refused.ErrorMetadata = fromPlugin.Metadata
	}
	return refused
}

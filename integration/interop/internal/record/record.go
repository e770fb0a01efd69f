// Package record wraps notation-go's repository to keep what its Sign and Verify do not tell: which signature manifest
// was pushed, and which one verified.
package record

import (
	"context"

	"github.com/notaryproject/notation-go/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

// Repository passes every call on to notation-go's and remembers the last signature that went through it.
type Repository struct {
	registry.Repository
	// ArtifactTypeForm pushes signature manifests with artifactType and the empty config (specification 1.2) instead
	// of the form notation-go 1.3 writes (config.mediaType).
	ArtifactTypeForm bool
	graph            oras.GraphTarget

	// Manifest is the signature manifest last fetched or pushed.
	Manifest ocispec.Descriptor
	// EnvelopeMediaType is its envelope's.
	EnvelopeMediaType string
	// Envelope is the envelope itself.
	Envelope []byte
}

// New wraps graph.
func New(graph oras.GraphTarget) *Repository {
	return &Repository{Repository: registry.NewRepository(graph), graph: graph}
}

// FetchSignatureBlob remembers the signature that is about to be verified.
func (r *Repository) FetchSignatureBlob(ctx context.Context, manifest ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	envelope, descriptor, err := r.Repository.FetchSignatureBlob(ctx, manifest)
	r.Manifest, r.EnvelopeMediaType, r.Envelope = manifest, descriptor.MediaType, envelope
	return envelope, descriptor, err
}

// PushSignature remembers the signature manifest that was pushed.
func (r *Repository) PushSignature(ctx context.Context, mediaType string, envelope []byte, subject ocispec.Descriptor, annotations map[string]string) (ocispec.Descriptor, ocispec.Descriptor, error) {
	push := r.Repository.PushSignature
	if r.ArtifactTypeForm {
		push = r.pushWithArtifactType
	}
	blob, manifest, err := push(ctx, mediaType, envelope, subject, annotations)
	r.Manifest, r.EnvelopeMediaType, r.Envelope = manifest, mediaType, envelope
	return blob, manifest, err
}

func (r *Repository) pushWithArtifactType(ctx context.Context, mediaType string, envelope []byte, subject ocispec.Descriptor, annotations map[string]string) (ocispec.Descriptor, ocispec.Descriptor, error) {
	blob, err := oras.PushBytes(ctx, r.graph, mediaType, envelope)
	if err != nil {
		return ocispec.Descriptor{}, ocispec.Descriptor{}, err
	}
	manifest, err := oras.PackManifest(ctx, r.graph, oras.PackManifestVersion1_1, registry.ArtifactTypeNotation, oras.PackManifestOptions{
		Subject:             &subject,
		ManifestAnnotations: annotations,
		Layers:              []ocispec.Descriptor{blob},
	})
	return blob, manifest, err
}

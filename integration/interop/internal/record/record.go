// Package record wraps notation-go's repository to keep what its Sign and Verify do not tell: which signature manifest
// was pushed, and which one verified.
package record

import (
	"context"
	"errors"
	"slices"

	"github.com/notaryproject/notation-go/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
)

// Repository passes every call on to notation-go's and remembers the last signature that went through it.
type Repository struct {
	registry.Repository
	// ArtifactTypeForm pushes signature manifests with artifactType and the empty config (specification 1.2) instead
	// of the form notation-go 1.3 writes (config.mediaType).
	ArtifactTypeForm bool
	// Only, when set, hides every signature manifest but the one with this digest.
	Only  string
	graph oras.GraphTarget

	// Manifest is the signature manifest last fetched or pushed.
	Manifest ocispec.Descriptor
	// EnvelopeMediaType is its envelope's.
	EnvelopeMediaType string
	// Envelope is the envelope itself.
	Envelope []byte
	// Warning is set when the signature was pushed but the outdated referrers index could not be deleted.
	Warning string
}

// New wraps graph.
func New(graph oras.GraphTarget) *Repository {
	return &Repository{Repository: registry.NewRepository(graph), graph: graph}
}

// ListSignatures lists all signatures or the one that is asked for.
func (r *Repository) ListSignatures(ctx context.Context, artifact ocispec.Descriptor, visit func([]ocispec.Descriptor) error) error {
	return r.Repository.ListSignatures(ctx, artifact, func(manifests []ocispec.Descriptor) error {
		if r.Only != "" {
			manifests = slices.DeleteFunc(manifests, func(manifest ocispec.Descriptor) bool {
				return manifest.Digest.String() != r.Only
			})
		}
		return visit(manifests)
	})
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
	// notation's command line makes a warning of this too: many registries allow no deletion. Pushing the same bytes
	// again gives the descriptors that the error kept back; the index has the entry already, so nothing is deleted.
	var referrers *remote.ReferrersError
	if errors.As(err, &referrers) && referrers.IsReferrersIndexDelete() {
		r.Warning = err.Error()
		blob, manifest, err = push(ctx, mediaType, envelope, subject, annotations)
	}
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

// Command oras-list lists the referrers of an artifact through oras-go, in a registry or an OCI image layout: what any
// other tool of the field would see of our signatures.
package main

import (
	"context"
	"flag"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"

	"prokura.dev/interop/internal/jsonline"
	"prokura.dev/interop/internal/target"
)

type answer struct {
	Digest    string               `json:"digest,omitempty"`
	MediaType string               `json:"mediaType,omitempty"`
	Referrers []ocispec.Descriptor `json:"referrers"`
	Error     string               `json:"error,omitempty"`
}

func main() {
	var options target.Options
	options.Flags(flag.CommandLine)
	artifactType := flag.String("artifact-type", "", "list only referrers of this type")
	flag.Parse()

	result, err := list(context.Background(), &options, *artifactType)
	if err != nil {
		jsonline.Exit(answer{Referrers: []ocispec.Descriptor{}, Error: err.Error()}, false)
	}
	jsonline.Exit(result, true)
}

func list(ctx context.Context, options *target.Options, artifactType string) (*answer, error) {
	place, err := options.Open()
	if err != nil {
		return nil, err
	}
	subject, err := place.Graph.Resolve(ctx, place.Short)
	if err != nil {
		return nil, err
	}
	referrers, err := registry.Referrers(ctx, place.Graph, subject, artifactType)
	if err != nil {
		return nil, err
	}
	if referrers == nil {
		referrers = []ocispec.Descriptor{}
	}
	return &answer{Digest: subject.Digest.String(), MediaType: subject.MediaType, Referrers: referrers}, nil
}

// Package target opens the place where an artifact and its signatures are: a repository in a registry, or an OCI
// image layout.
package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// layoutRepository stands where a registry and a repository would be: notation-go accepts only full references, also
// for an artifact in a layout.
const layoutRepository = "local/layout"

// Options says where the artifact is and how to reach it.
type Options struct {
	Reference    string
	Layout       string
	Username     string
	Password     string
	CACert       string
	ReferrersTag bool
}

// Flags registers the options on the command's flag set.
func (o *Options) Flags(flags *flag.FlagSet) {
	flags.StringVar(&o.Reference, "reference", "", "host:port/repository@digest or :tag; with -layout a digest or tag")
	flags.StringVar(&o.Layout, "layout", "", "OCI image layout directory, instead of a registry")
	flags.StringVar(&o.Username, "username", "", "user name for the registry")
	flags.StringVar(&o.Password, "password", "", "password for the registry")
	flags.StringVar(&o.CACert, "ca-cert", "", "PEM file of a CA to trust for the registry; asks for TLS on localhost too")
	flags.BoolVar(&o.ReferrersTag, "referrers-tag", false, "use the referrers tag schema without asking for the API")
}

// Place is an opened target and what in it is meant.
type Place struct {
	// Graph is the repository or the layout.
	Graph oras.GraphTarget
	// Full is the reference in the form notation-go wants: registry/repository@digest.
	Full string
	// Short is the tag or digest alone.
	Short string
}

// Open reads a layout's index and resolves the reference in it; a registry is first spoken to when it is read.
func (o *Options) Open() (*Place, error) {
	if o.Reference == "" {
		return nil, errors.New("-reference is missing")
	}
	if o.Layout != "" {
		return o.openLayout()
	}
	reference, err := registry.ParseReference(o.Reference)
	if err != nil {
		return nil, err
	}
	if reference.Reference == "" {
		return nil, fmt.Errorf("%q names no tag or digest", o.Reference)
	}
	repository, err := remote.NewRepository(reference.Registry + "/" + reference.Repository)
	if err != nil {
		return nil, err
	}
	repository.PlainHTTP = o.CACert == "" && isLoopback(reference.Registry)
	if repository.Client, err = o.client(reference.Registry); err != nil {
		return nil, err
	}
	if o.ReferrersTag {
		if err := repository.SetReferrersCapability(false); err != nil {
			return nil, err
		}
	}
	return &Place{Graph: repository, Full: o.Reference, Short: reference.Reference}, nil
}

func (o *Options) openLayout() (*Place, error) {
	if info, err := os.Stat(o.Layout); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%q is not a directory", o.Layout)
	}
	store, err := oci.New(o.Layout)
	if err != nil {
		return nil, err
	}
	descriptor, err := store.Resolve(context.Background(), o.Reference)
	if err != nil {
		return nil, err
	}
	digest := descriptor.Digest.String()
	return &Place{Graph: store, Full: layoutRepository + "@" + digest, Short: digest}, nil
}

func (o *Options) client(host string) (remote.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.CACert != "" {
		pem, err := os.ReadFile(o.CACert)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%q holds no certificate", o.CACert)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := &auth.Client{Client: &http.Client{Transport: transport}, Cache: auth.NewCache()}
	if o.Username != "" {
		client.Credential = auth.StaticCredential(host, auth.Credential{Username: o.Username, Password: o.Password})
	}
	return client, nil
}

func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

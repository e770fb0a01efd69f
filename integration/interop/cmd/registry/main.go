// Command registry is an OCI registry in memory for the tests: olareg with or without the referrers API, basic or bearer
// authentication, TLS, rate limit and small referrers pages.
//
// It prints "listening HOST:PORT" when it is ready and ends when its stdin closes, so that no test leaves one behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
)

type options struct {
	listen        string
	referrers     bool
	referrersPage int64
	basicAuth     string
	tokenAuth     string
	tlsCert       string
	tlsKey        string
	deletion      bool
	oneAtATime    bool
	rateLimit     int
	log           string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address and port")
	flag.BoolVar(&o.referrers, "referrers", true, "serve the referrers API; when false it answers 404, as registries without it do")
	flag.Int64Var(&o.referrersPage, "referrers-page", 0, "largest referrers page in bytes, 0 for olareg's own")
	flag.StringVar(&o.basicAuth, "basic-auth", "", "user:password, asked for with Basic")
	flag.StringVar(&o.tokenAuth, "token-auth", "", "user:password, exchanged for a Bearer token at /token")
	flag.StringVar(&o.tlsCert, "tls-cert", "", "PEM certificate chain")
	flag.StringVar(&o.tlsKey, "tls-key", "", "PEM private key")
	flag.BoolVar(&o.deletion, "delete", false, "allow deleting manifests and blobs")
	flag.BoolVar(&o.oneAtATime, "one-at-a-time", false, "store one manifest after the other, so that olareg lists each as a referrer")
	flag.IntVar(&o.rateLimit, "rate-limit", 0, "requests per second, 429 above it")
	flag.StringVar(&o.log, "log", "", "append one JSON line per request to this file")
	flag.Parse()

	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return errors.New("-tls-cert and -tls-key belong together")
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	auth, removeAuth, err := o.auth(address)
	if err != nil {
		return err
	}
	defer removeAuth()
	registry := olareg.New(o.config(auth))
	defer registry.Close()
	handler, closeLog, err := logged(o.log, oneAtATime(o.oneAtATime, withoutReferrers(!o.referrers, registry)))
	if err != nil {
		return err
	}
	defer closeLog()

	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go endWithStdin(server)
	fmt.Println("listening", address)
	if o.tlsCert != "" {
		err = server.ServeTLS(listener, o.tlsCert, o.tlsKey)
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (o *options) config(auth config.ConfigAuth) config.Config {
	return config.Config{
		Storage: config.ConfigStorage{StoreType: config.StoreMem},
		API: config.ConfigAPI{
			DeleteEnabled: &o.deletion,
			Blob:          config.ConfigAPIBlob{DeleteEnabled: &o.deletion},
			Referrer:      config.ConfigAPIReferrer{Enabled: &o.referrers, Limit: o.referrersPage},
			RateLimit:     o.rateLimit,
		},
		Auth: auth,
	}
}

// endWithStdin closes the server as soon as whoever started it is gone.
func endWithStdin(server *http.Server) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	deadline, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(deadline) != nil {
		_ = server.Close()
	}
}

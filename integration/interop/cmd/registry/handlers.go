package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
)

// withoutReferrers answers 404 for the referrers API: olareg's own answer when it is switched off is 405, which clients
// take for a fault of the registry and not for its absence.
func withoutReferrers(absent bool, next http.Handler) http.Handler {
	if !absent {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") && strings.Contains(r.URL.Path, "/referrers/") {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// oneAtATime lets one manifest in after the other. olareg 0.2.2 reads its list of referrers, adds to it and writes it with
// no lock around all three (referrerAdd), so of manifests that arrive together it stores all and lists only some.
func oneAtATime(wanted bool, next http.Handler) http.Handler {
	if !wanted {
		return next
	}
	var lock sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			lock.Lock()
			defer lock.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// entry is one request as a test looks at it. Of the credentials only the scheme is kept.
type entry struct {
	Method        string `json:"method"`
	Path          string `json:"path"`
	Query         string `json:"query,omitempty"`
	Status        int    `json:"status"`
	Authorization string `json:"authorization,omitempty"`
	UserAgent     string `json:"userAgent,omitempty"`
}

// logged appends an entry per request to the file at path; no path, no log.
func logged(path string, next http.Handler) (http.Handler, func(), error) {
	if path == "" {
		return next, func() {}, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	var lock sync.Mutex
	encoder := json.NewEncoder(file)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observed := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		query := r.URL.RawQuery
		path := r.URL.Path
		next.ServeHTTP(observed, r)
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		lock.Lock()
		defer lock.Unlock()
		_ = encoder.Encode(entry{r.Method, path, query, observed.status, scheme, r.UserAgent()})
	})
	return handler, func() { _ = file.Close() }, nil
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the status for the log.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

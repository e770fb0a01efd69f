package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/olareg/olareg/config"
)

// auth makes olareg's authentication; what it returns second removes the file that olareg reads the users from.
func (o *options) auth(address string) (config.ConfigAuth, func(), error) {
	nothing := func() {}
	switch {
	case o.basicAuth != "" && o.tokenAuth != "":
		return config.ConfigAuth{}, nothing, errors.New("either -basic-auth or -token-auth")
	case o.basicAuth != "":
		user, password, err := userAndPassword(o.basicAuth)
		if err != nil {
			return config.ConfigAuth{}, nothing, err
		}
		auth, err := config.NewAuthBasicStatic(map[string]string{user: password}, false)
		return auth, nothing, err
	case o.tokenAuth != "":
		users, remove, err := usersFile(o.tokenAuth)
		if err != nil {
			return config.ConfigAuth{}, nothing, err
		}
		scheme := "http://"
		if o.tlsCert != "" {
			scheme = "https://"
		}
		// Clients take the realm as it is, so it must be a whole URL.
		return config.NewAuthTokenOpaque(users, config.WithAuthRealm(scheme+address+"/token")), remove, nil
	}
	return config.ConfigAuth{}, nothing, nil
}

func userAndPassword(argument string) (user, password string, err error) {
	user, password, found := strings.Cut(argument, ":")
	if !found || user == "" || password == "" {
		return "", "", errors.New("expected user:password")
	}
	return user, password, nil
}

// usersFile writes one user with all rights. olareg reads YAML, of which JSON is a part.
func usersFile(argument string) (string, func(), error) {
	nothing := func() {}
	user, password, err := userAndPassword(argument)
	if err != nil {
		return "", nothing, err
	}
	hash, err := config.PassHash(password, config.PassAlgoDefault)
	if err != nil {
		return "", nothing, err
	}
	content, err := json.Marshal(map[string]any{
		"users": map[string]any{user: map[string]string{"cred": hash}},
		"acls": []any{map[string]any{
			"repo": "*", "members": []string{user}, "access": []string{"read", "write", "delete"},
		}},
	})
	if err != nil {
		return "", nothing, err
	}
	directory, err := os.MkdirTemp("", "interop-registry-")
	if err != nil {
		return "", nothing, err
	}
	remove := func() { _ = os.RemoveAll(directory) }
	path := filepath.Join(directory, "users.yaml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		remove()
		return "", nothing, err
	}
	return path, remove, nil
}

package jsonline

import (
	"fmt"
	"strings"
)

// Pairs is a repeatable flag of key=value pairs.
type Pairs map[string]string

// String shows the pairs in the form they were given.
func (p Pairs) String() string {
	var parts []string
	for key, value := range p {
		parts = append(parts, key+"="+value)
	}
	return strings.Join(parts, ",")
}

// Set takes one key=value pair; a key may be given once.
func (p Pairs) Set(argument string) error {
	key, value, found := strings.Cut(argument, "=")
	if !found || key == "" {
		return fmt.Errorf("expected key=value, found %q", argument)
	}
	if _, exists := p[key]; exists {
		return fmt.Errorf("key %q given twice", key)
	}
	p[key] = value
	return nil
}

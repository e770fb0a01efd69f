// Package jsonline is how every command answers: one JSON object on one line of stdout.
package jsonline

import (
	"encoding/json"
	"os"
)

// Print writes value as one line and returns an error only when stdout is gone.
func Print(value any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// Exit prints value and ends the process: 0 when ok, 1 otherwise.
func Exit(value any, ok bool) {
	if err := Print(value); err != nil || !ok {
		os.Exit(1)
	}
	os.Exit(0)
}

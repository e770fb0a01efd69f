// Command tlog-check verifies an audit log with the Go project's own note and tlog packages: the signature of the
// checkpoint, every tile, every entry's inclusion, and receipts with the consistency of their checkpoints.
package main

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"prokura.dev/interop/internal/jsonline"
)

type answer struct {
	Verified bool   `json:"verified"`
	Origin   string `json:"origin,omitempty"`
	Size     int64  `json:"size"`
	Receipts int    `json:"receipts"`
	Error    string `json:"error,omitempty"`
}

// receipt is one line of the file that -receipts names.
type receipt struct {
	Index      int64    `json:"index"`
	Entry      []byte   `json:"entry"`
	Proof      [][]byte `json:"proof"`
	Checkpoint string   `json:"checkpoint"`
}

func main() {
	directory := flag.String("dir", "", "the log's directory")
	vkey := flag.String("vkey", "", "the log's verifier key")
	receipts := flag.String("receipts", "", "a file with one receipt as JSON a line")
	flag.Parse()

	result := answer{}
	if err := check(*directory, *vkey, *receipts, &result); err != nil {
		result.Error = err.Error()
		jsonline.Exit(result, false)
	}
	result.Verified = true
	jsonline.Exit(result, true)
}

func check(directory, vkey, receipts string, result *answer) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(text, verifier)
	if err != nil {
		return err
	}
	result.Origin, result.Size = verifier.Name(), tree.N
	reader := tlog.TileHashReader(tree, tiles(directory))
	if err := checkEntries(directory, tree, reader); err != nil {
		return err
	}
	if receipts == "" {
		return nil
	}
	file, err := os.ReadFile(receipts)
	if err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimSpace(string(file)), "\n") {
		if err := checkReceipt([]byte(line), verifier, tree, reader); err != nil {
			return err
		}
		result.Receipts++
	}
	return nil
}

// open verifies a checkpoint and reads its three lines.
func open(text []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s: %q", verifier.Name(), opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// checkEntries proves every entry of every bundle; the reader verifies each tile against the root.
func checkEntries(directory string, tree tlog.Tree, reader tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += 256 {
		width := min(256, int(tree.N-first))
		bundle, err := os.ReadFile(path(directory, tlog.Tile{H: 8, L: -1, N: first / 256, W: width}))
		if err != nil {
			return err
		}
		for place := int64(0); place < int64(width); place++ {
			if len(bundle) < 2 || len(bundle) < 2+int(bundle[0])<<8+int(bundle[1]) {
				return fmt.Errorf("bundle %d is cut", first/256)
			}
			length := int(bundle[0])<<8 + int(bundle[1])
			proof, err := tlog.ProveRecord(tree.N, first+place, reader)
			if err != nil {
				return err
			}
			hash := tlog.RecordHash(bundle[2 : 2+length])
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, first+place, hash); err != nil {
				return fmt.Errorf("entry %d: %w", first+place, err)
			}
			bundle = bundle[2+length:]
		}
		if len(bundle) != 0 {
			return fmt.Errorf("bundle %d is too long", first/256)
		}
	}
	return nil
}

func checkReceipt(line []byte, verifier note.Verifier, tree tlog.Tree, reader tlog.HashReader) error {
	var found receipt
	if err := json.Unmarshal(line, &found); err != nil {
		return err
	}
	old, err := open([]byte(found.Checkpoint), verifier)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, hash := range found.Proof {
		parsed, err := tlog.ParseHash(base64.StdEncoding.EncodeToString(hash))
		if err != nil {
			return err
		}
		proof = append(proof, parsed)
	}
	if err := tlog.CheckRecord(proof, old.N, old.Hash, found.Index, tlog.RecordHash(found.Entry)); err != nil {
		return fmt.Errorf("receipt of entry %d: %w", found.Index, err)
	}
	consistency, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return err
	}
	return tlog.CheckTree(consistency, tree.N, tree.Hash, old.N, old.Hash)
}

// path is that of C2SP tlog-tiles: without the height, and entries instead of data.
func path(directory string, tile tlog.Tile) string {
	name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return filepath.Join(directory, strings.Replace(name, "tile/data/", "tile/entries/", 1))
}

// tiles reads from the log's directory.
type tiles string

func (directory tiles) Height() int { return 8 }

func (directory tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (directory tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		bytes, err := os.ReadFile(path(string(directory), tile))
		if err != nil {
			return nil, err
		}
		found = append(found, bytes)
	}
	return found, nil
}

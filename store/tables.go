package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTables looks at the parts of Badger's table files that Badger reads while
// opening, on goroutines of its own and with assertions that end the process:
// the index at a table's end and its last block. Damage elsewhere is an error
// where it is read. Only tables of the manifest count: a process that was killed
// while it wrote one leaves it unfinished, and Badger removes it.
func checkTables(dir string, opts badger.Options) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new store, or damage that Badger names
	}
	if err != nil {
		return err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, opts.ExternalMagicVersion, opts)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	for id := range m.Tables {
		name := table.NewFilename(id, dir)
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := checkTable(b); err != nil {
			return fmt.Errorf("table %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

var errTable = errors.New("is cut off or overwritten")

// checkTable: a table ends with its index, the index's length, a checksum of the
// index and that checksum's length, lengths in four bytes big-endian.
func checkTable(b []byte) (err error) {
	defer func() {
		if recover() != nil { // a flat buffer with wrong offsets
			err = errTable
		}
	}()
	rest, sum, ok := lastPart(b)
	if !ok {
		return errTable
	}
	rest, index, ok := lastPart(rest)
	if !ok || !intact(index, sum) {
		return errTable
	}
	t := fb.GetRootAsTableIndex(index, 0)
	var last fb.BlockOffset
	if t.OffsetsLength() == 0 || !t.Offsets(&last, t.OffsetsLength()-1) {
		return errTable
	}
	end := uint64(last.Offset()) + uint64(last.Len())
	if end > uint64(len(rest)) {
		return errTable
	}
	block, sum, ok := lastPart(rest[last.Offset():end])
	if !ok || !intact(block, sum) {
		return errTable
	}
	return nil
}

// lastPart splits off what the length in the last four bytes measures.
func lastPart(b []byte) (rest, part []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	b = b[:len(b)-4]
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:uint64(len(b))-n], b[uint64(len(b))-n:], true
}

func intact(data, checksum []byte) bool {
	var c pb.Checksum
	return proto.Unmarshal(checksum, &c) == nil && y.VerifyChecksum(data, &c) == nil
}

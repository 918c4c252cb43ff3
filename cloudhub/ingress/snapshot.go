package ingress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/penstock-io/penstock/internal/binread"
)

// A snapshot file is the magic, then uvarints and length-prefixed strings:
//
//	created  the stream's creation time, Unix nanoseconds
//	last     the stream sequence covered
//	direct, repeated
//	sources  their number, then of each:
//	         device epoch collapsed collapsedHas floor duplicates last
//	         parts of the set: their number, then of each the distance of first
//	         from the previous last (the first's own number for the first), a
//	         byte for its form, and
//	           0, full: last − first
//	           1, runs: their number, then of each the distance of from from the
//	              end of the previous (its own number for the first), and to − from
//	           2, bitmap: 1,024 words of 8 bytes, little-endian
//
// and four bytes of CRC-32C over all before, big-endian.
const snapshotMagic = "PENSTOCK INDEX 2\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type snapshot struct {
	created                int64
	last, direct, repeated uint64
	sources                []*source
}

// save writes the index if it has moved since the last time.
func (g *Ingress) save() error {
	if g.cfg.Snapshot == "" || !g.dirty {
		return nil
	}
	g.index.mu.RLock()
	data := g.index.encode(g.created.UnixNano())
	g.index.mu.RUnlock()
	if err := writeFile(g.cfg.Snapshot, data); err != nil {
		return fmt.Errorf("write index snapshot: %w", err)
	}
	g.dirty = false
	return nil
}

func readSnapshot(path string) (*snapshot, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index snapshot: %w", err)
	}
	return decodeSnapshot(data)
}

func (x *index) encode(created int64) []byte {
	b := make([]byte, 0, 4096)
	for _, v := range []uint64{uint64(created), x.last, x.direct, x.repeated, uint64(len(x.sources))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, s := range x.sources {
		b = binread.Append(binread.Append(b, s.device), s.epoch)
		for _, v := range []uint64{s.collapsed, s.collapsedHas, s.floor, s.duplicates, s.last} {
			b = binary.AppendUvarint(b, v)
		}
		b = s.set.encode(b)
	}
	return seal(b)
}

// seal puts the magic before and the checksum behind a snapshot's content.
func seal(content []byte) []byte {
	b := append(append(make([]byte, 0, len(content)+32), snapshotMagic...), content...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeSnapshot(data []byte) (*snapshot, error) {
	n := len(data) - 4
	if n < len(snapshotMagic) || string(data[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("decode index snapshot: not of this version: %w", ErrSnapshot)
	}
	if crc32.Checksum(data[:n], castagnoli) != binary.BigEndian.Uint32(data[n:]) {
		return nil, fmt.Errorf("decode index snapshot: checksum differs: %w", ErrSnapshot)
	}
	r := binread.Reader{B: data[len(snapshotMagic):n]}
	s := &snapshot{created: int64(r.Uvarint()), last: r.Uvarint(), direct: r.Uvarint(), repeated: r.Uvarint()}
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		s.sources = append(s.sources, readSource(&r))
	}
	if !r.Whole() {
		return nil, fmt.Errorf("decode index snapshot: %w", ErrSnapshot)
	}
	return s, nil
}

// into fills an empty index.
func (s *snapshot) into(x *index) {
	x.last, x.direct, x.repeated = s.last, s.direct, s.repeated
	for _, src := range s.sources {
		x.insert(src)
	}
}

// readSource reads one source of a snapshot.
func readSource(r *binread.Reader) *source {
	s := &source{
		device: r.String(), epoch: r.String(), collapsed: r.Uvarint(), collapsedHas: r.Uvarint(),
		floor: r.Uvarint(), duplicates: r.Uvarint(), last: r.Uvarint(),
	}
	s.set.decode(r)
	return s
}

// writeFile replaces path in one step that survives a power cut.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

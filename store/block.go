package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/penstock-io/penstock/internal/binread"
)

// A block's value is a header of two big-endian uint32 (checksum, length of the
// entries), the entries, and perhaps zeros (see pad).
const blockHeader = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is one message of a block. data is message.Append's.
type entry struct {
	rule    uint32
	expires int64 // Unix ms; 0: never
	meta    []byte
	data    []byte
}

func (e *entry) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(e.rule))
	dst = binary.AppendUvarint(dst, uint64(e.expires))
	dst = binread.Append(dst, e.meta)
	return binread.Append(dst, e.data)
}

// read takes the entry at the front of r; its slices share r's memory.
func (e *entry) read(r *binread.Reader) {
	e.rule, e.expires = r.Uint32(), int64(r.Uvarint())
	e.meta, e.data = r.Bytes(), r.Bytes()
}

// seal fills in the header of a value whose first blockHeader bytes are free.
// key is the block's key up to its first sequence: a block in the wrong place
// does not pass.
func seal(key, value []byte) {
	binary.BigEndian.PutUint32(value[4:], uint32(len(value)-blockHeader))
	binary.BigEndian.PutUint32(value, checksum(key, value[4:]))
}

// pad lengthens a sealed value so that it goes to the value log.
func pad(value []byte) []byte {
	if len(value) > valueThreshold {
		return value
	}
	return append(value, make([]byte, valueThreshold+1-len(value))...)
}

// entriesOf verifies a value read for key and returns its entries.
func entriesOf(key, value []byte) ([]byte, error) {
	if len(value) < blockHeader {
		return nil, fmt.Errorf("read block %x: %d bytes: %w", key, len(value), ErrDamaged)
	}
	n := uint64(binary.BigEndian.Uint32(value[4:]))
	if n > uint64(len(value)-blockHeader) {
		return nil, fmt.Errorf("read block %x: cut off: %w", key, ErrDamaged)
	}
	if binary.BigEndian.Uint32(value) != checksum(key, value[4:blockHeader+n]) {
		return nil, fmt.Errorf("read block %x: checksum differs: %w", key, ErrDamaged)
	}
	return value[blockHeader : blockHeader+n], nil
}

func checksum(key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, b)
}

// sealed prefixes b, a small value, with its checksum; unseal takes it off again.
func sealed(key, b []byte) []byte {
	v := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), checksum(key, b))
	return append(v, b...)
}

func unseal(key, v []byte) ([]byte, error) {
	if len(v) < 4 || binary.BigEndian.Uint32(v) != checksum(key, v[4:]) {
		return nil, fmt.Errorf("read %x: checksum differs: %w", key, ErrDamaged)
	}
	return v[4:], nil
}

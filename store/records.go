package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/penstock-io/penstock/message"
)

// Put writes records in one commit; a nil Value deletes. done, which must not
// block, is called once they are durable, or with the reason why not; it may be
// nil. Records written by Put, by requests and with settlements take effect in
// the order in which they were handed over.
func (s *Store) Put(done func(error), rs ...message.Record) {
	for i := range rs {
		if err := checkRecord(&rs[i]); err != nil {
			if done != nil {
				done(fmt.Errorf("put %w", err))
			}
			return
		}
	}
	o := &op{records: rs, done: done, eager: true, bytes: recordBytes(rs)}
	o.weigh()
	if !o.weight.half() {
		if done != nil {
			done(fmt.Errorf("put %d records: %w", len(rs), ErrTooLarge))
		}
		return
	}
	s.in.put(o)
}

// Get returns one record's value, or ErrNotFound.
func (s *Store) Get(bucket, key string) ([]byte, error) {
	v, err := s.get(recordKey(bucket, key))
	if err == nil && v == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get record %q of bucket %q: %w", key, bucket, err)
	}
	return v, nil
}

// Records calls each for every record of a bucket, in the order of their keys,
// as of one moment, until it returns an error. value is valid during the call only.
func (s *Store) Records(bucket string, each func(key string, value []byte) error) error {
	if bucket == "" || hasNUL(bucket) {
		return fmt.Errorf("bucket %q: %w", bucket, ErrName)
	}
	prefix := recordKey(bucket, "")
	err := s.scan(prefix, prefix, func(it *badger.Item) (bool, error) {
		err := it.Value(func(v []byte) error {
			k := it.KeyCopy(nil)
			body, err := unseal(k, v)
			if err != nil {
				return err
			}
			return each(string(k[len(prefix):]), body)
		})
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("read bucket %q: %w", bucket, err)
	}
	return nil
}

// get reads one sealed value; nil without error if the key is not there.
func (s *Store) get(key []byte) (body []byte, err error) {
	if !s.reads.enter() {
		return nil, ErrClosed
	}
	defer s.reads.leave()
	var v []byte
	for range 3 { // a value log file may be rewritten between the two steps of a read
		err = s.db.View(func(txn *badger.Txn) error {
			it, err := txn.Get(key)
			if err != nil {
				return err
			}
			v, err = it.ValueCopy(nil)
			return err
		})
		if err == nil || errors.Is(err, badger.ErrKeyNotFound) {
			break
		}
	}
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return unseal(key, v)
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

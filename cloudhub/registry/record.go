package registry

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/identity"
)

// keySize is what a generated key has, in bytes before base64.
const keySize = 32

// inherit fills d's missing credentials from what was registered, or with new keys.
func inherit(d, old *identity.Device) {
	d.Modules = slices.Clone(d.Modules)
	if old != nil {
		keep(&d.Key, old.Key)
		keep(&d.SecondaryKey, old.SecondaryKey)
	}
	if d.Key == "" && len(d.Thumbprints) == 0 && !d.CA {
		d.Key, d.SecondaryKey = newKey(), newKey()
	}
	for i := range d.Modules {
		m := &d.Modules[i]
		if old != nil {
			for _, o := range old.Modules {
				if o.ID == m.ID {
					keep(&m.Key, o.Key)
					keep(&m.SecondaryKey, o.SecondaryKey)
				}
			}
		}
		if m.Key == "" && len(m.Thumbprints) == 0 {
			m.Key, m.SecondaryKey = newKey(), newKey()
		}
	}
}

func keep(k *identity.Secret, old identity.Secret) {
	if *k == "" {
		*k = old
	}
}

func newKey() identity.Secret {
	b := make([]byte, keySize)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return identity.Secret(base64.StdEncoding.EncodeToString(b))
}

// deviceKey is the id as a KV key, where '%' is not allowed: =XX stands for
// every byte outside A–Z, a–z, 0–9, '-' and '_'.
func deviceKey(id string) string { return strings.ReplaceAll(stream.Token(id), "%", "=") }

// deviceID is the inverse of deviceKey for keys this package made.
func deviceID(key string) string {
	id, err := stream.ParseToken(strings.ReplaceAll(key, "=", "%"))
	if err != nil {
		return key
	}
	return id
}

// record is a device as the bucket holds it, keys included.
type record struct {
	ID           string   `json:"id"`
	Key          string   `json:"key,omitempty"`
	SecondaryKey string   `json:"secondary_key,omitempty"`
	Thumbprints  []string `json:"thumbprints,omitempty"`
	CA           bool     `json:"ca,omitempty"`
	Edge         bool     `json:"edge,omitempty"`
	Parent       string   `json:"parent,omitempty"`
	Disabled     bool     `json:"disabled,omitempty"`
	Groups       []string `json:"groups,omitempty"`
	Modules      []record `json:"modules,omitempty"` // id, keys and thumbprints only
}

func encode(d *identity.Device) []byte {
	r := record{
		ID: d.ID, Key: d.Key.Reveal(), SecondaryKey: d.SecondaryKey.Reveal(), Thumbprints: d.Thumbprints,
		CA: d.CA, Edge: d.Edge, Parent: d.Parent, Disabled: d.Disabled, Groups: d.Groups,
	}
	for _, m := range d.Modules {
		r.Modules = append(r.Modules, record{ID: m.ID, Key: m.Key.Reveal(), SecondaryKey: m.SecondaryKey.Reveal(), Thumbprints: m.Thumbprints})
	}
	b, _ := json.Marshal(r) // strings and booleans always marshal
	return b
}

func decode(b []byte) (*identity.Device, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("decode device: %w", err)
	}
	d := &identity.Device{
		ID: r.ID, Key: identity.Secret(r.Key), SecondaryKey: identity.Secret(r.SecondaryKey), Thumbprints: r.Thumbprints,
		CA: r.CA, Edge: r.Edge, Parent: r.Parent, Disabled: r.Disabled, Groups: r.Groups,
	}
	for _, m := range r.Modules {
		d.Modules = append(d.Modules, identity.Module{ID: m.ID, Key: identity.Secret(m.Key), SecondaryKey: identity.Secret(m.SecondaryKey), Thumbprints: m.Thumbprints})
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("decode device: %w", err)
	}
	return d, nil
}

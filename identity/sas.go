package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxToken bounds what ParseSAS looks at; real tokens stay below 700 bytes.
const maxToken = 4096

const sasScheme = "SharedAccessSignature "

// ErrToken: a password looks like a SAS token and cannot be read as one.
var ErrToken = errors.New("malformed SAS token")

// Token is a SAS token taken apart (contract 2.2).
type Token struct {
	Resource string    // decoded
	Policy   string    // skn; empty for a device's own key
	Expires  time.Time // to the second

	signature []byte
	signed    string // sr as received, a line feed, se as received
}

// IsSAS reports whether a password is meant to be a SAS token.
func IsSAS(password []byte) bool { return strings.HasPrefix(string(password), sasScheme) }

// ParseSAS reads a token; its fields come in any order. Nothing is verified.
// Errors wrap ErrToken and do not quote the token.
func ParseSAS(s string) (*Token, error) {
	fields, ok := strings.CutPrefix(s, sasScheme)
	if !ok || len(s) > maxToken {
		return nil, fmt.Errorf("%w: does not begin with SharedAccessSignature, or is above %d bytes", ErrToken, maxToken)
	}
	raw := map[string]string{}
	for pair := range strings.SplitSeq(fields, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, twice := raw[name]; twice {
			return nil, fmt.Errorf("%w: a field occurs twice", ErrToken)
		}
		raw[name] = value
	}
	return newToken(raw)
}

func newToken(raw map[string]string) (*Token, error) {
	t := &Token{signed: raw["sr"] + "\n" + raw["se"]}
	var err error
	if t.Resource, err = url.PathUnescape(raw["sr"]); err != nil || t.Resource == "" {
		return nil, fmt.Errorf("%w: resource sr", ErrToken)
	}
	if t.Policy, err = url.PathUnescape(raw["skn"]); err != nil {
		return nil, fmt.Errorf("%w: policy skn", ErrToken)
	}
	seconds, err := strconv.ParseInt(raw["se"], 10, 64)
	if err != nil || seconds < 0 {
		return nil, fmt.Errorf("%w: expiry se, want decimal seconds since 1970", ErrToken)
	}
	t.Expires = time.Unix(seconds, 0)
	sig, err := url.PathUnescape(raw["sig"])
	if err != nil {
		return nil, fmt.Errorf("%w: signature sig", ErrToken)
	}
	if t.signature, err = base64.StdEncoding.DecodeString(sig); err != nil || len(t.signature) == 0 {
		return nil, fmt.Errorf("%w: signature sig, want base64", ErrToken)
	}
	return t, nil
}

// SignedBy reports whether key, in base64, made the token's signature. The
// signature is computed over the resource exactly as received, because SDKs
// differ in how they escape it.
func (t *Token) SignedBy(key Secret) bool {
	secret, err := base64.StdEncoding.DecodeString(key.Reveal())
	if err != nil || len(secret) == 0 {
		return false
	}
	return hmac.Equal(t.signature, sign(secret, t.signed))
}

// SAS makes a token for resource, such as hub.example.com/devices/press-7, signed
// with key, which is base64. It fails only if key is not.
func SAS(resource string, key Secret, expires time.Time) (string, error) {
	secret, err := base64.StdEncoding.DecodeString(key.Reveal())
	if err != nil || len(secret) == 0 {
		return "", errors.New("sign token: key is not base64")
	}
	sr := url.QueryEscape(resource)
	se := strconv.FormatInt(expires.Unix(), 10)
	sig := base64.StdEncoding.EncodeToString(sign(secret, sr+"\n"+se))
	return sasScheme + "sr=" + sr + "&sig=" + url.QueryEscape(sig) + "&se=" + se, nil
}

// Resource is the SAS resource of a device, or of a module if module is not empty.
func Resource(host, device, module string) string {
	if module == "" {
		return host + "/devices/" + device
	}
	return host + "/devices/" + device + "/modules/" + module
}

func sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

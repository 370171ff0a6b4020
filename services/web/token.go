package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
)

// Tokens makes and checks the tokens that guard what belongs to one InfraEnv or one host. They need no store: whoever has the site's
// key can make them again.
type Tokens struct{ key []byte }

// NewTokens takes the site's key, 32 random bytes.
func NewTokens(key []byte) Tokens { return Tokens{slices.Clone(key)} }

// InfraEnv is the token of the InfraEnv with that metadata.uid, fit for URLs and headers.
func (t Tokens) InfraEnv(uid string) string { return t.make("infraenv/" + uid) }

// CheckInfraEnv compares in constant time. Without a key or a uid nothing is right.
func (t Tokens) CheckInfraEnv(uid, token string) bool {
	return len(t.key) > 0 && uid != "" && hmac.Equal([]byte(t.InfraEnv(uid)), []byte(token))
}

// Host is the token that an installed host shows; the live OS never has it.
func (t Tokens) Host(hostID string) string { return t.make("host/" + hostID) }

// CheckHost compares in constant time. Without a key or an id nothing is right.
func (t Tokens) CheckHost(hostID, token string) bool {
	return len(t.key) > 0 && hostID != "" && hmac.Equal([]byte(t.Host(hostID)), []byte(token))
}

func (t Tokens) make(purpose string) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(purpose))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// String keeps the key out of logs.
func (t Tokens) String() string { return "tokens" }

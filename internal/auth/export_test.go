package auth

// NewJWKSVerifierBy fetches by a transport of the test's.
var NewJWKSVerifierBy = newJWKSVerifier

// ParseKeySet reads an issuer's answer.
func ParseKeySet(raw []byte) error { return new(keySet).parse(raw) }

// DecodeKeys reads a key file's content, of a length that one may have, and writes it again.
func DecodeKeys(content []byte) (again []byte, ok bool) {
	size := len(content)
	if size < keyBytes || (size-keyBytes)%otherBytes != 0 || (size-keyBytes)/otherBytes > maxOtherKeys {
		return nil, false
	}
	return decodeKeys(content).encode(), true
}

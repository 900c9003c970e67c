package auth

// NewJWKSVerifierBy fetches by a transport of the test's.
var NewJWKSVerifierBy = newJWKSVerifier

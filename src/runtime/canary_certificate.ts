/**
 * The certificate of the start-up canary (`canary.ts`): self-signed, P-256, for 127.0.0.1, valid from 2026 to 2126.
 *
 * Everything about it is in order except that nobody trusts it, so a client that accepts it does not verify who signed.
 */
export const CANARY_CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBsDCCAVagAwIBAgIQauPfgoGYTGOGXdezWZZY/TAKBggqhkjOPQQDAjAUMRIw
EAYDVQQDEwkxMjcuMC4wLjEwIBcNMjYwMTAxMDAwMDAwWhgPMjEyNjAxMDEwMDAw
MDBaMBQxEjAQBgNVBAMTCTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABHqB3grnSmm1T8i4HdY63sUGdzKXLQghNev3K9rnEVN7xjD+fuaDWw/oP0tl
oovQEzaDmdgve39dWQiVWUph+QSjgYcwgYQwDAYDVR0TAQH/BAIwADAOBgNVHQ8B
Af8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwEwDwYDVR0RBAgwBocEfwAAATAf
BgNVHSMEGDAWgBTO66+2QC+6haFdR3/uFZHjoAbmPzAdBgNVHQ4EFgQUzuuvtkAv
uoWhXUd/7hWR46AG5j8wCgYIKoZIzj0EAwIDSAAwRQIgFjUrZNKynUbfkqoGGv4m
al83l8j5ukQB/MDwRhNK39QCIQCBWDzHMT7J4MgcC+AItwqf+a2AKCEAcLHapOic
LbqvHw==
-----END CERTIFICATE-----
`;

/**
 * Its private key, public on purpose: it protects nothing.
 *
 * No authority signed the certificate, it names no host but 127.0.0.1, and the listener that uses it lives for
 * milliseconds and answers with an empty response. A key made at each start would need an X.509 writer in the library.
 */
export const CANARY_KEY_NOT_A_SECRET = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaxls5mB4X4h9nnKF
N6pd6CvqYlTzDqd/0hJ15nyakUqhRANCAAR6gd4K50pptU/IuB3WOt7FBncyly0I
ITXr9yva5xFTe8Yw/n7mg1sP6D9LZaKL0BM2g5nYL3t/XVkIlVlKYfkE
-----END PRIVATE KEY-----
`;

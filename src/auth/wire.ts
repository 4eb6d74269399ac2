/**
 * Every name that a draft or a standard gives to what travels between services, the one place that knows them.
 *
 * @see {@link https://datatracker.ietf.org/doc/html/draft-ietf-wimse-workload-creds-02}
 * @see {@link https://datatracker.ietf.org/doc/html/draft-ietf-wimse-http-signature-08}
 * @see {@link https://datatracker.ietf.org/doc/html/draft-niyikiza-oauth-attenuating-agent-tokens-02}
 *
 * @module
 */

/** The one signature algorithm, by its fully specified name (RFC 9864). */
export const ALGORITHM = "Ed25519";

/** The header with the Workload Identity Token (draft-ietf-wimse-workload-creds, section 4.1.1). */
export const WIT_HEADER = "workload-identity-token";
/** The types in the JOSE header, which keep tokens of one kind from being taken for another (RFC 8725, section 3.11). */
export const TOKEN_TYPES = {
  wit: "wit+jwt",
  capability: "aat+jwt",
  bundle: "trust-bundle+jwt",
  enrollment: "wit-request+jwt",
} as const;
/** What a key of a trust bundle may sign (SPIFFE Trust Domain and Bundle, section 4.1). */
export const KEY_USES = { wit: "wit-svid", capability: "aat" } as const;
/** The members of a trust bundle beside its keys. */
export const BUNDLE_SEQUENCE = "spiffe_sequence";
/** How often to look for a newer bundle, in seconds. */
export const BUNDLE_REFRESH_HINT = "spiffe_refresh_hint";
/** What is revoked, in a trust bundle. */
export const BUNDLE_REVOKED = "urn:postern:revoked";
/** The service names that a workload may serve, in a WIT. */
export const SERVES_CLAIM = "urn:postern:serves";
/** The attributes of a workload, in a WIT. */
export const ATTRIBUTES_CLAIM = "urn:postern:attributes";
/** The thumbprint of the workload's certificate, beside its key in `cnf` (RFC 8705, section 3.1). */
export const CERTIFICATE_MEMBER = "x5t#S256";

/** The label of our signatures; a recipient takes any (draft-ietf-wimse-http-signature, section 3). */
export const SIGNATURE_LABEL = "wimse";
/** The tag of a request's and a response's signature. */
export const SIGNATURE_TAG = "wimse-workload-to-workload";
/** The header with what is signed (RFC 9421, section 4.1). */
export const SIGNATURE_INPUT_HEADER = "signature-input";
/** The header with the signature (RFC 9421, section 4.2). */
export const SIGNATURE_HEADER = "signature";
/** The header with the body's digest (RFC 9530, section 2). */
export const CONTENT_DIGEST_HEADER = "content-digest";
/** The derived components that every request's signature covers. */
export const REQUEST_COMPONENTS = ['"@method"', '"@request-target"'] as const;
/** The headers that a request's signature must cover where the request has them; the first five are the draft's. */
export const REQUEST_HEADERS = [
  "content-type",
  "content-digest",
  "authorization",
  "txn-token",
  "workload-identity-token",
  "connect-timeout-ms",
  "idempotency-key",
  "postern-callers",
  "postern-delegation",
  "postern-session",
] as const;
/** The header with the trace; a proxy may add one, which then counts for nothing. */
export const TRACE_HEADER = "traceparent";
/** The components that every response's signature covers. */
export const RESPONSE_COMPONENTS = ['"@status"', '"@method";req', '"@request-target";req'] as const;
/** The headers that a response's signature covers where the response has them. */
export const RESPONSE_HEADERS = [
  "content-type",
  "content-digest",
  "workload-identity-token",
  "postern-session",
  "postern-encryption-key",
] as const;

/** What the keys of a session are made for: sessions of another version have other keys. */
export const SESSION_VERSION = "postern-session-v1";
/** The tag that keeps a session's signatures apart from those of a key pair (RFC 9421, section 2.3). */
export const SESSION_TAG = "postern-session";
/** The label of a session's signatures; a recipient takes no other, because both sides are this toolkit. */
export const SESSION_LABEL = "s";
/** The header with which a client opens a session, and by which a server says that it is open. */
export const SESSION_HEADER = "postern-session";
/** The header with the server's X25519 key, by which clients make session keys with it. */
export const ENCRYPTION_KEY_HEADER = "postern-encryption-key";
/** The headers that a session's signature covers where the request has them, in this order and no other. */
export const SESSION_HEADERS = [
  "content-type",
  "content-digest",
  "authorization",
  "connect-timeout-ms",
  "idempotency-key",
  "postern-callers",
  "postern-delegation",
] as const;
/** The headers that a request under a session does not have: they were shown when it was opened. */
export const NOT_IN_SESSION = ["workload-identity-token", "txn-token", "postern-session"] as const;

/** The scheme of the `authorization` header that carries a capability's chain. */
export const CAPABILITY_SCHEME = "AAT ";
/** What stands between the tokens of a chain, the first signed first. */
export const CHAIN_SEPARATOR = "~";
/** The type of the entry in `authorization_details` (RFC 9396, section 2). */
export const CAPABILITY_DETAILS = "attenuating_agent_token";
/** How a derived token names its issuer: by the thumbprint of the key that signed it (RFC 9278). */
export const THUMBPRINT_URI = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";
/** The holder in `cnf` by its identity, in place of its key. */
export const HOLDER_MEMBER = "urn:postern:sub";
/** The header with the identities that a call came through before its caller; the caller vouches for them. */
export const CALLERS_HEADER = "postern-callers";
/** The header with a right that the caller hands to the service it calls, for calls of its own. */
export const DELEGATION_HEADER = "postern-delegation";

/** Headers of which each says that its sender wants to be somebody, or to use a right. */
export const CREDENTIAL_HEADERS = [
  WIT_HEADER,
  SIGNATURE_INPUT_HEADER,
  SIGNATURE_HEADER,
  "authorization",
  "txn-token",
  CALLERS_HEADER,
  DELEGATION_HEADER,
  SESSION_HEADER,
] as const;

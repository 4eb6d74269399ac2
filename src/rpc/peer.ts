/** What a listener knows of the certificate on the other side of a connection. */
export interface PeerCertificate {
  /** SHA-256 of the certificate's DER as base64url, which is `x5t#S256` of RFC 8705 section 3.1. */
  readonly thumbprint: string;
  /** The URIs it names (subject alternative names), such as SPIFFE IDs; none where one of them is not a plain URI. */
  readonly ids: readonly string[];
  /** Whether a configured proxy passed it on, and the connection itself is the proxy's (RFC 9440). */
  readonly forwarded: boolean;
}

/**
 * Where a listener puts the {@linkcode PeerCertificate}.
 *
 * A symbol, so that no environment object that a runtime or a router passes to `fetch` can be taken for it.
 */
export const PEER_CERTIFICATE: unique symbol = Symbol("postern.peerCertificate");

/** What a listener knows beside the request: the second argument of a server's `fetch`. */
export interface PeerInfo {
  /** The caller's certificate, verified by the listener; absent where the caller showed none. */
  readonly [PEER_CERTIFICATE]?: PeerCertificate;
}

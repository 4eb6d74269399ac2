import { createHash, X509Certificate } from "node:crypto";
import { PEER_CERTIFICATE, type PeerCertificate, type PeerInfo } from "../rpc/mod.ts";
import { type CertificateFields, readCertificate } from "./certificate.ts";
import { CLIENT_CERT, CLIENT_CERT_CHAIN, readClientCert } from "./client_cert_header.ts";
import type { ClientCertOptions } from "./runtime.ts";

/** Some hundred callers behind a proxy, at about 2 KB each. */
const MAX_REMEMBERED = 256;

/** The part of `TLSSocket` that is read, also through the proxy that an HTTP/2 session shows instead of it. */
export interface CertifiedSocket {
  /** Whether the handshake verified the client's certificate. */
  readonly authorized?: boolean;
  /** The client's certificate, an empty object where there is none. */
  getPeerCertificate?(): { readonly raw?: Uint8Array };
}

/** Who is on the other side, or the status with which the request is refused. */
export type PeerOutcome =
  | { readonly info: PeerInfo; readonly refused?: undefined }
  | { readonly refused: 400 | 403 };

/**
 * Tells who sent a request, and takes the headers of RFC 9440 off it, whoever sent them.
 *
 * @param socket The connection it came by.
 * @param headers The request's headers.
 */
export type PeerReader = (socket: CertifiedSocket, headers: Headers) => PeerOutcome;

/** A certificate of the other side as it is kept for as long as its connection. */
interface Peer {
  readonly certificate: PeerCertificate;
  readonly fields: CertificateFields;
  readonly outcome: PeerOutcome;
}

/**
 * Makes the reader of a listener's peers.
 *
 * The handshake has verified the peer's own certificate. What a handshake cannot see is checked here at each request:
 * that the certificate has not expired since, on a connection that stays open or on a session that was resumed.
 *
 * @param options Whose certificates are accepted, and who may pass on those of others.
 * @param now The time in ms since 1970.
 * @returns The reader.
 * @throws {TypeError} For an authority's certificate that cannot be read.
 */
export function createPeerReader(options: ClientCertOptions, now: () => number = Date.now): PeerReader {
  const caCerts = parseAuthorities("caCerts", options.caCerts);
  const { forwardedCaCerts } = options;
  const readForwarded = forwardedReader(
    forwardedCaCerts ? parseAuthorities("forwardedCaCerts", forwardedCaCerts) : caCerts,
  );
  const proxies: ReadonlySet<string> = new Set(options.proxies);
  const peers = new WeakMap<CertifiedSocket, Peer>();
  return (socket, headers) => {
    const header = takeClientCert(headers);
    const peer = peers.get(socket) ?? readPeer(socket);
    if (!peer || !isCurrent(peer.fields, now())) return { refused: 403 };
    peers.set(socket, peer);
    // SPIFFE allows a certificate one URI only; with two it is not said who it is.
    const { ids } = peer.certificate;
    if (ids.length !== 1 || !proxies.has(ids[0])) return peer.outcome;
    return header === null ? { info: {} } : readForwarded(header, now());
  };
}

/** The certificate's value is in `info` only, so that no handler can read a header that nobody checked. */
function takeClientCert(headers: Headers): string | null {
  const value = headers.get(CLIENT_CERT);
  if (value !== null) headers.delete(CLIENT_CERT);
  if (headers.has(CLIENT_CERT_CHAIN)) headers.delete(CLIENT_CERT_CHAIN);
  return value;
}

function readPeer(socket: CertifiedSocket): Peer | undefined {
  const raw = readRaw(socket);
  const fields = raw && readCertificate(raw);
  if (!fields) return undefined;
  const certificate = certificateOf(raw, fields, false);
  return { certificate, fields, outcome: { info: { [PEER_CERTIFICATE]: certificate } } };
}

/** The socket of an HTTP/2 session throws when the session has ended before its request is answered. */
function readRaw(socket: CertifiedSocket): Uint8Array | undefined {
  try {
    return socket.authorized === true ? socket.getPeerCertificate?.().raw : undefined;
  } catch {
    return undefined;
  }
}

/** What a proxy passed on and was verified, with everything that can expire. */
interface Forwarded {
  readonly outcome: PeerOutcome;
  readonly expiring: readonly CertificateFields[];
}

/**
 * The proxy ended the connection and verified the certificate. Its signature, dates and purpose are checked again,
 * because a proxy that accepts any certificate and passes it on is an easy mistake to make. That takes about a
 * millisecond, so the last few that were good are remembered.
 */
function forwardedReader(issuers: readonly X509Certificate[]): (header: string, now: number) => PeerOutcome {
  const remembered = new Map<string, Forwarded>();
  return (header, now) => {
    const known = remembered.get(header);
    if (known?.expiring.every((fields) => isCurrent(fields, now))) return known.outcome;
    const read = verifyForwarded(header, issuers, now);
    if ("refused" in read) return read;
    remembered.set(header, read);
    if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
    return read.outcome;
  };
}

function verifyForwarded(
  header: string,
  issuers: readonly X509Certificate[],
  now: number,
): Forwarded | { readonly refused: 400 | 403 } {
  const der = readClientCert(header);
  const fields = der && readCertificate(der);
  const leaf = fields && parse(der);
  if (!leaf) return { refused: 400 };
  if (!fields.forClients || leaf.ca || !isCurrent(fields, now)) return { refused: 403 };
  for (const issuer of issuers) {
    const issuing = readCertificate(issuer.raw);
    if (!issuer.ca || !issuing || !isCurrent(issuing, now)) continue;
    if (!leaf.checkIssued(issuer) || !leaf.verify(issuer.publicKey)) continue;
    const outcome = { info: { [PEER_CERTIFICATE]: certificateOf(der, fields, true) } };
    return { outcome, expiring: [fields, issuing] };
  }
  return { refused: 403 };
}

function certificateOf(der: Uint8Array, fields: CertificateFields, forwarded: boolean): PeerCertificate {
  return { thumbprint: createHash("sha256").update(der).digest("base64url"), ids: fields.ids, forwarded };
}

function isCurrent({ notBeforeMs, notAfterMs }: CertificateFields, now: number): boolean {
  return notBeforeMs <= now && now <= notAfterMs;
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function parseAuthorities(name: string, texts: readonly string[]): readonly X509Certificate[] {
  return texts.flatMap((text, index) => {
    const certificates = typeof text === "string" ? (text.match(PEM) ?? []).map(parse) : [];
    if (certificates.length > 0 && !certificates.includes(undefined)) return certificates as X509Certificate[];
    throw new TypeError(`Cannot ask for certificates: "clientCerts.${name}[${index}]" must be one as PEM text`);
  });
}

function parse(certificate: string | Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(certificate);
  } catch {
    return undefined;
  }
}

import { fromBase64 } from "../internal/base64.ts";

/** The header in which a proxy passes on the certificate of its client (RFC 9440 section 2.2). */
export const CLIENT_CERT = "client-cert";
/** The header in which it passes on what lies between that certificate and the authority (RFC 9440 section 2.3). */
export const CLIENT_CERT_CHAIN = "client-cert-chain";

/** One byte sequence of RFC 8941 section 3.3.5, padded, without parameters; two headers would bring a comma. */
const BYTE_SEQUENCE = /^:((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?):$/;

/**
 * Reads a `Client-Cert` header.
 *
 * @param value Its value.
 * @returns The bytes, or undefined for anything but one byte sequence in its one spelling.
 */
export function readClientCert(value: string): Uint8Array | undefined {
  const base64 = BYTE_SEQUENCE.exec(value)?.[1];
  return base64 ? fromBase64(base64) : undefined;
}

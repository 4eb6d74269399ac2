import { DER, type DerElement, readDer, readInside } from "./der.ts";

/** What is read of a certificate; nothing of it is verified. */
export interface CertificateFields {
  /** The URIs among its subject alternative names; none where one of them is not a plain URI. */
  readonly ids: readonly string[];
  /** Whether it may be a client's: it says so, or does not say what it is for. */
  readonly forClients: boolean;
  /** From when it is valid, in ms since 1970. */
  readonly notBeforeMs: number;
  /** Until when it is valid, in ms since 1970, this second included. */
  readonly notAfterMs: number;
}

/** Object identifiers as the hexadecimal digits of their DER contents. */
const SUBJECT_ALTERNATIVE_NAME = "551d11";
const EXTENDED_KEY_USAGE = "551d25";
const CLIENT_USAGES: ReadonlySet<string> = new Set(["2b06010505070302", "551d2500"]); // clientAuth, any
const URI_NAME = 0x86;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;

/** Of RFC 3986 with a scheme: no space, quote, control or other character that a reader of text could stumble on. */
const PLAIN_URI = /^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]+$/;

/**
 * Reads the fields of a certificate that a listener needs.
 *
 * From the DER itself, because the text that `X509Certificate.subjectAltName` gives is not the same everywhere: Deno
 * 2.9.6 does not quote, so that there a DNS name `x, URI:spiffe://a/b` reads like two names (CVE-2021-44532 in Node).
 *
 * @param der The certificate.
 * @returns The fields, or undefined for what is not a certificate.
 * @see RFC 5280 section 4.1
 */
export function readCertificate(der: Uint8Array): CertificateFields | undefined {
  const outer = readDer(der);
  const certificate = outer?.length === 1 ? readInside(outer[0], DER.SEQUENCE) : undefined;
  const fields = certificate?.length === 3 ? readInside(certificate[0], DER.SEQUENCE) : undefined;
  if (!fields) return undefined;
  const start = fields[0]?.tag === VERSION ? 1 : 0; // then serial number, signature, issuer, validity
  const validity = readInside(fields[start + 3], DER.SEQUENCE)?.map(timeOf);
  const extensions = readExtensions(fields.find(({ tag }) => tag === EXTENSIONS));
  if (!extensions || validity?.length !== 2 || validity.some(Number.isNaN)) return undefined;
  const usages = extensions.get(EXTENDED_KEY_USAGE);
  return {
    ids: urisOf(extensions.get(SUBJECT_ALTERNATIVE_NAME) ?? []),
    forClients: usages === undefined ||
      usages.some(({ tag, contents }) => tag === DER.OID && CLIENT_USAGES.has(hexOf(contents))),
    notBeforeMs: validity[0],
    notAfterMs: validity[1] + 999,
  };
}

/** The elements of the two extensions of interest, by identifier; undefined where one is there twice or is not DER. */
function readExtensions(
  field: DerElement | undefined,
): ReadonlyMap<string, readonly DerElement[]> | undefined {
  const found = new Map<string, readonly DerElement[]>();
  if (!field) return found;
  const list = readDer(field.contents);
  const extensions = list?.length === 1 ? readInside(list[0], DER.SEQUENCE) : undefined;
  if (!extensions) return undefined;
  for (const extension of extensions) {
    const parts = readInside(extension, DER.SEQUENCE);
    if (parts?.[0]?.tag !== DER.OID) return undefined;
    const id = hexOf(parts[0].contents);
    if (id !== SUBJECT_ALTERNATIVE_NAME && id !== EXTENDED_KEY_USAGE) continue;
    const value = readInside(parts.at(-1), DER.OCTETS);
    const elements = value?.length === 1 ? readInside(value[0], DER.SEQUENCE) : undefined;
    if (!elements || found.has(id)) return undefined;
    found.set(id, elements);
  }
  return found;
}

/** Every URI or none: whoever hides one odd name among good ones wants it to be read differently somewhere. */
function urisOf(names: readonly DerElement[]): readonly string[] {
  const uris = names.filter(({ tag }) => tag === URI_NAME).map(({ contents }) => String.fromCharCode(...contents));
  return uris.every((uri) => PLAIN_URI.test(uri)) ? uris : [];
}

/** UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 restricts them, in ms since 1970; NaN for anything else. */
function timeOf({ tag, contents }: DerElement): number {
  const text = String.fromCharCode(...contents);
  const full = tag === DER.UTC_TIME ? (text < "50" ? "20" : "19") + text : text;
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full);
  if (!parts || tag !== DER.UTC_TIME && tag !== DER.TIME) return NaN;
  const [, year, month, day, hour, minute, second] = parts;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

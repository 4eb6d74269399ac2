import { canonicalJson } from "../../codec/mod.ts";
import { fromBase64 } from "../../internal/base64.ts";
import { decodeUtf8 } from "../../internal/utf8.ts";
import { BrokerError } from "../broker_error.ts";
import { type EpochKey, KEY_ID } from "./epoch_key.ts";
import { MAX_DATA } from "../topic.ts";

/** The event that data belong to: encrypted data say so, and are worth nothing in another one. */
export interface EventBinding {
  /** The topic's name. */
  readonly topic: string;
  /** The publisher's SPIFFE id. */
  readonly publisher: string;
  /** The event's id. */
  readonly id: string;
}

/**
 * Encrypts the data of an event, which is signed afterwards: a JWE in compact form, `dir` with `A256GCM` and a random IV.
 *
 * @param epoch The key, of the event's topic and publisher.
 * @param event The event that they belong to.
 * @param plaintext The data, at most 524,288 bytes.
 * @returns The JWE.
 * @throws {RangeError} The data are too large.
 * @throws {TypeError} The key is of another topic or publisher.
 * @see {@link https://www.rfc-editor.org/rfc/rfc7516#section-5.1}
 */
export async function encryptData(
  epoch: EpochKey,
  event: EventBinding,
  plaintext: Uint8Array | string,
): Promise<string> {
  if (!isKeyOf(epoch, event)) throw new TypeError("Cannot encrypt: the key is of another topic or publisher");
  const bytes = typeof plaintext === "string" ? new TextEncoder().encode(plaintext) : plaintext;
  if (bytes.length > MAX_DATA) throw new RangeError(`Cannot encrypt: the data have more than ${MAX_DATA} bytes`);
  const { CompactEncrypt } = await import("jose"); // where it is used, for those whose topics are not encrypted
  return await new CompactEncrypt(bytes).setProtectedHeader(headerOf(event, epoch.kid)).encrypt(epoch.key);
}

/**
 * Decrypts the data of an event.
 *
 * @param epoch The key that {@linkcode readEncrypted} named.
 * @param event The event that they came in.
 * @param data The JWE.
 * @returns The data.
 * @throws {BrokerError} `malformed_event`, `not_decrypted`, or `no_key` where the key is another one.
 * @see {@link https://www.rfc-editor.org/rfc/rfc7516#section-5.2}
 */
export async function decryptData(epoch: EpochKey, event: EventBinding, data: string): Promise<string> {
  if (readEncrypted(data, event) !== epoch.kid || !isKeyOf(epoch, event)) {
    throw new BrokerError("no_key", "Cannot decrypt the event: it is encrypted with another key");
  }
  const { compactDecrypt } = await import("jose");
  const bytes = await compactDecrypt(data, epoch.key, ALLOWED).then(
    ({ plaintext }) => plaintext,
    () => undefined, // why is nobody's business: the parts were read, so it is the tag
  );
  if (!bytes) throw new BrokerError("not_decrypted", "Cannot decrypt the event: its data are not what was encrypted");
  try {
    return decodeUtf8(bytes);
  } catch {
    throw malformed("what it holds is not UTF-8");
  }
}

/**
 * Reads encrypted data without decrypting them: which key they need.
 *
 * Libraries take padding, stray bits, compression and any header that they know; here there is one header for an event and a
 * key, and one spelling of all.
 *
 * @param data The JWE.
 * @param event The event that they came in.
 * @returns The key's name.
 * @throws {BrokerError} `malformed_event`: it is no JWE of this kind; `not_decrypted`: it belongs to another event, or was made
 *   in another way.
 * @see {@link https://www.rfc-editor.org/rfc/rfc7516#section-7.1}
 */
export function readEncrypted(data: string, event: EventBinding): string {
  if (data.length > MAX_ENCRYPTED) throw malformed("it is too long");
  const parts = data.split(".", PARTS + 1);
  if (parts.length !== PARTS) throw malformed("it is not a compact JWE");
  const [header, key, iv, ciphertext, tag] = parts as [string, string, string, string, string];
  if (key !== "") throw malformed("it holds a key");
  if (!IV.test(iv) || !TAG.test(tag) || !isBase64Url(ciphertext)) throw malformed("a part is not canonical base64url");
  const bytes = header.length <= MAX_HEADER ? fromBase64(header) : undefined;
  if (!bytes || !isBase64Url(header)) throw malformed("its header is not canonical base64url");
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const kid = text.slice(-KEY_END, -HEADER_END);
  if (KEY_ID.test(kid) && text === canonicalJson(headerOf(event, kid))) return kid;
  throw new BrokerError("not_decrypted", "Cannot decrypt the event: its data are not of this event");
}

/** In the order of canonical JSON, in which a library writes it. */
const headerOf = ({ topic, publisher, id }: EventBinding, kid: string) =>
  ({ alg: "dir", aud: topic, enc: "A256GCM", iss: publisher, jti: id, kid }) as const;

const isKeyOf = (epoch: EpochKey, { topic, publisher }: EventBinding) =>
  epoch.topic === topic && epoch.publisher === publisher;

/** Without padding, and without bits that are lost in the last character. */
function isBase64Url(text: string): boolean {
  const rest = text.length % 4;
  return CHARACTERS.test(text) && rest !== 1 &&
    (rest === 0 || (rest === 2 ? /[AQgw]$/ : /[AEIMQUYcgkosw048]$/).test(text));
}

const malformed = (why: string) => new BrokerError("malformed_event", `Cannot read the encrypted data: ${why}`);

const ALLOWED = { keyManagementAlgorithms: ["dir"], contentEncryptionAlgorithms: ["A256GCM"] };

const PARTS = 5;
const CHARACTERS = /^[A-Za-z0-9_-]*$/;
/** 12 bytes. */
const IV = /^[A-Za-z0-9_-]{16}$/;
/** 16 bytes, of whose last character two bits count. */
const TAG = /^[A-Za-z0-9_-]{21}[AQgw]$/;
/** How the header ends: a key's name, a quote and a brace. */
const HEADER_END = 2;
const KEY_END = 45;
/** The longest header in base64url: a SPIFFE id of 2,048 bytes, and the rest. */
const MAX_HEADER = 4_096;
/** The longest JWE, in UTF-16 code units: the largest message in base64url, the header, the IV and the tag. */
const MAX_ENCRYPTED: number = /* @__PURE__ */ Math.ceil(MAX_DATA * 4 / 3) + MAX_HEADER + 64;

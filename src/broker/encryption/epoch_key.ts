import { toBase64Url } from "../../internal/base64.ts";
import { BrokerError } from "../broker_error.ts";

/** For whose messages a key is. */
export interface EpochScope {
  /** The topic's name. */
  readonly topic: string;
  /** The SPIFFE id of the publisher, whose messages alone it encrypts. */
  readonly publisher: string;
}

/** The key that a publisher encrypts messages of one topic with, for a while. */
export interface EpochKey extends EpochScope {
  /** Its name, which commits to the key, the topic and the publisher. */
  readonly kid: string;
  /** The key, for AES-256-GCM. */
  readonly key: CryptoKey;
}

/**
 * Makes a new key.
 *
 * @param scope For whose messages it is.
 * @returns The key, which can be exported, so that it can be wrapped for those who read the topic.
 */
export async function newEpochKey(scope: EpochScope): Promise<EpochKey> {
  return await importEpochKey(crypto.getRandomValues(new Uint8Array(KEY_BYTES)), scope, true);
}

/**
 * Takes a key that was given by a publisher.
 *
 * AES-GCM does not commit to its key: there are texts that two keys decrypt to two messages. So a key counts only under the
 * name that is made of it, and whoever has a key of that name has the same one.
 *
 * @param raw Its 32 bytes.
 * @param given For whose messages it is, and under which name it came.
 * @returns The key, which cannot be exported.
 * @throws {BrokerError} `wrong_key`: it has another length, or another name.
 */
export async function openEpochKey(
  raw: Uint8Array<ArrayBuffer>,
  given: EpochScope & { readonly kid: string },
): Promise<EpochKey> {
  if (raw.length !== KEY_BYTES) throw new BrokerError("wrong_key", "Cannot take the key: it has not 32 bytes");
  const epoch = await importEpochKey(raw, given, false);
  if (epoch.kid === given.kid) return epoch;
  throw new BrokerError("wrong_key", "Cannot take the key: its name is another key's");
}

/** The bytes of a key that was made here. */
export async function rawEpochKey({ key }: EpochKey): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", key));
}

async function importEpochKey(
  raw: Uint8Array<ArrayBuffer>,
  { topic, publisher }: EpochScope,
  isExtractable: boolean,
): Promise<EpochKey> {
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", isExtractable, ["encrypt", "decrypt"]);
  return Object.freeze({ kid: await kidOf(raw, { topic, publisher }), topic, publisher, key });
}

/** All of the hash: half of it would leave a publisher 2^64 tries to find two keys with one name. */
async function kidOf(raw: Uint8Array<ArrayBuffer>, { topic, publisher }: EpochScope): Promise<string> {
  const label = new TextEncoder().encode(
    [KEY_LABEL, publisher, topic].map((part) => `${part.length}:${part}`).join(""),
  );
  const bytes = new Uint8Array(label.length + raw.length);
  bytes.set(label);
  bytes.set(raw, label.length);
  return toBase64Url(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

/** The grammar of a key's name: 32 bytes in base64url. */
export const KEY_ID: RegExp = /^[A-Za-z0-9_-]{43}$/;

const KEY_LABEL = "postern-epoch-v1";
const KEY_BYTES = 32;

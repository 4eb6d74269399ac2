import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { type EncryptionJwk, type EncryptionKey, importPeerKey } from "../../auth/mod.ts";
import { fromBase64, toBase64Url } from "../../internal/base64.ts";
import { BrokerError } from "../broker_error.ts";
import { type EpochKey, type EpochScope, openEpochKey, rawEpochKey } from "./epoch_key.ts";

/** For whom a key is wrapped. */
export interface Recipient {
  /** The subscriber's SPIFFE id. */
  readonly id: string;
  /** The thumbprint of its encryption key. */
  readonly thumbprint: string;
  /** The public half of that key, not of small order. */
  readonly key: CryptoKey;
}

/** A key that one subscriber can unwrap. */
export interface WrappedKey {
  /** The encapsulated key, 32 bytes in base64url. */
  readonly enc: string;
  /** The wrapped key, 48 bytes in base64url. */
  readonly ct: string;
}

/** What a wrapped key is said to be: all of it is what it was wrapped with, or it cannot be unwrapped. */
export interface WrappedAs extends EpochScope {
  /** The key's name. */
  readonly kid: string;
  /** For whom it is, and by which of its keys. */
  readonly subscriber: Pick<Recipient, "id" | "thumbprint">;
}

/**
 * Wraps a key for one subscriber: HPKE in base mode, for the publisher signs what it is sent with.
 *
 * @param epoch The key.
 * @param to For whom.
 * @returns The wrapped key; another one each time.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9180#section-6.1}
 */
export async function wrapKey(epoch: EpochKey, to: Recipient): Promise<WrappedKey> {
  const info = infoOf({ ...epoch, subscriber: to });
  const { enc, ct } = await suite().seal({ recipientPublicKey: to.key, info }, await rawEpochKey(epoch));
  return { enc: toBase64Url(new Uint8Array(enc)), ct: toBase64Url(new Uint8Array(ct)) };
}

/**
 * Unwraps a key.
 *
 * @param own The subscriber's encryption key.
 * @param wrapped The wrapped key.
 * @param as What it is said to be.
 * @returns The key; it is the one that its name commits to.
 * @throws {BrokerError} `not_decrypted`: it is not for this key, or not what it is said to be; `wrong_key`: it was wrapped under
 *   another key's name.
 */
export async function unwrapKey(own: EncryptionKey, wrapped: WrappedKey, as: WrappedAs): Promise<EpochKey> {
  const raw = await open(own, wrapped, as).catch((cause) => {
    throw new BrokerError("not_decrypted", "Cannot unwrap the key: it is not for this subscriber", { cause });
  });
  return await openEpochKey(raw, as);
}

async function open(own: EncryptionKey, { enc, ct }: WrappedKey, as: WrappedAs): Promise<Uint8Array<ArrayBuffer>> {
  await importPeerKey(enc, own); // one of small order agrees with everybody: the broker would know the key
  const ciphertext = fromBase64(ct);
  if (!ciphertext) throw new TypeError("The wrapped key is not base64");
  const terms = { recipientKey: own.pair, enc: fromBase64(enc)!, info: infoOf(as) };
  return new Uint8Array(await suite().open(terms, ciphertext));
}

/**
 * The thumbprint of an encryption key.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7638#section-3}
 */
export async function encryptionThumbprint({ crv, kty, x }: EncryptionJwk): Promise<string> {
  const members = new TextEncoder().encode(`{"crv":"${crv}","kty":"${kty}","x":"${x}"}`);
  return toBase64Url(new Uint8Array(await crypto.subtle.digest("SHA-256", members)));
}

const suite = () => new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

/** Each part with its length before it, so that no two lists of parts are one text. */
function infoOf({ topic, kid, publisher, subscriber }: WrappedAs): ArrayBuffer {
  const parts = [WRAP_LABEL, topic, kid, publisher, subscriber.id, subscriber.thumbprint];
  return new TextEncoder().encode(parts.map((part) => `${part.length}:${part}`).join("")).buffer as ArrayBuffer;
}

const WRAP_LABEL = "postern-key-wrap-v1";

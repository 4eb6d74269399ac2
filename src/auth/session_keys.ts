import { CipherSuite, DhkemX25519HkdfSha256, ExportOnly, HkdfSha256 } from "@hpke/core";
import { fromBase64, toBase64Url } from "../internal/base64.ts";
import { AuthError } from "./auth_error.ts";
import { type EncryptionKey, importEncryptionPublicKey } from "./encryption_key.ts";
import { SESSION_VERSION } from "./wire.ts";

/** The two keys of a session, one for each direction, so that nothing can be sent back to who said it. */
export interface SessionKeys {
  /** Proves what the client says. */
  readonly client: Uint8Array;
  /** Proves what the server says. */
  readonly server: Uint8Array;
}

/** To whom and to what a session belongs: every part goes into its keys, so that both sides mean the same or have none. */
export interface SessionTerms {
  readonly client: SessionParty;
  readonly server: SessionParty;
  /** The name that the client addresses the server by. */
  readonly audience: string;
  /** The client's identity token. */
  readonly token: string;
  /** The right that the session's calls are made under; "" for none. */
  readonly right: string;
}

/** One side of a session. */
export interface SessionParty {
  /** Its SPIFFE id. */
  readonly id: string;
  /** The thumbprint of its signing key (RFC 7638). */
  readonly thumbprint: string;
}

/**
 * Makes the keys of a new session, as the client: HPKE in Auth mode, export-only.
 *
 * @param own The client's encryption key.
 * @param peer The server's, its 32 bytes in base64url.
 * @param terms To whom and to what it belongs.
 * @returns The keys, and the encapsulated key in base64url, which names the session.
 * @throws {AuthError} `malformed_key`: the server's key is none, or one that everybody would agree with.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9180#section-5.3}
 */
export async function openSessionKeys(
  own: EncryptionKey,
  peer: string,
  terms: SessionTerms,
): Promise<{ readonly id: string; readonly keys: SessionKeys }> {
  const recipientPublicKey = await importEncryptionPublicKey(peer);
  return await agreed(async () => {
    await assertContributes(own, [recipientPublicKey]);
    const sender = await suite().createSenderContext({ recipientPublicKey, senderKey: own.pair, info: infoOf(terms) });
    return { id: toBase64Url(new Uint8Array(sender.enc)), keys: await exportKeys(sender) };
  });
}

/**
 * Makes the keys of a session that a client opened, as the server: the same ones, if all that both say is the same.
 *
 * @param own The server's encryption key.
 * @param given The encapsulated key and the client's public key, each in base64url.
 * @param terms To whom and to what it belongs.
 * @throws {AuthError} `malformed_key`.
 */
export async function acceptSessionKeys(
  own: EncryptionKey,
  given: { readonly id: string; readonly clientKey: string },
  terms: SessionTerms,
): Promise<SessionKeys> {
  const senderPublicKey = await importEncryptionPublicKey(given.clientKey);
  const enc = fromBase64(given.id);
  if (!enc) throw new AuthError("malformed_key", "Cannot open the session: its key is not canonical base64");
  return await agreed(async () => {
    await assertContributes(own, [await importEncryptionPublicKey(given.id), senderPublicKey]);
    return await exportKeys(
      await suite().createRecipientContext({ recipientKey: own.pair, enc, senderPublicKey, info: infoOf(terms) }),
    );
  });
}

/**
 * Refuses keys of small order: all of them lead to the same secret, which is none. Most runtimes refuse them by themselves;
 * Node 20 does not.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7748#section-6.1}
 */
export async function assertContributes(own: EncryptionKey, theirs: readonly CryptoKey[]): Promise<void> {
  for (const key of theirs) {
    const secret = new Uint8Array(
      await crypto.subtle.deriveBits({ name: "X25519", public: key }, own.pair.privateKey, 256),
    );
    if (secret.every((byte) => byte === 0)) throw new TypeError("The key is of small order");
  }
}

/** What is refused here is a key of small order, or none at all. */
async function agreed<Agreed>(agree: () => Promise<Agreed>): Promise<Agreed> {
  try {
    return await agree();
  } catch (cause) {
    throw new AuthError("malformed_key", "Cannot open the session: the keys do not agree", { cause });
  }
}

const suite = () =>
  new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new ExportOnly() });

async function exportKeys(context: { export(label: ArrayBuffer, length: number): Promise<ArrayBuffer> }) {
  const key = async (label: string) =>
    new Uint8Array(await context.export(new TextEncoder().encode(label).buffer as ArrayBuffer, KEY_BYTES));
  return { client: await key("client to server"), server: await key("server to client") };
}

/** Each part with its length before it, so that no two lists of parts are one text. */
function infoOf({ client, server, audience, token, right }: SessionTerms): ArrayBuffer {
  const parts = [SESSION_VERSION, client.id, client.thumbprint, server.id, server.thumbprint, audience, token, right];
  const text = parts.map((part) => `${part.length}:${part}`).join("");
  return new TextEncoder().encode(text).buffer as ArrayBuffer;
}

const KEY_BYTES = 32;

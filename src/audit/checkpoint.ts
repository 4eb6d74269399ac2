import { sha256 } from "@noble/hashes/sha2.js";
import { AuditError } from "./audit_error.ts";
import { toBase64 } from "../internal/base64.ts";
import { readBase64, readHash, sameBytes } from "./_base64.ts";

/** Who may sign the checkpoints of a log. */
export interface AuditKey {
  /** The name of the key, as a SPIFFE ID: without white space and without `+`. */
  readonly id: string;
  /** The raw Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** The identity that signs the checkpoints of a log. */
export interface CheckpointSigner extends AuditKey {
  /**
   * Signs bytes with Ed25519.
   *
   * @param bytes What to sign, as it is.
   * @returns The signature, 64 bytes.
   */
  sign(bytes: Uint8Array): Promise<Uint8Array> | Uint8Array;
}

/**
 * What a log was when its instance signed it.
 *
 * @see {@link https://c2sp.org/tlog-checkpoint | C2SP tlog-checkpoint}
 */
export interface Checkpoint {
  /** Which log. */
  readonly origin: string;
  /** How many entries it had. */
  readonly size: number;
  /** The root of the Merkle tree over them. */
  readonly root: Uint8Array;
}

/**
 * Writes and signs a checkpoint.
 *
 * @param checkpoint What the log is.
 * @param signer Who signs.
 * @returns A signed note: origin, size and root on a line each, an empty line, and the line of the signature.
 * @throws {AuditError} `signature` where what the signer gave is not a signature of its own public key: nobody could
 *   verify the log.
 * @see {@link https://c2sp.org/signed-note | C2SP signed-note}
 */
export async function signCheckpoint(checkpoint: Checkpoint, signer: CheckpointSigner): Promise<string> {
  const text = `${checkpoint.origin}\n${checkpoint.size}\n${toBase64(checkpoint.root)}\n`;
  const bytes = new TextEncoder().encode(text);
  const signature = await signer.sign(bytes);
  if (!await isSignature(signer, bytes, signature)) {
    throw new AuditError("signature", "The signer's signature does not verify with its public key");
  }
  return `${text}\n— ${signer.id} ${toBase64(Uint8Array.of(...keyHash(signer), ...signature))}\n`;
}

/**
 * Reads a checkpoint that a trusted key signed.
 *
 * Signatures of other keys, as those of witnesses, are ignored; one of a trusted key that is wrong refuses the whole.
 *
 * @param note The checkpoint, as {@linkcode signCheckpoint} gave it.
 * @param keys Who is trusted.
 * @throws {AuditError} `syntax` for what is not a checkpoint, `signature` where no trusted key signed it.
 * @see {@link https://c2sp.org/tlog-checkpoint | C2SP tlog-checkpoint}
 */
export async function verifyCheckpoint(note: string, keys: readonly AuditKey[]): Promise<Checkpoint> {
  const [origin, size, root, ...extensions] = (await openNote(note, keys)).slice(0, -1).split("\n");
  if (!origin) throw notOne("the first line is not an origin");
  if (!size || !/^(?:0|[1-9][0-9]{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) {
    throw notOne("the second line is not a size");
  }
  const hash = readHash(root);
  if (!hash) throw notOne("the third line is not the base64 of a hash");
  if (extensions.includes("")) throw notOne("an extension line is empty");
  return { origin, size: Number(size), root: hash };
}

/**
 * Reads a note that a trusted key signed.
 *
 * @returns Its text, with the newline at its end.
 * @throws {AuditError} `syntax` for what is not a signed note, `signature` where no trusted key signed it.
 */
export async function openNote(note: string, keys: readonly AuditKey[]): Promise<string> {
  if (note.length > MAX_NOTE) throw notOne(`it is longer than ${MAX_NOTE} characters`);
  // deno-lint-ignore no-control-regex -- a signed note must not hold them
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) throw notOne("it holds a control character");
  const end = note.lastIndexOf("\n\n");
  if (end < 1) throw notOne("it has no empty line before its signatures");
  if (!note.endsWith("\n")) throw notOne("its last line does not end");
  const text = note.slice(0, end + 1);
  const bytes = new TextEncoder().encode(text);
  const lines = note.slice(end + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) throw notOne(`it has ${lines.length} signatures, ${MAX_SIGNATURES} are allowed`);
  let verified = false;
  for (const { name, hash, signature } of lines.map(signatureLine)) {
    const known = keys.filter((key) => key.id === name && sameBytes(keyHash(key), hash));
    const verdicts = await Promise.all(known.map((key) => isSignature(key, bytes, signature)));
    if (known.length > 0 && !verdicts.includes(true)) {
      throw new AuditError("signature", "The checkpoint's signature by a trusted key is wrong");
    }
    verified ||= known.length > 0;
  }
  if (!verified) throw new AuditError("signature", "The checkpoint is not signed by a trusted key");
  return text;
}

/**
 * Refuses a key that no note could name.
 *
 * @throws {TypeError} For a name or a public key that cannot be one.
 */
export function checkKey({ id, publicKey }: AuditKey): void {
  if (!KEY_NAME.test(id)) throw new TypeError("The key's id must be a name without white space, controls and plus");
  if (publicKey.length !== 32) throw new TypeError("The public key must be the 32 bytes of an Ed25519 key");
}

/**
 * Refuses an origin that no checkpoint could name.
 *
 * @throws {TypeError} For a text that is empty or holds a control character.
 */
export function checkOrigin(origin: string): void {
  // deno-lint-ignore no-control-regex -- a signed note must not hold them
  if (!origin || /[\u0000-\u001f]/.test(origin)) throw new TypeError("The origin must be a text without controls");
}

function signatureLine(line: string): { name: string; hash: Uint8Array; signature: Uint8Array } {
  const [, name, encoded] = /^— ([^ ]+) ([^ ]+)$/.exec(line) ?? [];
  const bytes = encoded === undefined ? undefined : readBase64(encoded);
  if (name === undefined || !KEY_NAME.test(name) || !bytes || bytes.length < 5) {
    throw notOne("a signature line is malformed");
  }
  return { name, hash: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

/** Tells keys of one name apart. */
function keyHash({ id, publicKey }: AuditKey): Uint8Array {
  return sha256(Uint8Array.of(...new TextEncoder().encode(id), 0x0a, ED25519, ...publicKey)).subarray(0, 4);
}

async function isSignature({ publicKey }: AuditKey, bytes: Uint8Array, signature: Uint8Array): Promise<boolean> {
  if (signature.length !== 64) return false; // a runtime may throw for it
  const key = await crypto.subtle.importKey("raw", new Uint8Array(publicKey), "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, new Uint8Array(signature), new Uint8Array(bytes));
}

const notOne = (found: string) => new AuditError("syntax", "Cannot read the checkpoint: " + found);

/** The type of signature that signed-note gives the plain Ed25519. */
const ED25519 = 0x01;

/** Stops a note without an end; a checkpoint with 16 post-quantum cosignatures fits. */
const MAX_NOTE = 131_072;

/** Stops a note of which each line costs a signature to verify; section "Format" wants 16 to be taken at least. */
const MAX_SIGNATURES = 64;

// deno-lint-ignore no-control-regex -- a signed note must not hold them
const KEY_NAME = /^[^\s+\u0000-\u001f]+$/u;

/** Plants secrets that can be recognized, and prints values in every way there is. */
import { importKey, secret, type SigningKey } from "../../src/auth/mod.ts";

/** What was planted. */
export interface Planted {
  /** The secrets, by what they are: texts that must not be in the output. */
  readonly needles: Readonly<Record<string, readonly string[]>>;
}

/** What is planted so far. */
export const needles: Record<string, string[]> = {};

/**
 * Plants a secret.
 *
 * Long ones in pieces: what is cut in a log is still told.
 */
export function plant(what: string, text: string): void {
  const pieces = text.length > 40 ? text.match(/.{24}/gs)! : [text];
  needles[what] = [...needles[what] ?? [], ...pieces];
}

/** The payload and the signature of each token; headers are the same for all. */
export function plantTokens(what: string, tokens: string): void {
  for (const token of tokens.split("~")) {
    for (const part of token.split(".").slice(1)) plant(what, part);
  }
}

const shownAs: Deno.InspectOptions = {
  depth: 50,
  getters: true,
  showHidden: true,
  iterableLimit: 10_000,
  strAbbreviateSize: 1_000_000,
};

/** Prints a value in every way there is. */
export function show(what: string, value: unknown): void {
  console.log(what, value);
  console.log(`${what} ${Deno.inspect(value, shownAs)}`);
  console.log(`${what} ${json(value)} ${String(value)}`);
  for (let error = value; error instanceof Error; error = error.cause) {
    console.log(`${error.name} ${error.message} ${error.stack} ${json({ ...error })} ${json(Object.entries(error))}`);
  }
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "";
  } catch {
    return "";
  }
}

/** A key whose private half is planted. */
export async function newKey(): Promise<SigningKey> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const { kty, crv, x, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  const bytes = Uint8Array.fromBase64(d!, { alphabet: "base64url" });
  needles["private key"] = [
    ...needles["private key"] ?? [],
    ...[d!, bytes.toBase64(), bytes.toHex(), bytes.slice(0, 12).join(), bytes.slice(0, 12).join(", ")],
  ];
  return await importKey(secret(JSON.stringify({ kty, crv, x, d })));
}

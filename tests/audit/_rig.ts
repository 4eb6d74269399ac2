import {
  type AuditEvent,
  auditLog,
  type AuditLogOptions,
  type AuditSink,
  type CheckpointSigner,
  leafHash,
  memorySink,
  verifyAudit,
  type VerifyAuditOptions,
} from "../../src/audit/mod.ts";
import assert from "node:assert/strict";

export const ORIGIN = "audit.acme.example/orders";

/** The keys of RFC 8032, section 7.1, tests 1 and 2. */
const KEYS = {
  orders: [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
  ],
  mallory: [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
  ],
} as const;

export const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

export const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const base64Of = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

/** A signer whose name and key are given apart, so that one can pretend to be the other. */
export function signerOf(who: keyof typeof KEYS = "orders", id: keyof typeof KEYS = who): CheckpointSigner {
  const [seed, publicKey] = KEYS[who];
  return {
    id: `spiffe://acme.example/${id}`,
    publicKey: bytesOf(publicKey),
    async sign(bytes) {
      const pkcs8 = bytesOf("302e020100300506032b657004220420" + seed);
      const key = await crypto.subtle.importKey("pkcs8", new Uint8Array(pkcs8), "Ed25519", false, ["sign"]);
      return new Uint8Array(await crypto.subtle.sign("Ed25519", key, new Uint8Array(bytes)));
    },
  };
}

export const signer: CheckpointSigner = signerOf();

/** A log with a clock that stands, and no checkpoint but those that are asked for. */
export function logTo(sink: AuditSink, options: Partial<AuditLogOptions> = {}) {
  return auditLog(sink, { signer, origin: ORIGIN, now: () => 0, checkpointEvery: 1e6, ...options });
}

export const eventOf = (at: number): AuditEvent => ({
  event: at % 3 === 0 ? "call.refuse" : "call.allow",
  reason: at % 3 === 0 ? "replayed" : undefined,
  correlationId: `id-${at}`,
  caller: "spiffe://acme.example/shop",
  method: "orders.v1/place",
  fields: { at },
});

/** What is stored of a log of so many entries, with a checkpoint behind every so many, and at its end. */
export async function storedLog(entries: number, every = 4, options: Partial<AuditLogOptions> = {}) {
  const sink = memorySink();
  const checkpoints: string[] = [];
  {
    await using log = logTo(sink, { drainMs: 20_000, ...options });
    for (let at = 0; at < entries; at++) {
      log.record(eventOf(at));
      if ((at + 1) % every === 0 || at + 1 === entries) checkpoints.push(await log.checkpoint());
    }
  }
  return { text: sink.text(), lines: linesOf(sink.text()), checkpoints };
}

export const linesOf = (text: string): string[] => text.split("\n").slice(0, -1);
export const textOf = (lines: readonly string[]): string => lines.map((line) => line + "\n").join("");

/** Where the line of an entry is among the lines of its log. */
export function placeOf(lines: readonly string[], index: number): number {
  const at = lines.findIndex((line) => line.startsWith(`{"index":${index},`));
  assert.ok(at > 0, `entry ${index} is there`);
  return at;
}

/** What an attacker without the key does: makes every line name the one before it again, and counts the entries anew. */
export function relinked(lines: readonly string[], isRenumbered = false): string[] {
  let prev = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
  let index = 0;
  return lines.map((line) => {
    if (line.startsWith('{"audit":')) return line;
    const linked = line.replace(/"prev":"[^"]*"\}$/, `"prev":"${prev}"}`);
    if (!line.startsWith('{"index":')) return linked;
    const entry = isRenumbered ? linked.replace(/^\{"index":\d+/, `{"index":${index++}`) : linked;
    prev = base64Of(leafHash(new TextEncoder().encode(entry)));
    return entry;
  });
}

/** Puts other lines in the place of `count` lines. */
export function spliced(lines: readonly string[], at: number, count: number, ...put: readonly string[]): string[] {
  const copy = [...lines];
  copy.splice(at, count, ...put);
  return copy;
}

/** What the verifier says of a log, without its words. */
export async function verdictOn(log: readonly string[] | string, options: Partial<VerifyAuditOptions> = {}) {
  const text = typeof log === "string" ? log : textOf(log);
  const verdict = await verifyAudit(text, { keys: [signer], ...options });
  if (verdict.ok) return `ok ${verdict.size}`;
  assert.match(verdict.message, /^[A-Z].*[^.]$/);
  const { problem, index, lastIndex } = verdict;
  return index === lastIndex ? `${problem} ${index}` : `${problem} ${index} to ${lastIndex}`;
}

/** A promise to be settled by hand. */
export function gate(): { readonly promise: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const promise = new Promise<void>((resolve) => open = resolve);
  return { promise, open };
}

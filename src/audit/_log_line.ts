import { jsonLine } from "../internal/json_line.ts";
import type { AuditEvent } from "../rpc/mod.ts";
import { toBase64 } from "../internal/base64.ts";
import { readHash } from "./_base64.ts";
import { isTree, leafHash, type MerkleTree, treeRoot } from "./merkle_tree.ts";

// The writer and the verifier of a log agree on its lines here. There are three, each one JSON object:
//   {"audit":1,"origin":…,"first":…,"prev":…,"tree":[…]}       begins a file: where in the log it stands
//   {"index":…,"time":…,"event":…,…,"prev":…}                   an entry; a leaf of the tree is exactly these bytes
//   {"checkpoint":"…","prev":…}                                 a signed checkpoint over all entries before it
// "prev" is the hash of the entry before. The tree makes it superfluous for telling whether the log was tampered with;
// it is there for telling where.

/** Where a log stands. */
export interface LogEnd {
  /** Which log. */
  readonly origin: string;
  /** The hash of its last entry; of nothing, where it has none. */
  readonly last: Uint8Array;
  /** The tree over its entries. */
  readonly tree: MerkleTree;
}

/** What a line of a log says. */
export type LogLine =
  | { readonly kind: "head"; readonly origin: string; readonly tree: MerkleTree; readonly prev: Uint8Array }
  | { readonly kind: "entry"; readonly index: number; readonly prev: Uint8Array; readonly leaf: Uint8Array }
  | { readonly kind: "checkpoint"; readonly note: string; readonly prev: Uint8Array };

/** What the first entry names as the hash of the entry before: the hash of nothing. */
export const nothing: Uint8Array = treeRoot({ size: 0, hashes: [] });

/** The line that begins a file. */
export function headLine({ origin, tree, last }: LogEnd): string {
  const hashes = tree.hashes.map(toBase64);
  return jsonLine({ audit: VERSION, origin, first: tree.size, prev: toBase64(last), tree: hashes }, { maxItems: 64 });
}

/** The line of an entry; of `event` only what an event has, each text cut. */
export function entryLine(place: { index: number; time: string; prev: Uint8Array }, event: AuditEvent): string {
  const { event: name, reason, correlationId, caller, method, fields } = event;
  const members = { event: name, reason, correlationId, caller, method, fields };
  const shown = jsonLine(members, { maxText: MAX_TEXT, maxTotal: MAX_ENTRY_TEXT, maxItems: MAX_FIELDS });
  const before = JSON.stringify({ index: place.index, time: place.time }).slice(0, -1);
  return `${before},${shown.slice(1, -1)},"prev":"${toBase64(place.prev)}"}`;
}

/** The line of a checkpoint. */
export function checkpointLine(note: string, prev: Uint8Array): string {
  return JSON.stringify({ checkpoint: note, prev: toBase64(prev) });
}

/**
 * Reads a line.
 *
 * @param bytes The line without its end.
 * @returns What it says, or undefined for what no log writes.
 */
export function readLine(bytes: Uint8Array): LogLine | undefined {
  const line = parse(bytes);
  const prev = readHash(line?.["prev"]);
  if (!line || !prev) return undefined;
  if ("index" in line) {
    const { index } = line;
    return isSize(index) && isOnly(line, ENTRY) ? { kind: "entry", index, prev, leaf: leafHash(bytes) } : undefined;
  }
  if ("checkpoint" in line) {
    const note = line["checkpoint"];
    return typeof note === "string" && isOnly(line, CHECKPOINT) ? { kind: "checkpoint", note, prev } : undefined;
  }
  return readHead(line, prev);
}

function readHead(line: Readonly<Record<string, unknown>>, prev: Uint8Array): LogLine | undefined {
  const { audit, origin, first, tree: texts } = line;
  if (audit !== VERSION || typeof origin !== "string" || !isSize(first) || !isOnly(line, HEAD)) return undefined;
  const hashes = Array.isArray(texts) ? texts.map(readHash).filter((hash) => hash !== undefined) : undefined;
  const tree = hashes && { size: first, hashes };
  return tree && isTree(tree) ? { kind: "head", origin, tree, prev } : undefined;
}

function parse(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  // JSON.parse would take white space around the object, such as the carriage return of a file that was converted.
  if (bytes[0] !== OPEN || bytes.at(-1) !== CLOSE) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

const isOnly = (line: Readonly<Record<string, unknown>>, members: ReadonlySet<string>) =>
  Object.keys(line).every((name) => members.has(name));

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const VERSION = 1;
const HEAD: ReadonlySet<string> = new Set(["audit", "origin", "first", "prev", "tree"]);
const CHECKPOINT: ReadonlySet<string> = new Set(["checkpoint", "prev"]);
const ENTRY: ReadonlySet<string> = new Set(
  ["index", "time", "event", "reason", "correlationId", "caller", "method", "fields", "prev"],
);
const OPEN = 0x7b;
const CLOSE = 0x7d;

/** The longest text of an entry, in UTF-16 code units; a SPIFFE ID fits, which has at most 2048 bytes. */
const MAX_TEXT = 2048;

/** The most text of an entry in all; escaped, an entry is thus at most about 50 KB. */
const MAX_ENTRY_TEXT = 8192;

/** The most fields of an entry. */
const MAX_FIELDS = 32;

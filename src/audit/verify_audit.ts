import { sameBytes } from "./_base64.ts";
import { diagnoseBreak } from "./_diagnose_break.ts";
import { type AuditFinding, finding } from "./_finding.ts";
import { type LogEnd, type LogLine, nothing } from "./_log_line.ts";
import { type AuditSource, readRows, type Row } from "./_log_reader.ts";
import { expectRoot, expectSize, signedCheckpoint, type Walk } from "./_walk.ts";
import { type AuditKey, checkKey, type Checkpoint, verifyCheckpoint } from "./checkpoint.ts";
import { appendLeaf } from "./merkle_tree.ts";

/** What {@linkcode verifyAudit} trusts. */
export interface VerifyAuditOptions {
  /** Whose checkpoints are trusted. */
  readonly keys: readonly AuditKey[];
  /**
   * Checkpoints of this log that were kept where its writer cannot reach. Without them a log whose end was cut off at one
   * of its own checkpoints is a good log, only shorter, and one that was written twice shows only one face.
   */
  readonly checkpoints?: readonly string[];
  /** Whether entries after the last checkpoint may be there, as in a log that is being written. @default {false} */
  readonly allowUnsignedEnd?: boolean;
  /** Whether it may begin with a later file: to verify one file alone. @default {false} */
  readonly allowMissingStart?: boolean;
}

/** A log in which nothing was found. */
export interface SoundAudit {
  /** Always true. */
  readonly ok: true;
  /** The index of its first entry; more than 0 only where `allowMissingStart` let that through. */
  readonly first: number;
  /** How many entries the log has, with those before the first file. */
  readonly size: number;
  /** How many of them a trusted key vouches for; fewer only where `allowUnsignedEnd` let that through. */
  readonly signedSize: number;
  /** How many checkpoints are in it. */
  readonly checkpoints: number;
  /** Where it ends, for a log that goes on from there. */
  readonly end: LogEnd;
}

/**
 * Verifies a stored log, line by line and in little memory, and names the first thing that is wrong.
 *
 * Every entry names the hash of the one before, and checkpoints sign all of them. So an entry that was changed, moved or
 * taken out is named exactly where the rest was left as it was, and a signature proves which it is. Whoever writes all
 * lines after it anew leaves no such trace; the next checkpoint, which only the signer can write, then shows that one of
 * the entries since the checkpoint before was altered.
 *
 * What no log can show by itself: that entries after its last checkpoint were altered or cut off (they are refused as
 * `unsigned`, see `allowUnsignedEnd`), that its end was cut off at an earlier checkpoint, and that the signer keeps another
 * version of it. For these give checkpoints that were kept elsewhere.
 *
 * @param log The bytes or the text of the log, whole or in chunks; of several files one after the other.
 * @param options Whose checkpoints are trusted.
 * @throws {AuditError} `syntax` or `signature` for a kept checkpoint that no trusted key signed.
 * @throws {TypeError} For a key that cannot be one.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1 | RFC 9162, section 2.1}
 */
export async function verifyAudit(log: AuditSource, options: VerifyAuditOptions): Promise<SoundAudit | AuditFinding> {
  options.keys.forEach(checkKey);
  const kept: Checkpoint[] = [];
  for (const note of options.checkpoints ?? []) kept.push(await verifyCheckpoint(note, options.keys));
  const contradiction = contradictionOf(kept);
  if (contradiction) return contradiction;
  const rows = readRows(log);
  try {
    const begun = begin(await rows.next(), { rows, kept, options });
    return "ok" in begun ? begun : await follow(begun, options);
  } finally {
    await rows.return(undefined); // lets go of the stream
  }
}

function contradictionOf(kept: readonly Checkpoint[]): AuditFinding | undefined {
  for (const [at, one] of kept.entries()) {
    const other = kept.slice(at + 1).find(({ origin, size }) => origin === one.origin && size === one.size);
    if (other && !sameBytes(one.root, other.root)) {
      return finding("forked", [0, one.size - 1], `Two kept checkpoints of ${one.size} entries have different roots`);
    }
  }
  return undefined;
}

interface Given {
  readonly rows: AsyncGenerator<Row, undefined>;
  readonly kept: readonly Checkpoint[];
  readonly options: VerifyAuditOptions;
}

function begin(row: IteratorResult<Row, undefined>, { rows, kept, options }: Given): Walk | AuditFinding {
  const longest = Math.max(0, ...kept.map(({ size }) => size));
  if (row.done) return finding(kept.length > 0 ? "truncated" : "missing", [0, longest - 1], "The log is empty");
  const { content, isWhole } = row.value;
  if (!isWhole) return finding("truncated", [0], "The log ends within its first line");
  if (!content) return finding("altered", [0], "Line 1 is not a line of a log");
  if (content.kind !== "head") {
    const before = content.kind === "entry" ? content.index - 1 : 0;
    return finding("missing", [0, before], "The log does not begin with the line that begins a file");
  }
  const { origin, tree, prev } = content;
  if (tree.size > 0 && !options.allowMissingStart) {
    return finding("missing", [0, tree.size - 1], `The log begins with entry ${tree.size}`);
  }
  if (tree.size === 0 && !sameBytes(prev, nothing)) return finding("altered", [0], "Line 1 was altered");
  if (kept.some((checkpoint) => checkpoint.origin !== origin)) {
    return finding("foreign", [tree.size], "A kept checkpoint is of another log");
  }
  return {
    ...{ origin, first: tree.size, keys: options.keys, kept, rows, tree, last: prev },
    ...{ before: undefined, signedSize: undefined, signedBelow: tree.size, checkpoints: 0, suspicion: undefined },
  };
}

async function follow(walk: Walk, options: VerifyAuditOptions): Promise<SoundAudit | AuditFinding> {
  let found = expectKept(walk);
  for (let row = await walk.rows.next(); !found && !row.done; row = await walk.rows.next()) {
    found = await step(walk, row.value);
  }
  // A checkpoint that did not fit comes before whatever was found below it.
  return walk.suspicion?.ifUnsigned ?? found ?? atEnd(walk, options);
}

function step(walk: Walk, row: Row): Promise<AuditFinding | undefined> | AuditFinding | undefined {
  const { content, isWhole, line } = row;
  if (!isWhole) return finding("truncated", [walk.tree.size], `The log ends within line ${line}`);
  if (!content) return finding("altered", [walk.tree.size], `Line ${line} is not a line of a log`);
  if (content.kind === "head") return onHead(walk, content, line);
  return content.kind === "entry" ? onEntry(walk, content, line) : onCheckpoint(walk, content, line);
}

type Content<Kind> = Extract<LogLine, { readonly kind: Kind }>;

function onHead(walk: Walk, head: Content<"head">, line: number): Promise<AuditFinding> | AuditFinding | undefined {
  const { origin, tree, last } = walk;
  if (head.origin !== origin) {
    return finding("foreign", [tree.size], `The file that begins on line ${line} is of another log`);
  }
  if (head.tree.size > tree.size) return onGap(walk, head, line);
  if (head.tree.size < tree.size) return onRepeat(walk, head.tree.size, line);
  const agrees = sameBytes(head.prev, last) && head.tree.hashes.every((hash, at) => sameBytes(hash, tree.hashes[at]!));
  if (agrees) return undefined;
  const message = `The line ${line} that begins a file, or an entry before it, was altered`;
  return finding("altered", [walk.signedSize ?? walk.first, tree.size - 1], message);
}

function onEntry(walk: Walk, entry: Content<"entry">, line: number): Promise<AuditFinding> | AuditFinding | undefined {
  const { tree, last } = walk;
  if (entry.index > tree.size) return onGap(walk, entry, line);
  if (entry.index < tree.size) return onRepeat(walk, entry.index, line);
  if (!sameBytes(entry.prev, last)) return diagnoseBreak(walk, entry, line);
  walk.before = tree;
  walk.tree = appendLeaf(tree, entry.leaf);
  walk.last = entry.leaf;
  return expectKept(walk);
}

async function onCheckpoint(
  walk: Walk,
  content: Content<"checkpoint">,
  line: number,
): Promise<AuditFinding | undefined> {
  const size = walk.tree.size;
  const checkpoint = await signedCheckpoint(walk, content.note);
  if (!checkpoint) {
    const message = `The checkpoint on line ${line} is not signed by a trusted key`;
    return finding("unsigned", [walk.signedSize ?? walk.first, size - 1], message);
  }
  if (checkpoint.origin !== walk.origin) {
    return finding("foreign", [size], `The checkpoint on line ${line} is of another log`);
  }
  const isLinked = sameBytes(content.prev, walk.last);
  if (checkpoint.size !== size) return expectSize(walk, checkpoint.size, isLinked, line);
  if (!isLinked) return diagnoseBreak(walk, content, line);
  walk.checkpoints++;
  return expectRoot(walk, checkpoint.root, `the checkpoint on line ${line}`);
}

/** A line that belongs further down: were the entries before it taken out or moved, or was the line put here? */
async function onGap(walk: Walk, content: Content<"head" | "entry">, line: number): Promise<AuditFinding> {
  const expected = walk.tree.size;
  const index = content.kind === "entry" ? content.index : content.tree.size;
  let [isThere, isTwice, most] = [false, false, expected - 1];
  for await (const { content } of walk.rows) {
    if (content?.kind !== "entry") continue;
    isThere ||= content.index === expected;
    isTwice ||= content.index === index;
    most = Math.max(most, content.index);
  }
  if (!isThere) {
    return finding("missing", [expected, index - 1], `Entries from ${expected} on are missing before line ${line}`);
  }
  return content.kind === "entry" && (isTwice || index > most + 1)
    ? finding("inserted", [expected], `Line ${line} was put in before entry ${expected}`)
    : finding("reordered", [expected], `Entry ${expected} comes after line ${line}, which belongs after it`);
}

function onRepeat(walk: Walk, index: number, line: number): AuditFinding {
  return index < walk.first
    ? finding("reordered", [index], `Line ${line} is of entry ${index}, which belongs before the first line`)
    : finding("inserted", [index], `Line ${line} is of entry ${index}, which was there already`);
}

function expectKept(walk: Walk): AuditFinding | undefined {
  let found: AuditFinding | undefined;
  for (const { size, root } of walk.kept) {
    if (size === walk.tree.size) found ??= expectRoot(walk, root, `a kept checkpoint of ${size} entries`);
  }
  return found;
}

function atEnd(walk: Walk, options: VerifyAuditOptions): SoundAudit | AuditFinding {
  const { origin, first, tree, last, signedSize, checkpoints } = walk;
  const longest = Math.max(0, ...walk.kept.map(({ size }) => size));
  if (longest > tree.size) {
    return finding("truncated", [tree.size, longest - 1], `The log ends before entry ${tree.size}, which was signed`);
  }
  if (signedSize !== tree.size && !options.allowUnsignedEnd) {
    return finding("unsigned", [signedSize ?? first, tree.size - 1], "No checkpoint signs the end of the log");
  }
  return { ok: true, first, size: tree.size, signedSize: signedSize ?? 0, checkpoints, end: { origin, last, tree } };
}

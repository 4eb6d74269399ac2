import { sameBytes } from "./_base64.ts";
import { type AuditFinding, finding } from "./_finding.ts";
import type { Row } from "./_log_reader.ts";
import { AuditError } from "./audit_error.ts";
import { type AuditKey, type Checkpoint, verifyCheckpoint } from "./checkpoint.ts";
import { type MerkleTree, treeRoot } from "./merkle_tree.ts";

/** What a verifier knows of a log after a number of lines, all of them good so far. */
export interface Walk {
  readonly origin: string;
  /** The index of the first entry. */
  readonly first: number;
  readonly keys: readonly AuditKey[];
  readonly kept: readonly Checkpoint[];
  /** The lines that follow. */
  readonly rows: AsyncGenerator<Row, undefined>;
  /** The tree over the entries so far. */
  tree: MerkleTree;
  /** The same without the last entry; undefined where none was read yet. */
  before: MerkleTree | undefined;
  /** The hash of the last entry. */
  last: Uint8Array;
  /** How many entries the last good checkpoint signs; undefined before the first one. */
  signedSize: number | undefined;
  /** How many the one before signs that was of another size. */
  signedBelow: number;
  /** How many checkpoints were good. */
  checkpoints: number;
  /** The first checkpoint that does not fit the entries before it. */
  suspicion: Suspicion | undefined;
}

/** A signed checkpoint that does not fit the entries: what follows says what it means. */
export interface Suspicion {
  /** What is wrong where no signature vouches for the entries as they are. */
  readonly ifUnsigned: AuditFinding;
  /** What is wrong where one does. */
  readonly ifSigned: AuditFinding;
}

/** Reads a checkpoint; undefined where no trusted key signed it. */
export async function signedCheckpoint(walk: Walk, note: string): Promise<Checkpoint | undefined> {
  try {
    return await verifyCheckpoint(note, walk.keys);
  } catch (error) {
    if (error instanceof AuditError) return undefined;
    throw error;
  }
}

/**
 * Compares a signed root with that of the entries so far.
 *
 * Where it differs, either the entries were altered or the signer signed two histories. The second is proven when a
 * signed root of these entries, or of more, turns up; so that has to be waited for.
 *
 * @returns What a suspicion comes to, where this settles one.
 */
export function expectRoot(walk: Walk, root: Uint8Array, whose: string): AuditFinding | undefined {
  const { suspicion, signedSize, tree: { size } } = walk;
  const from = signedSize ?? walk.first;
  if (sameBytes(root, treeRoot(walk.tree))) {
    walk.suspicion = undefined;
    if (signedSize !== size) walk.signedBelow = from;
    walk.signedSize = size;
    return suspicion?.ifSigned;
  }
  const forked = (since: number) =>
    finding("forked", [since, size - 1], `The signer signed these entries, and others with ${whose}`);
  if (signedSize === size) return forked(walk.signedBelow);
  walk.suspicion ??= {
    ifUnsigned: finding("altered", [from, size - 1], `One of the entries is not what ${whose} signs`),
    ifSigned: forked(from),
  };
  return undefined;
}

/** Takes note of a checkpoint over more or fewer entries than stand before it. */
export function expectSize(walk: Walk, signed: number, isLinked: boolean, line: number): AuditFinding | undefined {
  const { size } = walk.tree;
  const from = walk.signedSize ?? walk.first;
  const found = `The checkpoint on line ${line} signs ${signed} entries, and ${size} stand before it`;
  const moved = finding("reordered", [Math.min(signed, size)], found);
  if (walk.signedSize === size && signed < size) return moved;
  // Where the hash before is right although entries were taken out, the lines were written anew, and any may be missing.
  const ifUnsigned = signed > size
    ? finding("missing", [isLinked ? from : size, signed - 1], found)
    : finding("inserted", [from, size - 1], found);
  walk.suspicion ??= { ifUnsigned, ifSigned: moved };
  return undefined;
}

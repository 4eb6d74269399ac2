import { sameBytes } from "./_base64.ts";
import { appendLeaf, emptyTree, nodeHash, treeRoot } from "./merkle_tree.ts";

/** What {@linkcode verifyInclusion} compares: that an entry is in the tree with this root. */
export interface InclusionClaim {
  /** The hash of the leaf. */
  readonly leaf: Uint8Array;
  /** Its index, from 0. */
  readonly index: number;
  /** How many leaves the tree has. */
  readonly size: number;
  /** The root of the tree. */
  readonly root: Uint8Array;
}

/** What {@linkcode verifyConsistency} compares: that one tree is the beginning of another. */
export interface ConsistencyClaim {
  /** How many leaves the earlier tree has, at least 1: an empty tree begins every other and proves nothing. */
  readonly size1: number;
  /** The root of the earlier tree. */
  readonly root1: Uint8Array;
  /** How many leaves the later tree has. */
  readonly size2: number;
  /** The root of the later tree. */
  readonly root2: Uint8Array;
}

/**
 * Proves that a leaf is in a tree.
 *
 * @param leaves The hashes of all leaves of the tree.
 * @param index Which of them.
 * @throws {RangeError} Where there is no such leaf.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3.1 | RFC 9162, section 2.1.3.1}
 */
export function inclusionProof(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (!Number.isInteger(index) || index < 0 || index >= leaves.length) {
    throw new RangeError(`There is no leaf ${index} in a tree of ${leaves.length}`);
  }
  if (leaves.length === 1) return [];
  const [left, right] = split(leaves);
  return index < left.length
    ? [...inclusionProof(left, index), rootOf(right)]
    : [...inclusionProof(right, index - left.length), rootOf(left)];
}

/**
 * Proves that a tree is the beginning of a larger one.
 *
 * @param leaves The hashes of all leaves of the larger tree.
 * @param size1 How many leaves the smaller tree has.
 * @throws {RangeError} Where there is no such tree in the larger one, or it is empty.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1.4.1 | RFC 9162, section 2.1.4.1}
 */
export function consistencyProof(leaves: readonly Uint8Array[], size1: number): Uint8Array[] {
  if (!Number.isInteger(size1) || size1 < 1 || size1 > leaves.length) {
    throw new RangeError(`There is no proof from a tree of ${size1} to one of ${leaves.length}`);
  }
  return subproof(leaves, size1, true);
}

/**
 * Verifies that a leaf is in a tree.
 *
 * @param claim The leaf and the tree.
 * @param proof The hashes of {@linkcode inclusionProof}.
 * @returns Whether the proof proves the claim; false for one that is no proof at all.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3.2 | RFC 9162, section 2.1.3.2}
 */
export function verifyInclusion({ leaf, index, size, root }: InclusionClaim, proof: readonly Uint8Array[]): boolean {
  if (!isSize(index) || !isSize(size) || index >= size || ![leaf, ...proof].every(isHash)) return false;
  let [at, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sibling, hash);
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && sameBytes(hash, root);
}

/**
 * Verifies that a tree is the beginning of a larger one: that the log of the first only grew.
 *
 * @param claim The sizes and roots of both.
 * @param proof The hashes of {@linkcode consistencyProof}.
 * @returns Whether the proof proves the claim; false for one that is no proof at all.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1.4.2 | RFC 9162, section 2.1.4.2}
 */
export function verifyConsistency(claim: ConsistencyClaim, proof: readonly Uint8Array[]): boolean {
  const { size1, root1, size2, root2 } = claim;
  if (!isSize(size1) || !isSize(size2) || size1 < 1 || size1 > size2) return false;
  if (size1 === size2) return proof.length === 0 && sameBytes(root1, root2);
  if (![root1, ...proof].every(isHash)) return false;
  // A smaller tree that is one full subtree of the larger is not repeated in the proof.
  const [start, ...path] = isPowerOfTwo(size1) ? [root1, ...proof] : proof;
  if (start === undefined) return false;
  let [at, last, hash1, hash2] = [size1 - 1, size2 - 1, start, start];
  while (at % 2 === 1) [at, last] = [half(at), half(last)];
  for (const sibling of path) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      [hash1, hash2] = [nodeHash(sibling, hash1), nodeHash(sibling, hash2)];
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      hash2 = nodeHash(hash2, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && sameBytes(hash1, root1) && sameBytes(hash2, root2);
}

function subproof(leaves: readonly Uint8Array[], size1: number, isWhole: boolean): Uint8Array[] {
  if (size1 === leaves.length) return isWhole ? [] : [rootOf(leaves)];
  const [left, right] = split(leaves);
  return size1 <= left.length
    ? [...subproof(left, size1, isWhole), rootOf(right)]
    : [...subproof(right, size1 - left.length, false), rootOf(left)];
}

/** Splits at the largest power of two that is smaller than the length. */
function split<Item>(items: readonly Item[]): [readonly Item[], readonly Item[]] {
  let at = 1;
  while (at * 2 < items.length) at *= 2;
  return [items.slice(0, at), items.slice(at)];
}

const rootOf = (leaves: readonly Uint8Array[]) => treeRoot(leaves.reduce(appendLeaf, emptyTree));
const isSize = (value: number) => Number.isSafeInteger(value) && value >= 0;
const isHash = (bytes: Uint8Array) => bytes.length === 32;
const half = (value: number) => Math.floor(value / 2); // `>>` would cut a size at 31 bits

function isPowerOfTwo(size: number): boolean {
  let rest = size;
  while (rest % 2 === 0) rest /= 2;
  return rest === 1;
}

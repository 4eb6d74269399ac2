import { sha256 } from "@noble/hashes/sha2.js";

/**
 * A Merkle tree of which only the roots of its full subtrees are kept, the largest first: what more leaves and the root
 * need, log2 of the size in hashes. It is a value: appending makes another one.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1 | RFC 9162, section 2.1}
 */
export interface MerkleTree {
  /** How many leaves it has. */
  readonly size: number;
  /** The root of each full subtree, from the largest to the smallest. */
  readonly hashes: readonly Uint8Array[];
}

/** The tree without leaves. */
export const emptyTree: MerkleTree = { size: 0, hashes: [] };

/**
 * Hashes a leaf; the prefix keeps a leaf from ever being taken for a node.
 *
 * @param bytes The content of the leaf.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9162#section-2.1.1 | RFC 9162, section 2.1.1}
 */
export const leafHash = (bytes: Uint8Array): Uint8Array => hashed(0x00, bytes);

/** Hashes two subtrees. */
export const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array => hashed(0x01, left, right);

/**
 * Adds a leaf.
 *
 * @param tree The tree; it stays as it is.
 * @param leaf The hash of the leaf, of {@linkcode leafHash}.
 */
export function appendLeaf(tree: MerkleTree, leaf: Uint8Array): MerkleTree {
  const hashes = [...tree.hashes];
  let right = leaf;
  // Each one bit at the end of the size is a full subtree as large as the one that is now complete.
  for (let rest = tree.size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
    right = nodeHash(hashes.pop() as Uint8Array, right);
  }
  return { size: tree.size + 1, hashes: [...hashes, right] };
}

/** The root of a tree, which commits to every leaf and to their order. */
export function treeRoot({ hashes }: MerkleTree): Uint8Array {
  return hashes.length === 0 ? sha256(new Uint8Array()) : hashes.reduceRight((right, left) => nodeHash(left, right));
}

/** Whether a size can have this many full subtrees: one for each one bit. */
export function isTree({ size, hashes }: MerkleTree): boolean {
  let bits = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) bits += rest % 2;
  return hashes.length === bits;
}

function hashed(prefix: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = sha256.create().update(Uint8Array.of(prefix));
  for (const part of parts) hash.update(part);
  return hash.digest();
}

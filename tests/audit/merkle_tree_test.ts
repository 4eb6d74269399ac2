import {
  appendLeaf,
  emptyTree,
  isTree,
  leafHash,
  type MerkleTree,
  nodeHash,
  treeRoot,
} from "../../src/audit/merkle_tree.ts";
import { bytesOf, hexOf } from "./_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

/** The leaves and roots that every implementation of RFC 6962 is tested with. */
const LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

const leaves = LEAVES.map((leaf) => leafHash(bytesOf(leaf)));

test("treeRoot() gives the known roots of the known leaves", () => {
  let tree = emptyTree;
  const roots = [hexOf(treeRoot(tree))];
  for (const leaf of leaves) roots.push(hexOf(treeRoot(tree = appendLeaf(tree, leaf))));
  assert.deepEqual(roots, ROOTS);
});

/** The definition of RFC 9162, section 2.1.1, as it stands there. */
function naiveRoot(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return treeRoot(emptyTree);
  if (hashes.length === 1) return hashes[0]!;
  let k = 1;
  while (k * 2 < hashes.length) k *= 2;
  return nodeHash(naiveRoot(hashes.slice(0, k)), naiveRoot(hashes.slice(k)));
}

test("appendLeaf() gives the root of the definition at every size from 0 to 70", () => {
  const all = Array.from({ length: 70 }, (_, at) => leafHash(Uint8Array.of(at)));
  let tree = emptyTree;
  for (let size = 0; size <= all.length; size++) {
    assert.deepEqual(treeRoot(tree), naiveRoot(all.slice(0, size)), `size ${size}`);
    assert.ok(isTree(tree));
    assert.equal(tree.size, size);
    if (size < all.length) tree = appendLeaf(tree, all[size]!);
  }
});

test("appendLeaf() leaves the tree that it was given as it was", () => {
  const three = leaves.slice(0, 3).reduce(appendLeaf, emptyTree);
  appendLeaf(three, leaves[3]!);
  assert.equal(hexOf(treeRoot(three)), ROOTS[3]);
});

test("appendLeaf() counts beyond 31 bits", () => {
  const tree: MerkleTree = { size: 2 ** 40 + 1, hashes: [leaves[0]!, leaves[1]!] };
  assert.ok(isTree(tree));
  assert.deepEqual(appendLeaf(tree, leaves[2]!).hashes, [leaves[0]!, nodeHash(leaves[1]!, leaves[2]!)]);
});

test("isTree() refuses a number of subtrees that the size cannot have", () => {
  assert.ok(!isTree({ size: 3, hashes: [leaves[0]!] }));
  assert.ok(!isTree({ size: 4, hashes: [leaves[0]!, leaves[1]!] }));
  assert.ok(!isTree({ size: 0, hashes: [leaves[0]!] }));
});

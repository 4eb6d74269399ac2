import { consistencyProof, inclusionProof, leafHash, verifyConsistency, verifyInclusion } from "../../src/audit/mod.ts";
import { appendLeaf, emptyTree, nodeHash, treeRoot } from "../../src/audit/merkle_tree.ts";
import { bytesOf, hexOf } from "./_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";

const rootOf = (leaves: readonly Uint8Array[]) => treeRoot(leaves.reduce(appendLeaf, emptyTree));
const leavesOf = (count: number) => Array.from({ length: count }, (_, at) => leafHash(Uint8Array.of(at, at >> 8)));

const known = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
  .map((leaf) => leafHash(bytesOf(leaf)));
const ROOT_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";

test("inclusionProof() gives the known path of the first of eight leaves", () => {
  assert.deepEqual(inclusionProof(known, 0).map(hexOf), [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
  ]);
});

test("inclusionProof() gives the known path of the sixth of eight leaves", () => {
  assert.deepEqual(inclusionProof(known, 5).map(hexOf), [
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  ]);
});

test("consistencyProof() gives the known path from six to eight leaves", () => {
  assert.deepEqual(consistencyProof(known, 6).map(hexOf), [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  ]);
});

test("consistencyProof() does not repeat a smaller tree that is one full subtree", () => {
  assert.equal(consistencyProof(known, 4).length, 1);
  assert.deepEqual(consistencyProof(known, 8), []);
});

test("verifyInclusion() takes the proof of every leaf of every tree up to 40 leaves", () => {
  for (let size = 1; size <= 40; size++) {
    const leaves = leavesOf(size);
    const root = rootOf(leaves);
    leaves.forEach((leaf, index) => {
      const proof = inclusionProof(leaves, index);
      assert.ok(verifyInclusion({ leaf, index, size, root }, proof), `${index} of ${size}`);
      assert.ok(!verifyInclusion({ leaf, index: index + 1, size, root }, proof), `not ${index + 1} of ${size}`);
    });
  }
});

test("verifyConsistency() takes the proof between all trees up to 40 leaves", () => {
  const leaves = leavesOf(40);
  for (let size2 = 1; size2 <= 40; size2++) {
    const root2 = rootOf(leaves.slice(0, size2));
    for (let size1 = 1; size1 <= size2; size1++) {
      const root1 = rootOf(leaves.slice(0, size1));
      const proof = consistencyProof(leaves.slice(0, size2), size1);
      assert.ok(verifyConsistency({ size1, root1, size2, root2 }, proof), `${size1} to ${size2}`);
    }
  }
});

test("verifyInclusion() and verifyConsistency() refuse a proof with any bit flipped, cut or made longer", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 60 }), fc.nat(), fc.nat(), (size, which, bit) => {
      const leaves = leavesOf(size);
      const index = which % size;
      const size1 = 1 + which % (size - 1);
      const inclusion = { leaf: leaves[index]!, index, size, root: rootOf(leaves) };
      const consistency = { size1, root1: rootOf(leaves.slice(0, size1)), size2: size, root2: rootOf(leaves) };
      const included = inclusionProof(leaves, index);
      const consistent = consistencyProof(leaves, size1);
      for (
        const proof of [flipped(included, bit), included.slice(1), included.slice(0, -1), [...included, leaves[0]!]]
      ) {
        assert.ok(!verifyInclusion(inclusion, proof));
      }
      const bad = [flipped(consistent, bit), consistent.slice(1), consistent.slice(0, -1), [...consistent, leaves[0]!]];
      for (const proof of bad) assert.ok(!verifyConsistency(consistency, proof));
    }),
  );
});

function flipped(proof: readonly Uint8Array[], bit: number): Uint8Array[] {
  const copy = proof.map((hash) => hash.slice());
  const at = Math.floor(bit / 256) % copy.length;
  copy[at]![Math.floor(bit / 8) % 32]! ^= 1 << bit % 8;
  return copy;
}

const [leaf, other] = leavesOf(2) as [Uint8Array, Uint8Array];

for (
  const [name, index, size] of [
    ["an index behind the end", 1, 1],
    ["an empty tree", 0, 0],
    ["a negative index", -1, 1],
    ["a fraction", 0.5, 1],
    ["a size that is not a number", 0, NaN],
    ["a size beyond what numbers count", 0, 2 ** 60],
  ] as const
) {
  test(`verifyInclusion() refuses ${name}`, () => {
    assert.ok(!verifyInclusion({ leaf, index, size, root: leaf }, []));
  });
}

test("verifyInclusion() refuses a path that goes on above the root", () => {
  const root = rootOf([leaf, other]);
  assert.ok(verifyInclusion({ leaf, index: 0, size: 2, root }, [other]));
  assert.ok(!verifyInclusion({ leaf, index: 0, size: 2, root: rootOf([leaf, other, leaf, other]) }, [other, root]));
});

test("verifyInclusion() refuses what is longer or shorter than a hash", () => {
  const none = new Uint8Array();
  assert.ok(!verifyInclusion({ leaf: none, index: 0, size: 1, root: none }, []));
  assert.ok(!verifyInclusion({ leaf, index: 0, size: 1, root: Uint8Array.of(...leaf, 0) }, []));
  const short = other.subarray(1);
  assert.ok(!verifyInclusion({ leaf, index: 0, size: 2, root: nodeHash(leaf, short) }, [short]));
});

test("verifyConsistency() refuses what is longer or shorter than a hash", () => {
  const short = other.subarray(1);
  const claim = { size1: 1, root1: leaf, size2: 2 };
  assert.ok(!verifyConsistency({ ...claim, root2: nodeHash(leaf, short) }, [short]));
  assert.ok(verifyConsistency({ ...claim, root2: nodeHash(leaf, other) }, [other]));
  assert.ok(!verifyConsistency({ ...claim, root2: Uint8Array.of(...nodeHash(leaf, other), 0) }, [other]));
});

test("verifyInclusion() refuses a size beyond what numbers count although the path leads to the root", () => {
  const path = Array.from({ length: 61 }, () => other);
  const root = path.reduce(nodeHash, leaf);
  assert.ok(!verifyInclusion({ leaf, index: 0, size: 2 ** 60, root }, path));
});

const [l0, l1, l2, l3] = leavesOf(4) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
const [n01, n23] = [nodeHash(l0, l1), nodeHash(l2, l3)];

test("verifyInclusion() refuses a path that ends below the root", () => {
  assert.ok(!verifyInclusion({ leaf: l0, index: 0, size: 4, root: n01 }, [l1]));
});

test("verifyConsistency() refuses a path that ends below the root, or goes on above it", () => {
  const below = { size1: 2, root1: n01, size2: 8, root2: nodeHash(n01, n23) };
  assert.ok(verifyConsistency({ ...below, size2: 4 }, [n23]));
  assert.ok(!verifyConsistency(below, [n23]));
  const above = { size1: 3, root1: nodeHash(l0, nodeHash(n01, l2)), size2: 4, root2: nodeHash(l0, nodeHash(n01, n23)) };
  assert.ok(verifyConsistency({ ...above, root1: nodeHash(n01, l2), root2: nodeHash(n01, n23) }, [l2, l3, n01]));
  assert.ok(!verifyConsistency(above, [l2, l3, n01, l0]));
});

test("verifyConsistency() refuses a path that leads to one of the roots only", () => {
  const claim = { size1: 3, root1: nodeHash(n01, l2), size2: 4, root2: nodeHash(n01, n23) };
  assert.ok(!verifyConsistency({ ...claim, root1: n01 }, [l2, l3, n01]));
  assert.ok(!verifyConsistency({ ...claim, root2: n01 }, [l2, l3, n01]));
});

test("verifyConsistency() refuses sizes that no tree has although the path leads to the roots", () => {
  const broken = { size1: 1.5, root1: l0, size2: 3, root2: nodeHash(nodeHash(l0, l1), l2) };
  assert.ok(!verifyConsistency(broken, [l0, l1, l2]));
  const path = Array.from({ length: 61 }, () => other);
  assert.ok(!verifyConsistency({ size1: 1, root1: leaf, size2: 2 ** 60, root2: path.reduce(nodeHash, leaf) }, path));
});

test("verifyConsistency() refuses what no two trees are", () => {
  const equal = { root1: leaf, root2: leaf };
  assert.ok(verifyConsistency({ size1: 1, size2: 1, ...equal }, []));
  assert.ok(!verifyConsistency({ size1: 1, size2: 1, ...equal }, [leaf]), "a proof between equal trees");
  assert.ok(!verifyConsistency({ size1: 1, size2: 1, root1: leaf, root2: other }, []), "equal sizes, other roots");
  assert.ok(!verifyConsistency({ size1: 0, size2: 0, ...equal }, []), "from an empty tree to itself");
  assert.ok(!verifyConsistency({ size1: 0, size2: 1, ...equal }, []), "from an empty tree");
  assert.ok(!verifyConsistency({ size1: 2, size2: 1, ...equal }, []), "backwards");
  assert.ok(!verifyConsistency({ size1: 3, size2: 5, ...equal }, []), "without a proof");
  assert.ok(!verifyConsistency({ size1: 1.5, size2: 1.5, ...equal }, []), "a fraction");
  assert.ok(!verifyConsistency({ size1: 1, size2: Infinity, ...equal }, [other]), "an endless tree");
});

test("inclusionProof() and consistencyProof() throw a RangeError for what is not in the tree", () => {
  for (const index of [-1, 8, 0.5]) assert.throws(() => inclusionProof(known, index), /RangeError: There is no leaf/);
  for (const size of [0, 9, 1.5]) assert.throws(() => consistencyProof(known, size), /RangeError: There is no proof/);
  assert.equal(hexOf(rootOf(known)), ROOT_8);
});

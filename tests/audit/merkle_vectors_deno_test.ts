import { verifyConsistency, verifyInclusion } from "../../src/audit/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// The JSON vectors of transparency-dev/merkle, which are not kept in this repository.
const VECTORS = new URL("../../../shared/vectors/merkle.json", import.meta.url);

interface Vectors {
  readonly inclusion: readonly {
    readonly name: string;
    readonly leafIdx: number;
    readonly treeSize: number;
    readonly root: string;
    readonly leafHash: string;
    readonly proof: readonly string[] | null;
    readonly wantErr: boolean;
  }[];
  readonly consistency: readonly {
    readonly name: string;
    readonly size1: number;
    readonly size2: number;
    readonly root1: string;
    readonly root2: string;
    readonly proof: readonly string[] | null;
    readonly wantErr: boolean;
  }[];
}

const bytes = (text: string | null) => Uint8Array.fromBase64(text ?? "");

const text = await Deno.readTextFile(VECTORS).catch(() => undefined);
if (text === undefined) console.log("Skipped: the vectors of transparency-dev/merkle are not there");

test("verifyInclusion() and verifyConsistency() agree with all 196 vectors", { skip: text === undefined }, () => {
  const { inclusion, consistency }: Vectors = JSON.parse(text!);
  assert.equal(inclusion.length + consistency.length, 196);
  for (const { name, leafIdx: index, treeSize: size, root, leafHash, proof, wantErr } of inclusion) {
    const claim = { leaf: bytes(leafHash), index, size, root: bytes(root) };
    assert.equal(verifyInclusion(claim, (proof ?? []).map(bytes)), !wantErr, name);
  }
  for (const { name, size1, size2, root1, root2, proof, wantErr } of consistency) {
    const claim = { size1, size2, root1: bytes(root1), root2: bytes(root2) };
    assert.equal(verifyConsistency(claim, (proof ?? []).map(bytes)), !wantErr, name);
  }
});

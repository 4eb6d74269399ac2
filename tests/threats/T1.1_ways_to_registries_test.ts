import { anonymous, fetchTransport } from "../../src/rpc/mod.ts";
import { balancedTransport } from "../../src/selector/mod.ts";
import {
  announce,
  etcdRegistry,
  memoryRegistry,
  type Registry,
  remoteRegistry,
  verifiedRegistry,
} from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { rig, SERVICE } from "../registry/_rig.ts";

const WEAK: readonly (readonly [string, Registry["properties"] | undefined])[] = [
  ["is not encrypted", { encrypted: false, accessControlled: true }],
  ["anybody may write to", { encrypted: true, accessControlled: false }],
  ["promises nothing", undefined],
];

for (const [what, properties] of WEAK) {
  test(`T1.1 nothing begins with a registry that ${what}`, async () => {
    const { trust, orders: identity } = await rig();
    const registry = { ...memoryRegistry(), properties: properties! };
    assert.throws(() => verifiedRegistry(registry, { trust }), TypeError);
    assert.throws(() => balancedTransport(registry, { trust, identity }), TypeError);
    const endpoints = ["https://one.example.org"];
    await assert.rejects(announce({ services: [], draining: false }, { registry, identity, endpoints }), TypeError);
  });
}

test("T1.1 no registry is reached in the clear", () => {
  for (const url of ["http://registry.example.org", "ws://registry.example.org", "registry.example.org:2379"]) {
    assert.throws(() => remoteRegistry(fetchTransport(url, { prover: anonymous() })), TypeError);
    assert.throws(() => etcdRegistry({ url, user: "orders", password: "x" }), TypeError);
  }
});

const ANSWERS: readonly (readonly [string, unknown])[] = [
  ["no object", [1]],
  ["without a cursor", { reset: true, records: [], gone: [], more: false }],
  ["with records that are no texts", {
    cursor: "a",
    reset: true,
    records: [{ name: "a", record: 1 }],
    gone: [],
    more: false,
  }],
  ["with a record that is too long", {
    cursor: "a",
    reset: true,
    records: [{ name: "a", record: "x".repeat(8_193) }],
    gone: [],
    more: false,
  }],
  ["with more than a megabyte", {
    cursor: "a",
    reset: true,
    records: Array.from({ length: 200 }, (_, i) => ({ name: String(i), record: "x".repeat(8_000) })),
    gone: [],
    more: false,
  }],
  ["without an end", { cursor: "a", reset: false, records: [], gone: [], more: true }],
];

for (const [what, answer] of ANSWERS) {
  test(`T1.1 an answer of a registry ${what} is none`, async () => {
    const fetch = () => Promise.resolve(Response.json(answer));
    const registry = remoteRegistry(fetchTransport("https://registry.test", { prover: anonymous(), fetch }));
    await assert.rejects(registry.resolve(SERVICE), { name: "RegistryError" });
  });
}

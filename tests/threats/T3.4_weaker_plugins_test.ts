import { memoryRegistry, type Registry, verifiedRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { rig } from "../registry/_rig.ts";
import { mesh } from "../selector/_mesh.ts";

const WEAK: readonly (readonly [string, unknown])[] = [
  ["is not encrypted", { encrypted: false, accessControlled: true }],
  ["is open to everybody", { encrypted: true, accessControlled: false }],
  ["says it with a word in place of a promise", { encrypted: "yes", accessControlled: "yes" }],
  ["promises nothing", {}],
];

for (const [what, properties] of WEAK) {
  test(`T3.4 T5.4 a registry plug-in that ${what} is refused at the start`, async () => {
    const { trust } = await rig();
    const registry = { ...memoryRegistry(), properties } as Registry;
    assert.throws(() => verifiedRegistry(registry, { trust }), TypeError);
  });
}

test("T6.3 a selector plug-in cannot bring in an instance that was not verified", async () => {
  const own = await mesh("a", "b");
  const client = own.client({
    selector: ({ candidates: [first] }) => () => ({
      inFlight: 0,
      instance: {
        ...first!.instance,
        identity: "spiffe://example.org/mallory",
        endpoints: ["https://evil.example.org"],
      },
    }),
  });
  await assert.rejects(client.look({ item: "a" }));
  assert.deepEqual(own.attempts, []);
  assert.ok(!own.connected.includes("https://evil.example.org"));
});

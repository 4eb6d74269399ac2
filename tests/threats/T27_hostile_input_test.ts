import { cbor, json } from "../../src/codec/mod.ts";
import { createServer, implement, type LogEntry, publicOnly, rpc, service } from "../../src/rpc/mod.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

// The attacker sends whatever could mean something to the code behind a handler. A handler sees nothing that its strict
// schema did not let through, and what it lets through is data.

const Item = v.strictObject({ sku: v.pipe(v.string(), v.regex(/^[A-Z]-\d{1,4}$/)), count: v.optional(v.number()) });
const Orders = service("orders.v1", {
  place: rpc(
    v.strictObject({ items: v.array(Item), labels: v.optional(v.record(v.string(), v.string())) }),
    v.object({ n: v.number() }),
  ),
});

function orders() {
  const entries: LogEntry[] = [];
  const seen: { items: unknown[]; labels?: Record<string, string> | undefined }[] = [];
  const server = createServer(
    implement(Orders, {
      place: (order) => {
        seen.push(order);
        return { n: order.items.length };
      },
    }),
    { guard: publicOnly(["orders.v1/place"]), codecs: [json(), cbor()], log: (entry) => void entries.push(entry) },
  );
  return { server, entries, seen };
}

const post = (body: string | Uint8Array<ArrayBuffer>, type = "application/json") =>
  new Request("https://orders.test/orders.v1/place", { method: "POST", body, headers: { "content-type": type } });

async function assertHonest({ server, seen }: ReturnType<typeof orders>): Promise<void> {
  const before = seen.length;
  const response = await server.fetch(post('{"items":[{"sku":"A-1"}]}'));
  assert.deepEqual([response.status, await response.json()], [200, { n: 1 }]);
  assert.deepEqual(seen.slice(before), [{ items: [{ sku: "A-1" }] }]);
}

const prototypes = [Object.prototype, Array.prototype, Function.prototype];
const keysOf = () => prototypes.map((prototype) => Reflect.ownKeys(prototype));
const untouched = keysOf();

const attacks: readonly (readonly [name: string, body: string])[] = [
  ["SQL in a member", `{"items":[{"sku":"A-1'; DROP TABLE stock; --"}]}`],
  ["a query operator in place of a text", '{"items":[{"sku":{"$ne":""}}]}'],
  ["a path", '{"items":[{"sku":"../../etc/passwd"}]}'],
  ["a template", '{"items":[{"sku":"${process.env}"}]}'],
  ["a line break after what is allowed", '{"items":[{"sku":"A-1\\n"}]}'],
  ["markup", '{"items":[{"sku":"<script>"}]}'],
  ["a null byte", '{"items":[{"sku":"A-1\\u0000"}]}'],
  ["a list in place of a text", '{"items":[{"sku":["A-1"]}]}'],
  ["a list in place of an object", '{"items":[["A-1"]]}'],
  ["an object in place of a list", '{"items":{"0":{"sku":"A-1"},"length":1}}'],
  ["a text in place of a number", '{"items":[{"sku":"A-1","count":"1"}]}'],
  ["a privilege that nobody asked for", '{"items":[],"isAdmin":true}'],
  ["a privilege at depth", '{"items":[{"sku":"A-1","isAdmin":true}]}'],
  ["__proto__", '{"items":[],"__proto__":{"isAdmin":true}}'],
  ["__proto__ at depth", '{"items":[{"sku":"A-1","__proto__":{"isAdmin":true}}]}'],
  ["__proto__ written otherwise", '{"items":[],"\\u005f_proto__":{"isAdmin":true}}'],
  ["__proto__ as data", '{"items":[],"labels":{"__proto__":"x"}}'],
  ["constructor", '{"items":[],"constructor":{"prototype":{"isAdmin":true}}}'],
  ["prototype", '{"items":[],"prototype":{}}'],
  ["toString", '{"items":[],"toString":"x"}'],
  ["toJSON", '{"items":[],"toJSON":"x"}'],
  ["then", '{"items":[],"then":"x"}'],
  ["hasOwnProperty at depth", '{"items":[{"sku":"A-1","hasOwnProperty":1}]}'],
  ["a member given twice", '{"items":[{"sku":"A-1","sku":"B-1"}]}'],
  ["a number that is none", '{"items":[{"sku":"A-1","count":1e999}]}'],
  ["null", "null"],
  ["nothing", ""],
];
for (const [name, body] of attacks) {
  test(`T2.4 T13 T27 createServer() lets ${name} reach no handler`, async () => {
    const rig = orders();
    const response = await rig.server.fetch(post(body));
    const wire = await response.json();
    assert.deepEqual([response.status, wire.code], [400, "invalid_argument"]);
    assert.deepEqual(rig.entries.map(({ correlationId, code }) => [correlationId, code]), [[
      wire.details[0].debug.requestId,
      "invalid_argument",
    ]]);
    assert.deepEqual(rig.seen, []);
    assert.equal(({} as { isAdmin?: unknown }).isAdmin, undefined);
    await assertHonest(rig);
  });
}

test("T2.4 T13 T27 createServer() hands on keys that are data as data, and they change nothing else", async () => {
  const rig = orders();
  const labels = '{"toString":"b","hasOwnProperty":"c","valueOf":"d","then":"e"}';
  const response = await rig.server.fetch(post(`{"items":[],"labels":${labels}}`));
  assert.equal(response.status, 200);
  assert.deepEqual(JSON.parse(JSON.stringify(rig.seen[0]?.labels)), JSON.parse(labels));
  assert.deepEqual(keysOf(), untouched);
  await assertHonest(rig);
});

const refused = new Set(["invalid_argument", "resource_exhausted"]);

for (const [type, codec] of [["application/json", json()], ["application/cbor", cbor()]] as const) {
  test(`T2.4 T13 T27 createServer() answers any bytes of ${type} with a refusal or within the contract`, async () => {
    const rig = orders();
    const structured = fc.anything({ maxDepth: 4 }).map((value) => {
      try {
        const bytes = codec.encode({ items: value });
        return typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
      } catch {
        return new Uint8Array();
      }
    });
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), structured);
    await fc.assert(
      fc.asyncProperty(bytes, async (body) => {
        const before = rig.seen.length;
        const response = await rig.server.fetch(post(new Uint8Array(body), type));
        if (response.status === 200) {
          return assert.ok(
            v.is(v.strictObject({ items: v.array(Item), labels: v.any() }), { labels: 0, ...rig.seen[before] }),
          );
        }
        assert.ok(refused.has((await response.json()).code));
        assert.equal(rig.seen.length, before);
      }),
      { numRuns: 1_000 },
    );
    assert.deepEqual(keysOf(), untouched);
    assert.equal(rig.entries.every(({ level }) => level === "info"), true);
    await assertHonest(rig);
  });
}

test("T2.4 T13 T27 createServer() answers any value from the same process with a refusal or within the contract", async () => {
  const rig = orders();
  const method = Orders.methods.place;
  await fc.assert(
    fc.asyncProperty(
      fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withSparseArray: true }),
      async (message) => {
        const before = rig.seen.length;
        const error = await rig.server.call({ method, message, timeoutMs: 1_000 }).then(
          () => undefined,
          (thrown) => thrown,
        );
        assert.equal(rig.seen.length, before + (error ? 0 : 1));
        if (error) assert.equal(error.code, "invalid_argument");
      },
    ),
    { numRuns: 1_000 },
  );
  assert.deepEqual(keysOf(), untouched);
  await assertHonest(rig);
});

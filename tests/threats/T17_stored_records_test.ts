import { issueRecord, memoryRegistry, type Registry, staticRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { watchedAudit } from "../auth/_world.ts";
import { type Claims, DOMAIN, ENDPOINT, giving, ORDERS, partsOf, rig, SERVICE } from "../registry/_rig.ts";

// Somebody can write to what a registry keeps its records in: a database, a bucket, a file. He has no key.

/** The claims of a record, some of them changed, in their canonical form under the old signature. */
function edited(record: string, changes: Claims): string {
  const [header, , signature] = record.split(".") as [string, string, string];
  const claims: Record<string, unknown> = { ...JSON.parse(partsOf(record)[1]), ...changes };
  const names = Object.keys(claims).filter((name) => claims[name] !== undefined).sort();
  const text = `{${names.map((name) => `${JSON.stringify(name)}:${JSON.stringify(claims[name])}`).join()}}`;
  return `${header}.${btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}.${signature}`;
}

async function stage() {
  const world = await rig();
  const audit = watchedAudit();
  const registry = giving([await world.recordOf(world.orders, { region: "eu", encryptionKey: KEY })]);
  const view = world.verified(registry, { audit });
  return { ...world, audit, registry, view, stored: registry.records[0]!, resolve: () => view.resolve(SERVICE) };
}

const KEY = { kty: "OKP", crv: "X25519", x: "A".repeat(43) } as const;

/** Another value for each claim, which is as well formed. */
const EDITS: Claims = {
  iss: `spiffe://${DOMAIN}/other`,
  sub: `spiffe://${DOMAIN}/other`,
  aud: "staging",
  jti: "other",
  seq: 2,
  iat: 1_799_999_999,
  exp: 1_800_000_100,
  services: { [SERVICE]: "A".repeat(43) },
  endpoints: ["https://evil.example.org"],
  region: "us",
  enc: { ...KEY, x: "B".repeat(43) },
  version: "9.9.9",
  toolkit: "other/1.0.0",
  weight: 1,
  draining: true,
  own_audience: true,
  wit: undefined,
};

describe("T17 stored registrations", () => {
  test("T17 client takes the stored record as it was signed", async () => {
    const { resolve, audit } = await stage();
    assert.deepEqual([(await resolve()).length, audit.events], [1, []]);
  });

  test("T17 signature covers every claim", async () => {
    const { stored } = await stage();
    assert.deepEqual(Object.keys(JSON.parse(partsOf(stored)[1])).sort(), Object.keys(EDITS).sort());
  });

  for (const [claim, value] of Object.entries(EDITS)) {
    test(`T17 client refuses a stored record whose "${claim}" was changed, and records that`, async () => {
      const { resolve, registry, stored, audit } = await stage();
      assert.equal(edited(stored, {}), stored, "the edit is the only difference");
      registry.records[0] = edited(stored, { [claim]: value });
      assert.notEqual(registry.records[0], stored);
      assert.deepEqual(await resolve(), []);
      assert.equal(audit.events.length, 1);
      assert.equal(audit.events[0]!.event, "record.refuse");
    });
  }

  test("T17 client refuses a stored record in which one bit of any character was flipped", async () => {
    const { view, stored, verified, audit } = await stage();
    await view.verify(stored);
    const flipped = Array.from({ length: stored.length }, (_, at) => {
      const code = stored.charCodeAt(at) ^ (1 << at % 7);
      return stored.slice(0, at) + String.fromCharCode(code) + stored.slice(at + 1);
    });
    for (let i = 0; i < flipped.length; i += 200) {
      const some = flipped.slice(i, i + 200);
      audit.events.length = 0;
      assert.deepEqual(await verified(giving(some), { audit }).resolve(SERVICE), [], `characters ${i} to ${i + 199}`);
      const counts = audit.events.map(({ reason, fields }) => reason === "too_many" ? fields!["more"] as number : 1);
      assert.equal(counts.reduce((sum, count) => sum + count), some.length, "each is recorded, or counted");
      assert.ok(counts.length <= 33, "and they fill no log");
    }
  });

  test("T17 client refuses the signature of one stored record under another", async () => {
    const { registry, resolve, recordOf, orders, stored } = await stage();
    const other = await recordOf(orders, { instance: "other" });
    const [a, b] = [stored.split("."), other.split(".")] as [string[], string[]];
    registry.records.splice(0, 1, [a[0], a[1], b[2]].join("."), [b[0], b[1], a[2]].join("."));
    assert.deepEqual(await resolve(), []);
  });

  test("T17 client does not go back to an older record that was put in place of a newer one", async () => {
    const { registry, resolve, recordOf, orders, stored, audit } = await stage();
    await resolve();
    registry.records[0] = await recordOf(orders, { sequence: 2, endpoints: [`https://new.${DOMAIN}`] });
    await resolve();
    registry.records[0] = stored;
    assert.equal((await resolve())[0]!.endpoints[0], `https://new.${DOMAIN}`);
    assert.equal(audit.events.at(-1)!.reason, "rollback");
  });

  test("T17 client that knows nothing yet takes an old record no longer than its lease", async () => {
    const { resolve, now } = await stage();
    now.pass(59_999);
    assert.equal((await resolve()).length, 1);
    now.pass(1);
    assert.deepEqual(await resolve(), []);
  });

  test("T17 registry does not let an older record take the place of a newer one", async () => {
    const { recordOf, orders, now } = await stage();
    const registry: Registry = memoryRegistry({ now });
    const [older, newer] = [await recordOf(orders), await recordOf(orders, { sequence: 2 })];
    await registry.register(newer);
    await assert.rejects(registry.register(older), { reason: "rollback" });
    await assert.rejects(registry.register(await recordOf(orders, { sequence: 2, weight: 1 })), { reason: "rollback" });
    assert.deepEqual(await registry.resolve(SERVICE), [newer]);
  });

  test("T17 client refuses a file of records of which one was edited, and takes the others", async () => {
    const { authority, now, verified } = await stage();
    const issue = (id: string) =>
      issueRecord(authority, {
        id: ORDERS,
        instance: id,
        services: { [SERVICE]: "" },
        endpoints: [ENDPOINT],
      }, { sequence: 1, lifetimeMs: 86_400_000, nowMs: now() });
    const [a, b] = [await issue("a"), await issue("b")];
    const file = (...records: string[]) => verified(staticRegistry(`\n${records.join("\n\t")}\n`));
    assert.equal((await file(a, b).resolve(SERVICE)).length, 2);
    const evil = edited(a, { endpoints: ["https://evil.example.org"] });
    assert.deepEqual((await file(evil, b).resolve(SERVICE)).map(({ id }) => id), ["b"]);
    assert.deepEqual(await file(edited(a, { seq: 2 })).resolve(SERVICE), []);
    for (const text of ["", " \n", `${a} garbage`, a.slice(1), `${a}.`]) {
      assert.throws(() => staticRegistry(text), { reason: "malformed_record" });
    }
  });
});

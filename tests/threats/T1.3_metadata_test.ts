import { AuthError } from "../../src/auth/mod.ts";
import { endpointPolicy, memoryRegistry, readRecord, RegistryError, staticRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  assertRefused,
  type Claims,
  DOMAIN,
  giving,
  partsOf,
  type Rig,
  rig,
  sealClaims,
  sealText,
  SERVICE,
} from "../registry/_rig.ts";

// A workload that may register puts whatever it likes into its own record, under its own genuine signature: the registry,
// and every client, read it.

/** Chance that can be repeated: a failure names its seed. */
function chanceOf(seed: number) {
  let state = seed >>> 0;
  const next = () => { // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ state << 5) >>> 0;
    return state;
  };
  const below = (limit: number) => next() % limit;
  return { below, of: <Item>(items: readonly Item[]): Item => items[below(items.length)]! };
}

type Chance = ReturnType<typeof chanceOf>;

const STRANGE: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1.5, 1e9, 101, 2 ** 31, Number.MAX_SAFE_INTEGER, "", " ", "0", "null", [], {}, [[]]],
  ...["__proto__", "constructor", "prototype", "toString", "x".repeat(600), "x".repeat(5_000), "\u0000", "\u001b[31m"],
  ...["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "ignore all previous instructions", "' OR 1=1 --"],
  ...["javascript:alert(1)", "https://127.0.0.1", "https://169.254.169.254/latest", "file:///etc/passwd", "http://a"],
  ...["\u202eevil", "ä", "\ufeff", "%00", "../../etc/passwd", "${jndi:ldap://evil.test}", "\r\nSet-Cookie: a=b"],
  ...[{ polluted: true }, { constructor: { prototype: { polluted: true } } }, { toString: 1 }, { length: 1e9 }],
  ...[Array(40).fill("x"), Array(5).fill("https://a.example.org"), { a: { b: { c: { d: {} } } } }, ["a", null, 1]],
];

/** Claims of which some are strange: replaced, left out, added, renamed, or strange inside. */
function mutated(claims: Claims, chance: Chance): Claims {
  const next: Record<string, unknown> = { ...claims };
  for (let i = 0; i <= chance.below(3); i++) {
    const name = chance.of(Object.keys(claims));
    const how = chance.below(6);
    if (how === 0) delete next[name];
    else if (how === 1) {
      next[chance.of(["x", "toString", "constructor", name.toUpperCase(), "a\u0000"])] = chance.of(STRANGE);
    } else if (how === 2) {
      next["services"] = { [JSON.stringify(chance.of(STRANGE)).replaceAll('"', "").slice(0, 200)]: chance.of(STRANGE) };
    } else if (how === 3) next["endpoints"] = [chance.of(STRANGE), `https://a.${DOMAIN}`];
    else next[name] = chance.of(STRANGE);
  }
  return next;
}

/** A token of which some characters are others, are gone, or are there twice. */
function mangled(record: string, chance: Chance): string {
  const at = chance.below(record.length);
  const end = at + chance.below(20);
  const how = chance.below(5);
  if (how === 0) return record.slice(0, at) + record.slice(end);
  if (how === 1) return record.slice(0, end) + record.slice(at);
  if (how === 2) {
    return record.slice(0, at) + chance.of([".", "=", " ", "\n", "\u0000", "A", "_", "é", "%"]) + record.slice(at + 1);
  }
  if (how === 3) return record.slice(0, at);
  return record.split(".").sort(() => chance.below(3) - 1).join(chance.of([".", "..", ""]));
}

/** Claims as JSON that a serializer would not write. */
function misspelled(payload: string, chance: Chance): string {
  const extra = chance.of([
    ...['"__proto__":{"polluted":true}', '"constructor":{"prototype":{"polluted":true}}', '"seq":1,"seq":2'],
    ...['"weight":1e999', '"weight":1E2', '"a":"\\ud800"', '"a":"\\u0000"', `"a":${"[".repeat(200)}${"]".repeat(200)}`],
    ...['"a":NaN', '"a":undefined', '"a":01', "'a':1", '"a":1,', '"\\u005f_proto__":{"polluted":true}', "/**/"],
  ]);
  return chance.below(2) ? `{${extra},${payload.slice(1)}` : `${payload.slice(0, -1)},${extra}}`;
}

const SEED = 20_260_118;
/** How many crafted records one test has; five of these tests have 10,000, and none of them takes long anywhere. */
const RECORDS = 2_000;

describe("T1.3 crafted metadata", () => {
  for (const seed of [1, 2, 3, 4, 5].map((nth) => SEED * nth)) {
    test(`T1.3 reader refuses or reads ${RECORDS} records crafted from ${seed}, and nothing else happens`, async () => {
      const world = await rig();
      const { orders, claimsOf, recordOf, verify } = world;
      const before = shapeOfPrototypes();
      const chance = chanceOf(seed);
      const honest = await claimsOf(orders);
      const record = await recordOf(orders);
      const [header, payload] = partsOf(record);
      let accepted = 0;
      for (let i = 0; i < RECORDS; i++) {
        const made = await craft(i, { world, chance, honest, record, header, payload });
        if (made === undefined) continue;
        try {
          const instance = await verify(made);
          accepted++;
          assertHarmless(instance, `seed ${seed}, record ${i}`);
        } catch (error) {
          const isRefusal = error instanceof RegistryError || error instanceof AuthError;
          assert.ok(isRefusal, `seed ${seed}, record ${i}: ${error}`);
          assert.ok(error.message.length < 200, `seed ${seed}, record ${i}: ${error.message}`);
        }
      }
      assert.ok(
        accepted > RECORDS / 100 && accepted < RECORDS / 2,
        `${accepted} were accepted: the mutations are no test otherwise`,
      );
      assert.equal(shapeOfPrototypes(), before);
    });
  }

  test("T1.3 backends take or refuse what is crafted, and nothing else happens", async () => {
    const world = await rig();
    const { orders, claimsOf, recordOf, now } = world;
    const chance = chanceOf(SEED + 1);
    const [honest, record] = [await claimsOf(orders), await recordOf(orders)];
    const [header, payload] = partsOf(record);
    const registry = memoryRegistry({ now });
    for (let i = 0; i < 1_000; i++) {
      const made = await craft(i, { world, chance, honest, record, header, payload });
      if (made === undefined) continue;
      for (const take of [() => registry.register(made), () => Promise.resolve(staticRegistry(made))]) {
        try {
          await take();
        } catch (error) {
          assert.ok(error instanceof RegistryError, `seed ${SEED + 1}, record ${i}: ${error}`);
        }
      }
    }
    for (const service of await registry.list()) assert.match(service, /^[\w.]{1,128}$/);
    assert.equal(({} as Claims)["polluted"], undefined);
  });

  test("T1.3 reader leaves out what is crafted, and still finds what is honest beside it", async () => {
    const world = await rig();
    const { orders, claimsOf, recordOf } = world;
    const chance = chanceOf(SEED + 2);
    const [honest, record] = [await claimsOf(orders), await recordOf(orders)];
    const [header, payload] = partsOf(record);
    const records = [record];
    for (let i = 0; i < 600; i++) {
      records.push(await craft(i, { world, chance, honest, record, header, payload }) ?? "");
    }
    const instances = await world.verified(giving(records)).resolve(SERVICE);
    assert.ok(instances.some(({ id }) => id === "i1"));
    for (const instance of instances) assertHarmless(instance, "");
  });

  test("T1.3 reader keeps weights within 1 and 100, whatever a record asks for", async () => {
    const { orders, forge, verify } = await rig();
    for (const weight of [0, -1, 101, 1_000_000_000, 1.5, "100", null, [100], true]) {
      await assertRefused(verify(await forge(orders, { weight })), "malformed_record", /"weight"/);
    }
    for (const weight of [1, 100]) assert.equal((await verify(await forge(orders, { weight }))).weight, weight);
  });

  test("T1.3 reader goes nowhere inside its own network, whatever a record says", async () => {
    const { orders, recordOf, verify } = await rig();
    const inside = [
      ...[
        "https://127.0.0.1",
        "https://[::1]",
        "https://10.0.0.1:8443",
        "https://169.254.169.254",
        "https://localhost",
      ],
      ...[
        "https://0x7f.1",
        "https://2130706433",
        "https://[::ffff:7f00:1]",
        "https://[64:ff9b::7f00:1]",
        "https://100.64.0.1",
      ],
      ...["http://orders.example.org", "ws://orders.example.org", "file:///etc/passwd", "javascript:alert(1)"],
      ...[
        "https://user:pass@orders.example.org",
        "https://orders.example.org:22",
        "https://orders.example.org.evil.test",
      ],
    ];
    for (const endpoint of inside) {
      await assertRefused(verify(await recordOf(orders, { endpoints: [endpoint] })), "wrong_endpoint");
    }
  });

  test("T1.3 reader takes addresses inside where the deployment lists them, and no others", async () => {
    const { orders, recordOf, verify } = await rig();
    const endpoints = endpointPolicy([DOMAIN], { hosts: ["10.1.0.0/16"], ports: [8443] });
    const at = async (endpoint: string) =>
      await verify(await recordOf(orders, { endpoints: [endpoint] }), { endpoints });
    assert.equal((await at("https://10.1.2.3:8443")).endpoints.length, 1);
    for (const endpoint of ["https://10.2.0.1:8443", "https://127.0.0.1:8443", "https://10.1.2.3"]) {
      await assertRefused(at(endpoint), "wrong_endpoint");
    }
  });

  test("T1.3 reader refuses nesting and lists that are there to take time", async () => {
    const { orders, verify, recordOf } = await rig();
    const [header, payload] = partsOf(await recordOf(orders));
    const deep = [`${"[".repeat(2_000)}${"]".repeat(2_000)}`, `${'{"a":'.repeat(600)}1${"}".repeat(600)}`];
    for (const value of [...deep, `[${"0,".repeat(2_500)}0]`, `"${"\\\\".repeat(2_500)}"`]) {
      const made = await sealText(header, `${payload.slice(0, -1)},"zz":${value}}`, orders);
      const started = performance.now();
      await verify(made).catch((error) => assert.ok(error instanceof RegistryError, String(error)));
      assert.ok(performance.now() - started < 1_000);
    }
  });

  test("T1.3 refusals show nothing of what a record held", async () => {
    const { orders, forge } = await rig();
    for (const value of ["<script>canary</script>", "canary\u001b[31m", "https://canary"]) {
      for (const claim of ["jti", "version", "toolkit", "region", "aud", "weight"]) {
        const record = await forge(orders, { [claim]: value });
        assert.throws(() => readRecord(record), (error: Error) => !error.message.includes("canary"), claim);
      }
    }
    const record = await forge(orders, { services: { ["<img src=x>".repeat(100)]: "" } });
    assert.throws(() => readRecord(record), (error: Error) => error.message.length < 160);
  });
});

interface Materials {
  readonly world: Rig;
  readonly chance: Chance;
  readonly honest: Claims;
  readonly record: string;
  readonly header: string;
  readonly payload: string;
}

/** A crafted record of one of four kinds; undefined where its claims cannot be written down. */
async function craft(i: number, { world, chance, honest, record, header, payload }: Materials) {
  if (i % 4 === 0) return mangled(record, chance);
  if (i % 4 === 1) return await sealText(header, misspelled(payload, chance), world.orders);
  const claims = { ...mutated(honest, chance), ...i % 40 === 2 ? honest : {} };
  try {
    return await sealClaims({ ...claims, ...i % 40 === 2 ? { weight: 1 + chance.below(100) } : {} }, world.orders);
  } catch {
    return undefined;
  }
}

/** What is accepted can be shown, called and counted with. */
function assertHarmless(instance: Awaited<ReturnType<Rig["verify"]>>, which: string): void {
  const { name, identity, id, services, endpoints, audience, version, toolkit, region, weight } = instance;
  for (
    const text of [name, identity, id, audience, version, toolkit, region ?? "", ...Object.keys(services), ...endpoints]
  ) {
    assert.match(text, /^[\w.:/#+-]*$/, which);
  }
  assert.ok(weight >= 1 && weight <= 100 && Number.isInteger(weight), which);
  for (const endpoint of endpoints) assert.match(endpoint, /^(?:https|wss):\/\/[\w.-]+\.example\.org(?:[:/]|$)/, which);
}

/** What all objects inherit. */
const shapeOfPrototypes = () =>
  JSON.stringify(
    [Object.prototype, Array.prototype, Function.prototype, String.prototype].map((each) =>
      Object.getOwnPropertyNames(each).sort()
    ),
  );

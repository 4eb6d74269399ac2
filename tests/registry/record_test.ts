import { issueRecord, readRecord, RegistryError, signRecord } from "../../src/registry/mod.ts";
import { MAX_RECORD, newInstanceId } from "../../src/registry/record.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Claims, DOMAIN, ENDPOINT, ORDERS, partsOf, rig, sealText, SERVICE } from "./_rig.ts";

const KEY = { kty: "OKP", crv: "X25519", x: "A".repeat(43) };
const services = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i}.v1`, ""]));

/** Of each claim: what it may be at its limits, and what it may not be. `undefined` leaves it out. */
const CLAIMS: Readonly<Record<string, { readonly good: readonly unknown[]; readonly bad: readonly unknown[] }>> = {
  iss: { good: ["", "x".repeat(2048)], bad: [undefined, null, 1, [], {}, "x".repeat(2049)] },
  sub: { good: ["", "x".repeat(2048)], bad: [undefined, null, 1, [], {}, "x".repeat(2049)] },
  aud: {
    good: ["a", "a-1", "a".repeat(63)],
    bad: [undefined, null, 1, ["default"], "", "A", "-a", "a-", "a".repeat(64), "a.b", "ä", "a\n"],
  },
  jti: {
    good: ["a", "A_-9", "a".repeat(64)],
    bad: [undefined, null, 1, [], "", "a".repeat(65), "a b", "a#b", "ä", "a\n", "<b>"],
  },
  seq: { good: [0, Number.MAX_SAFE_INTEGER], bad: [undefined, null, "1", -1, 1.5, true, [1]] },
  iat: { good: [0, 253402300799], bad: [undefined, null, "1", -1, 1.5, 253402300800, [1]] },
  exp: { good: [0, 253402300799], bad: [undefined, null, "1", -1, 1.5, 253402300800, [1]] },
  services: {
    good: [{ a: "" }, { "a.b_2.c": "A".repeat(43) }, { ["a".repeat(128)]: "" }, services(32)],
    bad: [
      ...[undefined, null, 1, "orders.v1", [], ["orders.v1"], {}, services(33)],
      ...["", "1a", "a.", ".a", "a..b", "a-b", "a b", "ä", "a/b", "a\n", "a".repeat(129), "<b>"].map((name) => ({
        [name]: "",
      })),
      ...[null, 1, "x", "A".repeat(42), "A".repeat(44), "+".repeat(43), {}].map((digest) => ({ a: digest })),
    ],
  },
  endpoints: {
    good: [["x"], ["1", "2", "3", "4"], ["x".repeat(512)]],
    bad: [undefined, null, 1, "https://a", {}, [], ["1", "2", "3", "4", "5"], [1], [null], [["x"]], ["x".repeat(513)]],
  },
  own_audience: { good: [true, false], bad: [undefined, null, 0, 1, "false", "https://a", [], {}] },
  region: {
    good: [undefined, "eu", "eu-1", "e".repeat(63)],
    bad: [null, 1, [], "", "EU", "-eu", "eu-", "e".repeat(64), "e_u", "eu\n"],
  },
  enc: {
    good: [undefined, KEY],
    bad: [
      ...[null, 1, "x", [], {}, { ...KEY, kty: "EC" }, { ...KEY, crv: "Ed25519" }, { ...KEY, x: "A".repeat(42) }],
      ...[{ ...KEY, x: "+".repeat(43) }, { ...KEY, x: 1 }, { ...KEY, d: "A".repeat(43) }, { ...KEY, use: "enc" }],
      { kty: "OKP", crv: "X25519" },
    ],
  },
  version: {
    good: ["0.0.0", "123456789.123456789.123456789", "1.2.3-rc.1", `1.2.3-${"a".repeat(90)}`],
    bad: [
      ...[undefined, null, 1, [], "", "1", "1.2", "1.2.3.4", "v1.2.3", "1234567890.0.0", "1.2.3-", "1.2.3+b"],
      ...[`1.2.3-${"a".repeat(91)}`, "1.2.3\n", "1.2.3 <script>", "-1.0.0", "1.2.3-a..b", "1.2.3-.a", "1.2.3-a."],
    ],
  },
  toolkit: {
    good: ["a", "other/1.2.3+b-1", "a".repeat(64)],
    bad: [undefined, null, 1, [], "", "a".repeat(65), "a b", "<b>", "a\n", "ä"],
  },
  weight: { good: [1, 100], bad: [undefined, null, "1", 0, -1, 101, 1.5, 1e9, true, [1]] },
  draining: { good: [true, false], bad: [undefined, null, 0, 1, "false", [], {}] },
  wit: { good: [undefined, "x"], bad: [null, 1, [], {}, true] },
};

/** A short form of a claim's value, for titles. */
const shown = (value: unknown) => {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 50)}… (${text.length})` : text;
};

describe("readRecord()", () => {
  for (const [claim, { good, bad }] of Object.entries(CLAIMS)) {
    test(`readRecord() takes "${claim}" up to its limits`, async () => {
      const { forge, orders } = await rig();
      for (const value of good) {
        const { claims } = readRecord(await forge(orders, { [claim]: value }));
        assert.deepEqual(({ ...claims } as Claims)[claim], value, shown(value));
      }
    });

    test(`readRecord() refuses "${claim}" that is missing, of another type, or beyond its limits`, async () => {
      const { forge, orders } = await rig();
      for (const value of bad) assertMalformed(await forge(orders, { [claim]: value }), claim, shown(value));
    });
  }

  test("readRecord() covers every claim of a record with these tables", async () => {
    const { claimsOf, orders } = await rig();
    const all = { ...await claimsOf(orders), region: "", enc: "" };
    assert.deepEqual(Object.keys(all).sort(), Object.keys(CLAIMS).sort());
  });

  test("readRecord() refuses numbers that are not safe", async () => {
    const { forge, orders } = await rig();
    const [header, payload] = partsOf(await forge(orders));
    for (const seq of ["9007199254740992", "1e+300", "1e999", "-0", "1.0", "01", "0x1"]) {
      const record = await sealText(header, payload.replace(/"seq":1\b/, `"seq":${seq}`), orders);
      assert.throws(() => readRecord(record), { name: "RegistryError", reason: "malformed_record" }, seq);
    }
  });

  test("readRecord() ignores claims of a newer toolkit", async () => {
    const { forge, orders } = await rig();
    const { claims } = readRecord(await forge(orders, { zone: "a", more: { deep: [1] } }));
    assert.equal(Object.hasOwn(claims, "zone"), false);
  });

  test("readRecord() refuses claims that are no object", async () => {
    const { orders } = await rig();
    for (const payload of ["null", "[]", '"text"', "1", "true", "[{}]"]) {
      const record = await sealText('{"alg":"Ed25519","typ":"svc-record+jwt"}', payload, orders);
      assert.throws(() => readRecord(record), { name: "RegistryError", reason: "malformed_record" });
    }
  });

  test("readRecord() refuses names of services that reach into prototypes", async () => {
    const { forge, orders } = await rig();
    const [header, payload] = partsOf(await forge(orders));
    for (const name of ["__proto__", "constructor", "prototype"]) {
      const changed = payload.replace(`{"${SERVICE}":""}`, `{"${name}":""}`);
      assert.notEqual(changed, payload);
      const record = await sealText(header, changed, orders);
      assert.throws(() => readRecord(record), { name: "RegistryError", reason: "malformed_record" });
    }
    assert.equal(({} as Claims)["polluted"], undefined);
  });

  test("readRecord() refuses a record that is longer than 8,192 bytes, and takes one that is not", async () => {
    const { forge, orders } = await rig();
    const bare = (await forge(orders, { more: "" })).length;
    const filled = Math.floor((MAX_RECORD - bare) * 3 / 4) - 2;
    const fits = await forge(orders, { more: "x".repeat(filled) });
    assert.ok(fits.length <= MAX_RECORD && fits.length > MAX_RECORD - 8, `${fits.length}`);
    readRecord(fits);
    const long = await forge(orders, { more: "x".repeat(filled + 8) });
    assert.ok(long.length > MAX_RECORD);
    assert.throws(() => readRecord(long), { reason: "malformed_record" });
  });

  test("readRecord() says which claim is wrong, and nothing of what was in it", async () => {
    const { forge, orders } = await rig();
    const record = await forge(orders, { services: { "<script>canary</script>": "" } });
    assert.throws(() => readRecord(record), (error: Error) => {
      assert.ok(error instanceof RegistryError);
      assert.ok(error.message.length < 160, error.message);
      return true;
    });
  });

  test("readRecord() refuses what is no text", () => {
    for (const value of [undefined, null, 1, {}, [], true]) {
      assert.throws(() => readRecord(value as never), { name: "RegistryError", reason: "malformed_record" });
    }
  });
});

function assertMalformed(record: string, claim: string, what: string): void {
  assert.throws(() => readRecord(record), (error: Error) => {
    assert.ok(error instanceof RegistryError, `${what}: ${error}`);
    assert.equal(error.reason, "malformed_record", what);
    assert.ok(error.message.startsWith(`Cannot read the record: "${claim}`), `${what}: ${error.message}`);
    return true;
  }, what);
}

describe("signRecord()", () => {
  test("signRecord() says everything that it was told", async () => {
    const { orders, now, recordOf } = await rig();
    const told = {
      instance: "one",
      ownAudience: true,
      version: "2.1.0",
      region: "eu-1",
      weight: 7,
      draining: true,
      encryptionKey: KEY as never,
      namespace: "staging",
      sequence: 9,
      lifetimeMs: 1_500,
    };
    const { claims } = readRecord(await recordOf(orders, told));
    assert.equal(claims.iss, ORDERS);
    assert.equal(claims.sub, ORDERS);
    assert.deepEqual([claims.jti, claims.own_audience, claims.version, claims.region], [
      told.instance,
      true,
      told.version,
      told.region,
    ]);
    assert.deepEqual([claims.weight, claims.draining, claims.aud, claims.seq], [7, true, "staging", 9]);
    assert.deepEqual(claims.enc, KEY);
    assert.deepEqual([claims.iat, claims.exp], [now() / 1_000, now() / 1_000 + 2]);
  });

  test("signRecord() gives what nobody names: another instance each time, a whole weight, no draining", async () => {
    const { orders, now } = await rig();
    const description = { services: { [SERVICE]: "" }, endpoints: [ENDPOINT] };
    const sign = async () =>
      readRecord(await signRecord(orders, description, { sequence: 1, lifetimeMs: 1_000, nowMs: now() })).claims;
    const [first, second] = [await sign(), await sign()];
    assert.notEqual(first.jti, second.jti);
    assert.equal(first.jti.length, 22);
    assert.deepEqual([first.weight, first.draining, first.version, first.aud], [100, false, "0.0.0", "default"]);
    assert.deepEqual([first.own_audience, first.region, first.enc], [false, undefined, undefined]);
  });

  test("signRecord() refuses what no reader would take", async () => {
    const { orders, recordOf } = await rig();
    const wrong = [
      { weight: 101 },
      { weight: 0 },
      { instance: "" },
      { version: "1" },
      { region: "EU" },
      { endpoints: [] },
      { services: {} },
      { namespace: "" },
      { ownAudience: "yes" as never },
      { sequence: -1 },
      { sequence: 0.5 },
    ];
    for (const changes of wrong) {
      await assert.rejects(recordOf(orders, changes), { reason: "malformed_record" }, JSON.stringify(changes));
    }
  });

  for (const lifetimeMs of [0, -1_000, 301_000, 366 * 86_400_000]) {
    test(`signRecord() refuses a lease of ${lifetimeMs} ms, which no reader would take`, async () => {
      const { orders, recordOf } = await rig();
      await assert.rejects(recordOf(orders, { lifetimeMs }), { reason: "malformed_record" });
    });
  }

  test("newInstanceId() gives 128 bits that are never the same", () => {
    const ids = new Set(Array.from({ length: 1_000 }, newInstanceId));
    assert.equal(ids.size, 1_000);
    for (const id of ids) assert.match(id, /^[\w-]{22}$/);
  });
});

describe("issueRecord()", () => {
  const description = { id: ORDERS, services: { [SERVICE]: "" }, endpoints: [ENDPOINT], instance: "i1" };

  test("issueRecord() signs as the authority, under its key's name, without an identity token", async () => {
    const { authority, now, verify } = await rig();
    const record = await issueRecord(authority, description, { sequence: 1, lifetimeMs: 86_400_000, nowMs: now() });
    const { jws, claims } = readRecord(record);
    assert.deepEqual([jws.kid, claims.iss, claims.sub, claims.wit], [
      authority.key.thumbprint,
      `spiffe://${DOMAIN}`,
      ORDERS,
      undefined,
    ]);
    assert.equal((await verify(record)).identity, ORDERS);
  });

  for (const id of ["", "orders", `spiffe://${DOMAIN}`, `spiffe://${DOMAIN}/`, `spiffe://${DOMAIN.toUpperCase()}/a`]) {
    test(`issueRecord() refuses the id "${id}"`, async () => {
      const { authority, now } = await rig();
      const terms = { sequence: 1, lifetimeMs: 1_000, nowMs: now() };
      await assert.rejects(issueRecord(authority, { ...description, id }, terms), { reason: "malformed_id" });
    });
  }

  for (const lifetimeMs of [0, 366 * 86_400_000 + 1_000]) {
    test(`issueRecord() refuses a lease of ${lifetimeMs} ms, which no reader would take`, async () => {
      const { authority, now } = await rig();
      const terms = { sequence: 1, lifetimeMs, nowMs: now() };
      await assert.rejects(issueRecord(authority, description, terms), { reason: "malformed_record" });
    });
  }

  test("issueRecord() refuses an id of another trust domain, which no reader would take", async () => {
    const { authority, now } = await rig();
    const terms = { sequence: 1, lifetimeMs: 1_000, nowMs: now() };
    await assert.rejects(issueRecord(authority, { ...description, id: "spiffe://other.test/orders" }, terms));
  });
});

import { verifyRecord } from "../../src/registry/verify_record.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertRefused, DOMAIN, ENDPOINT, joinOther, ORDERS, rig, SERVICE } from "./_rig.ts";

const DAY_S = 86_400;

describe("verifyRecord()", () => {
  test("verifyRecord() gives the instance that signed for itself", async () => {
    const { orders, now, recordOf, verify } = await rig();
    const x = "A".repeat(43);
    const instance = await verify(
      await recordOf(orders, {
        version: "1.2.3",
        region: "eu",
        weight: 5,
        draining: true,
        sequence: 3,
        encryptionKey: { kty: "OKP", crv: "X25519", x },
        services: { [SERVICE]: x },
        endpoints: [ENDPOINT, `wss://orders.${DOMAIN}:8443/a`],
      }),
    );
    const { signer, ...rest } = instance;
    assert.deepEqual([signer?.id, signer?.thumbprint], [ORDERS, orders.key.thumbprint]);
    assert.deepEqual({ ...rest, services: { ...rest.services } }, {
      name: `${ORDERS}#i1`,
      identity: ORDERS,
      id: "i1",
      services: { [SERVICE]: x },
      endpoints: [ENDPOINT, `wss://orders.${DOMAIN}:8443/a`],
      audience: ORDERS,
      version: "1.2.3",
      toolkit: "postern/0.1.0",
      region: "eu",
      weight: 5,
      draining: true,
      encryptionKey: { kty: "OKP", crv: "X25519", x },
      sequence: 3,
      expiresAtMs: now() + 60_000,
    });
  });

  test("verifyRecord() gives the instance that the authority signed for", async () => {
    const { issue, now, verify } = await rig();
    const instance = await verify(await issue({ exp: now() / 1_000 + 30 * DAY_S }));
    assert.deepEqual([instance.identity, instance.expiresAtMs], [ORDERS, now() + 30 * DAY_S * 1_000]);
  });

  test("verifyRecord() addresses the instance by its own name where it wants that, and by its identity where not", async () => {
    const { forge, orders, verify } = await rig();
    assert.equal((await verify(await forge(orders, { own_audience: true }))).audience, `${ORDERS}#i1`);
    assert.equal((await verify(await forge(orders))).audience, ORDERS);
  });

  test("verifyRecord() gives what nobody can change for the others", async () => {
    const { orders, recordOf, verify } = await rig();
    const encryptionKey = { kty: "OKP", crv: "X25519", x: "A".repeat(43) } as const;
    const instance = await verify(await recordOf(orders, { encryptionKey }));
    for (const part of [instance, instance.services, instance.endpoints, instance.encryptionKey]) {
      assert.ok(Object.isFrozen(part));
    }
  });

  test("verifyRecord() takes a record under no service's name where none is asked for", async () => {
    const { orders, recordOf, expect, now } = await rig();
    assert.equal((await verifyRecord(await recordOf(orders), undefined, expect(), now())).identity, ORDERS);
  });
});

describe("verifyRecord() refuses", () => {
  test("verifyRecord() refuses a record of another namespace", async () => {
    const { orders, recordOf, verify } = await rig();
    const record = await recordOf(orders, { namespace: "staging" });
    await assertRefused(verify(record), "wrong_namespace");
    assert.equal((await verify(record, { namespace: "staging" })).identity, ORDERS);
    await assertRefused(verify(await recordOf(orders), { namespace: "staging" }), "wrong_namespace");
  });

  test("verifyRecord() refuses a record under another service's name", async () => {
    const { orders, recordOf, expect, now } = await rig();
    const record = await recordOf(orders);
    for (const service of ["payments.v1", "orders", "orders.v2", "toString", "__proto__", "constructor", ""]) {
      await assertRefused(verifyRecord(record, service, expect(), now()), "wrong_service");
    }
  });

  test("verifyRecord() refuses a trust domain whose instances are not accepted, though it is trusted", async () => {
    const { orders, recordOf, verify } = await rig();
    await assertRefused(verify(await recordOf(orders), { trustDomains: [] }), "wrong_domain");
    await assertRefused(verify(await recordOf(orders), { trustDomains: [`www.${DOMAIN}`, "org"] }), "wrong_domain");
  });

  test("verifyRecord() refuses a trust domain that nobody vouches for", async () => {
    const { orders, recordOf, verify } = await rig();
    const stranger = await rig("example.org"); // the same name, and other keys
    await assertRefused(verify(await stranger.recordOf(stranger.orders)), "unknown_issuer");
    await assertRefused(verify(await stranger.issue()), "unknown_issuer");
    assert.equal((await verify(await recordOf(orders))).identity, ORDERS);
  });

  for (const sub of [`spiffe://${DOMAIN}`, `spiffe://${DOMAIN}/`, `SPIFFE://${DOMAIN}/orders`, "orders", ""]) {
    test(`verifyRecord() refuses a record of "${sub}", which is no workload`, async () => {
      const { forge, issue, orders, verify } = await rig();
      await assertRefused(verify(await forge(orders, { sub, iss: sub })), "malformed_id");
      await assertRefused(verify(await issue({ sub })), "malformed_id");
    });
  }

  test("verifyRecord() refuses an endpoint that is not allowed, wherever it stands among the others", async () => {
    const { orders, recordOf, verify } = await rig();
    const good = [1, 2, 3].map((n) => `https://o${n}.${DOMAIN}`);
    for (const bad of ["https://127.0.0.1", "http://orders.example.org", "https://evil.test", "javascript:alert(1)"]) {
      for (let at = 0; at <= 3; at++) {
        const endpoints = good.toSpliced(at, 0, bad);
        await assertRefused(verify(await recordOf(orders, { endpoints })), "wrong_endpoint");
      }
    }
  });

  test("verifyRecord() refuses what nobody may serve, or somebody else", async () => {
    const world = await rig();
    const { recordOf, verify, orders } = world;
    const both = { [SERVICE]: "", "payments.v1": "" };
    await assertRefused(verify(await recordOf(orders, { services: both })), "not_serving");
    const idle = await joinOther(world, "idle", {});
    await assertRefused(verify(await recordOf(idle)), "not_serving");
    const near = await joinOther(world, "near", { serves: ["orders", "orders.v10", "orders.v", "ORDERS.V1"] });
    await assertRefused(verify(await recordOf(near)), "not_serving");
    const able = await joinOther(world, "able", { serves: ["payments.v1", SERVICE] });
    assert.deepEqual(Object.keys((await verify(await recordOf(able, { services: both }))).services).sort(), [
      SERVICE,
      "payments.v1",
    ]);
  });

  test("verifyRecord() refuses a region other than the authority names", async () => {
    const world = await rig();
    const { recordOf, verify, orders } = world;
    const eu = await joinOther(world, "eu", { serves: [SERVICE], attributes: { region: "eu" } });
    assert.equal((await verify(await recordOf(eu, { region: "eu" }))).region, "eu");
    await assertRefused(verify(await recordOf(eu, { region: "us" })), "wrong_region");
    await assertRefused(verify(await recordOf(eu)), "wrong_region");
    assert.equal((await verify(await recordOf(orders, { region: "us" }))).region, "us", "nobody says otherwise");
  });
});

describe("verifyRecord() and time", () => {
  test("verifyRecord() refuses a record from the very moment at which it ends", async () => {
    const { orders, recordOf, verify, now, issue } = await rig();
    const [own, issued] = [await recordOf(orders, { lifetimeMs: 60_000 }), await issue()];
    now.pass(59_999);
    for (const record of [own, issued]) await verify(record);
    now.pass(1);
    for (const record of [own, issued]) await assertRefused(verify(record), "expired_record");
  });

  test("verifyRecord() takes a record that was made 10 s ahead of its clock, and none from further ahead", async () => {
    const { orders, recordOf, verify, now } = await rig();
    await verify(await recordOf(orders, { nowMs: now() + 10_000 }));
    const early = await recordOf(orders, { nowMs: now() + 11_000 });
    await assertRefused(verify(early), "not_yet_valid");
    now.pass(999);
    await assertRefused(verify(early), "not_yet_valid");
    now.pass(1);
    await verify(early);
  });

  test("verifyRecord() takes a lease of 300 s from an instance and none of 301 s", async () => {
    const { orders, forge, verify, now } = await rig();
    const iat = now() / 1_000;
    assert.equal((await verify(await forge(orders, { exp: iat + 300 }))).expiresAtMs, now() + 300_000);
    await assertRefused(verify(await forge(orders, { exp: iat + 301 })), "malformed_record", /lease/);
    await assertRefused(verify(await forge(orders, { iat: iat - 1, exp: iat + 300 })), "malformed_record", /lease/);
  });

  test("verifyRecord() takes 366 days from an authority and not a second more", async () => {
    const { issue, verify, now } = await rig();
    const iat = now() / 1_000;
    assert.equal((await verify(await issue({ exp: iat + 366 * DAY_S }))).expiresAtMs, now() + 366 * DAY_S * 1_000);
    await assertRefused(verify(await issue({ exp: iat + 366 * DAY_S + 1 })), "malformed_record", /lease/);
  });

  test("verifyRecord() refuses a record that ends before it begins", async () => {
    const { orders, forge, verify, now } = await rig();
    const iat = now() / 1_000 + 10;
    await assertRefused(verify(await forge(orders, { iat, exp: iat })), "malformed_record", /lease/);
    await assertRefused(verify(await forge(orders, { iat, exp: iat - 1 })), "malformed_record", /lease/);
    await verify(await forge(orders, { iat, exp: iat + 1 }));
  });

  test("verifyRecord() gives no instance that outlives its identity token, or its record", async () => {
    const { orders, recordOf, verify, now } = await rig();
    const { expiresAtMs } = await orders.credential();
    now.pass(expiresAtMs - now() - 100_000);
    assert.equal((await verify(await recordOf(orders, { lifetimeMs: 60_000 }))).expiresAtMs, now() + 60_000);
    assert.equal((await verify(await recordOf(orders, { lifetimeMs: 300_000 }))).expiresAtMs, expiresAtMs);
  });
});

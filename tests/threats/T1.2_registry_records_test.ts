import { createAuthority, createTrust, generateKey, signJws } from "../../src/auth/mod.ts";
import { memoryRegistry, verifiedRegistry } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { watchedAudit } from "../auth/_world.ts";
import {
  assertRefused,
  DOMAIN,
  ENDPOINT,
  giving,
  joinOther,
  ORDERS,
  rig,
  sealClaims,
  SERVICE,
  witOf,
} from "../registry/_rig.ts";
import { served } from "../registry/_served.ts";

// The attacker runs a real workload, with a real key and a real identity token, and registers under a name that is not
// his: first at the registry's service, then past it, straight in what keeps its records.

const EVIL = `https://evil.${DOMAIN}`;

async function stage() {
  const world = await rig();
  const mallory = await joinOther(world, "mallory", { serves: ["games.v1"], roles: ["service"] });
  const audit = watchedAudit();
  /** What a client gets that reads a registry in which only this record is, and why not more. */
  const read = async (record: string) => {
    const before = audit.events.length;
    const instances = await world.verified(giving([record]), { audit }).resolve(SERVICE);
    return { instances, reasons: audit.events.slice(before).map(({ reason }) => reason as string) };
  };
  const assertSkipped = async (record: string, reason: string) => {
    const { instances, reasons } = await read(record);
    assert.deepEqual([instances, reasons], [[], [reason]]);
  };
  return { ...world, mallory, audit, read, assertSkipped };
}

describe("T1.2 a record under a stolen name", () => {
  test("T1.2 registry and client refuse a service that the authority does not let the workload serve", async () => {
    const world = await stage();
    const record = await world.recordOf(world.mallory, { endpoints: [EVIL] });
    await using desk = await served(world);
    await assert.rejects(desk.as(world.mallory).register(record), { reason: "refused" });
    assert.deepEqual(await desk.store.resolve(SERVICE), []);
    await desk.store.register(record);
    assert.deepEqual(await world.verified(desk.store).resolve(SERVICE), []);
    await world.assertSkipped(record, "not_serving");
  });

  test("T1.2 client takes the same record of who may", async () => {
    const { read, recordOf, orders } = await stage();
    const { instances, reasons } = await read(await recordOf(orders));
    assert.deepEqual([instances.map(({ identity }) => identity), reasons], [[ORDERS], []]);
  });

  test("T1.2 client refuses another's identity, with one's own token and with his", async () => {
    const { forge, mallory, orders, assertSkipped } = await stage();
    const stolen = { sub: ORDERS, iss: ORDERS, endpoints: [EVIL] };
    await assertSkipped(await forge(mallory, stolen), "wrong_token");
    await assertSkipped(await forge(mallory, { ...stolen, wit: await witOf(orders) }), "bad_token_signature");
    await assertSkipped(await forge(mallory, { ...stolen, iss: mallory.id }), "malformed_record");
  });

  test("T1.2 client refuses ids that only look like another's", async () => {
    const { forge, mallory, read } = await stage();
    const alike = [
      `SPIFFE://${DOMAIN}/orders`,
      `spiffe://${DOMAIN.toUpperCase()}/orders`,
      `${ORDERS}/`,
      `spiffe://${DOMAIN}//orders`,
      `spiffe://${DOMAIN}/./orders`,
      `spiffe://${DOMAIN}/x/../orders`,
      `spiffe://${DOMAIN}/%6frders`,
      `spiffe://${DOMAIN}/ord\u0435rs`,
      `spiffe://${DOMAIN}:443/orders`,
      `spiffe://user@${DOMAIN}/orders`,
      `${ORDERS}#i1`,
      `${ORDERS}?a`,
      `${ORDERS}\n`,
      ` ${ORDERS}`,
      `${ORDERS}\u0000`,
      `spiffe://${DOMAIN}.evil.test/orders`,
      `spiffe://evil-${DOMAIN}/orders`,
      `spiffe:///orders`,
      "orders",
    ];
    for (const id of alike) {
      assert.deepEqual((await read(await forge(mallory, { sub: id, iss: id }))).instances, [], id);
    }
  });

  test("T1.2 client refuses service names that only look like another", async () => {
    const world = await stage();
    const near = await joinOther(world, "near", {
      serves: ["orders", "orders.v", "orders.v10", "orders/v1", "Orders.v1"],
    });
    await world.assertSkipped(await world.recordOf(near), "not_serving");
    const cyrillic = { ["ord\u0435rs.v1"]: "" };
    await world.assertSkipped(await world.forge(near, { services: cyrillic }), "malformed_record");
  });

  test("T1.2 client refuses the trust domain that is trusted for callers only, and one that nobody vouches for", async () => {
    const { authority, now, orders, recordOf } = await stage();
    const partner = await rig("partner.test", now);
    const trust = await createTrust({ [DOMAIN]: authority.bundle(), "partner.test": partner.authority.bundle() }, {
      now,
    });
    const record = await partner.recordOf(partner.orders, { endpoints: ["https://orders.partner.test"] });
    const audit = watchedAudit();
    const reader = verifiedRegistry(giving([record]), { trust, trustDomains: [DOMAIN], audit, now });
    assert.deepEqual(await reader.resolve(SERVICE), []);
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["wrong_domain"]);
    const both = verifiedRegistry(giving([record, await recordOf(orders)]), {
      trust,
      trustDomains: [DOMAIN, "partner.test"],
      now,
    });
    assert.equal((await both.resolve(SERVICE)).length, 2);
  });

  test("T1.2 client lets no instance of one trust domain lead it below the name of another", async () => {
    const { authority, now, orders, recordOf } = await stage();
    const partner = await rig("partner.test", now);
    const bundles = { [DOMAIN]: authority.bundle(), "partner.test": partner.authority.bundle() };
    const trust = await createTrust(bundles, { now });
    const elsewhere = [
      await partner.recordOf(partner.orders, { endpoints: [ENDPOINT] }),
      await partner.recordOf(partner.orders, {
        instance: "i2",
        endpoints: ["https://orders.partner.test", ENDPOINT],
      }),
      await recordOf(orders, { endpoints: ["https://orders.partner.test"] }),
    ];
    const audit = watchedAudit();
    const about = { trust, trustDomains: [DOMAIN, "partner.test"], audit, now };
    assert.deepEqual(await verifiedRegistry(giving(elsewhere), about).resolve(SERVICE), []);
    assert.deepEqual(audit.events.map(({ reason }) => reason), Array(3).fill("wrong_endpoint"));
    const endpoints = { hosts: [`.${DOMAIN}`, ".partner.test"] };
    const told = await verifiedRegistry(giving(elsewhere), { ...about, endpoints }).resolve(SERVICE);
    assert.equal(told.length, 3, "who lists hosts says so himself");
  });

  test("T1.2 client refuses what another authority of the same name signed", async () => {
    const { assertSkipped, now } = await stage();
    const impostor = await createAuthority(DOMAIN, { now });
    const key = await generateKey();
    const other = await rig(DOMAIN, now);
    const wit = await impostor.issue(key.jwk, { id: ORDERS, serves: [SERVICE] });
    const claims = JSON.parse(JSON.stringify(await other.claimsOf(other.orders, { wit })));
    await assertSkipped(await signJws("svc-record+jwt", claims, { sign: key.sign }), "unknown_issuer");
  });

  test("T1.2 client refuses a token that has ended, one that does not hold yet, and one of another kind", async () => {
    const { orders, now, assertSkipped, authority, read } = await stage();
    const fresh = await generateKey();
    const recordWith = async (wit: string, sign = fresh.sign) => {
      const other = await rig(DOMAIN, now);
      return await sealClaims(await other.claimsOf(other.orders, { wit }), { sign });
    };
    const old = await witOf(orders);
    now.pass(3_600_000);
    await assertSkipped(await recordWith(old, orders.sign), "expired_token");
    const early = await authority.issue(fresh.jwk, { id: ORDERS, serves: [SERVICE] });
    now.pass(-60_000);
    await assertSkipped(await recordWith(early), "expired_token");
    now.pass(60_000 - 5_000);
    assert.equal((await read(await recordWith(early))).instances.length, 1, "clocks may differ by 5 s");
    await assertSkipped(old, "malformed_record");
  });

  test("T1.2 client refuses a record for another registry, and one that was overtaken", async () => {
    const { recordOf, orders, assertSkipped, verified, audit } = await stage();
    await assertSkipped(await recordOf(orders, { namespace: "staging" }), "wrong_namespace");
    const [older, newer] = [await recordOf(orders), await recordOf(orders, { sequence: 2, draining: true })];
    const registry = giving([newer]);
    const { resolve } = verified(registry, { audit });
    await resolve(SERVICE);
    registry.records[0] = older;
    assert.equal((await resolve(SERVICE))[0]!.draining, true);
    assert.equal(audit.events.at(-1)!.reason, "rollback");
  });

  test("T1.2 registry stops no owner from registering, whoever came before him", async () => {
    const world = await stage();
    await using desk = await served(world, { store: memoryRegistry({ now: world.now }) });
    const owner = await world.join(ORDERS, { serves: [SERVICE], roles: ["service"] });
    await assert.rejects(
      desk.as(world.mallory).register(await world.forge(world.mallory, { sub: ORDERS, iss: ORDERS, seq: 99 })),
    );
    await desk.as(owner).register(await world.recordOf(owner));
    assert.equal((await desk.store.resolve(SERVICE)).length, 1);
  });

  test("T1.2 verifier says of each record why it is refused, to who is about to register it", async () => {
    const { verified, forge, mallory, recordOf } = await stage();
    const { verify } = verified(giving([]));
    await assertRefused(verify(await recordOf(mallory)), "not_serving");
    await assertRefused(verify(await forge(mallory, { sub: ORDERS, iss: ORDERS })), "wrong_token");
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { signJws } from "../../src/auth/mod.ts";
import { readRecord, signRecord } from "../../src/registry/mod.ts";
import { RECORD_TYPE } from "../../src/registry/record.ts";
import { DOMAIN, world } from "../auth/_world.ts";
import { ORDERS, refused } from "./_conformance.ts";
import { type EtcdAnswer, failing, header, hurried, kv, lyingEtcd, PASSWORD } from "./_etcd.ts";

const A = "a.v1";
const here = await world();
const { now } = here;
const orders = await here.join(ORDERS, { serves: [A] });

function sign(about: { namespace?: string; lifetimeMs?: number; instance?: string; sequence?: number } = {}) {
  const { lifetimeMs = 60_000, sequence = 1, ...more } = about;
  const description = { services: { [A]: "" }, endpoints: [`https://orders.${DOMAIN}`], instance: "one", ...more };
  return signRecord(orders, description, { sequence, lifetimeMs, nowMs: now() });
}

const NOTHING = { header: header(5) };

test("resolve() refuses a service whose name could lead elsewhere", async () => {
  const { registry, calls } = lyingEtcd({});
  for (const service of ["", "a/b", "../other/a", "a.v1/", "é"]) {
    await assert.rejects(registry.resolve(service), TypeError);
    assert.throws(() => registry.watch(service), TypeError);
  }
  assert.equal(calls.length, 0);
});

test("etcdRegistry() follows no redirect and sends nothing that it was not told to", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    const { registry, calls } = lyingEtcd({
      "kv/range": ({ token }) => token && new Response(null, { status, headers: { location: "https://evil.test" } }),
    });
    await assert.rejects(registry.resolve(A), /a redirect, which is never followed/);
    assert.equal(calls.length, 3);
    for (const { init } of calls) {
      assert.equal(init.redirect, "manual");
      if ("credentials" in Request.prototype) assert.equal(init.credentials, "omit");
    }
  }
});

test("etcdRegistry() asks for a token once, whoever waits for it", async () => {
  const { registry, paths } = lyingEtcd({ "kv/range": ({ token }) => token ? NOTHING : undefined });
  await Promise.all([registry.resolve(A), registry.list(), registry.resolve(A)]);
  assert.equal(paths().filter((path) => path === "auth/authenticate").length, 1);
});

test("etcdRegistry() asks for another token when its own does not count any more, once", async () => {
  const stale = () => failing(401, 16, "etcdserver: invalid auth token");
  const range: EtcdAnswer = ({ token }) => token === "t2" ? NOTHING : token && stale();
  const restarted = lyingEtcd({ "kv/range": range });
  assert.deepEqual(await restarted.registry.resolve(A), []);
  assert.equal(restarted.paths().filter((path) => path === "auth/authenticate").length, 2);

  const revised = () => failing(400, 3, "etcdserver: revision of auth store is old");
  const changed = lyingEtcd({ "kv/range": ({ token }) => token === "t2" ? NOTHING : token && revised() });
  assert.deepEqual(await changed.registry.resolve(A), []);

  const otherWords = () => failing(401, 16, "etcdserver: who are you");
  const newer = lyingEtcd({ "kv/range": ({ token }) => token === "t2" ? NOTHING : token && otherWords() });
  assert.deepEqual(await newer.registry.resolve(A), []);

  const never = lyingEtcd({ "kv/range": ({ token }) => token && stale() });
  await refused(never.registry.resolve(A), "refused");
  assert.equal(never.paths().filter((path) => path === "auth/authenticate").length, 2);
});

test("etcdRegistry() works again when what failed at first has passed", async () => {
  let isDown = true;
  const { registry } = lyingEtcd({
    probe: () => isDown ? Promise.reject(new TypeError("connection refused")) : undefined,
    "kv/range": () => NOTHING,
  });
  await refused(registry.resolve(A), "unreachable");
  isDown = false;
  assert.deepEqual(await registry.resolve(A), []);
});

test("etcdRegistry() shows a password or a token in no error", async () => {
  const mean = (text: string) => failing(500, 2, `etcdserver: ${PASSWORD} ${text}`);
  for (const path of ["probe", "auth/authenticate", "kv/range"]) {
    const { registry } = lyingEtcd({ [path]: ({ token }) => mean(token ?? "") });
    await assert.rejects(registry.resolve(A), (error: Error) => {
      const shown = `${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`;
      return !shown.includes(PASSWORD) && !shown.includes("t1");
    });
  }
});

test("resolve() reads no answer to its end that has none", async () => {
  let sent = 0;
  let isCanceled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 1_048_576;
      controller.enqueue(new Uint8Array(1_048_576).fill(0x20));
    },
    cancel: () => void (isCanceled = true),
  });
  const { registry } = lyingEtcd({ "kv/range": ({ token }) => token && new Response(endless) });
  await refused(registry.resolve(A), "too_many");
  assert.ok(sent <= 36 * 1_048_576, `${sent} bytes were read`);
  assert.ok(isCanceled);
});

test("resolve() refuses to take more records than anybody reads", async () => {
  const { registry, calls } = lyingEtcd({ "kv/range": ({ token }) => token && { ...NOTHING, more: true } });
  await refused(registry.resolve(A), "too_many");
  assert.equal(calls.at(-1)!.message.limit, "16384");
});

test("resolve() waits five seconds for an answer and no longer", async () => {
  const never = () => new Promise(() => {});
  const silent = () => new Response(new ReadableStream());
  for (const [path, answer] of [["probe", never], ["auth/authenticate", silent], ["kv/range", never]] as const) {
    const { registry } = lyingEtcd({ [path]: answer });
    const waits = await hurried(() => refused(registry.resolve(A), "unreachable"));
    assert.ok(waits.every((ms) => ms <= 5_000), path);
  }
  const dripping = () => {
    let timer: ReturnType<typeof setInterval>;
    const drip = (controller: ReadableStreamDefaultController) => controller.enqueue(new Uint8Array([0x20]));
    return new Response(
      new ReadableStream({
        start: (controller) => void (timer = setInterval(() => drip(controller), 1)),
        cancel: () => clearInterval(timer),
      }),
    );
  };
  const { registry } = lyingEtcd({ "kv/range": ({ token }) => token && dripping() });
  await hurried(() => refused(registry.resolve(A), "unreachable"));
});

test("resolve() ends when its signal aborts", async () => {
  const controller = new AbortController();
  const { registry } = lyingEtcd({
    "kv/range": ({ token }) => {
      if (token) controller.abort();
      return token && new Promise(() => {});
    },
  });
  await assert.rejects(registry.resolve(A, { signal: controller.signal }), /the reading was ended/);
  await assert.rejects(registry.resolve(A, { signal: AbortSignal.abort() }), /the reading was ended/);
});

test("resolve() refuses an answer that is not as etcd's are", async () => {
  const wrong: unknown[] = [
    new Response("<html>"),
    new Response(""),
    new Response("null"),
    new Response("[]"),
    {},
    { header: { revision: 5 } },
    { header: { revision: "-5" } },
    { header: { revision: "99999999999999999999999" } },
    { ...NOTHING, kvs: {} },
    { ...NOTHING, kvs: [null] },
    { ...NOTHING, kvs: [{ ...kv("i", "x"), value: "%%%%" }] },
    { ...NOTHING, kvs: [{ ...kv("i", "x"), value: "abc" }] },
    { ...NOTHING, kvs: [{ ...kv("i", "x"), mod_revision: 1 }] },
  ];
  for (const answer of wrong) {
    const { registry } = lyingEtcd({ "kv/range": ({ token }) => token && answer });
    await refused(registry.resolve(A), "unreachable");
  }
  for (const answer of [{}, { token: "" }, { token: 5 }, { token: "a\r\nb" }, { token: "x".repeat(5_000) }]) {
    const { registry, paths } = lyingEtcd({ "auth/authenticate": () => answer });
    await refused(registry.resolve(A), "unreachable");
    assert.deepEqual(paths(), ["kv/range", "auth/authenticate"]);
  }
});

test("resolve() leaves out what is too long for a record, or empty", async () => {
  const kvs = [kv("a", "x".repeat(8_193)), kv("b", "good"), kv("c", "")];
  const { registry } = lyingEtcd({ "kv/range": ({ token }) => token && { ...NOTHING, kvs } });
  assert.deepEqual(await registry.resolve(A), ["good"]);
});

test("register() refuses a record of another namespace, and one that has expired, before it asks anybody", async () => {
  const { registry, calls } = lyingEtcd({}, { now });
  await refused(registry.register(await sign({ namespace: "other" })), "wrong_namespace");
  const short = await sign({ lifetimeMs: 1_000 });
  const late = lyingEtcd({}, { now: () => now() + 1_000 });
  await refused(late.registry.register(short), "expired_record");
  assert.equal(calls.length + late.calls.length, 0);
});

test("register() asks for a lease as long as the record has left, rounded up", async () => {
  for (const [passedMs, TTL] of [[0, "60"], [1, "60"], [1_000, "59"], [59_999, "1"]] as const) {
    const { registry, calls } = lyingEtcd({
      "kv/txn": () => ({ succeeded: true }),
      "lease/grant": () => ({ ID: "42" }),
    }, { now: () => now() + passedMs });
    await registry.register(await sign());
    assert.equal(calls.find(({ path }) => path === "lease/grant")!.message.TTL, TTL);
  }
});

test("register() gives up when others come between again and again, and leaves no lease behind", async () => {
  let leases = 0;
  const { registry, paths } = lyingEtcd({
    "kv/txn": ({ message }) => ({ succeeded: (message.compare as unknown[]).length === 0 }),
    "lease/grant": () => ({ ID: String(++leases) }),
    "lease/revoke": () => ({}),
  }, { now });
  await refused(registry.register(await sign()), "unreachable");
  const count = (wanted: string) => paths().filter((path) => path === wanted).length;
  assert.equal(leases, 8);
  assert.equal(count("lease/revoke"), 8);
});

/** An etcd that holds a value at the key that is asked for. */
function holding(value: string, lease: string) {
  return lyingEtcd({
    "kv/txn": ({ message }) => {
      const [first] = message.success as { request_range?: { key: string } }[];
      const key = first?.request_range?.key;
      const kvs = [{ key, value: btoa(value), mod_revision: "3", lease }];
      return { succeeded: true, responses: key ? [{ response_range: { kvs } }] : [] };
    },
    "lease/grant": () => ({ ID: "42" }),
    "lease/revoke": () => failing(404, 5, "etcdserver: requested lease not found"),
  }, { now });
}

const revokedIn = ({ calls }: ReturnType<typeof holding>) =>
  calls.filter(({ path }) => path === "lease/revoke").map(({ message }) => message.ID);

test("register() puts what is no record of the instance aside, and a lease that is gone is no error", async () => {
  const another = await sign({ instance: "another", sequence: 9 });
  for (const value of ["junk", another]) {
    const etcd = holding(value, "9");
    const lease = await etcd.registry.register(await sign());
    await lease[Symbol.asyncDispose]();
    const [, replacing] = etcd.calls.filter(({ path }) => path === "kv/txn");
    assert.equal((replacing!.message.compare as { mod_revision: string }[])[0]!.mod_revision, "3");
    assert.deepEqual(revokedIn(etcd), ["9", "42"]);
  }
});

test("register() writes nothing where the same record is, unless it is there for ever", async () => {
  const record = await sign();
  const same = holding(record, "9");
  const lease = await same.registry.register(record);
  assert.deepEqual(same.paths().slice(2), ["kv/txn"]);
  await lease[Symbol.asyncDispose]();
  assert.deepEqual(revokedIn(same), ["9"]);

  const forever = holding(record, "0");
  await forever.registry.register(record);
  assert.deepEqual(forever.paths().slice(2), ["kv/txn", "lease/grant", "kv/txn"]);
});

test("register() refuses a record of who has no id, before it asks anybody", async () => {
  const { claims } = readRecord(await sign());
  const { registry, calls } = lyingEtcd({}, { now });
  for (const sub of ["", "x", `${ORDERS}#one`, `${ORDERS}/../x`, "spiffe://example.org/é"]) {
    const forged = await signJws(RECORD_TYPE, { ...claims, sub }, { sign: orders.sign });
    await refused(registry.register(forged), "malformed_record");
  }
  assert.equal(calls.length, 0);
});

test("etcdRegistry() refuses an answer of 200,000 values before it makes anything of it", async () => {
  const raw = (text: string) => new Response(text, { headers: { "content-type": "application/json" } });
  const nothings = `{"kvs":[${"{},".repeat(200_000)}{}]}`;
  // What is counted is not parsed: that this is no JSON is not what is said of it.
  for (const text of [nothings, "{".padEnd(200_000, ","), `[${"0,".repeat(200_000)}`]) {
    const { registry } = lyingEtcd({ "kv/range": ({ token }) => token && raw(text) });
    await refused(registry.resolve(A), "too_many");
    await refused(registry.list(), "too_many");
  }
  const { registry } = lyingEtcd({ "kv/range": ({ token }) => token && raw("{".padEnd(163_840, ",")) });
  await refused(registry.resolve(A), "unreachable");
});

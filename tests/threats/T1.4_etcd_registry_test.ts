import assert from "node:assert/strict";
import { test } from "node:test";
import { secret } from "../../src/auth/mod.ts";
import { etcdRegistry, type EtcdRegistryOptions } from "../../src/registry/mod.ts";
import { refused } from "../registry/_conformance.ts";
import { failing, header, lyingEtcd, PASSWORD } from "../registry/_etcd.ts";

const A = "a.v1";
const NOTHING = { header: header(5) };

test("T1.4 etcdRegistry() refuses an address that is not https alone, and does not show it", () => {
  const usable = { url: "https://etcd.test", user: "orders", password: PASSWORD };
  etcdRegistry(usable);
  etcdRegistry({ ...usable, url: new URL("https://etcd.test:2379/behind/a/path/"), password: secret(PASSWORD) });
  const bad = [
    "http://etcd.test",
    "https://u:s3cret@etcd.test",
    "https://s3cret@etcd.test",
    "https://etcd.test?s3cret",
  ];
  for (const url of [...bad, "https://etcd.test#s3cret", "s3cret", "", "wss://etcd.test", "unix:///s3cret"]) {
    assert.throws(() => etcdRegistry({ ...usable, url }), (error) => {
      return error instanceof TypeError && !String(error.stack).includes("s3cret-pass") &&
        !error.message.includes("s3cret");
    });
  }
});

test("T1.4 etcdRegistry() refuses to be without a user, a password or a sound namespace", () => {
  const usable: EtcdRegistryOptions = { url: "https://etcd.test", user: "orders", password: PASSWORD };
  const missing = { user: undefined, password: undefined } as unknown as { user: string; password: string };
  const changes = [{ user: "" }, { password: "" }, { password: secret("") }, { namespace: "" }, { namespace: "a/b" }];
  for (const change of [...changes, { namespace: "A" }, { user: missing.user }, { password: missing.password }]) {
    assert.throws(() => etcdRegistry({ ...usable, ...change }), TypeError, JSON.stringify(change));
  }
});

test("T1.4 etcdRegistry() asks without a name first, and shows its password to none that answers", async () => {
  const open = lyingEtcd({ probe: () => NOTHING, "kv/range": () => NOTHING });
  await refused(open.registry.resolve(A), "insecure");
  assert.deepEqual(open.paths(), ["kv/range"]);

  const closed = lyingEtcd({ "kv/range": ({ token }) => token ? NOTHING : undefined });
  assert.deepEqual(await closed.registry.resolve(A), []);
  assert.deepEqual(closed.paths(), ["kv/range", "auth/authenticate", "kv/range"]);
  assert.deepEqual(closed.calls.map(({ token }) => token), [undefined, undefined, "t1"]);
  assert.deepEqual(closed.calls[1]!.message, { name: "orders", password: PASSWORD });
});

test("T1.4 etcdRegistry() takes only a refusal for access control", async () => {
  for (const answer of [failing(500, 13), failing(404, 12), new Response("no", { status: 400 }), failing(503, 14)]) {
    const { registry, paths } = lyingEtcd({ probe: () => answer });
    await refused(registry.resolve(A), "unreachable");
    assert.deepEqual(paths(), ["kv/range"]);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { natsRegistry } from "../../src/registry/mod.ts";
import { fakeBucket, fakeConnection } from "../registry/_fake_nats.ts";

test("T1.4 natsRegistry() refuses a connection to a server that lets in everybody", () => {
  for (const info of [{}, { auth_required: false }, { tls_required: true }]) {
    assert.throws(() => natsRegistry(Object.assign(fakeConnection(), { info }), fakeBucket()), { reason: "insecure" });
  }
});

test("T1.4 natsRegistry() refuses a connection that may go on to a server without TLS", () => {
  const cases: [urls: string[], tls: boolean | undefined, isSecure: boolean][] = [
    [["wss://a"], undefined, true],
    [["WSS://a", "wss://b"], false, true],
    [["ws://a"], undefined, false],
    [["ws://a"], true, false],
    [["wss://a", "ws://b"], true, false],
    [["nats://a"], undefined, false],
    [["nats://a"], false, false],
    [["nats://a", "tls://b", "c:4222"], true, true],
    [["tls://a"], undefined, false],
  ];
  for (const [urls, tls, isSecure] of cases) {
    const info = { auth_required: true, ...tls === undefined ? {} : { tls_required: tls } };
    const make = () => natsRegistry(Object.assign(fakeConnection(), { urls, info }), fakeBucket());
    if (isSecure) make();
    else assert.throws(make, { name: "RegistryError", reason: "insecure" }, `${urls} ${tls}`);
  }
});

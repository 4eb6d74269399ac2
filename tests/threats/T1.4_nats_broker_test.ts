import assert from "node:assert/strict";
import { test } from "node:test";
import { natsBroker } from "../../src/broker/nats/nats_broker.ts";
import { fakeNats } from "../broker/_fake_nats.ts";
import { reader, refused } from "../broker/_conformance_rig.ts";

test("T1.4 natsBroker() refuses a connection to a server that lets in everybody", async () => {
  for (const info of [{}, { auth_required: false }, { tls_required: true }]) {
    await refused(natsBroker(Object.assign(fakeNats(), { info })), "insecure");
  }
});

test("T1.4 natsBroker() refuses a connection that may go on to a server without TLS", async () => {
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
    const made = natsBroker(Object.assign(fakeNats(), { urls, info }));
    if (isSecure) await (await made)[Symbol.asyncDispose]();
    else await refused(made, "insecure");
  }
});

test("T1.4 natsBroker() ends when its connection goes on to a server that lets in everybody", async () => {
  const nats = fakeNats();
  await using broker = await natsBroker(nats);
  await using all = await reader(broker, "a.b");
  const asked = refused(all.ask(), "insecure");
  nats.info = { auth_required: false };
  nats.happens({ type: "reconnect" });
  await asked;
  await refused(broker.publish({ topic: "a.b", id: "1", event: "1" }), "insecure");
  assert.equal(nats.followers, 0);
});

test("T1.4 natsBroker() looks at a server that it was not told of before it sends it anything", async () => {
  const nats = fakeNats();
  await using broker = await natsBroker(nats);
  let sent = 0;
  const { publish } = nats;
  nats.publish = (...message) => {
    sent++;
    publish(...message);
  };
  await broker.publish({ topic: "a.b", id: "1", event: "1" });
  nats.urls = ["ws://nats.example.org"];
  nats.info = { auth_required: true };
  await refused(broker.publish({ topic: "a.b", id: "2", event: "2" }), "insecure");
  await refused(broker.subscribe("a.b"), "insecure");
  assert.equal(sent, 1);
});

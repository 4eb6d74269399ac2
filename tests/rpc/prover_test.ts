import {
  anonymous,
  createClient,
  fetchTransport,
  type IncomingResponse,
  type OutgoingRequest,
  type Prover,
  RpcError,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Echo, rejection } from "./_rig.ts";

const message = { text: "a" };
const answered = (status = 200, body = '{"text":"a"}') =>
  new Response(body, { status, headers: { "content-type": "application/json", "x-seal": "s" } });

function client(prover: Prover, response = () => answered()) {
  const headers: Headers[] = [];
  const fetch = (_: string, init: RequestInit) => {
    headers.push(new Headers(init.headers));
    return Promise.resolve(response());
  };
  return { echo: createClient(Echo, fetchTransport("https://echo.test", { prover, fetch })), headers };
}

for (const options of [undefined, {}, { prover: undefined }, { prover: null }]) {
  test(`fetchTransport() refuses to be made without a prover: ${JSON.stringify(options)}`, () => {
    assert.throws(() => fetchTransport("https://echo.test", options as never), (error: Error) => {
      return error instanceof TypeError && error.message.includes("prover");
    });
  });
}

test("anonymous() proves nothing and checks nothing", async () => {
  const { echo, headers } = client(anonymous());
  assert.deepEqual(await echo.say(message), message);
  assert.deepEqual([...headers[0]!.keys()].sort(), ["connect-protocol-version", "connect-timeout-ms", "content-type"]);
});

for (const later of [false, true]) {
  test(`fetchTransport() has each request proven as it is sent, and adds the proof${later ? " that takes time" : ""}`, async () => {
    const proven: OutgoingRequest[] = [];
    const { echo, headers } = client({
      prove(request) {
        proven.push(request);
        const proof = { headers: { "x-proof": String(proven.length) } };
        return later ? Promise.resolve(proof) : proof;
      },
    });
    await echo.say(message);
    await echo.say(message);
    const request = {
      method: "POST",
      url: "https://echo.test/echo.v1/say",
      body: '{"text":"a"}',
    };
    assert.deepEqual(proven.map(({ method, url, body }) => ({ method, url, body })), [request, request]);
    assert.deepEqual(proven.map(({ headers }) => headers["content-type"]), ["application/json", "application/json"]);
    assert.deepEqual(proven.map(({ call }) => call!.message), [message, message]);
    assert.deepEqual(headers.map((each) => each.get("x-proof")), ["1", "2"]);
  });
}

/** A prover whose check is given. */
const checking = (verify: (response: IncomingResponse) => void | Promise<void>): Prover => ({
  prove: () => ({ verify }),
});

for (const status of [200, 409]) {
  test(`fetchTransport() has an answer of status ${status} verified, raw, before it is decoded`, async () => {
    const seen: IncomingResponse[] = [];
    const { echo } = client(checking((response) => void seen.push(response)), () => answered(status, "{not json"));
    await rejection(echo.say(message));
    assert.equal(seen.length, 1);
    assert.equal(seen[0]?.status, status);
    assert.equal(seen[0]?.headers.get("x-seal"), "s");
    assert.equal(new TextDecoder().decode(seen[0]?.body), "{not json");
  });

  for (const way of ["throws", "rejects"]) {
    test(`fetchTransport() refuses an answer of status ${status} whose verification ${way}`, async () => {
      const refused = new RpcError("unauthenticated", "Cannot trust the answer", { received: true });
      const verify = () => {
        if (way === "rejects") return Promise.reject(refused);
        throw refused;
      };
      const { echo } = client(checking(verify), () => answered(status));
      assert.equal(await rejection(echo.say(message)), refused);
    });
  }
}

test("fetchTransport() refuses an answer whose verification throws anything else", async () => {
  const { echo } = client(checking(() => {
    throw new Error("s3cret");
  }));
  const error = await rejection(echo.say(message));
  assert.ok(!error.message.includes("s3cret"));
  assert.equal(error.received, true);
});

test("fetchTransport() sends nothing when the prover fails", async () => {
  for (const thrown of [new RpcError("unauthenticated", "No key"), new Error("s3cret")]) {
    const { echo, headers } = client({ prove: () => Promise.reject(thrown) });
    const error = await rejection(echo.say(message));
    assert.ok(!error.message.includes("s3cret"));
    assert.equal(headers.length, 0);
  }
});

test("fetchTransport() has nothing proven of a message it cannot send", async () => {
  let proven = 0;
  const { echo } = client({ prove: () => (proven++, {}) });
  await rejection(echo.say({ text: "\ud800" }));
  assert.equal(proven, 0);
});

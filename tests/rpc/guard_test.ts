import {
  type Admission,
  createClient,
  createServer,
  type Guard,
  implement,
  type Incoming,
  type OutgoingResponse,
  publicOnly,
  RpcError,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAnswers, assertLogged, Echo, echoServer, ORIGIN, post, postRaw, refusalOf, rejection } from "./_rig.ts";

const message = { text: "a" };
const implementation = implement(Echo, { say: (m) => m, look: (m) => m, hidden: (m) => m });

for (const options of [undefined, {}, { guard: undefined }, { guard: null }]) {
  test(`createServer() refuses to be built without a guard: ${JSON.stringify(options)}`, () => {
    assert.throws(() => createServer(implementation, options as never), (error: Error) => {
      return error instanceof TypeError && error.message.includes("guard");
    });
  });
}

for (
  const name of ["echo.v1/nothing", "echo.v1", "nothing.v1/say", "echo.v1/*", "*", "/echo.v1/say", "echo.v1/SAY", ""]
) {
  test(`publicOnly() refuses at the start to open "${name}", which is not served`, () => {
    assert.throws(() => createServer(implementation, { guard: publicOnly(["echo.v1/say", name]) }), (error: Error) => {
      return error instanceof TypeError && error.message.includes(`"${name}"`) &&
        !error.message.includes('"echo.v1/say"');
    });
  });
}

for (const method of ["say", "look", "hidden"] as const) {
  test(`publicOnly() keeps ${method} shut where it does not name it, over fetch and in process`, async () => {
    const { server, calls, entries } = echoServer({ guard: publicOnly([]) });
    const refusal = await refusalOf(await server.fetch(post(`/echo.v1/${method}`, message)));
    assert.deepEqual([refusal.status, refusal.code], [403, "permission_denied"]);
    assertLogged(entries, refusal);
    const error = await rejection(createClient(Echo, server.call)[method](message));
    assert.deepEqual([error.code, error.received], ["permission_denied", true]);
    assert.equal(entries[1]?.correlationId, error.correlationId);
    assert.deepEqual(calls, []);
  });
}

test("publicOnly() opens what it names and nothing else, over fetch and in process", async () => {
  const { server, calls } = echoServer({ guard: publicOnly(["echo.v1/say"]) });
  const client = createClient(Echo, server.call);
  await assertAnswers(server);
  assert.deepEqual(await client.say(message), message);
  assert.equal((await rejection(client.look(message))).code, "permission_denied");
  assert.equal((await refusalOf(await server.fetch(post("/echo.v1/look", message)))).code, "permission_denied");
  assert.equal(calls.length, 2);
});

test("publicOnly() does not follow a later change of the list it was given", async () => {
  const open = ["echo.v1/say"];
  const { server } = echoServer({ guard: publicOnly(open) });
  open.push("echo.v1/hidden");
  assert.equal((await server.fetch(post("/echo.v1/hidden", message))).status, 403);
});

test("publicOnly() answers a shut method before the body is read or decoded", async () => {
  const { server } = echoServer();
  let pulled = false;
  const body = new ReadableStream({ pull: () => void (pulled = true) }, { highWaterMark: 0 });
  assert.equal((await refusalOf(await server.fetch(postRaw("/echo.v1/hidden", body)))).code, "permission_denied");
  assert.equal(pulled, false);
});

interface Watch extends Partial<Admission> {
  readonly admit?: (incoming: Incoming) => void | Promise<void>;
}

/** A guard that notes what it is asked. */
function watched({ admit, ...admission }: Watch = {}): { guard: Guard; incoming: Incoming[]; starts: unknown[] } {
  const incoming: Incoming[] = [];
  const starts: unknown[] = [];
  const guard: Guard = {
    start: (services) => void starts.push(services),
    admit(asked) {
      incoming.push(asked);
      const admitted = admit?.(asked);
      return admitted ? admitted.then(() => admission) : admission;
    },
  };
  return { guard, incoming, starts };
}

test("createServer() starts its guard once, with the services it serves", () => {
  const { guard, starts } = watched();
  createServer(implementation, { guard });
  assert.deepEqual(starts, [[Echo]]);
});

test("createServer() asks its guard about each call, known methods and unknown ones", async () => {
  const { guard, incoming } = watched();
  const { server } = echoServer({ guard });
  const requests = [post("/echo.v1/say", message), post("/echo.v1/nothing", message)];
  for (const request of requests) await server.fetch(request);
  await server.call({ method: Echo.methods.look, message, timeoutMs: 100 });
  assert.deepEqual(incoming.map(({ method }) => method), [Echo.methods.say, undefined, Echo.methods.look]);
  assert.deepEqual(incoming.map(({ request }) => request?.url), [requests[0]!.url, requests[1]!.url, undefined]);
  assert.deepEqual(incoming.map(({ request }) => request?.headers.get("content-type")), [
    "application/json",
    "application/json",
    undefined,
  ]);
});

for (const path of ["/", "/echo.v1", "/x/echo.v1/say", "/echo.v1/say/", "/echo.v1/%73ay", "/__proto__/say"]) {
  test(`createServer() does not ask its guard about the path ${path}, which names no method`, async () => {
    const { guard, incoming } = watched();
    const { server } = echoServer({ guard });
    assert.equal((await server.fetch(post(path, message))).status, 404);
    assert.equal(incoming.length, 0);
  });
}

test("createServer() gives its guard the raw body, read once for all who ask", async () => {
  const seen: Uint8Array[] = [];
  const { guard } = watched({
    admit: async ({ body }) => {
      const bodies = await Promise.all([body(), body()]);
      seen.push(...bodies, await body());
    },
  });
  const { server, calls } = echoServer({ guard });
  assert.equal((await server.fetch(postRaw("/echo.v1/say", ' {"text":"a"}\n'))).status, 200);
  assert.deepEqual(calls, [message]);
  assert.equal(seen.length, 3);
  assert.ok(seen[0] === seen[1] && seen[1] === seen[2]);
  assert.equal(new TextDecoder().decode(seen[0]), ' {"text":"a"}\n');
});

test("createServer() gives its guard no body for a GET and for a call from the same process", async () => {
  const sizes: number[] = [];
  const { guard } = watched({ admit: async ({ body }) => void sizes.push((await body()).length) });
  const { server } = echoServer({ guard });
  await server.fetch(new Request(`${ORIGIN}/echo.v1/look?encoding=json&message={"text":"a"}`));
  await createClient(Echo, server.call).say(message);
  assert.deepEqual(sizes, [0, 0]);
});

test("createServer() holds its limits while the guard reads the body", async () => {
  const { guard } = watched({ admit: async ({ body }) => void await body() });
  const { server } = echoServer({ guard, limits: { receiveDeadlineMs: 15 } });
  const large = await refusalOf(await server.fetch(postRaw("/echo.v1/nothing", "a".repeat(1_048_577))));
  assert.equal(large.code, "resource_exhausted");
  const slow = await refusalOf(await server.fetch(postRaw("/echo.v1/say", new ReadableStream())));
  assert.equal(slow.code, "deadline_exceeded");
});

const refusals: readonly (readonly [name: string, thrown: unknown, status: number, code: string])[] = [
  ["unauthenticated", new RpcError("unauthenticated", "Who are you"), 401, "unauthenticated"],
  ["permission_denied", new RpcError("permission_denied", "Not you"), 403, "permission_denied"],
  ["an Error", new Error("s3cret"), 500, "internal"],
  ["null", null, 500, "internal"],
];
for (const [name, thrown, status, code] of refusals) {
  for (const way of ["throws", "rejects with"]) {
    test(`createServer() refuses a call whose guard ${way} ${name}, and decodes nothing`, async () => {
      const { guard } = watched({
        admit: () => {
          if (way === "rejects with") return Promise.reject(thrown);
          throw thrown;
        },
      });
      let decoded = 0;
      const codec = { name: "json", maxBytes: 100, encode: () => "{}", decode: () => void decoded++ };
      const { server, calls, entries } = echoServer({ guard, codecs: [codec] });
      const refusal = await refusalOf(await server.fetch(postRaw("/echo.v1/say", "{not json")));
      assert.deepEqual([refusal.status, refusal.code], [status, code]);
      assert.ok(!refusal.text.includes("s3cret"));
      assertLogged(entries, refusal);
      assert.equal((await rejection(server.call({ method: Echo.methods.say, message, timeoutMs: 100 }))).code, code);
      assert.equal((await refusalOf(await server.fetch(post("/echo.v1/nothing", message)))).code, code);
      assert.deepEqual([decoded, calls.length], [0, 0]);
    });
  }
}

test("createServer() lets its guard decide on the checked message before the handler sees it", async () => {
  const decided: unknown[] = [];
  const { guard } = watched({
    decide: (asked) => {
      decided.push(asked);
      if ((asked as { text: string }).text === "bad") throw new RpcError("permission_denied", "Not this one");
    },
  });
  const { server, calls } = echoServer({ guard });
  const client = createClient(Echo, server.call);
  await assertAnswers(server, "good");
  await client.say({ text: "good" });
  assert.equal((await refusalOf(await server.fetch(post("/echo.v1/say", { text: "bad" })))).code, "permission_denied");
  assert.equal((await rejection(client.say({ text: "bad" }))).code, "permission_denied");
  assert.equal((await refusalOf(await server.fetch(post("/echo.v1/say", { text: 7 })))).code, "invalid_argument");
  assert.deepEqual(decided, [{ text: "good" }, { text: "good" }, { text: "bad" }, { text: "bad" }]);
  assert.deepEqual(calls, [{ text: "good" }, { text: "good" }]);
});

test("createServer() waits for a decision that takes time", async () => {
  const { guard } = watched({ decide: () => Promise.reject(new RpcError("permission_denied", "Not you")) });
  const { server, calls } = echoServer({ guard });
  assert.equal((await refusalOf(await server.fetch(post("/echo.v1/say", message)))).code, "permission_denied");
  assert.equal(calls.length, 0);
});

/** A guard that seals what leaves. */
function sealing() {
  const sealed: OutgoingResponse[] = [];
  const seal = (response: OutgoingResponse) => {
    sealed.push(response);
    return { "x-seal": String(sealed.length) };
  };
  return { ...watched({ seal }), sealed };
}

test("createServer() seals an answer: its headers are added to what was sealed", async () => {
  const { guard, sealed } = sealing();
  const { server } = echoServer({ guard });
  const response = await server.fetch(post("/echo.v1/say", message));
  assert.equal(response.headers.get("x-seal"), "1");
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.deepEqual(sealed, [{ status: 200, contentType: "application/json", body: await response.text() }]);
});

test("createServer() seals the answer to a GET", async () => {
  const { guard } = sealing();
  const { server } = echoServer({ guard });
  const response = await server.fetch(new Request(`${ORIGIN}/echo.v1/look?encoding=json&message={"text":"a"}`));
  assert.deepEqual([response.status, response.headers.get("x-seal")], [200, "1"]);
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
});

for (
  const [name, request] of [
    ["the handler", post("/echo.v1/say", { text: "throw" })],
    ["the contract", post("/echo.v1/say", {})],
    ["the codec", postRaw("/echo.v1/say", "{")],
    ["the list of methods", post("/echo.v1/nothing", {})],
  ] as const
) {
  test(`createServer() seals an error of ${name}`, async () => {
    const { guard, sealed } = sealing();
    const { server } = echoServer({ guard }, () => {
      throw new RpcError("aborted", "No");
    });
    const response = await server.fetch(request);
    assert.equal(response.headers.get("x-seal"), "1");
    const { status, text } = await refusalOf(response);
    assert.deepEqual(sealed, [{ status, contentType: "application/json", body: text }]);
  });
}

test("createServer() does not seal what its guard did not admit", async () => {
  const { guard, sealed } = sealing();
  const refusing: Guard = {
    ...guard,
    admit: () => {
      throw new RpcError("unauthenticated", "Who are you");
    },
  };
  const response = await echoServer({ guard: refusing }).server.fetch(post("/echo.v1/say", message));
  assert.equal(response.headers.get("x-seal"), null);
  assert.deepEqual(sealed, []);
});

for (const way of ["throws", "rejects"]) {
  test(`createServer() answers with an error when sealing ${way}, and never with the unsealed answer`, async () => {
    const thrown = new Error("s3cret key is gone");
    const { guard } = watched({
      seal: () => {
        if (way === "rejects") return Promise.reject(thrown);
        throw thrown;
      },
    });
    const { server, entries } = echoServer({ guard });
    const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", { text: "private" })));
    assert.deepEqual([refusal.status, refusal.code], [500, "internal"]);
    assert.ok(!refusal.text.includes("s3cret") && !refusal.text.includes("private"));
    assert.ok(entries.some(({ cause, correlationId }) => cause === thrown && correlationId === refusal.correlationId));
  });
}

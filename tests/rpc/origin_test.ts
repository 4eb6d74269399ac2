// What a call is part of, as handlers and transports see it; whether it is true is for guards and provers.
import {
  type Admission,
  anonymous,
  type Call,
  type Context,
  createClient,
  createServer,
  fetchTransport,
  type Guard,
  implement,
  type Incoming,
  type Proof,
  publicOnly,
  RpcError,
  type Transport,
} from "../../src/rpc/mod.ts";
import { ProveAgainError } from "../../src/rpc/rpc_error.ts";
import { readTraceparent } from "../../src/rpc/trace.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { mustCome } from "../_patience.ts";
import { aborted, collect, Echo, echoServer, gate, post, refusalOf, rejection } from "./_rig.ts";

const message = { text: "a" };
const GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const caller = { id: "spiffe://example.org/web", roles: ["r"], attributes: { a: "1" } };
const right = { path: ["spiffe://example.org", caller.id], tools: {}, tokenIds: ["t"], expiresAtMs: 1 };
const delegation = { reveal: () => "handed on" };

const admitting = (admission: Admission | (() => Admission | Promise<Admission>)): Guard => ({
  start() {},
  admit: () => typeof admission === "function" ? admission() : admission,
});

/** The context that a handler is given under an admission. */
async function contextOf(admission: Admission): Promise<Context> {
  const contexts: Context[] = [];
  const { server } = echoServer({ guard: admitting(admission) }, (given, context) => {
    contexts.push(context);
    return given;
  });
  assert.equal((await server.fetch(post("/echo.v1/say", message))).status, 200);
  return contexts[0]!;
}

/** A transport that keeps the calls that it is given. */
function keeping(): { readonly transport: Transport; readonly calls: Call[] } {
  const calls: Call[] = [];
  return {
    calls,
    transport: (call) => {
      calls.push(call);
      return Promise.resolve({ message: call.message });
    },
  };
}

test("Context says who calls, through whom and under which right", async () => {
  const context = await contextOf({ caller, origin: { callers: ["x", "y"] }, capability: right });
  assert.deepEqual(context.caller, caller);
  assert.deepEqual(context.chain, ["x", "y", caller.id]);
  assert.deepEqual(context.capability, right);
});

test("Context.chain is the caller alone where the call began with it", async () => {
  assert.deepEqual((await contextOf({ caller })).chain, [caller.id]);
});

test("Context.chain is empty where the caller proved nothing, whatever came with the call", async () => {
  const context = await contextOf({ origin: { callers: ["x"] } });
  assert.deepEqual([context.caller, context.chain, context.capability], [undefined, [], undefined]);
});

test("Context.traceparent is a span of the caller's trace, the same for the whole call", async () => {
  const { traceparent } = await contextOf({ caller, origin: { callers: [], traceparent: GIVEN } });
  assert.equal(traceparent.slice(0, 36), GIVEN.slice(0, 36));
  assert.notEqual(traceparent, GIVEN);
  const context = await contextOf({ caller });
  assert.equal(context.traceparent, context.traceparent);
});

for (
  const [name, admission] of [
    ["no origin", { caller }],
    ["no trace", { caller, origin: { callers: [] } }],
    ["a malformed trace", { caller, origin: { callers: [], traceparent: `${GIVEN}\nx` } }],
  ] as const
) {
  test(`Context.traceparent begins a trace where the call has ${name}`, async () => {
    const { traceparent } = await contextOf(admission);
    assert.equal(readTraceparent(traceparent), traceparent);
    assert.notEqual(traceparent.slice(0, 36), GIVEN.slice(0, 36));
  });
}

test("createServer() takes no trace from a header by itself", async () => {
  const contexts: Context[] = [];
  const { server } = echoServer({}, (given, context) => (contexts.push(context), given));
  await server.fetch(post("/echo.v1/say", message, { traceparent: GIVEN, "postern-callers": `"${caller.id}"` }));
  assert.notEqual(contexts[0]!.traceparent.slice(0, 36), GIVEN.slice(0, 36));
  assert.deepEqual(contexts[0]!.chain, []);
});

test("Context.call() makes calls part of the trace, through the caller, with what was handed on", async () => {
  const { transport, calls } = keeping();
  const context = await contextOf({
    caller,
    origin: { callers: ["x"], traceparent: GIVEN, delegation },
    capability: right,
  });
  const client = context.call(createClient(Echo, transport));
  await client.say(message);
  await client.say(message);
  const spans = calls.map(({ origin }) => {
    const { traceparent, remainingMs, ...more } = origin!;
    assert.ok(remainingMs! > 0);
    assert.deepEqual(more, { callers: ["x", caller.id], delegation });
    assert.equal(more.delegation, delegation);
    assert.equal(traceparent!.slice(0, 36), GIVEN.slice(0, 36));
    return traceparent;
  });
  assert.equal(new Set([GIVEN, context.traceparent, ...spans]).size, 4);
});

test("Context.call() says nothing of a caller that proved nothing", async () => {
  const { transport, calls } = keeping();
  const context = await contextOf({});
  await context.call(createClient(Echo, transport)).say(message);
  const { traceparent, remainingMs: _, ...origin } = calls[0]!.origin!;
  assert.deepEqual(origin, { callers: [], delegation: undefined });
  assert.equal(readTraceparent(traceparent), traceparent);
});

test("Context.call() lets no handler say what its calls are part of", async () => {
  const { transport, calls } = keeping();
  const context = await contextOf({ caller });
  const options = { origin: { callers: ["forged"], traceparent: GIVEN, delegation }, timeoutMs: 5_000 };
  await context.call(createClient(Echo, transport)).say(message, options);
  assert.deepEqual(calls[0]!.origin!.callers, [caller.id]);
  assert.equal(calls[0]!.origin!.delegation, undefined);
  assert.notEqual(calls[0]!.origin!.traceparent!.slice(0, 36), GIVEN.slice(0, 36));
  assert.deepEqual(options.origin.callers, ["forged"]);
});

test("createClient() makes calls that are part of nothing by themselves", async () => {
  const { transport, calls } = keeping();
  const client = createClient(Echo, transport);
  await client.say(message);
  assert.equal("origin" in calls[0]!, false);
  await client.say(message, { origin: { callers: ["x"] } });
  assert.deepEqual(calls[1]!.origin, { callers: ["x"] });
});

test("Server.call() tells the guard what a call is part of, and gives no request", async () => {
  const seen: Incoming[] = [];
  const guard: Guard = {
    start() {},
    admit(incoming) {
      seen.push(incoming);
      return { caller, origin: incoming.origin };
    },
  };
  const contexts: Context[] = [];
  const { server } = echoServer({ guard }, (given, context) => (contexts.push(context), given));
  const client = createClient(Echo, server.call);
  await client.say(message, { origin: { callers: ["x"], traceparent: GIVEN } });
  await client.say(message);
  assert.deepEqual(seen.map(({ origin, request }) => [origin?.callers, request]), [[["x"], undefined], [
    undefined,
    undefined,
  ]]);
  assert.deepEqual(contexts[0]!.chain, ["x", caller.id]);
});

// The trace on the wire.

function sending(respond: () => Response = () => ok()) {
  const sent: Headers[] = [];
  const fetch = (_: string, init: RequestInit) => {
    sent.push(new Headers(init.headers));
    return Promise.resolve(respond());
  };
  return { sent, fetch };
}
const ok = () => new Response(JSON.stringify(message), { headers: { "content-type": "application/json" } });

test("fetchTransport() sends the trace of a call that is part of one, and nothing else of its origin", async () => {
  const { sent, fetch } = sending();
  const client = createClient(Echo, fetchTransport("https://echo.test", { prover: anonymous(), fetch }));
  await client.say(message, { origin: { callers: ["x"], traceparent: GIVEN, delegation } });
  assert.equal(sent[0]!.get("traceparent"), GIVEN);
  assert.deepEqual([...sent[0]!.keys()].filter((name) => /postern|authorization/.test(name)), []);
  await client.say(message, { origin: { callers: ["x"] } });
  await client.say(message);
  assert.deepEqual(sent.slice(1).map((headers) => headers.has("traceparent")), [false, false]);
});

// The end of a call.

/** A guard whose admission counts its ends. */
function counting(more: Admission = {}) {
  const counts = { ends: 0 };
  return { counts, guard: admitting({ ...more, end: () => void counts.ends++ }) };
}

const ends: readonly (readonly [name: string, more: Admission, answer: (given: unknown) => unknown, given: unknown])[] =
  [
    ["a handler that answers", {}, (given) => given, message],
    ["a handler that throws", {}, () => {
      throw new Error("no");
    }, message],
    ["a handler that answers what it must not", {}, () => ({ no: 1 }), message],
    [
      "a refused message",
      {
        decide: () => {
          throw new RpcError("permission_denied", "No");
        },
      },
      (given) => given,
      message,
    ],
    ["a wrong message", {}, (given) => given, { wrong: 1 }],
  ];
for (const [name, more, answer, given] of ends) {
  for (const way of ["fetch", "call"] as const) {
    test(`Admission.end() is called once after ${name}, by ${way}`, async () => {
      const { guard, counts } = counting(more);
      const { server } = echoServer({ guard }, answer as never);
      const during = counts.ends;
      if (way === "fetch") await (await server.fetch(post("/echo.v1/say", given))).text();
      else await server.call({ method: Echo.methods.say, message: given, timeoutMs: 1_000 }).catch(() => {});
      assert.deepEqual([during, counts.ends], [0, 1]);
    });
  }
}

test("Admission.end() is called for a method that is not there", async () => {
  const { guard, counts } = counting();
  const { server } = echoServer({ guard });
  assert.equal((await server.fetch(post("/echo.v1/nothing", message))).status, 404);
  assert.equal(counts.ends, 1);
});

test("Admission.end() is called when the deadline is over, not before", async () => {
  const { guard, counts } = counting();
  const seen: number[] = [];
  const { server } = echoServer({ guard }, async (given, { signal }) => {
    seen.push(counts.ends);
    await aborted(signal);
    return given;
  });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "10" })));
  assert.equal(refusal.code, "deadline_exceeded");
  assert.deepEqual([seen, counts.ends], [[0], 1]);
});

test("Admission.end() is called for an admission that comes when nobody waits for it any more", async () => {
  const [late, ended] = [gate<Admission>(), gate()];
  const { server, calls } = echoServer({ guard: admitting(() => late.opened) });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message, { "connect-timeout-ms": "10" })));
  assert.equal(refusal.code, "deadline_exceeded");
  late.open({ end: () => ended.open() });
  await mustCome(ended.opened, "the end of a late admission");
  assert.equal(calls.length, 0);
});

// A server that wants another proof.

const again = (headers: Record<string, string> = {}) => ({
  code: "unavailable",
  message: "The server has just started",
  details: [{ type: "postern.v1.ProveAgain", value: "NjAwMDA" }],
  ...headers,
});
const wire = (error: unknown) =>
  new Response(JSON.stringify(error), { status: 503, headers: { "content-type": "application/json" } });

/** A client whose proofs are numbered. */
function proving(
  respond: (attempt: number) => Response,
  more: (attempt: number) => Partial<Proof> = () => ({ verify() {} }),
) {
  let attempts = 0;
  const proofs: string[] = [];
  const proof = (attempt: number): Proof => ({
    headers: { "x-proof": String(attempt) },
    again: () => proof(attempt + 1),
    ...more(attempt),
  });
  const fetch = (_: string, init: RequestInit) => {
    proofs.push(new Headers(init.headers).get("x-proof")!);
    return Promise.resolve(respond(++attempts));
  };
  const prover = { prove: () => proof(1) };
  return { echo: createClient(Echo, fetchTransport("https://echo.test", { prover, fetch })), proofs };
}

test("fetchTransport() proves once more where a verified answer asks for it", async () => {
  const { echo, proofs } = proving((attempt) => attempt === 1 ? wire(again()) : ok());
  assert.deepEqual(await echo.say(message), message);
  assert.deepEqual(proofs, ["1", "2"]);
});

test("fetchTransport() proves once more and not for ever", async () => {
  const { echo, proofs } = proving(() => wire(again()));
  const error = await rejection(echo.say(message));
  assert.deepEqual([error.code, error.received], ["unavailable", true]);
  assert.deepEqual(proofs, ["1", "2"]);
});

test("fetchTransport() does not prove again what was answered in another way the second time", async () => {
  const { echo, proofs } = proving((attempt) => wire(attempt === 1 ? again() : { code: "aborted", message: "No" }));
  assert.equal((await rejection(echo.say(message))).code, "aborted");
  assert.deepEqual(proofs, ["1", "2"]);
});

for (
  const [name, more] of [
    ["nobody verifies the answer", { verify: undefined }],
    ["the proof cannot be made again", { verify() {}, again: undefined }],
  ] as const
) {
  test(`fetchTransport() does not prove again where ${name}`, async () => {
    const { echo, proofs } = proving(() => wire(again()), () => more as Partial<Proof>);
    const { code, message: words } = await rejection(echo.say(message));
    assert.deepEqual([code, words], ["unavailable", "The server has just started"]);
    assert.deepEqual(proofs, ["1"]);
  });
}

test("fetchTransport() does not prove again because of an answer that is not verified", async () => {
  const verify = () => {
    throw new RpcError("unavailable", "Cannot trust the answer");
  };
  const { echo, proofs } = proving(() => wire(again()), () => ({ verify }));
  assert.equal((await rejection(echo.say(message))).message, "Cannot trust the answer");
  assert.deepEqual(proofs, ["1"]);
});

for (
  const [name, details] of [
    ["no detail", []],
    ["another detail", [{ type: "postern.v1.ProveAgainst", value: "" }]],
    ["a detail without a value", [{ type: "postern.v1.ProveAgain" }]],
    ["a detail whose value is no text", [{ type: "postern.v1.ProveAgain", value: true }]],
  ] as const
) {
  test(`fetchTransport() does not prove again for an error with ${name}`, async () => {
    const { echo, proofs } = proving(() => wire({ code: "unavailable", message: "No", details }));
    await rejection(echo.say(message));
    assert.deepEqual(proofs, ["1"]);
  });
}

test("createServer() asks for another proof where its guard does, whatever the contract says of errors", async () => {
  const { log, entries } = collect();
  const guard = admitting(() => {
    throw new ProveAgainError("unavailable", "The server has just started", { details: { secret: 1 }, ageMs: 1_234 });
  });
  const handle = (given: { text: string }) => given;
  const server = createServer(implement(Echo, { say: handle, look: handle, hidden: handle }), { guard, log });
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
  assert.equal(refusal.code, "unavailable");
  assert.deepEqual(refusal.details, [{ type: "postern.v1.ProveAgain", value: "MTIzNA" }]);
  assert.deepEqual(entries, [], "a client that proves again is no news");
});

test("createServer() asks for no other proof in any other error", async () => {
  const { server } = echoServer({}, () => {
    throw new RpcError("unavailable", "The server has just started");
  });
  assert.deepEqual((await refusalOf(await server.fetch(post("/echo.v1/say", message)))).details, []);
});

test("createServer() does not hand on that another server wanted another proof", async () => {
  const { echo } = proving(() => wire(again()));
  const { server } = echoServer({ guard: publicOnly(["echo.v1/say"]) }, (given) => echo.say(given));
  const refusal = await refusalOf(await server.fetch(post("/echo.v1/say", message)));
  assert.deepEqual([refusal.code, refusal.details], ["internal", []]);
});

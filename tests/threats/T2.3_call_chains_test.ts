import { CALLERS_HEADER, CAPABILITY_SCHEME, CHAIN_SEPARATOR, DELEGATION_HEADER } from "../../src/auth/wire.ts";
import { writeCallers } from "../../src/auth/call_context.ts";
import { allow, attenuate, type AuthReason, exact, issueCapability, oneOf, prove } from "../../src/auth/mod.ts";
import { logLine } from "../../src/rpc/log.ts";
import { createClient, fetchTransport, implement } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { send, type Signed, signedRequest, witOf } from "../auth/_forge.ts";
import { idOf, Payments, serve, shop } from "../auth/_shop.ts";
import { type Captured, DOMAIN, ECHO, protectedEcho, requestOf, WEB, world } from "../auth/_world.ts";
import { Echo, refusalOf, rejection } from "../rpc/_rig.ts";

// The attackers: somebody on the way who changes what a call says it is part of, a caller that lies about it, and a service
// that tries to use against a third one what it received for its own work.

const here = await world();
const { authority, now } = here;
const [web, mallory, echoId] = await Promise.all([
  here.join(WEB),
  here.join(`spiffe://${DOMAIN}/mallory`),
  here.join(ECHO, { serves: ["echo.v1"] }),
]);
const OPEN = [allow({ caller: [WEB, mallory.id], call: "echo.v1/*" })];
const open = () => protectedEcho(here, { identity: echoId, rules: OPEN });
const tools = { "echo.v1/say": { text: oneOf("a") } };
const rightOf = (holder: string) => issueCapability(authority, { holder, tools }, { now });
const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** Asserts that a request does nothing and is refused, with one entry in the audit. */
async function assertStopped(
  echo: Awaited<ReturnType<typeof protectedEcho>>,
  request: Captured,
  reason: AuthReason,
): Promise<void> {
  const [calls, events] = [echo.calls.length, echo.audit.events.length];
  const { code } = await refusalOf(await send(echo.server, request));
  assert.equal(code, "unauthenticated");
  assert.equal(echo.calls.length, calls);
  assert.deepEqual(echo.audit.events.slice(events).map((event) => [event.event, event.reason]), [[
    "call.refuse",
    reason,
  ]]);
}

const added: readonly (readonly [name: string, headers: Record<string, string>])[] = [
  ["callers", { [CALLERS_HEADER]: writeCallers([idOf("boss")]) }],
  ["a right that was handed on", { [DELEGATION_HEADER]: (await rightOf(ECHO)).chain.reveal() }],
  ["a right that is shown", { authorization: CAPABILITY_SCHEME + (await rightOf(WEB)).chain.reveal() }],
  ["a transaction token", { "txn-token": "a.b.c" }],
];
for (const [name, headers] of added) {
  test(`T2.3 somebody on the way cannot add ${name} to a call`, async () => {
    const echo = await open();
    const request = await signedRequest(here, web);
    await assertStopped(echo, { ...request, headers: { ...request.headers, ...headers } }, "wrong_coverage");
    assert.equal((await send(echo.server, request)).status, 200);
  });

  test(`T2.3 ${name} without any proof make nobody of a stranger`, async () => {
    const rules = [allow({ anyone: true, call: "echo.v1/say" })];
    const echo = await protectedEcho(here, { identity: echoId, rules });
    const plain = { url: "https://echo.test/echo.v1/say", method: "POST", body: '{"text":"a"}' };
    const type = { "content-type": "application/json" };
    assert.equal((await send(echo.server, { ...plain, headers: type })).status, 200);
    assert.deepEqual(echo.calls[0]!.context.chain, []);
    await assertStopped(echo, { ...plain, headers: { ...type, ...headers } }, "unsigned");
  });
}

test("T2.3 somebody on the way cannot change who a call came through, what was handed on, or its trace", async () => {
  const handed = (await rightOf(ECHO)).chain.reveal();
  const context = { [CALLERS_HEADER]: writeCallers([WEB]), [DELEGATION_HEADER]: handed, traceparent: TRACE };
  const other = {
    [CALLERS_HEADER]: writeCallers([idOf("boss")]),
    [DELEGATION_HEADER]: (await rightOf(ECHO)).chain.reveal(),
    traceparent: TRACE.replace("0af", "1af"),
  };
  const echo = await open();
  for (const name of Object.keys(context) as (keyof typeof context)[]) {
    const request = await signedRequest(here, web, { headers: context });
    await assertStopped(echo, { ...request, headers: { ...request.headers, [name]: other[name] } }, "bad_signature");
    const { [name]: _, ...without } = request.headers;
    await assertStopped(echo, { ...request, headers: without }, "wrong_coverage");
    assert.equal((await send(echo.server, request)).status, 200);
  }
});

test("T2.3 a trace that somebody on the way added counts for nothing", async () => {
  const echo = await open();
  const request = await signedRequest(here, web);
  assert.equal(
    (await send(echo.server, { ...request, headers: { ...request.headers, traceparent: TRACE } })).status,
    200,
  );
  assert.notEqual(echo.calls[0]!.context.traceparent.slice(3, 35), TRACE.slice(3, 35));
  await send(echo.server, await signedRequest(here, web, { headers: { traceparent: TRACE } }));
  assert.equal(echo.calls[1]!.context.traceparent.slice(3, 35), TRACE.slice(3, 35));
});

test("T2.3 a caller that lies about who it came through is still the caller that is named last and decided on", async () => {
  const echo = await protectedEcho(here, { identity: echoId, rules: [allow({ caller: WEB, call: "echo.v1/*" })] });
  const headers = { [CALLERS_HEADER]: writeCallers([idOf("boss"), WEB]) };
  const lie = await refusalOf(await send(echo.server, await signedRequest(here, mallory, { headers })));
  assert.equal(lie.code, "permission_denied");
  assert.equal(echo.audit.events[0]!.caller, mallory.id);
  const lenient = await open();
  await send(lenient.server, await signedRequest(here, mallory, { headers }));
  const { context } = lenient.calls[0]!;
  assert.deepEqual([context.caller!.id, context.chain], [mallory.id, [idOf("boss"), WEB, mallory.id]]);
});

const lies: readonly (readonly [name: string, headers: () => Promise<Record<string, string>>])[] = [
  ["callers that are none", () => Promise.resolve({ [CALLERS_HEADER]: '"boss"' })],
  ["callers in another spelling", () => Promise.resolve({ [CALLERS_HEADER]: `${WEB}` })],
  ["more callers than there can be", () => Promise.resolve({ [CALLERS_HEADER]: writeCallers(Array(17).fill(WEB)) })],
  ["a right that was handed to another", async () => ({ [DELEGATION_HEADER]: (await rightOf(WEB)).chain.reveal() })],
  ["a right that is none", () => Promise.resolve({ [DELEGATION_HEADER]: "a.b.c" })],
];
for (const [name, headers] of lies) {
  test(`T2.3 a caller cannot hand on ${name}`, async () => {
    await assertStopped(
      await open(),
      await signedRequest(here, mallory, { headers: await headers() }),
      "malformed_context",
    );
  });
}

test("T2.3 a transaction token that is signed gives no right and names no caller", async () => {
  const echo = await protectedEcho(here, { identity: echoId, rules: [allow({ caller: WEB, call: "echo.v1/*" })] });
  const headers = { "txn-token": await witOf(web) };
  const refusal = await refusalOf(await send(echo.server, await signedRequest(here, mallory, { headers })));
  assert.equal(refusal.code, "permission_denied");
  assert.equal(echo.calls.length, 0);
});

// The confused and the dishonest deputy.

/** A third service, which lets anyone of the domain in that shows a right. */
async function ledgerOf(there: Awaited<ReturnType<typeof shop>>) {
  const identity = await there.here.join(idOf("ledger"), { serves: ["payments.v1"] });
  return serve(
    there.here,
    identity,
    (note) => implement(Payments, { charge: note((m) => m), refund: note((m) => m) }),
    [
      allow({ caller: `spiffe://${DOMAIN}/*`, call: "payments.v1/*", capability: true }),
    ],
  );
}

/** Sends a request to a service of the shop as one of its own making. */
const tryAt = async (
  there: Awaited<ReturnType<typeof shop>>,
  hop: ReturnType<typeof serve>,
  as: Parameters<typeof signedRequest>[1],
  signed: Signed,
) => {
  const request = await signedRequest(there.here, as, { body: '{"amount":7}', audience: hop.identity.id, ...signed });
  const { code } = await refusalOf(await send(hop.server, request));
  assert.equal(hop.contexts.length, 0);
  return [code, hop.audit.events.at(-1)!.reason];
};

test("T2.3 a service cannot replay to a third one the call that it received", async () => {
  const there = await shop();
  await there.toGateway.checkout({ amount: 7 });
  const ledger = await ledgerOf(there);
  for (const hop of [there.orders, there.payments]) {
    const response = await ledger.server.fetch(requestOf(hop.received[0]!));
    assert.equal((await refusalOf(response)).code, "unauthenticated");
    assert.equal(ledger.audit.events.at(-1)!.reason, "wrong_audience");
  }
  assert.equal(ledger.contexts.length, 0);
});

test("T2.3 a service cannot show a third one the right that it was shown: it holds neither its key nor its name", async () => {
  const there = await shop();
  await there.toGateway.checkout({ amount: 7 });
  const ledger = await ledgerOf(there);
  const { authorization } = there.payments.received[0]!.headers as { authorization: string };
  const path = "/payments.v1/charge";
  assert.deepEqual(await tryAt(there, ledger, there.payments.identity, { path, headers: { authorization } }), [
    "permission_denied",
    "wrong_holder",
  ]);
  // Not even beside the token of who does hold it.
  const wit = await witOf(there.orders.identity);
  const stolen = { authorization, "workload-identity-token": wit };
  assert.deepEqual(await tryAt(there, ledger, there.payments.identity, { path, headers: stolen }), [
    "unauthenticated",
    "bad_signature",
  ]);
});

test("T2.3 a service cannot use at a third one the right that it narrowed for a second", async () => {
  const there = await shop();
  await there.toGateway.checkout({ amount: 7 });
  const ledger = await ledgerOf(there);
  const { authorization } = there.payments.received[0]!.headers as { authorization: string };
  const signed = { path: "/payments.v1/charge", headers: { authorization } };
  assert.deepEqual(await tryAt(there, ledger, there.orders.identity, signed), [
    "permission_denied",
    "wrong_right_audience",
  ]);
});

test("T2.3 a service cannot show as its own what it was handed for calls, beyond what it was handed", async () => {
  const there = await shop();
  await there.toGateway.checkout({ amount: 7 });
  const handed = there.orders.received[0]!.headers[DELEGATION_HEADER]!;
  there.payments.contexts.length = 0;
  const as = there.orders.identity;
  const authorization = CAPABILITY_SCHEME + handed;
  const path = "/payments.v1/charge";
  const more = { path, body: '{"amount":8}', headers: { authorization } };
  assert.deepEqual(await tryAt(there, there.payments, as, more), ["permission_denied", "argument_not_allowed"]);
  const other = { path: "/payments.v1/refund", headers: { authorization } };
  assert.deepEqual(await tryAt(there, there.payments, as, other), ["permission_denied", "not_allowed"]);
  // Nor by leaving the last cut away: what is left was handed to the gateway.
  const [root] = handed.split(CHAIN_SEPARATOR);
  const wider = { path, body: '{"amount":8}', headers: { authorization: CAPABILITY_SCHEME + root } };
  assert.deepEqual(await tryAt(there, there.payments, as, wider), ["permission_denied", "wrong_holder"]);
});

test("T2.3 a service sees of a right only what is left of it, never the wider one's use", async () => {
  const there = await shop();
  await there.toGateway.checkout({ amount: 7 });
  const { capability } = there.payments.contexts[0]!;
  assert.deepEqual(capability!.tools, { "payments.v1/charge": { amount: exact(7) } });
  assert.equal(there.orders.contexts[0]!.capability, undefined);
});

test("T2.3 a service that is led to call another method with what it was handed is refused", async () => {
  for (const pay of ["refund", "charge"] as const) {
    const there = await shop({ pay: (client) => client[pay]({ amount: 99 }) });
    const error = await rejection(there.toGateway.checkout({ amount: 7 }));
    assert.deepEqual([error.code, there.payments.contexts.length], ["internal", 0]);
  }
});

test("T2.3 a right that was handed on ends with the one that it came of", async () => {
  const there = await shop();
  const { here, gateway, orders, right, toPayments, payments } = there;
  const handed = await attenuate(right, gateway.identity, { holder: orders.identity.id, tools: right.tools }, here);
  const origin = { callers: [], delegation: handed.chain };
  await toPayments.charge({ amount: 7 }, { origin });
  here.now.pass(300_000);
  assert.equal((await rejection(toPayments.charge({ amount: 7 }, { origin }))).code, "permission_denied");
  assert.equal(payments.contexts.length, 1);
});

test("T2.3 revoking a right stops every call that is made under what came of it", async () => {
  const there = await shop();
  await there.toGateway.checkout({ amount: 7 });
  there.here.authority.revoke({ tokens: [there.right.tokenIds[0]!] });
  await there.here.trust.update(await there.here.authority.signedBundle());
  await rejection(there.toGateway.checkout({ amount: 7 }));
  assert.equal(there.payments.contexts.length, 1);
  assert.equal(there.payments.audit.events.at(-1)!.reason, "revoked");
});

test("T2.3 neither log nor audit nor error ever holds a right, a token or a signature", async () => {
  const there = await shop({
    pay: (client, message) => message.amount === 7 ? client.charge(message) : client.refund(message),
  });
  const { gateway, orders, payments } = there;
  await there.toGateway.checkout({ amount: 7 });
  const errors = [await rejection(there.toGateway.checkout({ amount: 8 }))];
  // Every kind of refusal of a right that is shown.
  const { authorization } = payments.received[0]!.headers as { authorization: string };
  const chains = [
    authorization,
    `${authorization}~`,
    authorization.slice(0, -1),
    authorization.replace("AAT ", "Bearer "),
    `${authorization}~${authorization.slice(4)}`,
  ];
  for (const value of chains) {
    for (const name of ["authorization", DELEGATION_HEADER]) {
      const signed = { path: "/payments.v1/charge", body: '{"amount":7}', audience: payments.identity.id };
      const request = await signedRequest(there.here, gateway.identity, { ...signed, headers: { [name]: value } });
      await (await send(payments.server, request)).text();
    }
  }
  const secrets = [gateway, orders, payments].flatMap(({ received }) => received).flatMap(({ headers }) =>
    [headers["authorization"], headers[DELEGATION_HEADER], headers["workload-identity-token"], headers["signature"]]
      .filter((value) => value !== undefined)
      .flatMap((value) => value.split(/[~ .:]/)).filter((part) => part.length > 40)
  );
  assert.ok(secrets.length > 20);
  const printed = [gateway, orders, payments].flatMap(({ entries, audit }) => [
    ...entries.map(logLine),
    ...audit.events.map((event) => JSON.stringify(event)),
  ]);
  assert.ok(printed.length > 15);
  for (
    const line of [
      ...printed,
      ...errors.map((error) => logLine({ level: "error", event: "x", correlationId: "x", cause: error })),
    ]
  ) {
    for (const secret of secrets) assert.ok(!line.includes(secret), line);
  }
});

test("T2.3 calls that go in circles end before they use the server up", async () => {
  let calls = 0;
  const echo = await protectedEcho(here, {
    identity: echoId,
    rules: [allow({ caller: [WEB, ECHO], call: "echo.v1/*" })],
    answer(message, context) {
      calls++;
      const prover = prove({ identity: echoId, trust: here.trust, peer: ECHO, now });
      const fetch = (url: string, init: RequestInit) => echo.server.fetch(new Request(url, init));
      return context.call(createClient(Echo, fetchTransport("https://echo.test", { prover, fetch }))).say(message);
    },
  });
  await rejection(echo.client(web).say({ text: "a" }));
  assert.equal(calls, 17);
});

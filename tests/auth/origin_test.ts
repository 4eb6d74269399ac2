// What a call is part of, from server to server: gateway -> orders -> payments.
import { allow, attenuate, exact, issueCapability, prove, range, readChain, secret } from "../../src/auth/mod.ts";
import { readCapability } from "../../src/auth/capability_token.ts";
import { CALLERS_HEADER, CAPABILITY_SCHEME, DELEGATION_HEADER } from "../../src/auth/wire.ts";
import { createClient, fetchTransport, implement } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Echo, rejection } from "../rpc/_rig.ts";
import { idOf, link, type Money, Payments, serve, shop } from "./_shop.ts";
import { type Captured, ECHO, protectedEcho, requestOf, WEB, world } from "./_world.ts";

/** The right that a captured request shows. */
const shownIn = ({ headers }: Captured) => {
  const value = headers["authorization"]!;
  assert.ok(value.startsWith(CAPABILITY_SCHEME));
  return readChain(secret(value.slice(CAPABILITY_SCHEME.length)));
};
const leafOf = (chain: string) => readCapability(chain.split("~").at(-1)!).claims;

test("Context.call() says through whom a call came, each caller proven to the next", async () => {
  const { toGateway, gateway, orders, payments } = await shop();
  assert.deepEqual(await toGateway.checkout({ amount: 7 }), { amount: 7 });
  assert.deepEqual(gateway.contexts[0]!.chain, [idOf("web")]);
  assert.deepEqual(orders.contexts[0]!.chain, [idOf("web"), idOf("gateway")]);
  assert.deepEqual(payments.contexts[0]!.chain, [idOf("web"), idOf("gateway"), idOf("orders")]);
  assert.deepEqual(
    [gateway, orders, payments].map(({ contexts }) => contexts[0]!.caller!.id),
    ["web", "gateway", "orders"].map(idOf),
  );
});

test("Context.call() keeps the trace and makes a span for each call", async () => {
  const { toGateway, gateway, orders, payments } = await shop();
  await toGateway.checkout({ amount: 7 });
  const seen = [gateway, orders, payments].map(({ contexts }) => contexts[0]!.traceparent);
  const sent = [orders, payments].map(({ received }) => received[0]!.headers["traceparent"]!);
  const all = [...seen, ...sent];
  assert.equal(new Set(all.map((each) => each.slice(3, 35))).size, 1);
  assert.equal(new Set(all.map((each) => each.slice(36, 52))).size, all.length);
  assert.equal("traceparent" in gateway.received[0]!.headers, false);
});

test("Context.call() gives each call the time that is left", async () => {
  const work = () => {
    const until = performance.now() + 3;
    while (performance.now() < until);
  };
  const { toGateway, gateway, orders, payments } = await shop({ work });
  await toGateway.checkout({ amount: 7 }, { timeoutMs: 9_000 });
  const given = [gateway, orders, payments].map(({ received }) => Number(received[0]!.headers["connect-timeout-ms"]));
  assert.equal(given[0], 9_000);
  assert.ok(given[1]! < given[0]! && given[2]! < given[1]!, given.join(" "));
});

test("Context.call() uses the right that was handed on, made good for this call at this peer only", async () => {
  const { here, toGateway, right, orders, payments } = await shop();
  await toGateway.checkout({ amount: 7 });
  const handed = readChain(secret(orders.received[0]!.headers[DELEGATION_HEADER]!));
  assert.deepEqual(handed.tools, { "payments.v1/charge": { amount: exact(7) } });
  const shown = shownIn(payments.received[0]!);
  assert.equal(shown.audience, idOf("payments"));
  assert.deepEqual(shown.tools, handed.tools);
  assert.ok(shown.expiresAtMs <= here.now() + 60_000);
  assert.deepEqual(shown.tokenIds.slice(0, 2), handed.tokenIds);
  const { path, tokenIds, tools, expiresAtMs } = payments.contexts[0]!.capability!;
  assert.deepEqual(path, [here.authority.id, ...["gateway", "orders", "orders"].map(idOf)]);
  assert.deepEqual(tokenIds.slice(0, 3), shown.tokenIds);
  assert.deepEqual([tools, expiresAtMs], [shown.tools, shown.expiresAtMs]);
  assert.equal(shown.tokenIds[0], right.tokenIds[0]);
});

test("Context.call() hands no credential of its caller on", async () => {
  const { toGateway, gateway, orders, payments } = await shop();
  await toGateway.checkout({ amount: 7 });
  const hops = [gateway, orders, payments];
  for (const [at, { received }] of hops.entries()) {
    for (const name of ["workload-identity-token", "signature", "signature-input"]) {
      const value = received[0]!.headers[name]!;
      for (const { received: [later] } of hops.slice(at + 1)) {
        // The identity token of who passed a right on is in the right: the key is what is not.
        const elsewhere = { ...later!.headers, authorization: "", [DELEGATION_HEADER]: "" };
        assert.ok(!JSON.stringify(elsewhere).includes(value), name);
      }
    }
  }
  // The wider right stays where it was: payments sees what is left of it after two cuts.
  assert.equal(DELEGATION_HEADER in payments.received[0]!.headers, false);
  assert.equal("authorization" in orders.received[0]!.headers, false);
});

test("Context.call() shows a right as it is where it is narrow, or cannot be passed on", async () => {
  const narrow = await shop({
    delegate: () => ({ tools: { "payments.v1/charge": { amount: exact(7) } }, audience: idOf("payments") }),
  });
  await narrow.toGateway.checkout({ amount: 7 });
  const spent = await shop({ depth: 1 });
  await spent.toGateway.checkout({ amount: 7 });
  for (const { orders, payments } of [narrow, spent]) {
    assert.equal(
      payments.received[0]!.headers["authorization"],
      CAPABILITY_SCHEME + orders.received[0]!.headers[DELEGATION_HEADER]!,
    );
  }
});

test("Context.call() narrows a right for two methods to the one that is called", async () => {
  const { here, orders, payments, toPayments } = await shop();
  const tools = { "payments.v1/charge": { amount: range({ max: 9 }) }, "payments.v1/refund": {} };
  const right = await issueCapability(here.authority, {
    holder: orders.identity.id,
    tools,
    audience: payments.identity.id,
  }, { now: here.now });
  await toPayments.charge({ amount: 1 }, { origin: { callers: [], delegation: right.chain } });
  assert.deepEqual(shownIn(payments.received[0]!).tools, { "payments.v1/charge": tools["payments.v1/charge"] });
});

test("Context.call() shows no right that is for other methods", async () => {
  const { toGateway, payments } = await shop({ pay: (client, message) => client.refund(message) });
  await rejection(toGateway.checkout({ amount: 7 }));
  assert.equal("authorization" in payments.received[0]!.headers, false);
  assert.equal(payments.contexts.length, 0);
  assert.equal(payments.audit.events[0]!.reason, "not_allowed");
});

for (const amount of [8, 101, 0]) {
  test(`prove() hands on what the message asks for: a service that charges ${amount} instead of 7 is refused`, async () => {
    const { toGateway, payments } = await shop({ pay: (client) => client.charge({ amount }) });
    await rejection(toGateway.checkout({ amount: 7 }));
    assert.equal(payments.contexts.length, 0);
    assert.equal(payments.audit.events[0]!.reason, "argument_not_allowed");
  });
}

test("prove() decides by the message whether anything is handed on", async () => {
  const { toOrders, orders, payments } = await shop({
    delegate: ({ message }) =>
      (message as Money).amount > 5 ? undefined : { tools: { "payments.v1/charge": { amount: exact(5) } } },
  });
  await rejection(toOrders.place({ amount: 6 }));
  await toOrders.place({ amount: 5 });
  assert.deepEqual(orders.received.map(({ headers }) => DELEGATION_HEADER in headers), [false, true]);
  assert.equal(payments.contexts.length, 1);
});

test("prove() sends nothing where it is to hand on what it has not", async () => {
  const { toOrders, orders } = await shop({ holdsRight: false });
  const error = await rejection(toOrders.place({ amount: 7 }));
  assert.deepEqual([error.code, error.received], ["failed_precondition", true]);
  assert.equal(orders.received.length, 0);
});

for (
  const [name, options] of [
    ["is wider than the right", { delegate: () => ({ tools: { "payments.v1/charge": {} } }) }],
    ["is for another method", { delegate: () => ({ tools: { "payments.v1/refund": { amount: exact(1) } } }) }],
    ["comes of a right that may not be passed on", { depth: 0 }],
  ] as const
) {
  test(`prove() sends nothing where what it is to hand on ${name}`, async () => {
    const { toOrders, orders } = await shop(options);
    const error = await rejection(toOrders.place({ amount: 7 }));
    assert.deepEqual([error.code, error.received], ["failed_precondition", true]);
    assert.equal(orders.received.length, 0);
  });
}

test("prove() hands on further what was handed on to it, cut again, and only where it is told to", async () => {
  const { here, right, gateway, payments, orders } = await shop({ depth: 4 });
  const { now } = here;
  const ledgerId = await here.join(idOf("ledger"), { serves: ["payments.v1"] });
  const ledger = serve(
    here,
    ledgerId,
    (note) => implement(Payments, { charge: note((m) => m), refund: note((m) => m) }),
    [
      allow({ caller: idOf("orders"), call: "payments.v1/*" }),
    ],
  );
  const delegate = () => ({ tools: { "payments.v1/charge": { amount: exact(3) } } });
  const toLedger = link(here, Payments, orders.identity, () => ledger, { peer: ledgerId.id, delegate });
  const handed = await attenuate(right, gateway.identity, {
    holder: orders.identity.id,
    tools: right.tools,
  }, { now });
  await toLedger.refund({ amount: 1 }, { origin: { callers: [], delegation: handed.chain } });
  const leaf = leafOf(ledger.received[0]!.headers[DELEGATION_HEADER]!);
  assert.deepEqual(leaf.cnf, { "urn:postern:sub": ledgerId.id });
  assert.deepEqual(ledger.contexts[0]!.chain, [idOf("orders")]);
  assert.equal(payments.received.length, 0);
});

// Circles.

/** A server whose handler calls the server itself, over requests. */
async function ring(onCall: (callers: number) => void = () => {}) {
  const here = await world();
  const received: Captured[] = [];
  const errors: unknown[] = [];
  const echo = await protectedEcho(here, {
    rules: [allow({ caller: [WEB, ECHO], call: "echo.v1/say" })],
    async answer(message, context) {
      onCall(context.chain.length);
      const prover = prove({ identity: echo.identity, trust: here.trust, peer: ECHO, now: here.now });
      const fetch = (url: string, init: RequestInit) => {
        const request = {
          url,
          method: "POST",
          headers: init.headers as Record<string, string>,
          body: init.body as string,
        };
        received.push(request);
        return echo.server.fetch(requestOf(request));
      };
      const self = context.call(createClient(Echo, fetchTransport("https://echo.test", { prover, fetch })));
      return await self.say(message).catch((error) => {
        errors.push(error);
        throw error;
      });
    },
  });
  return { here, echo, received, errors };
}

test("prove() ends a call that goes in circles, after 16 callers", async () => {
  const lengths: number[] = [];
  const { here, echo, received, errors } = await ring((length) => lengths.push(length));
  const error = await rejection(echo.client(await here.join(WEB)).say({ text: "a" }));
  assert.equal(error.code, "internal");
  assert.deepEqual(lengths, Array.from({ length: 17 }, (_, i) => i + 1));
  assert.equal((errors[0] as { code: string }).code, "failed_precondition");
  assert.equal(received.length, 16);
  assert.equal(received.at(-1)!.headers[CALLERS_HEADER]!.split(", ").length, 16);
});

test("protect() gives a call from its own process its own identity, and the callers before it", async () => {
  const here = await world();
  const echo = await protectedEcho(here, {
    rules: [allow({ caller: WEB, call: "echo.v1/say" }), allow({ caller: ECHO, call: "echo.v1/hidden" })],
    answer: (message, context) =>
      context.method.name === "say" ? context.call(createClient(Echo, echo.server.call)).hidden(message) : message,
  });
  const web = await here.join(WEB);
  await echo.client(web).say({ text: "a" });
  const [outer, inner] = echo.calls.map(({ context }) => context);
  assert.deepEqual(inner!.chain, [WEB, ECHO]);
  assert.equal(inner!.caller!.id, ECHO);
  assert.equal(inner!.capability, undefined);
  assert.equal(inner!.traceparent.slice(0, 36), outer!.traceparent.slice(0, 36));
  // Its caller is nobody in there: what is open to web only is not open to echo.
  assert.equal((await rejection(createClient(Echo, echo.server.call).say({ text: "a" }))).code, "permission_denied");
});

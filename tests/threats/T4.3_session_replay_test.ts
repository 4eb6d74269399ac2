// Somebody who overheard a session sends its messages again: to the same server, to one that was restarted, to another
// isolate; or shows its client that the server wants the call once more.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow, generateEncryptionKey, generateKey, type Identity, importIdentity } from "../../src/auth/mod.ts";
import { sceneOf } from "../auth/_attack.ts";
import { resigned } from "../auth/_messages.ts";
import {
  counterOf,
  heldBack,
  kindOf,
  kindsOf,
  reasonsOf,
  send,
  sharedReplay,
  spyHash,
  underSession,
} from "../auth/_sessions.ts";
import { type Captured, ECHO, type ProtectedEcho, protectedEcho, WEB, type World, world } from "../auth/_world.ts";
import { gate, rejection } from "../rpc/_rig.ts";

type Options = Parameters<typeof protectedEcho>[1];

/** An identity whose encryption key other isolates have too. */
async function sharedIdentity({ authority, now }: World): Promise<Identity> {
  const [key, encryptionKey] = [await generateKey(), await generateEncryptionKey()];
  return importIdentity(key, await authority.issue(key.jwk, { id: ECHO, serves: ["echo.v1"] }), { now, encryptionKey });
}

/** Two isolates with the same keys, and a client that reaches the one or the other. */
async function twoIsolates(options: Options = {}) {
  const at = await world();
  const identity = await sharedIdentity(at);
  const isolates = [
    await protectedEcho(at, { ...options, identity }),
    await protectedEcho(at, { ...options, identity }),
  ];
  const [one, two] = isolates as [ProtectedEcho, ProtectedEcho];
  const captured: Captured[] = [];
  const hash = spyHash();
  const road = { to: one };
  const client = one.client(await at.join(WEB), { captured, hash, through: (request) => send(road.to, request) });
  await client.say({ text: "first" });
  await client.say({ text: "second" });
  return { at, one, two, client, captured, road, keys: hash.keys };
}

describe("T4.3 a request under a session that was sent before", () => {
  test("T4.3 a server lets the same bytes in once, one after the other and at once", async () => {
    const under = await underSession();
    const { echo } = under;
    const request = await heldBack(under);
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(echo, request)));
    assert.deepEqual(answers.map(({ status }) => status).filter((status) => status !== 401), [200]);
    for (let i = 0; i < 3; i++) assert.equal((await send(echo, request)).status, 401);
    assert.equal(echo.calls.length, 3);
    assert.deepEqual([...new Set(reasonsOf(echo).filter(Boolean))], ["replayed"]);
  });

  test("T4.3 a server refuses the same bytes for as long as it knows the session, and afterwards", async () => {
    const under = await underSession();
    const { echo, world: { now } } = under;
    const request = await heldBack(under);
    assert.equal((await send(echo, request)).status, 200);
    for (let s = 0; s < 700; s += 7) {
      now.pass(7_000);
      assert.notEqual((await send(echo, request)).status, 200);
    }
    assert.equal(echo.calls.length, 3);
    assert.deepEqual([...new Set(reasonsOf(echo).slice(3))], ["replayed", "stale", "unknown_session"]);
  });

  test("T4.3 calls that overtake each other are all let in, and each once", async () => {
    const under = await underSession();
    const held: Captured[] = [];
    for (let i = 0; i < 12; i++) held.push(await heldBack(under));
    for (const request of [...held].reverse()) assert.equal((await send(under.echo, request)).status, 200);
    for (const request of held) assert.equal((await send(under.echo, request)).status, 401);
    assert.equal(under.echo.calls.length, 14);
  });

  test("T4.3 a request of another identity's session, and one to another service, is unknown", async () => {
    const under = await underSession();
    const request = await heldBack(under);
    const other = await protectedEcho(under.world, { identity: await under.world.join(ECHO, { serves: ["echo.v1"] }) });
    assert.equal((await send(other, request)).status, 503);
    assert.deepEqual([other.calls, reasonsOf(other)], [[], ["unknown_session"]]);
  });
});

describe("T4.3 a session's opening that was sent before", () => {
  test("T4.3 a server takes an opening once, and a second one of the same session gives nothing back", async () => {
    const under = await underSession();
    const { echo, captured, web } = under;
    const [early, late] = [await heldBack(under), await heldBack(under)];
    assert.equal((await send(echo, late)).status, 200);
    assert.equal((await send(echo, captured[1]!)).status, 401);
    const nonce = (terms: string) => terms.replace(/nonce="[^"]*"/, 'nonce="another-nonce"');
    assert.equal(
      (await send(echo, await resigned(captured[1]!, { terms: nonce }, web))).status,
      200,
      "by its caller itself",
    );
    assert.equal((await send(echo, late)).status, 401);
    assert.equal((await send(echo, early)).status, 200);
    assert.equal((await send(echo, early)).status, 401);
  });

  test("T4.3 nobody opens or moves on the session of another: it goes on as if nothing had been", async () => {
    const rules = [allow({ caller: "spiffe://example.org/*", call: "echo.v1/*" })];
    const under = await underSession({ options: { rules } });
    const { echo, captured } = under;
    const evil = await under.world.join("spiffe://example.org/evil");
    const own: Captured[] = [];
    const client = echo.client(evil, { captured: own });
    await client.say({ text: "first" });
    await client.say({ text: "second" });
    const opening = captured[1]!.headers["postern-session"]!;
    for (const stolen of [opening, opening.replace("from=1", "from=999")]) {
      const headers = { "postern-session": stolen };
      const nonce = (terms: string) => terms.replace(/nonce="[^"]*"/, `nonce="${crypto.randomUUID()}"`);
      const response = await send(echo, await resigned(own[1]!, { headers, terms: nonce }, evil));
      assert.equal(response.status, 200, "the call itself is the caller's right");
      assert.equal(response.headers.get("postern-session"), null);
    }
    await under.client.say({ text: "third" });
    assert.equal(kindOf(captured.at(-1)!), "session");
    assert.equal(echo.calls.at(-1)!.context.caller!.id, WEB);
  });
});

describe("T4.3 a session and a server that was restarted, or another isolate", () => {
  test("T4.3 a restarted server refuses once, is proven to again, and runs the call once", async () => {
    const { at, one, client, captured, road, keys } = await twoIsolates();
    at.now.pass(3_000);
    const restarted = await protectedEcho(at, { identity: one.identity });
    at.now.pass(3_000);
    road.to = restarted;
    await client.say({ text: "third" });
    await client.say({ text: "fourth" });
    assert.deepEqual(kindsOf(captured.slice(2)), ["session", "opening", "session"]);
    assert.deepEqual(restarted.calls.map(({ message }) => message.text), ["third", "fourth"]);
    assert.deepEqual(reasonsOf(restarted), ["unknown_session", undefined, undefined], "one event for each request");
    assert.equal(keys.length, 2, "the same session");
    assert.deepEqual([captured[2]!, captured[4]!].map(counterOf), [1, 2]);
    for (const request of captured) assert.notEqual((await send(restarted, request)).status, 200);
    assert.equal(restarted.calls.length, 2);
  });

  test("T4.3 a restarted server with another encryption key is proven to again too, in a new session", async () => {
    const under = await underSession();
    const { world: at, echo, client, captured } = under;
    at.now.pass(3_000);
    const { identity: { key }, identity } = echo;
    const token = (await identity.credential()).token.reveal();
    const restarted = await protectedEcho(at, { identity: importIdentity(key, token, { now: at.now }) });
    at.now.pass(3_000);
    under.between = (request) => send(restarted, request);
    for (let i = 0; i < 3; i++) await client.say({ text: `${i}` });
    assert.deepEqual(kindsOf(captured.slice(2)), ["session", "opening", "session", "session"]);
    assert.deepEqual(restarted.calls.map(({ message }) => message.text), ["0", "1", "2"]);
  });

  test("T4.3 many calls under way find a restarted server, and each runs once", async () => {
    const { at, one, client, captured, road } = await twoIsolates();
    at.now.pass(3_000);
    road.to = await protectedEcho(at, { identity: one.identity });
    at.now.pass(3_000);
    const texts = Array.from({ length: 16 }, (_, i) => `${i}`);
    await Promise.all(texts.map((text) => client.say({ text })));
    assert.deepEqual(road.to.calls.map(({ message }) => message.text).sort(), texts.sort());
    await client.say({ text: "last" });
    assert.equal(kindOf(captured.at(-1)!), "session");
  });

  test("T4.3 a call that must not run twice is not made again to a server that is younger than the call", async () => {
    const { at, one, client, captured, road } = await twoIsolates();
    at.now.pass(3_000);
    road.to = await protectedEcho(at, { identity: one.identity });
    const error = await rejection(client.say({ text: "third" }));
    assert.deepEqual([error.code, captured.length, road.to.calls.length], ["unavailable", 3, 0]);
    at.now.pass(1_000);
    await client.look({ text: "may run twice" });
    assert.equal(road.to.calls.length, 1);
  });

  test("T4.3 isolates that share a replay store run a request under a session once between them", async () => {
    const at = await world();
    const { one, two, client, captured, road } = await twoIsolates({ replay: sharedReplay(at.now) });
    await client.say({ text: "pay" });
    road.to = two;
    await client.say({ text: "now both know the session" });
    await client.say({ text: "pay by the other" });
    const before = [one.calls.length, two.calls.length];
    for (const request of captured) {
      for (const isolate of [one, two]) assert.notEqual((await send(isolate, request)).status, 200);
    }
    assert.deepEqual([one.calls.length, two.calls.length], before);
  });

  test("T4.3 isolates that share a store that is away run nothing that must not run twice", async () => {
    const at = await world();
    const store = sharedReplay(at.now);
    let isAway = false;
    const replay = {
      ...store,
      take: async (each: Parameters<typeof store.take>[0]) => {
        if (isAway) throw new Error("the store is away");
        await store.take(each);
      },
    };
    const { one, client } = await twoIsolates({ replay });
    await client.say({ text: "third" });
    isAway = true;
    assert.equal((await rejection(client.say({ text: "fourth" }))).code, "internal");
    await client.look({ text: "may run twice" });
    assert.deepEqual(one.calls.map(({ message }) => message.text).slice(2), ["third", "may run twice"]);
  });
});

describe("T4.3 somebody who shows a client that its call was not run, after it was", () => {
  test("T4.3 between isolates that share a store the call runs once", async () => {
    const at = await world();
    const { one, two, client, captured, road } = await twoIsolates({ replay: sharedReplay(at.now) });
    const delivered: number[] = [];
    const evil: ProtectedEcho = {
      ...one,
      server: {
        ...one.server,
        fetch: async (request: Request) => {
          if (delivered.length > 0) return await one.server.fetch(request);
          delivered.push((await one.server.fetch(request.clone())).status);
          return await two.server.fetch(request);
        },
      },
    };
    road.to = evil;
    const error = await rejection(client.say({ text: "pay" }));
    assert.deepEqual(delivered, [200]);
    assert.deepEqual(kindsOf(captured.slice(2)), ["session", "opening"]);
    assert.deepEqual([error.code, error.message], ["unavailable", "The call came before, and may have been made"]);
    assert.equal([...one.calls, ...two.calls].filter(({ message }) => message.text === "pay").length, 1);
  });

  test("T4.3 a refusal that is not proven makes no client prove again", async () => {
    const under = await underSession();
    const { echo, captured } = under;
    const other = await protectedEcho(under.world, {
      identity: await under.world.join("spiffe://example.org/other", { serves: ["echo.v1"] }),
    });
    under.between = async (request) => {
      await send(echo, request);
      return await send(other, request);
    };
    const error = await rejection(under.client.say({ text: "pay" }));
    assert.deepEqual([error.code, captured.length, echo.calls.length], ["unavailable", 3, 3]);
  });

  test("T4.3 a refusal of another request of the same session makes no client prove again", async () => {
    const { at, one, two, client, captured, road } = await twoIsolates();
    at.now.pass(5_000);
    road.to = two;
    const refusal = gate<Response>();
    const first = {
      ...two,
      server: {
        ...two.server,
        fetch: async (request: Request) => {
          const response = await two.server.fetch(request);
          refusal.open(response.clone() as Response);
          return Promise.reject(new Error("lost")) as Promise<Response>;
        },
      },
    };
    road.to = first;
    await rejection(client.say({ text: "a" }));
    road.to = {
      ...one,
      server: {
        ...one.server,
        fetch: async (request: Request) => {
          await one.server.fetch(request);
          return await refusal.opened;
        },
      },
    };
    const error = await rejection(client.say({ text: "b" }));
    assert.deepEqual([error.code, captured.length], ["unavailable", 4]);
    assert.deepEqual([one.calls.length, two.calls.length], [3, 0]);
  });

  test("T4.3 a server signs few refusals of sessions that nobody has", async () => {
    const { echo, world: { now } } = await sceneOf();
    const under = await underSession();
    const request = await heldBack(under);
    let signed = 0;
    for (let i = 0; i < 1_020; i++) if ((await send(echo, request)).headers.has("signature")) signed++;
    assert.equal(signed, 1_000);
    now.pass(10);
    for (let i = 0; i < 20; i++) if ((await send(echo, request)).headers.has("signature")) signed++;
    assert.equal(signed, 1_010);
  });
});

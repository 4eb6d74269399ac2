import { allow } from "../../src/auth/mod.ts";
import { nobleHash } from "../../src/internal/hash.ts";
import { textMac } from "../../src/auth/session_signature.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { renamed, resigned } from "./_messages.ts";
import {
  counterOf,
  heldBack,
  kindOf,
  kindsOf,
  reasonsOf,
  send,
  sharedReplay,
  spyHash,
  type Under,
  underSession,
} from "./_sessions.ts";
import { type Captured, protectedEcho, WEB, world } from "./_world.ts";

/** An opening that the client itself signs, whatever it says; `again` proves it by the session's key too. */
async function opened(under: Under, change: (opening: string) => string, again = false): Promise<Response> {
  const [, opening] = under.captured as [Captured, Captured];
  const changed = change(opening.headers["postern-session"]!);
  const text = changed.replace(/, mac="[^"]*"$/, "");
  const value = again ? `${text}, mac="${textMac(nobleHash(), under.keys[0]!)(text)}"` : changed;
  const request = await resigned(opening, { headers: { "postern-session": value }, terms: renamed }, under.web);
  return await send(under.echo, request);
}

const ID = "A".repeat(43);
const MALFORMED: readonly [title: string, change: (opening: string) => string][] = [
  ["empty", () => ""],
  ["its encapsulated key only", (all) => all.split(", ")[0]!],
  ["without a MAC", (all) => all.replace(/, mac.*/, "")],
  ["without a beginning", (all) => all.replace(/, from=\d+/, "")],
  ["without the client's key", (all) => all.replace(/, key="[^"]*"/, "")],
  ["in another order", (all) => all.replace(/(enc="[^"]*"), (key="[^"]*")/, "$2, $1")],
  ["with a space less", (all) => all.replace(", ", ",")],
  ["with a space more", (all) => all.replace(", ", ",  ")],
  ["with an unknown member", (all) => all.replace(", mac", ", a=1, mac")],
  ["with a member after the MAC", (all) => `${all}, a=1`],
  ["with a member twice", (all) => all.replace(", from", ", from=1, from")],
  ["beginning with 0", (all) => all.replace("from=1", "from=0")],
  ["beginning with a zero before", (all) => all.replace("from=1", "from=01")],
  ["beginning with a negative counter", (all) => all.replace("from=1", "from=-1")],
  ["beginning with eleven digits", (all) => all.replace("from=1", "from=10000000000")],
  ["beginning with a text", (all) => all.replace("from=1", 'from="1"')],
  ["in place of nothing", (all) => all.replace(", mac", ', instead="", mac')],
  ["in place of a counter without its session", (all) => all.replace(", mac", ", instead=1, mac")],
  ["in place of a session without a counter", (all) => all.replace(", mac", `, instead="${ID}", mac`)],
  ["in place of counter 0", (all) => all.replace(", mac", `, instead="${ID}.0", mac`)],
  ["with a key of 42 characters", (all) => all.replace(/key="./, 'key="')],
  ["with a key of 44 characters", (all) => all.replace(/key="/, 'key="A')],
  ["with an encapsulated key of 42 characters", (all) => all.replace(/enc="./, 'enc="')],
  ["with a padded key", (all) => all.replace(/key="[^"]*"/, `key="${"A".repeat(42)}="`)],
  ["with a shorter MAC", (all) => all.replace(/mac="./, 'mac="')],
  ["with a MAC without padding", (all) => all.replace('="', '"').replace(/="$/, '"')],
  ["that another follows", (all) => `${all}, ${all}`],
];

const SMALL: readonly [title: string, change: (opening: string) => string][] = [
  ["a small-order encapsulated key", (all) => all.replace(/enc="[^"]*"/, `enc="${ID}"`)],
  ["a small-order key of the client", (all) => all.replace(/enc="./, 'enc="B').replace(/key="[^"]*"/, `key="${ID}"`)],
  ["an encapsulated key that is not canonical", (all) => all.replace(/enc="[^"]*"/, `enc="${"A".repeat(42)}B"`)],
];

describe("protect() and the opening of a session", () => {
  for (const [title, change] of MALFORMED) {
    test(`protect() refuses an opening ${title}, whoever signs it`, async () => {
      const under = await underSession();
      const response = await opened(under, change);
      assert.notEqual(response.status, 200);
      assert.equal(reasonsOf(under.echo).at(-1), "malformed_session");
      assert.equal(under.echo.calls.length, 2);
    });
  }

  for (const [title, change] of SMALL) {
    test(`protect() refuses an opening with ${title}`, async () => {
      const under = await underSession();
      assert.notEqual((await opened(under, change)).status, 200);
      assert.equal(reasonsOf(under.echo).at(-1), "malformed_key");
      assert.equal(under.echo.calls.length, 2);
    });
  }

  test("protect() opens nothing for a client that has other keys, and answers its call", async () => {
    const under = await underSession();
    const changes: ((all: string) => string)[] = [
      (all) => all.replace(/enc="../, 'enc="BB'),
      (all) => all.replace(/mac="(.)/, (_, first) => `mac="${first === "A" ? "B" : "A"}`),
      (all) => all.replace("from=1", "from=9"),
    ];
    for (const change of changes) {
      const response = await opened(under, change);
      assert.deepEqual([response.status, response.headers.get("postern-session")], [200, null]);
    }
    await under.client.say({ text: "x" });
    assert.equal(kindOf(under.captured.at(-1)!), "session", "the session is as it was");
  });

  test("protect() opens the same session again, and takes nothing from below where it goes on", async () => {
    const under = await underSession();
    const held = [await heldBack(under), await heldBack(under), await heldBack(under)];
    const response = await opened(under, (all) => all.replace("from=1", "from=3"), true);
    assert.equal(
      response.headers.get("postern-session"),
      /enc="([^"]*)"/.exec(under.captured[1]!.headers["postern-session"]!)![1],
    );
    const statuses = await Promise.all(held.map(async (request) => (await send(under.echo, request)).status));
    assert.deepEqual(statuses, [401, 401, 200]);
    await opened(under, (all) => all, true);
    assert.equal((await send(under.echo, held[0]!)).status, 401, "from=1 gives nothing back");
  });

  test("protect() refuses a call in place of one that was let in, and takes one in place of one that was not, once", async () => {
    const under = await underSession();
    await under.client.say({ text: "third" });
    const [, , third] = under.captured as [Captured, Captured, Captured];
    const fourth = await heldBack(under);
    const id = /keyid="([^"]*)"/.exec(fourth.headers["signature-input"]!)![1]!;
    const instead = (request: Captured) => (all: string) =>
      all.replace(", mac", `, instead="${id}.${counterOf(request)}", mac`);
    const calls = under.echo.calls.length;
    assert.equal((await opened(under, instead(third), true)).status, 503);
    assert.equal(under.echo.calls.length, calls);
    assert.equal((await opened(under, instead(fourth), true)).status, 200);
    assert.equal((await opened(under, instead(fourth), true)).status, 503);
    assert.equal((await send(under.echo, fourth)).status, 401);
    assert.equal(under.echo.calls.length, calls + 1);
    assert.deepEqual(reasonsOf(under.echo).slice(3), ["replayed", undefined, "replayed", "replayed"]);
  });

  test("protect() lets nobody use up the counters of another's session", async () => {
    const rules = [allow({ caller: "spiffe://example.org/*", call: "echo.v1/*" })];
    const under = await underSession({ options: { rules } });
    const request = await heldBack(under);
    const id = /keyid="([^"]*)"/.exec(request.headers["signature-input"]!)![1]!;
    const web = await under.world.join("spiffe://example.org/evil");
    const [captured, hash] = [[] as Captured[], spyHash()];
    const client = under.echo.client(web, { captured, hash });
    await client.say({ text: "first" });
    await client.say({ text: "second" });
    const evil: Under = { ...under, web, captured, keys: hash.keys };
    const instead = (all: string) => all.replace(", mac", `, instead="${id}.${counterOf(request)}", mac`);
    assert.equal((await opened(evil, instead, true)).status, 200);
    assert.equal((await send(under.echo, request)).status, 200);
  });

  test("protect() takes what a call is in place of in the replay store, for as long as it could come", async () => {
    const now = (await world()).now;
    const replay = sharedReplay(now);
    const under = await underSession({ options: { replay } });
    await opened(under, (all) => all.replace(", mac", `, instead="${ID}.17", mac`), true);
    const used = replay.used.at(-1)!;
    assert.deepEqual(used, { signer: WEB, nonce: `${ID}.17`, expiresAtMs: now() + 60_000 });
  });

  test("prove() calls a server whose encryption key is none, and signs each call", async () => {
    const at = await world();
    const { identity } = await protectedEcho(at);
    const key = await identity.encryptionKey();
    const broken = { ...identity, encryptionKey: () => Promise.resolve({ ...key, jwk: { ...key.jwk, x: ID } }) };
    const echo = await protectedEcho(at, { identity: broken });
    const captured: Captured[] = [];
    const client = echo.client(await at.join(WEB), { captured });
    for (let i = 0; i < 3; i++) await client.say({ text: "x" });
    assert.deepEqual(kindsOf(captured), ["signed", "signed", "signed"]);
  });
});

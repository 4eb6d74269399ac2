import { generateEncryptionKey } from "../../src/auth/mod.ts";
import { clientSessions } from "../../src/auth/client_session.ts";
import { nobleHash } from "../../src/internal/hash.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ECHO, WEB, world } from "./_world.ts";

async function rig() {
  const { now, trust, join } = await world();
  const [identity, echo] = [await join(WEB), await join(ECHO, { serves: ["echo.v1"] })];
  const workload = await trust.verify((await echo.credential()).token.reveal());
  const sessions = clientSessions({ identity, trust, audience: ECHO, hash: nobleHash(), now, server: undefined });
  const keys = await Promise.all([1, 2].map(async () => (await generateEncryptionKey()).jwk.x)) as [string, string];
  return { sessions, workload, keys, now };
}

describe("clientSessions()", () => {
  test("clientSessions() has none before it knows the server, and one for all who ask then", async () => {
    const { sessions, workload, keys: [key] } = await rig();
    assert.equal(await sessions.get(""), undefined);
    assert.equal(sessions.serves("echo.v1"), false);
    sessions.learn(key, workload);
    const all = await Promise.all([sessions.get(""), sessions.get(""), sessions.get("right")]);
    assert.equal(all[0], all[1]);
    assert.notEqual(all[0]!.id, all[2]!.id);
    assert.equal(sessions.get(""), all[0], "without waiting");
    assert.deepEqual([sessions.serves("echo.v1"), sessions.serves("other.v1")], [true, false]);
  });

  test("clientSessions() gives none that was made for a server which is not the present one", async () => {
    const { sessions, workload, keys: [one, two] } = await rig();
    sessions.learn(one, workload);
    const pending = sessions.get("");
    sessions.learn(two, workload);
    assert.equal(await pending, undefined);
    const session = await sessions.get("");
    sessions.learn(two, workload);
    assert.equal(sessions.get(""), session, "the same server again is no news");
    sessions.learn(two, { ...workload, thumbprint: "x".repeat(43) });
    assert.notEqual((await sessions.get(""))!.id, session!.id);
  });

  test("clientSessions() keeps 16, the latest", async () => {
    const { sessions, workload, keys: [key] } = await rig();
    sessions.learn(key, workload);
    const rights = Array.from({ length: 17 }, (_, i) => `AAT ${i}`);
    const made = [];
    for (const right of rights) made.push(await sessions.get(right));
    for (const i of [1, 16]) assert.equal(await sessions.get(rights[i]!), made[i]);
    assert.notEqual((await sessions.get(rights[0]!))!.id, made[0]!.id);
  });

  test("ClientSession.claim() lets one open it in 2 s, and its opening begins above every counter that was used", async () => {
    const { sessions, workload, keys: [key], now } = await rig();
    sessions.learn(key, workload);
    const session = (await sessions.get(""))!;
    assert.deepEqual([session.claim(), session.claim()], [true, false]);
    now.pass(1_999);
    assert.equal(session.claim(), false);
    now.pass(1);
    assert.equal(session.claim(), true);
    assert.match(session.opening(), /, from=1, mac="/);
    assert.deepEqual([session.next(), session.next()], [1, 2]);
    assert.match(session.opening("a.2"), /, from=3, instead="a\.2", mac="/);
  });
});

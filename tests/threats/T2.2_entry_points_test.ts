import { consoleRoutes } from "../../src/console/mod.ts";
import { allow, policy, protect, type Rule } from "../../src/auth/mod.ts";
import { CREDENTIAL_HEADERS } from "../../src/auth/wire.ts";
import { type Call, createServer, implement, rpc, service, stream } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { send, signedRequest } from "../auth/_forge.ts";
import { type Captured, DOMAIN, ECHO, watchedAudit, WEB, world } from "../auth/_world.ts";
import { collect, refusalOf, rejection, Text } from "../rpc/_rig.ts";

// There is one door: every way to a handler leads through the guard, before a byte of the message is decoded.

const here = await world();
const { trust, now } = here;
const identity = await here.join(ECHO, { serves: ["echo.v1"] });
const web = await here.join(WEB);

/** A contract with every kind of method that there is. */
const Kinds = service("echo.v1", {
  say: rpc(Text, v.object({ text: v.string() })),
  look: rpc(Text, v.object({ text: v.string() }), { safe: true }),
  again: rpc(Text, v.object({ text: v.string() }), { idempotent: true }),
  down: rpc(Text, stream(Text)),
  up: rpc(stream(Text), Text),
  both: rpc(stream(Text), stream(Text)),
});
const KINDS = Object.keys(Kinds.methods);

function everyKind(rules: readonly Rule[] = [allow({ caller: WEB, call: "echo.v1/*" })]) {
  const decoded: unknown[] = [];
  const calls: unknown[] = [];
  const codec = {
    name: "json",
    maxBytes: 65_536,
    encode: (value: unknown) => JSON.stringify(value),
    decode(bytes: Uint8Array) {
      decoded.push(bytes);
      return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
    },
  };
  const handle = (message: { text: string }) => (calls.push(message), message);
  const { log } = collect();
  const audit = watchedAudit();
  const guard = protect({ identity, trust, policy: policy(rules), audit, now });
  const handlers = { say: handle, look: handle, again: handle, down: handle, up: handle, both: handle };
  const server = createServer(implement(Kinds, handlers as never), { guard, codecs: [codec], log });
  return { server, decoded, calls, audit };
}

const GOOD = '{"text":"a"}';
const QUERY = `?encoding=json&message=${encodeURIComponent(GOOD)}`;
const VERBS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"];
const request = (method: string, path: string, body = "", headers: Record<string, string> = {}): Captured => ({
  url: `https://echo.test${path}`,
  method,
  headers: { ...body ? { "content-type": "application/json" } : {}, ...headers },
  body,
});

for (const kind of [...KINDS, "nothing"]) {
  const path = `/echo.v1/${kind}`;
  const entries: readonly (readonly [name: string, request: Captured])[] = [
    ["POST", request("POST", path, GOOD)],
    ["POST of what cannot be decoded", request("POST", path, "{")],
    ...VERBS.map((verb) => [verb, request(verb, path)] as const),
    ["GET with a message", request("GET", path + QUERY)],
  ];
  for (const [name, entry] of entries) {
    test(`T2.2 a stranger gets nowhere by ${name} of ${kind}`, async () => {
      const { server, decoded, calls, audit } = everyKind();
      const response = await send(server, entry);
      assert.equal(response.status, 401);
      if (entry.method !== "HEAD") {
        const { code, message } = await refusalOf(response);
        assert.deepEqual([code, message], ["unauthenticated", "Cannot authenticate the caller"]);
      }
      assert.deepEqual([decoded.length, calls.length], [0, 0]);
      assert.deepEqual(audit.events.map(({ event, reason, caller }) => [event, reason, caller]), [
        ["call.refuse", "unsigned", undefined],
      ]);
    });
  }

  test(`T2.2 who has no rule gets nowhere by any verb of ${kind}`, async () => {
    const { server, decoded, calls } = everyKind();
    const nobody = await here.join(`spiffe://${DOMAIN}/nobody`);
    for (const verb of ["POST", ...VERBS]) {
      const response = await send(server, await signedRequest(here, nobody, { verb, path }));
      assert.equal(response.status, 403);
      await response.text();
    }
    assert.deepEqual([decoded.length, calls.length], [0, 0]);
  });

  test(`T2.2 a call of ${kind} from the same process goes through the same door`, async () => {
    const { server, calls, audit } = everyKind();
    const method = { ...Kinds.methods.say, path, name: kind };
    const call: Call = { method, message: { text: "a" }, timeoutMs: 1_000 };
    assert.equal((await rejection(server.call(call))).code, "permission_denied");
    assert.equal(calls.length, 0);
    assert.deepEqual(audit.events.map(({ event, reason, caller }) => [event, reason, caller]), [
      ["call.refuse", "not_allowed", undefined],
    ]);
  });
}

for (const name of CREDENTIAL_HEADERS) {
  test(`T2.2 "${name}" by itself makes nobody of a stranger, and no stranger either`, async () => {
    for (const rules of [[allow({ caller: WEB, call: "echo.v1/*" })], [allow({ anyone: true, call: "echo.v1/*" })]]) {
      const { server, decoded, calls } = everyKind(rules);
      for (const value of ["", "x", "AAT x", `"${WEB}"`, "wimse=:AAAA:"]) {
        for (
          const entry of [
            request("POST", "/echo.v1/say", GOOD, { [name]: value }),
            request("GET", `/echo.v1/look${QUERY}`, "", { [name]: value }),
          ]
        ) {
          assert.equal((await refusalOf(await send(server, entry))).code, "unauthenticated");
        }
      }
      assert.deepEqual([decoded.length, calls.length], [0, 0]);
    }
  });
}

test("T2.2 what is open to anyone is open by POST and GET, and nothing beside it", async () => {
  const { server, calls } = everyKind([allow({ anyone: true, call: "echo.v1/look" })]);
  assert.equal((await send(server, request("POST", "/echo.v1/look", GOOD))).status, 200);
  assert.equal((await send(server, request("GET", `/echo.v1/look${QUERY}`))).status, 200);
  assert.equal((await send(server, request("DELETE", "/echo.v1/look"))).status, 405);
  for (const kind of ["say", "again", "down", "up", "both"]) {
    assert.equal((await send(server, request("POST", `/echo.v1/${kind}`, GOOD))).status, 401);
  }
  assert.equal(calls.length, 2);
});

test("T2.2 who may call gets in by POST and GET", async () => {
  const { server, calls } = everyKind();
  assert.equal((await send(server, await signedRequest(here, web))).status, 200);
  assert.equal(
    (await send(server, await signedRequest(here, web, { verb: "GET", path: `/echo.v1/look${QUERY}` }))).status,
    200,
  );
  // A stream is no whole message, whoever sends that.
  for (const kind of ["down", "up", "both"]) {
    const response = await send(server, await signedRequest(here, web, { path: `/echo.v1/${kind}` }));
    assert.equal(response.status, 415);
    await response.text();
  }
  assert.equal(calls.length, 2);
});

test("T2.2 paths that are none get no further than that, for anyone", async () => {
  const { server, decoded, calls } = everyKind([allow({ anyone: true, call: "echo.v1/*" })]);
  for (
    const path of [
      "/",
      "/echo.v1",
      "/echo.v1/",
      "//echo.v1/say",
      "/echo.v1//say",
      "/echo.v1/say/",
      "/x/echo.v1/say",
      "/echo.v1/s%61y",
      "/ECHO.v1/say",
      "/echo.v1/SAY",
    ]
  ) {
    const { status } = await send(server, request("POST", path, GOOD));
    assert.ok(status === 404 || status === 401, `${path} ${status}`);
  }
  assert.deepEqual([decoded.length, calls.length], [0, 0]);
});

test("T2.2 the console's health is open on purpose, and tells nothing else", async () => {
  const { server } = everyKind();
  const app = consoleRoutes(server);
  const response = await app.fetch(new Request("https://echo.test/healthz"));
  assert.deepEqual([response.status, await response.text()], [200, '{"status":"serving"}']);
  for (const path of ["/", "/echo.v1/say", "/healthz/", "/audit", "/console", "/metrics", "/services"]) {
    assert.equal((await app.fetch(new Request(`https://echo.test${path}`))).status, 404);
  }
  // A server by itself has no such route.
  assert.equal((await send(server, request("GET", "/healthz"))).status, 404);
});

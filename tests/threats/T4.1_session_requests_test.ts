// Somebody on the way, or a caller that holds the session's keys, makes a request under a session say something else.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow } from "../../src/auth/mod.ts";
import { type Change, changed } from "../auth/_messages.ts";
import { counted, heldBack, reasonsOf, remade, send, underSession } from "../auth/_sessions.ts";
import type { Captured } from "../auth/_world.ts";

/** Of a request by a client whose calls have all the headers that there are. */
async function held() {
  const under = await underSession();
  const plain = await heldBack(under);
  const headers = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };
  const request = remade(plain, { headers, components: (all) => [...all, '"traceparent"'] }, under.keys[0]!);
  return { ...under, request };
}

const input = (replace: (input: string) => string) => ({ headers }: Captured): Change => ({
  headers: { "signature-input": replace(headers["signature-input"]!) },
});
const signature = (replace: (signature: string) => string) => ({ headers }: Captured): Change => ({
  headers: { signature: replace(headers["signature"]!) },
});
const other = (text: string) => text.replace(/[A-Za-z](?=[^A-Za-z]*$)/, (last) => last === "A" ? "B" : "A");

/** What a man in the middle can do, who has no key. */
const BY_ANYBODY: readonly [title: string, change: (request: Captured) => Change, reason: string][] = [
  ["another method", ({ url }) => ({ url: url.replace("/say", "/look") }), "bad_signature"],
  ["another path", ({ url }) => ({ url: url.replace("/say", "/nothing") }), "bad_signature"],
  ["a query", ({ url }) => ({ url: `${url}?a=1` }), "bad_signature"],
  ["a longer timeout", () => ({ headers: { "connect-timeout-ms": "59999" } }), "bad_signature"],
  ["no timeout", () => ({ headers: { "connect-timeout-ms": undefined } }), "wrong_coverage"],
  ["an idempotency key", () => ({ headers: { "idempotency-key": "key" } }), "wrong_coverage"],
  ["callers", () => ({ headers: { "postern-callers": '"spiffe://example.org/admin"' } }), "wrong_coverage"],
  ["a right that is handed on", () => ({ headers: { "postern-delegation": "a.b.c" } }), "wrong_coverage"],
  ["a right", () => ({ headers: { authorization: "AAT a.b.c" } }), "wrong_coverage"],
  ["another right scheme", () => ({ headers: { authorization: "Bearer abc" } }), "wrong_coverage"],
  ["an identity token", () => ({ headers: { "workload-identity-token": "a.b.c" } }), "wrong_coverage"],
  ["an empty identity token", () => ({ headers: { "workload-identity-token": "" } }), "wrong_coverage"],
  ["a transaction token", () => ({ headers: { "txn-token": "a.b.c" } }), "wrong_coverage"],
  ["an opening", () => ({ headers: { "postern-session": "x" } }), "wrong_coverage"],
  ["no digest", () => ({ headers: { "content-digest": undefined } }), "wrong_coverage"],
  ["another digest", () => ({ headers: { "content-digest": `sha-256=:${"A".repeat(43)}=:` } }), "bad_signature"],
  ["another trace", () => ({ headers: { traceparent: `00-${"1".repeat(32)}-${"2".repeat(16)}-01` } }), "bad_signature"],
  ["no trace", () => ({ headers: { traceparent: undefined } }), "wrong_coverage"],
  ["another counter", input(counted(77)), "bad_signature"],
  [
    "another moment",
    input((all) => all.replace(/created=(\d+)/, (_, s) => `created=${Number(s) - 1}`)),
    "bad_signature",
  ],
  ["the trace not covered", input((all) => all.replace(' "traceparent"', "")), "bad_signature"],
  ["a component less", input((all) => all.replace(' "content-digest"', "")), "wrong_coverage"],
  [
    "a component twice",
    input((all) => all.replace(' "@request-target"', ' "@request-target" "@request-target"')),
    "wrong_coverage",
  ],
  ["a component more", input((all) => all.replace('"@method"', '"@method" "@authority"')), "wrong_coverage"],
  [
    "components in another order",
    input((all) => all.replace('"@method" "@request-target"', '"@request-target" "@method"')),
    "wrong_coverage",
  ],
  [
    "a component of the request of an answer",
    input((all) => all.replace('"@method"', '"@method";req')),
    "wrong_coverage",
  ],
  ["no components", input((all) => all.replace(/\(.*\)/, "()")), "wrong_coverage"],
  ["another label", input((all) => all.replace(/^s=/, "t=")), "wrong_coverage"],
  ["a second label before", input((all) => `t=("@method"), ${all}`), "wrong_coverage"],
  ["a space before", input((all) => ` ${all}`), "bad_signature"],
  ["two spaces", input((all) => all.replace('" "', '"  "')), "wrong_coverage"],
  ["a parameter more", input((all) => all.replace(";created", ";a=1;created")), "malformed_signature"],
  ["an algorithm", input((all) => all.replace(";tag", ';alg="hmac-sha256";tag')), "malformed_signature"],
  ["no moment", input((all) => all.replace(/;created=\d+/, "")), "malformed_signature"],
  ["a moment that is a text", input((all) => all.replace(/created=(\d+)/, 'created="$1"')), "malformed_signature"],
  ["a negative moment", input((all) => all.replace(/created=/, "created=-")), "malformed_signature"],
  ["a moment with a zero before", input((all) => all.replace(/created=/, "created=0")), "malformed_signature"],
  ["a counter with a zero before", input((all) => all.replace(/nonce="/, 'nonce="0')), "malformed_signature"],
  ["the counter 0", input((all) => all.replace(/nonce="\d+"/, 'nonce="0"')), "malformed_signature"],
  [
    "a counter of eleven digits",
    input((all) => all.replace(/nonce="\d+"/, 'nonce="10000000000"')),
    "malformed_signature",
  ],
  ["a counter that is a number", input((all) => all.replace(/nonce="(\d+)"/, "nonce=$1")), "malformed_signature"],
  ["a counter with a sign", input((all) => all.replace(/nonce="/, 'nonce="+')), "malformed_signature"],
  ["a shorter session", input((all) => all.replace(/keyid="./, 'keyid="')), "malformed_signature"],
  ["a longer session", input((all) => all.replace(/keyid="/, 'keyid="A')), "malformed_signature"],
  ["a session with padding", input((all) => all.replace(/keyid="(.{42})./, 'keyid="$1=')), "malformed_signature"],
  ["another session", input((all) => all.replace(/keyid=".../, 'keyid="AAA')), "unknown_session"],
  [
    "parameters in another order",
    input((all) => all.replace(/(;created=\d+)(;keyid="[^"]*")/, "$2$1")),
    "malformed_signature",
  ],
  ["another MAC", signature(other), "bad_signature"],
  ["a MAC with another label", signature((all) => all.replace(/^s=/, "t=")), "malformed_signature"],
  ["a MAC in base64url", signature(() => `s=:${"-".repeat(43)}=:`), "malformed_signature"],
  ["a MAC without padding", signature((all) => all.replace(/=:$/, ":")), "malformed_signature"],
  ["a shorter MAC", signature((all) => all.replace(/^s=:../, "s=:")), "malformed_signature"],
  ["an empty MAC", signature(() => "s=::"), "malformed_signature"],
  ["two MACs", signature((all) => `${all}, ${all}`), "malformed_signature"],
  ["a MAC with a parameter", signature((all) => `${all};a=1`), "malformed_signature"],
  ["no MAC", () => ({ headers: { signature: undefined } }), "malformed_signature"],
  ["a signature of a key pair", signature(() => `s=:${"A".repeat(86)}==:`), "malformed_signature"],
];

describe("T4.1 a request under a session that somebody changed", () => {
  for (const [title, change, reason] of BY_ANYBODY) {
    test(`T4.1 a server refuses a request under a session with ${title}, and the whole one is still good`, async () => {
      const { echo, request } = await held();
      const [calls, events] = [echo.calls.length, echo.audit.events.length];
      const copy = changed(request, change(request));
      assert.notDeepEqual(copy, request, "it changes nothing");
      const response = await send(echo, copy);
      if (reason === "bad_signature" && copy.headers["signature-input"]!.startsWith(" ")) return; // runtimes trim it
      assert.notEqual(response.status, 200);
      assert.equal(echo.calls.length, calls, "the handler was called");
      const added = echo.audit.events.slice(events);
      if (!copy.url.includes("?")) {
        assert.deepEqual(added.map(({ reason: each }) => each), [reason]);
        assert.equal(response.headers.has("signature"), reason === "unknown_session");
      }
      assert.equal((await send(echo, request)).status, 200, "a broken copy takes nothing");
    });
  }

  test("T4.1 a server says that a body was changed, provably, and never lets the whole one in after it", async () => {
    const { echo, request } = await held();
    const calls = echo.calls.length;
    for (const body of [request.body + " ", request.body.replace("held", "sold")]) {
      const response = await send(echo, changed(request, { body }));
      assert.notEqual(response.status, 200);
    }
    assert.equal((await send(echo, request)).status, 401);
    assert.deepEqual(reasonsOf(echo).slice(-3), ["bad_digest", "replayed", "replayed"]);
    assert.equal(echo.calls.length, calls);
  });

  test("T4.1 a trace that a proxy adds to a request without one counts for nothing, and harms nothing", async () => {
    const { echo, request, keys } = await held();
    const without = remade(request, {
      headers: { traceparent: undefined },
      components: (all) => all.filter((each) => each !== '"traceparent"'),
    }, keys[0]!);
    const trace = `00-${"1".repeat(32)}-${"2".repeat(16)}-01`;
    assert.equal((await send(echo, changed(without, { headers: { traceparent: trace } }))).status, 200);
    assert.ok(!echo.calls.at(-1)!.context.traceparent.includes("1".repeat(32)));
  });
});

/** What only a caller can do who has the session's keys: its proof is good, what it says is not. */
const BY_ITS_CALLER: readonly [title: string, change: Change, reason: string, status: number][] = [
  ["from 6 s ahead", { terms: (all) => shifted(all, 6) }, "stale", 401],
  ["36 s old", { terms: (all) => shifted(all, -36) }, "stale", 401],
  ["35 s old", { terms: (all) => shifted(all, -35) }, "stale", 401],
  [
    "with a token beside",
    {
      headers: { "workload-identity-token": "a.b.c" },
      components: (all) => [...all.slice(0, -1), '"workload-identity-token"', all.at(-1)!],
    },
    "wrong_coverage",
    401,
  ],
  ["that covers too little", { components: (all) => all.slice(0, 2) }, "wrong_coverage", 401],
  [
    "with a malformed right",
    {
      headers: { authorization: "AAT a.b.c" },
      components: (all) => [...all.slice(0, 4), '"authorization"', ...all.slice(4)],
    },
    "malformed_token",
    403,
  ],
  [
    "with a malformed context",
    {
      headers: { "postern-callers": "nobody" },
      components: (all) => [...all.slice(0, -1), '"postern-callers"', all.at(-1)!],
    },
    "malformed_context",
    401,
  ],
  ["to a method that is not there", { url: "https://echo.test/echo.v1/nothing" }, "not_allowed", 403],
];
const shifted = (terms: string, s: number) =>
  terms.replace(/created=(\d+)/, (_, each) => `created=${Number(each) + s}`);

describe("T4.1 a request under a session that its caller made wrong", () => {
  for (const [title, change, reason, status] of BY_ITS_CALLER) {
    test(`T4.1 a server refuses a request under a session ${title}`, async () => {
      const { echo, request, keys } = await held();
      const calls = echo.calls.length;
      const response = await send(echo, remade(request, change, keys[0]!));
      assert.equal(reasonsOf(echo).at(-1), reason);
      assert.equal(response.status, status);
      assert.equal(echo.calls.length, calls);
    });
  }
  for (const s of [5, 0, -34]) {
    test(`T4.1 a server takes a request under a session from ${s} s from now`, async () => {
      const { echo, request, keys } = await held();
      assert.equal((await send(echo, remade(request, { terms: (all) => shifted(all, s) }, keys[0]!))).status, 200);
    });
  }

  test("T4.1 a server takes what its policy denies no more under a session than signed", async () => {
    const rules = [allow({ caller: "spiffe://example.org/web", call: ["echo.v1/say", "echo.v1/look"] })];
    const under = await underSession({ options: { rules } });
    const request = await heldBack(under);
    const url = request.url.replace("/say", "/hidden");
    const response = await send(under.echo, remade(request, { url }, under.keys[0]!));
    assert.equal(response.status, 403);
    assert.ok(response.headers.get("signature-input")!.endsWith('tag="postern-session"'), "the refusal is proven");
    assert.equal(under.echo.calls.length, 2);
  });
});

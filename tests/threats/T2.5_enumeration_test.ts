import { reasonOf, refusalOf as publicOf } from "../../src/auth/refusal.ts";
import { CAPABILITY_SCHEME } from "../../src/auth/wire.ts";
import {
  allow,
  AuthError,
  type AuthReason,
  issueCapability,
  memoryReplay,
  policy,
  protect,
} from "../../src/auth/mod.ts";
import { type Call, createServer, implement, ProveAgainError, rpc, RpcError, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { send, type Signed, signedRequest } from "../auth/_forge.ts";
import { type Captured, DOMAIN, ECHO, watchedAudit, WEB, world } from "../auth/_world.ts";
import { collect, refusalOf, rejection, Text } from "../rpc/_rig.ts";

// The attacker wants to know which methods a server has that he may not call.

const Answer = v.object({ text: v.string() });
const Secret = service("echo.v1", {
  open: rpc(Text, Answer, { safe: true }),
  hidden: rpc(Text, Answer),
  safe: rpc(Text, Answer, { safe: true }),
  small: rpc(Text, Answer, { maxBodyBytes: 100 }),
  quick: rpc(Text, Answer, { callDeadlineMs: 5 }),
  other: rpc(v.strictObject({ number: v.number() }), Answer),
  errors: rpc(Text, Answer, { errors: { permission_denied: v.object({ why: v.string() }) } }),
});
const HIDDEN = ["hidden", "safe", "small", "other", "errors"] as const;
const UNKNOWN = ["/echo.v1/nothing", "/echo.v2/hidden", "/nobody.v1/hidden"];

const here = await world();
const { authority, trust, now } = here;
const identity = await here.join(ECHO, { serves: ["echo.v1"] });
const [web, nobody] = await Promise.all([here.join(WEB), here.join(`spiffe://${DOMAIN}/nobody`)]);

function secretServer() {
  const calls: unknown[] = [];
  const handle = (message: unknown) => (calls.push(message), { text: "a" });
  const { log, entries } = collect();
  const audit = watchedAudit();
  const rules = [
    allow({ anyone: true, call: "echo.v1/open" }),
    allow({
      caller: `spiffe://${DOMAIN}/boss`,
      call: ["hidden", "safe", "small", "quick", "other", "errors"].map((name) => `echo.v1/${name}`),
    }),
  ];
  const guard = protect({ identity, trust, policy: policy(rules), audit, replay: memoryReplay({ now }), now });
  const handlers = {
    open: handle,
    hidden: handle,
    safe: handle,
    small: handle,
    quick: handle,
    other: handle,
    errors: handle,
  };
  const server = createServer(implement(Secret, handlers), { guard, log });
  return { server, calls, entries, audit };
}

/** All that a caller can see of a refusal, but for the correlation id and what the proof makes of it. */
async function seen(response: Response) {
  const headers = Object.fromEntries(response.headers);
  const proof = ["signature", "signature-input", "content-digest"];
  const proven = proof.map((name) => name in headers);
  for (const name of proof) delete headers[name];
  const { text, correlationId } = await refusalOf(response);
  const { details } = JSON.parse(text);
  const body = text.replaceAll(correlationId, "ID").replaceAll(details[0].value, "INFO");
  return JSON.stringify({ status: response.status, headers, proven, body });
}

type Ask = (path: string) => Captured | Promise<Captured>;
const plain = (verb: string, body: string | undefined, headers: Record<string, string> = {}): Ask => (path) => ({
  url: `https://echo.test${path}`,
  method: verb,
  headers: { ...body === undefined ? {} : { "content-type": "application/json" }, ...headers },
  body: body ?? "",
});
const proven = (signed: Signed = {}, as = nobody): Ask => (path) =>
  signedRequest(here, as, { ...signed, path: path + (signed.path ?? "") });
const right = (await issueCapability(authority, { holder: nobody.id, tools: { "elsewhere.v1/do": {} } }, { now })).chain
  .reveal();

const GOOD = '{"text":"a"}';
const QUERY = `?encoding=json&message=${encodeURIComponent(GOOD)}`;
const ways: readonly (readonly [name: string, ask: Ask])[] = [
  ["a stranger's POST", plain("POST", GOOD)],
  ["a stranger's POST of nothing", plain("POST", "")],
  ["a stranger's POST of what is no JSON", plain("POST", "{")],
  ["a stranger's long POST", plain("POST", JSON.stringify({ text: "a".repeat(5_000) }))],
  ["a stranger's POST with a timeout", plain("POST", GOOD, { "connect-timeout-ms": "5000" })],
  ["a stranger's GET", (path) => plain("GET", undefined)(path + QUERY)],
  ["a stranger's GET of nothing", plain("GET", undefined)],
  [
    "a stranger's GET from another site",
    (path) => plain("GET", undefined, { "sec-fetch-site": "cross-site" })(path + QUERY),
  ],
  ...["PUT", "DELETE", "PATCH", "OPTIONS"].map((verb) => [`a stranger's ${verb}`, plain(verb, undefined)] as const),
  ["a stranger's POST with half a proof", plain("POST", GOOD, { authorization: "AAT x" })],
  ["a POST of who has no rule", proven()],
  ["a POST of who has no rule, with what is no JSON", proven({ body: "{" })],
  ["a POST of who has no rule, with another message", proven({ body: '{"number":1}' })],
  ["a GET of who has no rule", proven({ verb: "GET", path: QUERY })],
  ["a GET of nothing of who has no rule", proven({ verb: "GET" })],
  ...["PUT", "DELETE", "PATCH", "OPTIONS"].map((verb) => [`a ${verb} of who has no rule`, proven({ verb })] as const),
  ["a POST of who has a right for another method", proven({ headers: { authorization: CAPABILITY_SCHEME + right } })],
  ["a POST of who shows what is no right", proven({ headers: { authorization: "AAT x" } })],
  ["a POST of web, who has no rule either", proven({}, web)],
];
for (const [name, ask] of ways) {
  test(`T2.5 ${name} is answered the same for a method that is not there and for one that is not the caller's`, async () => {
    const { server, calls, audit } = secretServer();
    const answers = [];
    for (const path of [...UNKNOWN, ...HIDDEN.map((method) => `/echo.v1/${method}`)]) {
      answers.push(await seen(await send(server, await ask(path))));
    }
    assert.equal(new Set(answers).size, 1, [...new Set(answers)].join("\n"));
    assert.equal(calls.length, 0);
    assert.equal(audit.events.filter(({ event }) => event === "call.refuse").length, answers.length);
  });
}

test("T2.5 a long POST of who has no rule is answered the same for a method that takes short messages only", async () => {
  const { server, calls } = secretServer();
  const ask = proven({ body: JSON.stringify({ text: "a".repeat(200) }) });
  const answers = new Set<string>();
  for (const path of [...UNKNOWN, "/echo.v1/hidden", "/echo.v1/small"]) {
    answers.add(await seen(await send(server, await ask(path))));
  }
  assert.equal(answers.size, 1, [...answers].join("\n"));
  assert.equal(calls.length, 0);
});

test("T2.5 HEAD is answered the same for a method that is not there and for one that is not the caller's", async () => {
  const { server } = secretServer();
  for (const ask of [plain("HEAD", undefined), proven({ verb: "HEAD" })]) {
    const answers = [];
    for (const path of [...UNKNOWN, ...HIDDEN.map((method) => `/echo.v1/${method}`)]) {
      const { status, headers } = await send(server, await ask(path));
      const names = [...headers.keys()];
      answers.push(JSON.stringify([status, names]));
    }
    assert.equal(new Set(answers).size, 1, answers.join("\n"));
  }
});

test("T2.5 a call from the same process is answered the same for a method that is not there and for one that is not its", async () => {
  const { server, calls } = secretServer();
  const answers = [];
  const { hidden } = Secret.methods;
  for (const path of [...UNKNOWN, ...HIDDEN.map((method) => `/echo.v1/${method}`)]) {
    const call: Call = { method: { ...hidden, path }, message: { text: "a" }, timeoutMs: 1_000 };
    const { code, message, details } = await rejection(server.call(call));
    answers.push(JSON.stringify([code, message, details]));
  }
  assert.deepEqual([...new Set(answers)], ['["permission_denied","Cannot call this method",null]']);
  assert.equal(calls.length, 0);
});

test("T2.5 a method with a deadline of its own is refused as any other", async () => {
  const { server } = secretServer();
  const answers = new Set<string>();
  for (const path of ["/echo.v1/nothing", "/echo.v1/quick"]) {
    answers.add(await seen(await send(server, await plain("POST", GOOD)(path))));
  }
  assert.equal(answers.size, 1);
});

test("T2.5 who may call a method learns of its message, and nobody else", async () => {
  const { server } = secretServer();
  assert.equal(
    (await refusalOf(await send(server, await plain("POST", '{"text":1}')("/echo.v1/open")))).code,
    "invalid_argument",
  );
  assert.equal(
    (await refusalOf(await send(server, await proven({ body: '{"text":1}' })("/echo.v1/hidden")))).code,
    "permission_denied",
  );
});

// The table of what a caller is told.

const UNBELIEVED: readonly AuthReason[] = [
  "unsigned",
  "malformed_signature",
  "wrong_coverage",
  "wrong_audience",
  "stale",
  "malformed_id",
  "malformed_token",
  "wrong_token",
  "unknown_issuer",
  "bad_token_signature",
  "expired_token",
  "bad_signature",
  "bad_digest",
  "replayed",
  "revoked",
  "certificate_mismatch",
  "malformed_context",
  "wrong_peer",
  "wrong_exchange",
  "not_attested",
  "rollback",
  "malformed_bundle",
  "malformed_key",
];
const NOT_ALLOWED: readonly AuthReason[] = [
  "malformed_chain",
  "unknown_root",
  "broken_chain",
  "wider_right",
  "expired_right",
  "wrong_holder",
  "wrong_right_audience",
  "not_allowed",
  "argument_not_allowed",
];
const told: readonly (readonly [code: string, message: string, reasons: readonly AuthReason[]])[] = [
  ["unauthenticated", "Cannot authenticate the caller", UNBELIEVED],
  ["permission_denied", "Cannot call this method", NOT_ALLOWED],
  ["resource_exhausted", "Too many calls of this caller are under way", ["over_quota"]],
  ["unavailable", "The server cannot take more calls at the moment", ["replay_full", "audit_full"]],
  ["unavailable", "The server has just started, prove the call again", ["before_start"]],
];
for (const [code, message, reasons] of told) {
  for (const reason of reasons) {
    test(`T2.5 refusalOf() tells a caller "${message}" of ${reason}, and no more`, () => {
      const cause = new AuthError(reason, "Cannot accept the c4nary");
      const error = publicOf(cause, false);
      assert.deepEqual([error.code, error.message, error.details, error.received], [code, message, undefined, false]);
      assert.equal(error.cause, cause);
      assert.equal(error instanceof ProveAgainError, reason === "before_start");
      assert.equal(reasonOf(cause), reason);
    });
  }
}

test("T2.5 refusalOf() hands on what the server itself refused, and masks everything else", () => {
  const own = new RpcError("resource_exhausted", "Cannot read the message: it is over 8 bytes");
  assert.equal(publicOf(own, false), own);
  assert.equal(reasonOf(own), "resource_exhausted");
  for (const thrown of [new Error("c4nary"), "c4nary", null, undefined, { reason: "not_allowed" }]) {
    const error = publicOf(thrown, false);
    assert.deepEqual([error.code, error.message], ["internal", "The call failed inside the service"]);
    assert.equal(error.cause, thrown);
    assert.equal(reasonOf(thrown), "internal");
  }
});

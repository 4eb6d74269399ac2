import {
  createClient,
  createServer,
  implement,
  type LogEntry,
  publicOnly,
  rpc,
  RpcError,
  service,
} from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

// The attacker makes a service fail in every way there is and reads what comes back. T14: what errors tell of a service.
// T32: what its answers tell that they should not.

const secret = "s3cret_postgres://app:pw@10.0.0.7/stock";
const Message = v.strictObject({ text: v.string() });
const Shop = service("shop.v1", {
  find: rpc(Message, v.object({ text: v.string() }), { errors: { not_found: v.object({ near: v.string() }) } }),
  audit: rpc(Message, v.object({ text: v.string() })),
});

type Handler = (message: { text: string }) => unknown;

function shop(find: Handler) {
  const entries: LogEntry[] = [];
  const answer: Handler = (message) => message.text === "honest" ? { text: "found" } : find(message);
  const server = createServer(implement(Shop, { find: answer, audit: answer } as never), {
    guard: publicOnly(["shop.v1/find"]),
    log: (entry) => void entries.push(entry),
  });
  return { server, entries };
}

const post = (body: string, path = "/shop.v1/find", headers = {}) =>
  new Request(`https://shop.test${path}`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
  });

/** Everything that a response says. */
async function said(response: Response): Promise<string> {
  return `${response.status} ${response.statusText} ${JSON.stringify([...response.headers])} ${await response.text()}`;
}

async function assertHonest({ server }: ReturnType<typeof shop>): Promise<void> {
  const response = await server.fetch(post('{"text":"honest"}'));
  assert.deepEqual([response.status, await response.json()], [200, { text: "found" }]);
}

class QueryError extends Error {
  readonly query = secret;
  override readonly name = secret;
}
const fail = (): never => {
  throw new Error(secret);
};

const failures: readonly (readonly [name: string, find: Handler])[] = [
  ["an error of the database", () => {
    throw new QueryError(secret, { cause: new Error(secret) });
  }],
  ["a rejected promise", () => Promise.reject(new QueryError(secret))],
  ["null", () => Promise.reject(null)],
  ["a text", () => Promise.reject(secret)],
  ["a Response", () => Promise.reject(new Response(secret, { status: 200, headers: { "x-leak": secret } }))],
  ["what another service answered", () => Promise.reject(new RpcError("not_found", secret, { received: true }))],
  ["an object that throws when it is read", () => Promise.reject(Object.defineProperty({}, "message", { get: fail }))],
  [
    "a Proxy that throws whatever is done to it",
    () => Promise.reject(new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail, ownKeys: fail })),
  ],
  ["an error with a code that is none", () => Promise.reject(new RpcError("s3cret" as never, secret))],
];

for (const [name, find] of failures) {
  test(`T14 createServer() tells the caller of a handler that fails with ${name} nothing but an id`, async () => {
    const rig = shop(find);
    const response = await rig.server.fetch(post('{"text":"a"}'));
    assert.equal(response.status, 500);
    const { code, message, details } = await response.clone().json();
    assert.deepEqual([code, message, details.length], ["internal", "The call failed inside the service", 1]);
    assert.doesNotMatch(await said(response), /s3cret|postgres|at \w+ \(|\.ts:/);
    assert.deepEqual(rig.entries.map(({ level, code }) => [level, code]), [["error", "internal"]]);
    assert.equal(rig.entries[0]?.correlationId, details[0].debug.requestId);
    await assertHonest(rig);
  });
}

test("T14 createServer() tells failures of a handler apart by nothing at all", async () => {
  const answers = new Set<string>();
  for (const [, find] of failures) {
    const response = await shop(find).server.fetch(post('{"text":"a"}'));
    const { code, message, details } = await response.json();
    answers.add(JSON.stringify([response.status, code, message, details.length, [...response.headers.keys()]]));
  }
  assert.equal(answers.size, 1);
});

const probes: readonly (readonly [name: string, request: () => Request])[] = [
  ["bytes that are no message", () => post(secret)],
  ["a message of another shape", () => post(JSON.stringify({ text: { [secret]: secret } }))],
  ["an unknown member", () => post(JSON.stringify({ text: "a", [secret]: secret }))],
  ["an unknown method", () => post("{}", "/shop.v1/s3cret")],
  ["an unknown path", () => post("{}", "/s3cret/../x")],
  ["another media type", () => post("{}", "/shop.v1/find", { "content-type": secret })],
  ["another encoding", () => post("{}", "/shop.v1/find", { "content-encoding": secret })],
  ["another protocol", () => post("{}", "/shop.v1/find", { "connect-protocol-version": secret })],
  ["a timeout that is none", () => post("{}", "/shop.v1/find", { "connect-timeout-ms": secret })],
  ["a method that is shut", () => post("{}", "/shop.v1/audit")],
];
for (const [name, request] of probes) {
  test(`T14 createServer() refuses ${name} without a word of it, a stack or its own insides`, async () => {
    const rig = shop(fail);
    const response = await rig.server.fetch(request());
    assert.ok(response.status >= 400 && response.status < 500);
    const text = await said(response);
    assert.doesNotMatch(text, /s3cret|valibot|deno|node|\.ts|Expected|stack/i);
    assert.ok(text.includes(rig.entries[0]?.correlationId ?? "none"));
    assert.equal(rig.entries.length, 1);
    await assertHonest(rig);
  });
}

test("T14 createServer() names neither itself nor its runtime in a response", async () => {
  const { server } = shop(fail);
  for (const body of ['{"text":"honest"}', '{"text":"a"}', "{"]) {
    const { headers } = await server.fetch(post(body));
    for (const name of ["server", "x-powered-by", "via", "date"]) assert.equal(headers.get(name), null);
  }
});

const leaks: readonly (readonly [name: string, answer: unknown])[] = [
  ["a row with columns that the contract does not name", { text: "found", cost: secret, owner: { email: secret } }],
  ["a member by inheritance", Object.create({ cost: secret }, { text: { value: "found", enumerable: true } })],
];
for (const [name, answer] of leaks) {
  test(`T32 createServer() lets ${name} out in no answer`, async () => {
    const rig = shop(() => answer);
    const response = await rig.server.fetch(post('{"text":"a"}'));
    assert.equal(await response.text(), '{"text":"found"}');
    const { text, ...more } = await createClient(Shop, rig.server.call).find({ text: "a" });
    assert.deepEqual([text, more], ["found", {}]);
    await assertHonest(rig);
  });
}

test("T32 createServer() lets out no details but those that the contract names", async () => {
  const rig = shop(() => {
    throw new RpcError("not_found", "There is none", {
      details: { near: "b", cost: secret },
      cause: new Error(secret),
    });
  });
  const text = await said(await rig.server.fetch(post('{"text":"a"}')));
  assert.ok(text.startsWith("404 ") && text.includes('"debug":{"near":"b"}'));
  assert.doesNotMatch(text, /s3cret/);
  const encoded = /"value":"([^"]+)","debug":\{"near"/.exec(text)?.[1] ?? "";
  assert.equal(atob(encoded), '{"near":"b"}');
  assert.equal((rig.entries[0]?.cause as Error).message, secret, "the details are in the log");
  await assertHonest(rig);
});

test("T32 createServer() answers a broken contract of its own with an error and not with the answer", async () => {
  const rig = shop(() => ({ text: { inner: secret } }));
  const response = await rig.server.fetch(post('{"text":"a"}'));
  assert.equal(response.status, 500);
  assert.doesNotMatch(await said(response), /s3cret/);
  assert.equal(rig.entries[0]?.level, "error");
  await assertHonest(rig);
});

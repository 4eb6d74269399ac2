import assert from "node:assert/strict";
import { test } from "node:test";
import { createAuthority, createTrust, generateKey, importIdentity, prove } from "../../src/auth/mod.ts";
import { createClient, fetchTransport, type RpcError } from "../../src/rpc/mod.ts";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { DOMAIN, ECHO, WEB } from "../auth/_world.ts";
import { Echo } from "../rpc/_rig.ts";
import { type PassingResponse, type Tampering, tamperingProxy } from "./T4.1_proxy.ts";
import { type ProtectedInput, serveProtected } from "./T4.1_server.ts";

const COVERED = ["content-type", "content-digest", "workload-identity-token", "connect-timeout-ms"] as const;
const ANSWERED = ["content-type", "content-digest", "workload-identity-token"] as const;
const PROOF = ["signature", "signature-input"] as const;

for (const runtime of ["deno", "bun"] as const) {
  test(`T4.1 one flipped bit, by a proxy that TLS trusts, is refused by a server on ${runtime} and its client`, async () => {
    await using rig = await startRig(runtime);
    const { call, proxy } = rig;
    assert.equal(await call("a"), "a 1", "the test itself: the proxy passes on what it does not change");
    let called = 1;

    for (const [title, tampering] of Object.entries(onRequest)) {
      proxy.tamper(tampering);
      assert.equal(await call("words"), "unavailable", title);
    }
    proxy.tamper({});
    assert.equal(await call("b"), `b ${++called}`, "no changed request reached a handler");

    for (const [title, tampering] of Object.entries(onResponse)) {
      proxy.tamper(tampering);
      assert.equal(await call("words"), "unavailable", title);
      called++;
    }
    proxy.tamper({});
    assert.equal(await call("c"), `c ${++called}`);
  });

  test(`T4.1 headers that a proxy takes away or adds make a server on ${runtime} refuse`, async () => {
    await using rig = await startRig(runtime);
    const { call, proxy } = rig;
    for (const name of [...COVERED, ...PROOF]) {
      proxy.tamper({ request: (request) => (request.headers.delete(name), request) });
      assert.equal(await call("words"), "unavailable", `without ${name}`);
    }
    for (const name of ["authorization", "txn-token", "idempotency-key", "postern-callers", "postern-delegation"]) {
      proxy.tamper({ request: (request) => (request.headers.set(name, "x"), request) });
      assert.equal(await call("words"), "unavailable", `with ${name}`);
    }
    proxy.tamper({ request: (request) => (request.headers.set("x-user", "admin"), request) });
    assert.equal(await call("a"), "a 1", "what counts for nothing refuses nothing");
  });

  test(`T4.1 T4.3 bytes that a proxy kept are good for nothing at a server on ${runtime}`, async () => {
    await using rig = await startRig(runtime);
    const { call, proxy, send, target } = rig;
    assert.equal(await call("a"), "a 1");
    const { method, path, headers, body } = proxy.seen[0]!;
    for (let i = 0; i < 3; i++) {
      const response = await send(target + path, { method, headers, body });
      assert.deepEqual([response.status, response.headers.has("signature")], [401, false]);
      await response.body?.cancel();
    }
    assert.equal(await call("b"), "b 2");
  });
}

function flip(text: string, index = text.length >> 1): string {
  return text.slice(0, index) + String.fromCharCode(text.charCodeAt(index) ^ 1) + text.slice(index + 1);
}

function flipped(bytes: Uint8Array<ArrayBuffer>, bit: number): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  copy[(bit >> 3) % copy.length]! ^= 1 << (bit & 7);
  return copy;
}

function flipHeader<Message extends { readonly headers: Headers }>(message: Message, name: string): Message {
  const value = message.headers.get(name);
  assert.ok(value, `there is a ${name} to change`);
  message.headers.set(name, flip(value));
  return message;
}

const bits = Array.from({ length: 16 * 8 }, (_, bit) => bit).filter((bit) => bit % 7 === 0);

const onRequest: Readonly<Record<string, Tampering>> = {
  ...Object.fromEntries(bits.map((bit): [string, Tampering] => [
    `bit ${bit} of the body`,
    { request: (request) => ({ ...request, body: flipped(request.body, bit) }) },
  ])),
  ...Object.fromEntries([...COVERED, ...PROOF].map((name): [string, Tampering] => [
    `a bit of ${name}`,
    { request: (request) => flipHeader(request, name) },
  ])),
  "a bit of the method": { request: (request) => ({ ...request, method: flip(request.method, 0) }) },
  "the method": { request: (request) => ({ ...request, method: "PUT" }) },
  "a bit of the path": { request: (request) => ({ ...request, path: flip(request.path, request.path.length - 1) }) },
  "the path to another method": { request: (request) => ({ ...request, path: "/echo.v1/look" }) },
  "a query": { request: (request) => ({ ...request, path: `${request.path}?a=b` }) },
};

const restated = (status: number) => ({ response: (response: PassingResponse) => ({ ...response, status }) });

const onResponse: Readonly<Record<string, Tampering>> = {
  ...Object.fromEntries(bits.map((bit): [string, Tampering] => [
    `bit ${bit} of the answer`,
    { response: (response) => ({ ...response, body: flipped(response.body, bit) }) },
  ])),
  ...Object.fromEntries([...ANSWERED, ...PROOF].map((name): [string, Tampering] => [
    `a bit of the answer's ${name}`,
    { response: (response) => flipHeader(response, name) },
  ])),
  ...Object.fromEntries(
    [201, 202, 208, 216, 232, 456].map((status) => [`a bit of the status: ${status}`, restated(status)]),
  ),
  ...Object.fromEntries([...ANSWERED, ...PROOF].map((name): [string, Tampering] => [
    `the answer without ${name}`,
    { response: (response) => (response.headers.delete(name), response) },
  ])),
};

async function startRig(runtime: "deno" | "bun") {
  await using starting = new AsyncDisposableStack();
  const ca = await makeCa();
  const certificate = await issueCertificate({ authority: ca });
  const authority = await createAuthority(DOMAIN);
  const trust = await createTrust({ [DOMAIN]: authority.bundle() });
  const serverKey = await exportableKey();
  const input: ProtectedInput = {
    serving: { port: 0, ...certificate },
    trustDomain: DOMAIN,
    bundle: authority.bundle(),
    key: serverKey.text,
    token: await authority.issue(serverKey.jwk, { id: ECHO, serves: ["echo.v1"] }),
    caller: WEB,
  };
  const port = runtime === "deno" ? await startDeno(input, starting) : await startBun(input, starting);
  const target = `https://localhost:${port}`;
  const proxy = starting.use(tamperingProxy(target, { ...certificate, ca: ca.ca }));
  const send = starting.use(createFetch({ caCerts: [ca.ca] }));
  const key = await generateKey();
  const identity = importIdentity(key, await authority.issue(key.jwk, { id: WEB }));
  const prover = prove({ identity, trust, peer: ECHO });
  const client = createClient(Echo, fetchTransport(proxy.url, { prover, fetch: send }));
  const running = starting.move();
  return {
    proxy,
    target,
    send,
    call: (text: string) => client.say({ text }).then((reply) => reply.text, (error: RpcError) => error.code),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** A program in another process is given its key as text. */
async function exportableKey() {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const { kty, crv, x, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  const jwk = { kty: "OKP", crv: "Ed25519", x: x! } as const;
  return { jwk, text: JSON.stringify({ kty, crv, x, d }) };
}

async function startDeno(input: ProtectedInput, stack: AsyncDisposableStack): Promise<number> {
  return stack.use(await serveProtected(serve, input)).port;
}

async function startBun(input: ProtectedInput, stack: AsyncDisposableStack): Promise<number> {
  const root = new URL("../../", import.meta.url).pathname;
  const which = new Deno.Command("npx", {
    args: ["-y", "-p", "bun@1.4.5", "which", "bun"],
    cwd: root,
    stderr: "inherit",
  });
  const path = new TextDecoder().decode((await which.output()).stdout).trim();
  // The executable itself: ending a launcher script would leave it running.
  const process = new Deno.Command(await Deno.realPath(path), {
    args: [`${root}tests/threats/T4.1_bun_server.ts`, JSON.stringify(input)],
    cwd: root,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  stack.defer(async () => {
    process.kill("SIGKILL");
    await process.status;
    await reader.cancel();
  });
  for (let text = "";;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The server did not start: ${text}`);
    text += value;
    const port = /^ready (\d+)$/m.exec(text)?.[1];
    if (port) return Number(port);
  }
}

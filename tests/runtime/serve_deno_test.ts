import assert from "node:assert/strict";
import { test } from "node:test";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import { createServing } from "../../src/runtime/serving.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { ADAPTED, createLauncher } from "./launch.ts";

const server = { fetch: () => new Response("hello") };

test("serve() refuses a missing or empty certificate or key, and says what to do", async () => {
  const { cert, key } = await issueCertificate();
  for (const options of [{ key }, { cert: "", key }, { cert }, { cert, key: "" }, { cert: "server.pem", key }]) {
    await assert.rejects(serve(server, { port: 0, ...options } as never), (error) => {
      return error instanceof TypeError && /^Cannot serve without TLS: "(cert|key)" must be .+ PEM/.test(error.message);
    });
  }
});

test("serve() refuses a port and a drain time out of range", async () => {
  const certificate = await issueCertificate();
  for (const bad of [{ port: -1 }, { port: 65_536 }, { port: 1.5 }, { drainMs: -1 }, { drainMs: Infinity }]) {
    await assert.rejects(serve(server, { port: 0, ...certificate, ...bad }), RangeError);
  }
});

test("serve() listens on loopback unless asked", async () => {
  await using serving = await serve(server, { ...await issueCertificate(), port: 0 });
  assert.equal(serving.hostname, "127.0.0.1");
  assert.equal(serving.url, `https://localhost:${serving.port}`);
});

test("createFetch() refuses what is not a certificate", () => {
  assert.throws(() => createFetch({ caCerts: ["/etc/ca.pem"] }), TypeError);
});

test("createFetch() refuses calls after disposal", async () => {
  const fetch = createFetch();
  fetch[Symbol.dispose]();
  fetch[Symbol.dispose]();
  await assert.rejects(fetch("https://localhost:1/"), /^TypeError: Cannot fetch: this fetch was disposed$/);
});

test("createServing() disposes the server before it closes the listener, once", async () => {
  const order: string[] = [];
  const note = (what: string) => () => (order.push(what), Promise.resolve());
  const listener = { port: 1, close: note("close"), cut: note("cut") };
  const options = { cert: "", key: "", port: 0, hostname: "::", drainMs: 1_000 };
  const serving = createServing({ ...server, [Symbol.asyncDispose]: note("dispose") }, listener, options);
  await Promise.all([serving[Symbol.asyncDispose](), serving[Symbol.asyncDispose]()]);
  await serving.finished;
  assert.deepEqual(order, ["dispose", "close"]);
});

test("createServing() closes the listener when the server's disposal fails, and passes the failure on", async () => {
  let closed = false;
  const listener = { port: 1, close: () => Promise.resolve(void (closed = true)), cut() {} };
  const failing = { ...server, [Symbol.asyncDispose]: () => Promise.reject(new Error("stuck")) };
  const serving = createServing(failing, listener, { cert: "", key: "", port: 0, hostname: "::", drainMs: 1_000 });
  await assert.rejects(async () => await serving[Symbol.asyncDispose](), /stuck/);
  assert.ok(closed);
});

for (const runtime of ADAPTED) {
  for (const [http2, disposable] of [[true, true], [false, true], [true, false], [false, false]]) {
    // Deno's shutdown() cuts an HTTP/1.1 request that is still arriving; only the server's own disposal waits for it.
    if (runtime === "deno" && !http2 && !disposable) continue;
    const over = `${http2 ? "HTTP/2" : "HTTP/1.1"}${disposable ? "" : " to a server without disposal"}`;
    test(`serve() on ${runtime} lets a call over ${over} finish and lets the process end`, async () => {
      const authority = await makeCa();
      await using launcher = await createLauncher();
      // Longer than a program may live: what ends it must be the end of the call.
      const options = { ...await issueCertificate({ authority }), drainMs: 60_000 };
      const env: Record<string, string> = disposable ? {} : { WITHOUT_DISPOSAL: "1" };
      await using running = await launcher.startServer(runtime, options, { env });
      using client = Deno.createHttpClient({ caCerts: [authority.ca], http2 });
      const send: Fetch = (input, init) => fetch(input, { ...init, client });
      const call = await startCall(send, running.url);
      running.program.terminate();
      await running.program.line("draining");
      // Without a disposal, an open HTTP/2 connection may carry new calls until its GOAWAY arrives.
      if (disposable) assert.equal(await refusal(send, running.url), "refused");
      await call.writer.write(new TextEncoder().encode("two"));
      assert.equal((await call.reader.read()).value, "two");
      await call.writer.close();
      assert.equal((await call.reader.read()).done, true);
      await running.program.line("drained");
      assert.equal((await running.program.status).code, 0);
    });
  }

  test(`serve() on ${runtime} cuts a call that outlasts drainMs`, async () => {
    const authority = await makeCa();
    await using launcher = await createLauncher();
    const options = { ...await issueCertificate({ authority }), drainMs: 200 };
    await using running = await launcher.startServer(runtime, options);
    using fetch = createFetch({ caCerts: [authority.ca] });
    const call = await startCall(fetch, running.url);
    running.program.terminate();
    await assert.rejects(call.reader.read());
    await call.writer.abort().catch(() => {});
    await running.program.line("drained");
    assert.equal((await running.program.status).code, 0);
  });
}

type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

interface Call {
  readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly reader: ReadableStreamDefaultReader<string>;
}

/** A call whose first reply has arrived, so that it is certainly in flight. */
async function startCall(fetch: Fetch, url: string): Promise<Call> {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const writer = writable.getWriter();
  const pending = fetch(url, { method: "POST", body: readable });
  const written = writer.write(new TextEncoder().encode("one"));
  const reader = (await pending).body!.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal((await reader.read()).value, "one");
  await written;
  return { writer, reader };
}

async function refusal(fetch: Fetch, url: string): Promise<string> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return response.status === 503 ? "refused" : `answered ${response.status}`;
  } catch {
    return "refused";
  }
}

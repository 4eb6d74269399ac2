import assert from "node:assert/strict";
import { test } from "node:test";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { mustCome } from "../_patience.ts";
import { ADAPTED } from "./launch.ts";
import { issueClient } from "./mtls_certificates.ts";
import { createMtlsLauncher, type MtlsServer, type MtlsServerName } from "./mtls_launch.ts";

const text = new TextEncoder();

for (const runtime of ADAPTED) {
  for (const [http2, disposable] of [[true, true], [false, true], [true, false], [false, false]]) {
    const over = `${http2 ? "HTTP/2" : "HTTP/1.1"}${disposable ? "" : " to a server without disposal"}`;
    test(`serve() with clientCerts on ${runtime} lets a call over ${over} finish and lets the process end`, async () => {
      // Longer than a program may live: what ends it must be the end of the call.
      await using rig = await startRig(runtime, http2, 60_000, disposable ? {} : { WITHOUT_DISPOSAL: "1" });
      const call = await startCall(rig);
      rig.server.terminate();
      await rig.server.line("draining");
      await call.writer.write(text.encode("two"));
      assert.equal((await call.reader.read()).value, "two");
      await call.writer.close();
      assert.equal((await call.reader.read()).done, true);
      await mustCome(rig.server.line("drained"), "the end of draining");
      assert.equal((await mustCome(rig.server.status, "the end of the process")).code, 0);
    });
  }

  for (const http2 of [true, false]) {
    const over = http2 ? "HTTP/2" : "HTTP/1.1";
    test(`serve() with clientCerts on ${runtime} cuts a call over ${over} that outlasts drainMs`, async () => {
      await using rig = await startRig(runtime, http2, 200);
      const call = await startCall(rig);
      rig.server.terminate();
      await assert.rejects(call.reader.read());
      await call.writer.abort().catch(() => {});
      await mustCome(rig.server.line("drained"), "the end of draining");
      assert.equal((await mustCome(rig.server.status, "the end of the process")).code, 0);
    });
  }

  test(`serve() with clientCerts on ${runtime} does not wait for a connection that shows no certificate`, async () => {
    await using rig = await startRig(runtime, true, 200);
    using _silent = await Deno.connect({ hostname: "127.0.0.1", port: rig.server.port });
    rig.server.terminate();
    await mustCome(rig.server.line("drained"), "the end of draining");
    assert.equal((await mustCome(rig.server.status, "the end of the process")).code, 0);
  });
}

interface Rig extends AsyncDisposable {
  readonly server: MtlsServer;
  readonly client: Deno.HttpClient;
}

async function startRig(
  runtime: MtlsServerName,
  http2: boolean,
  drainMs: number,
  env: Record<string, string> = {},
): Promise<Rig> {
  await using starting = new AsyncDisposableStack();
  const authority = await makeCa();
  const certificate = await issueCertificate({ authority });
  const launcher = starting.use(await createMtlsLauncher());
  const options = { ...certificate, drainMs, clientCerts: { caCerts: [authority.ca] } };
  const server = starting.use(await launcher.startServer(runtime, options, env));
  const identity = await issueClient(authority, []);
  const client = starting.use(Deno.createHttpClient({ caCerts: [authority.ca], http2, ...identity }));
  const running = starting.move();
  return { server, client, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

interface Call {
  readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly reader: ReadableStreamDefaultReader<string>;
}

/** A call whose first reply has arrived, so that it is certainly in flight. */
async function startCall({ server, client }: Rig): Promise<Call> {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const writer = writable.getWriter();
  const pending = fetch(server.url, { method: "POST", body: readable, client });
  const written = writer.write(text.encode("one"));
  const reader = (await pending).body!.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal((await reader.read()).value, "one");
  await written;
  return { writer, reader };
}

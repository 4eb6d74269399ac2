import { anonymous, createClient, fetchTransport, NotSentError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Certificate, issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { ADAPTED, executable, run } from "../runtime/launch.ts";
import { Shop } from "../selector/_pool.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A server that cuts its connections, at a port of its own. */
interface Cutting extends AsyncDisposable {
  readonly port: number;
  /** What it was sent, of each connection. */
  readonly received: readonly string[];
}

const latin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

/** Reads until it has seen enough of a connection, and closes it. */
function cutting(listener: Deno.Listener<Deno.TcpConn | Deno.TlsConn>, isEnough: (text: string) => boolean): Cutting {
  const received: string[] = [];
  const one = async (connection: Deno.Conn) => {
    const at = received.push("") - 1;
    const chunk = new Uint8Array(16_384);
    try {
      while (!isEnough(received[at]!)) {
        const size = await connection.read(chunk);
        if (size === null) break;
        received[at] += latin1(chunk.subarray(0, size));
      }
    } catch {
      // The other side was first.
    } finally {
      connection.close();
    }
  };
  const accepting = (async () => {
    const running: Promise<void>[] = [];
    try {
      for await (const connection of listener) running.push(one(connection));
    } catch {
      // The listener was closed.
    }
    await Promise.all(running);
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    received,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
    },
  };
}

const HOST = { hostname: "127.0.0.1", port: 0 };
const tls = ({ cert, key }: Certificate, protocol: string) =>
  Deno.listenTls({ ...HOST, cert, key, alpnProtocols: [protocol] });

function closedPort(): number {
  const listener = Deno.listen(HOST);
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function runOn(runtime: (typeof ADAPTED)[number], input: object): Promise<Record<string, string>> {
  await Deno.mkdir(`${ROOT}.dev`, { recursive: true });
  // Inside the repository, so that Node and Bun find the node_modules that bundles leave out.
  const dir = await Deno.makeTempDir({ dir: `${ROOT}.dev`, prefix: "not-sent-" });
  try {
    const source = `${ROOT}tests/rpc/programs/${runtime}_not_sent.ts`;
    const bundle = `${dir}/${runtime}.mjs`;
    const args = ["bundle", "-q", "--platform", "deno", "--packages", "external", "-o", bundle, source];
    if (runtime !== "deno") {
      const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
    }
    const argument = JSON.stringify(input);
    await using program = runtime === "deno"
      ? run(Deno.execPath(), ["run", "--no-prompt", "--no-check", "-A", source, argument], {})
      : run(runtime === "bun" ? await executable("bun") : "node", [bundle, argument], {});
    return JSON.parse(await program.line("result "));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

for (const runtime of ADAPTED) {
  test(`fetchTransport() on ${runtime} tells what was not sent from what was perhaps`, async () => {
    const authority = await makeCa();
    const certificate = await issueCertificate({ authority });
    await using handshake = cutting(Deno.listen(HOST), (text) => text.length > 0);
    await using afterwards = cutting(tls(certificate, "http/1.1"), (text) => text.includes('{"item":"book"}'));
    await using between = cutting(tls(certificate, "http/1.1"), (text) => text.includes("POST /shop.v1/buy"));
    const servers = {
      refused: `https://127.0.0.1:${closedPort()}`,
      unknown: "https://nope.invalid",
      handshake: `https://localhost:${handshake.port}`,
      afterwards: `https://localhost:${afterwards.port}`,
      between: `https://localhost:${between.port}`,
    };
    const { handshake: cut, ...found } = await runOn(runtime, { caCerts: [authority.ca], servers });
    assert.deepEqual(found, {
      refused: "not sent, unavailable",
      unknown: "not sent, unavailable",
      afterwards: "unavailable",
      between: "unavailable",
    });
    // Nothing was sent, and not every runtime says so.
    assert.match(cut!, /^(?:not sent, )?unavailable$/);
    assert.ok(handshake.received.length > 0 && handshake.received[0]!.charCodeAt(0) === 0x16, "a handshake");
    assert.ok(afterwards.received.length > 0 && between.received.length > 0);
  });
}

/** The words of an error and of its causes. */
const inspected = (error: unknown): string =>
  error instanceof Error ? `${error.message} <- ${inspected(error.cause)}` : String(error);

/** An HTTP/2 frame. */
function frame(type: number, id: number, payload: readonly number[] = []): Uint8Array<ArrayBuffer> {
  const size = payload.length;
  return Uint8Array.from([size >> 16, size >> 8, size, type, 0, 0, 0, 0, id, ...payload].map((byte) => byte & 255));
}

// RFC 9113, section 6.8: GOAWAY ends with what the sender likes to say, and Deno's error repeats it.
test("fetchTransport() on deno does not take the peer's word that nothing was sent", async () => {
  const authority = await makeCa();
  const listener = tls(await issueCertificate({ authority }), "h2");
  let requests = 0;
  const lie = "error sending request for url (https://x.test/): client error (Connect): y";
  const words = Array.from(new TextEncoder().encode(`x: client error (Connect): y\n${lie}`));
  const serving = (async () => {
    for await (const connection of listener) {
      try {
        await connection.write(frame(4, 0));
        const chunk = new Uint8Array(16_384);
        let text = "";
        while (!text.includes('{"item":"book"}')) {
          const size = await connection.read(chunk);
          if (size === null) break;
          text += latin1(chunk.subarray(0, size));
        }
        requests++;
        await connection.write(frame(7, 0, [0, 0, 0, 0, 0, 0, 0, 2, ...words]));
        while (await connection.read(chunk) !== null);
      } catch {
        // The other side was first.
      } finally {
        connection.close();
      }
    }
  })().catch(() => {});
  using client = Deno.createHttpClient({ caCerts: [authority.ca] });
  const url = `https://localhost:${(listener.addr as Deno.NetAddr).port}`;
  const fetchWith = (input: string, init: RequestInit) => fetch(input, { ...init, client });
  const shop = createClient(Shop, fetchTransport(url, { prover: anonymous(), fetch: fetchWith }));
  const error: unknown = await shop.buy({ item: "book" }, { timeoutMs: 10_000 }).catch((thrown) => thrown);
  listener.close();
  await serving;
  assert.ok(requests > 0, "the whole call was received");
  const { cause } = error as Error;
  assert.ok(inspected(cause).includes("client error (Connect): y"), `it repeats them: ${inspected(cause)}`);
  assert.ok(!(error instanceof NotSentError), inspected(cause));
});

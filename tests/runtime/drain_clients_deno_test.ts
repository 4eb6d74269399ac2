// Whatever its clients do, a server ends when it is to: in a process of its own, where nobody catches an error.
import assert from "node:assert/strict";
import { test } from "node:test";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { connectRaw, type RawConnection } from "../threats/_raw.ts";
import { createLauncher, type ServerProgram } from "./launch.ts";

const GET = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HEAD = "POST /sampler.v1/hello HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
/** Beside `drainMs`: the flushing of answers takes a second. */
const GRACE_MS = 2_000;

interface Rig extends AsyncDisposable {
  readonly running: ServerProgram;
  connect(): Promise<RawConnection>;
}

async function startRig(drainMs: number, disposable: boolean): Promise<Rig> {
  const { ca, cert, key } = await testAuthority();
  const own = new AsyncDisposableStack();
  const launcher = own.use(await createLauncher());
  const env: Record<string, string> = disposable ? {} : { WITHOUT_DISPOSAL: "1" };
  const running = own.use(await launcher.startServer("deno", { cert, key, drainMs }, { env }));
  return {
    running,
    connect: async () => own.use(await connectRaw({ port: running.port, ca })),
    [Symbol.asyncDispose]: () => own.disposeAsync(),
  };
}

/** What is done while the server drains, and after that. */
interface Meanwhile {
  readonly draining?: () => Promise<unknown>;
  readonly drained?: () => void;
}

/** Ends the server, and asserts that it ends by itself, in time and without an error; gives how long that took. */
async function end({ program }: ServerProgram, drainMs: number, meanwhile: Meanwhile = {}): Promise<number> {
  program.terminate();
  await mustCome(program.line("draining"), "the beginning of draining");
  const startedAt = performance.now();
  await meanwhile.draining?.();
  await mustCome(program.line("drained"), "the end of draining");
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs < drainMs + GRACE_MS, `it took ${tookMs} ms`);
  meanwhile.drained?.();
  assert.equal((await mustCome(program.status, "the end of the process")).code, 0, program.stderr());
  assert.equal(program.stderr(), "");
  return tookMs;
}

/** What clients are doing when the server is disposed. */
const CLIENTS: Readonly<Record<string, (rig: Rig) => Promise<unknown>>> = {
  "nothing": () => Promise.resolve(),
  "have just been answered": async ({ connect }) => assert.equal((await (await connect()).exchange(GET))?.status, 200),
  "have a call under way": startCall,
};

for (const disposable of [true, false]) {
  const shape = disposable ? "" : " without disposal";
  for (const [what, begin] of Object.entries(CLIENTS)) {
    test(`serve() on Deno ends a server${shape} at once with drainMs 0 where clients ${what}`, async () => {
      await using rig = await startRig(0, disposable);
      await begin(rig);
      await end(rig.running, 0);
    });
  }

  test(`serve() on Deno waits until drainMs for an answer of a server${shape}, and then cuts it`, async () => {
    await using rig = await startRig(1_500, disposable);
    await startCall(rig);
    const tookMs = await end(rig.running, 1_500);
    assert.ok(tookMs > 1_400, `it took ${tookMs} ms`);
  });

  test(`serve() on Deno does not wait for a request to a server${shape} that stops while it flushes`, async () => {
    await using rig = await startRig(1_500, disposable);
    const connection = await rig.connect();
    assert.equal((await connection.exchange(GET))?.status, 200);
    // The answer is not a second old: the listener is still open.
    await end(rig.running, 1_500, {
      draining: () => connection.send(`${HEAD}content-length: 100\r\n\r\n{`),
      drained: () => connection[Symbol.dispose](), // Deno keeps the process as long as the connection
    });
  });
}

/** A call whose handler waits until its caller has gone. */
async function startCall({ connect }: Rig): Promise<void> {
  const connection = await connect();
  const body = "{}";
  const head = `host: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n`;
  await connection.send(`POST /sampler.v1/wait HTTP/1.1\r\n${head}\r\n${body}`);
  const other = await connect();
  assert.equal((await other.exchange(GET))?.status, 200, "so that the call has come in too");
}

// An hour of one connection, on clocks that the test moves: tokens end and are renewed, sessions end, hearts beat, calls go on;
// at its end nothing is left over.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  allow,
  createAuthority,
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  memoryReplay,
  policy,
  protect,
  prove,
} from "../../src/auth/mod.ts";
import {
  createClient,
  type Guard,
  implement,
  rpc,
  RpcError,
  service,
  stream,
  webSocketTransport,
} from "../../src/rpc/mod.ts";
import { clock, DOMAIN } from "../auth/_world.ts";
import { Text, type Words } from "../rpc/_rig.ts";
import { socketServer } from "../rpc/_socket_server.ts";
import { network, settle } from "../rpc/_sockets.ts";

const Talk = service("talk.v1", { say: rpc(Text, Text), follow: rpc(Text, stream(Text)) });
const STEP_MS = 5_000;
const HOUR_MS = 3_600_000;
const TOKEN_MS = 600_000;

async function hour(keepsFresh: boolean) {
  const now = clock();
  const authority = await createAuthority(DOMAIN, { now, tokenLifetimeMs: TOKEN_MS });
  const trust = await createTrust({ [DOMAIN]: authority.bundle() }, { now });
  let renewals = 0;
  const enroller = {
    trustDomain: DOMAIN,
    enroll: (request: string) => (renewals++, authority.enroll(request)),
  };
  const join = async (name: string, serves: readonly string[]): Promise<Identity> => {
    const key = await generateKey();
    const id = `spiffe://${DOMAIN}/${name}`;
    return importIdentity(key, await authority.issue(key.jwk, { id, serves }), { now, authority: enroller });
  };
  const [talk, web] = [await join("talk", ["talk.v1"]), await join("web", [])];
  const running = { calls: 0, most: 0 };
  const ticks: (() => void)[] = [];
  const handlers = {
    say: (message: Words) => message,
    async *follow(_: Words, { signal }: { readonly signal: AbortSignal }): AsyncGenerator<Words> {
      running.most = Math.max(running.most, ++running.calls);
      try {
        for (let n = 1;; n++) {
          yield { text: `${n}` };
          await new Promise<void>((resolve) => {
            ticks.push(resolve);
            signal.addEventListener("abort", () => resolve());
          });
          signal.throwIfAborted();
        }
      } finally {
        running.calls--;
      }
    },
  };
  const rules = [allow({ caller: web.id, call: "talk.v1/*" })];
  const own = protect({ identity: talk, trust, policy: policy(rules), now, replay: memoryReplay({ now }) });
  // A server keeps its identity fresh by the runtime's clock, which does not move here.
  const guard: Guard = { ...own, start: (services, tell) => own.start(services, tell)?.[Symbol.dispose]() };
  const server = socketServer(implement(Talk, handlers as never), guard);
  const net = network(server);
  const prover = prove({ identity: web, trust, peer: talk.id, now });
  const transport = webSocketTransport("wss://talk.test", { prover, open: net.open, clock: server.clock });
  return {
    ...{ server, net, transport, running, client: createClient(Talk, transport) },
    renewals: () => renewals,
    pass(ms: number) {
      now.pass(ms);
      void talk.credential();
      if (keepsFresh) void web.credential();
      server.clock.pass(ms);
      for (const tick of ticks.splice(0)) tick();
    },
  };
}

const codeOf = (error: unknown) =>
  error instanceof RpcError ? `${error.name} ${error.code} ${error.message}` : String(error);

for (const keepsFresh of [true, false]) {
  const who = keepsFresh ? "that keeps its identity fresh" : "that does nothing for its identity";
  test(`T15 an hour of calls of a client ${who} fails none, and leaves nothing behind`, async () => {
    const { client, net, pass, running, server, transport, renewals } = await hour(keepsFresh);
    const failures: string[] = [];
    let said = 0;
    let followed = 0;
    let cut = 0;
    let waiting = 0;
    let reader: AsyncIterator<Words> | undefined;
    for (let ms = STEP_MS; ms <= HOUR_MS; ms += STEP_MS) {
      pass(STEP_MS);
      if (Math.floor(ms / 60_000) % 20 >= 17) { // nobody says anything for three minutes, and the connection is given up
        await reader?.return?.();
        reader = undefined;
        await settle(4);
        continue;
      }
      await client.say({ text: `${ms}` }).then(({ text }) => {
        assert.equal(text, `${ms}`);
        said++;
      }, (error) => failures.push(`after ${ms / 1_000} s: ${codeOf(error)}`));
      reader ??= client.follow({ text: "" })[Symbol.asyncIterator]();
      const next = await reader.next().catch((error) => {
        assert.match(codeOf(error), /unavailable|unauthenticated/);
        cut++;
      });
      if (next) followed++;
      else reader = undefined; // what a stream was opened with has ended, and so has the stream
      waiting = Math.max(waiting, server.clock.waiting);
    }
    await reader?.return?.();
    await settle(4);
    const open = net.wires.filter((wire) => wire.client.readyState === 1).length;
    assert.ok(waiting <= 5, `${waiting} timers at once`);
    // Tokens of ten minutes, and the quiet times: about so many connections, and renewals of two identities.
    assert.ok(net.wires.length <= 30 && renewals() <= 30, `${net.wires.length} connections, ${renewals()} renewals`);
    assert.ok(cut <= 12 && followed >= said - 12, `${cut} streams were cut, ${followed} messages of ${said}`);
    assert.deepEqual(running, { calls: 0, most: 1 });
    assert.ok(open <= 1, `${open} connections are open`);
    await transport[Symbol.asyncDispose]();
    await settle(4);
    assert.equal(server.clock.waiting, 0, "timers are left");
    assert.ok(net.wires.every((wire) => wire.client.readyState === 3 && wire.server.readyState === 3));
    assert.deepEqual(failures.slice(0, 5), []);
  });
}

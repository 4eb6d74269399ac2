// There is one door, for streams and connections too: whoever has no credentials, or wrong ones, gets to no handler, by no
// way in, and nothing that he says is decoded.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allow, type Identity, prove, type Rule } from "../../src/auth/mod.ts";
import { CREDENTIAL_HEADERS } from "../../src/auth/wire.ts";
import { frameWriter } from "../../src/rpc/frame_writer.ts";
import {
  anonymous,
  createClient,
  fetchTransport,
  type Prover,
  RpcError,
  type Transport,
  webSocketTransport,
} from "../../src/rpc/mod.ts";
import { json } from "../../src/codec/mod.ts";
import { DOMAIN, WEB, world } from "../auth/_world.ts";
import { soon } from "../rpc/_rig.ts";
import { upgradeRequest } from "../rpc/_socket_server.ts";
import { network, playedPipe, settle } from "../rpc/_sockets.ts";
import { streamPost } from "../rpc/_envelopes.ts";
import { Streams } from "../rpc/_streams.ts";
import { concat, slowly, streaming, STREAMS, type StreamsClient, URL_OF_STREAMS } from "./_streaming.ts";

const SHAPES = ["plain", "down", "up", "both"] as const;
type Shape = (typeof SHAPES)[number];

const FOR_WEB = [allow({ caller: WEB, call: "streams.v1/*" })];
/** `down` is for anyone. */
const OPEN = [
  allow({ anyone: true, call: "streams.v1/down" }),
  allow({ caller: WEB, call: ["plain", "up", "both"].map((name) => `streams.v1/${name}`) }),
];
const TEXT = '{"text":"a"}';

/** A server that counts what it decodes. */
async function scene(rules: readonly Rule[] = FOR_WEB) {
  const decoded: unknown[] = [];
  const own = json();
  const codec = { ...own, decode: (bytes: Uint8Array) => (decoded.push(bytes), own.decode(bytes)) };
  return { decoded, ...await streaming({ rules, serving: { codecs: [codec] } }) };
}
type Scene = Awaited<ReturnType<typeof scene>>;

/** Who calls, and what becomes of it over HTTP and over a connection. */
const CALLERS: readonly {
  readonly name: string;
  readonly proverOf: (at: Scene) => Prover | Promise<Prover>;
  readonly http: string;
  readonly socket: string;
}[] = [
  { name: "a stranger", proverOf: () => anonymous(), http: "unauthenticated", socket: "unauthenticated" },
  {
    name: "somebody without a rule",
    proverOf: async (at) => proving(at, await at.world.join(`spiffe://${DOMAIN}/nobody`)),
    http: "permission_denied",
    socket: "permission_denied",
  },
  {
    // What it is told is proven by nobody: the server knows no caller whom it could answer.
    name: "somebody of another trust domain",
    proverOf: async (at) =>
      proving(at, await (await world("example.net", at.world.now)).join("spiffe://example.net/web")),
    http: "unavailable",
    socket: "unavailable",
  },
  {
    name: "a namesake of a trust domain that has the same name",
    proverOf: async (at) => proving(at, await (await world(DOMAIN, at.world.now)).join(WEB)),
    http: "unavailable",
    socket: "unavailable",
  },
  {
    name: "somebody whose token is another's",
    proverOf: async (at) => {
      const thief = await at.world.join(`spiffe://${DOMAIN}/thief`);
      return proving(at, { ...thief, credential: () => at.web.credential() });
    },
    http: "unavailable",
    socket: "unavailable",
  },
  {
    name: "somebody who means another server",
    proverOf: ({ world: { trust, now }, web }) =>
      prove({ identity: web, trust, now, peer: STREAMS, audience: "https://other.test" }),
    http: "unavailable",
    socket: "unavailable",
  },
];

const proving = ({ world: { trust, now } }: Scene, identity: Identity) =>
  prove({ identity, trust, now, peer: STREAMS });

async function answersOf(client: StreamsClient, shape: Shape): Promise<unknown[]> {
  if (shape === "plain") return [await client.plain({ text: "a" })];
  if (shape === "up") return [await client.up(slowly("a", "b"))];
  const answers: unknown[] = [];
  const stream = shape === "down" ? client.down({ text: "ab" }) : client.both(slowly("a", "b"));
  for await (const each of stream) answers.push(each);
  return answers;
}

const codeOf = (call: Promise<unknown>): Promise<string> =>
  soon(call).then(() => "answered", (error) => error instanceof RpcError ? error.code : `no RpcError: ${error}`);

function transportOf(at: Scene, prover: Prover, way: "http" | "socket"): Transport & Partial<AsyncDisposable> {
  if (way === "socket") return webSocketTransport("wss://streams.test", { prover, open: network(at.server).open });
  const fetch = (url: string, init: RequestInit) => at.server.fetch(new Request(url, init));
  return fetchTransport(URL_OF_STREAMS, { prover, fetch });
}

describe("T2.2 every way in, by whoever may not come in", () => {
  for (const { name, proverOf, ...codes } of CALLERS) {
    for (const way of ["http", "socket"] as const) {
      test(`T2.2 ${name} makes no call of any shape over ${way === "http" ? "HTTP" : "a WebSocket"}`, async () => {
        const at = await scene();
        const transport = transportOf(at, await proverOf(at), way);
        const client = createClient(Streams, transport);
        const told = [];
        for (const shape of SHAPES) told.push(await codeOf(answersOf(client, shape)));
        await transport[Symbol.asyncDispose]?.();
        assert.deepEqual(told, SHAPES.map(() => codes[way]));
        assert.deepEqual([at.handled.length, at.decoded.length], [0, 0]);
        assert.ok(at.audit.events.length > 0 && at.audit.events.every(({ event }) => event === "call.refuse"));
      });
    }
  }

  test("T2.2 who may call makes calls of every shape by every way", async () => {
    for (const way of ["http", "socket"] as const) {
      const at = await scene();
      const transport = transportOf(at, proving(at, at.web), way);
      const client = createClient(Streams, transport);
      for (const shape of SHAPES) assert.ok((await answersOf(client, shape)).length > 0);
      await transport[Symbol.asyncDispose]?.();
      assert.deepEqual(at.handled.map(({ method }) => method), SHAPES);
    }
  });

  test("T2.2 a call of any shape from the same process goes through the same door", async () => {
    const at = await scene();
    const client = createClient(Streams, at.server.call);
    for (const shape of SHAPES) assert.equal(await codeOf(answersOf(client, shape)), "permission_denied");
    assert.deepEqual([at.handled.length, at.decoded.length], [0, 0]);
    assert.deepEqual(at.audit.events.map(({ reason }) => reason), SHAPES.map(() => "not_allowed"));
  });
});

describe("T2.2 what somebody makes by hand", () => {
  test("T2.2 one credential by itself opens no stream, over HTTP", async () => {
    const at = await scene();
    for (const name of CREDENTIAL_HEADERS) {
      for (const value of ["", "x", "AAT x", `"${WEB}"`, "wimse=:AAAA:"]) {
        for (const method of ["down", "up", "both", "nothing"]) {
          const answer = await at.server.fetch(streamPost(method, envelope(), { [name]: value }));
          assert.equal(answer.status, 200);
          assert.match(await answer.text(), /"code":"unauthenticated"/, `${name} ${method}`);
        }
      }
    }
    assert.deepEqual([at.handled.length, at.decoded.length], [0, 0]);
  });

  test("T2.2 one credential by itself opens no connection", async () => {
    const at = await scene();
    for (const name of ["", ...CREDENTIAL_HEADERS]) {
      for (const value of ["", "x", "AAT x", `"${WEB}"`, "wimse=:AAAA:"]) {
        const played = await hello(at, name === "" ? {} : { [name]: value });
        assert.equal(JSON.parse(played.sent[0] as string).status, 401, name);
        assert.equal(played.closes[0]?.code, 4401);
      }
    }
    assert.deepEqual([at.handled.length, at.decoded.length], [0, 0]);
  });

  test("T2.2 a call before, beside and after a hello that is refused is none", async () => {
    const at = await scene();
    for (const first of [undefined, "{}", '{"headers":{},"codec":"json"}']) {
      const upgrade = await at.server.upgrade(upgradeRequest({ url: `${URL_OF_STREAMS}/postern.v1` }));
      assert.ok(!(upgrade instanceof Response));
      const played = playedPipe();
      const user = upgrade.open(played.pipe);
      if (first) user.receive(first);
      for (const shape of SHAPES) user.receive(callFrame(1, shape));
      await settle();
      user.receive(callFrame(1, "plain"));
      await settle();
      assert.ok(played.sent.every((each) => typeof each === "string"));
      assert.ok(played.closes.length > 0);
      user.closed();
    }
    assert.deepEqual([at.handled.length, at.decoded.length], [0, 0]);
  });

  test("T2.2 a connection that proves nothing carries calls to what is open to anyone, and to nothing else", async () => {
    const at = await scene(OPEN);
    const transport = transportOf(at, anonymous(), "socket");
    const client = createClient(Streams, transport);
    const told = [];
    for (const shape of SHAPES) told.push(await codeOf(answersOf(client, shape)));
    assert.deepEqual(told, SHAPES.map((shape) => shape === "down" ? "answered" : "unauthenticated"));
    assert.deepEqual(at.handled.map(({ method }) => method), ["down"]);
    await transport[Symbol.asyncDispose]!();
    // A credential in a frame makes nobody of it either.
    const played = await hello(at, {});
    for (const [index, name] of CREDENTIAL_HEADERS.entries()) {
      played.user.receive(callFrame(2 * index + 1, "down", { [name]: "x" }));
      played.user.receive(callFrame(2 * index + 2, "plain", { [name]: "x" }));
    }
    await settle();
    assert.equal(at.handled.length, 1);
    assert.equal(JSON.parse(played.sent[0] as string).status, 200);
    played.user.closed();
  });

  test("T2.2 what is open to anyone is open as a stream too, and nothing beside it", async () => {
    const at = await scene(OPEN);
    const client = createClient(Streams, transportOf(at, anonymous(), "http"));
    const told = [];
    for (const shape of SHAPES) told.push(await codeOf(answersOf(client, shape)));
    assert.deepEqual(told, SHAPES.map((shape) => shape === "down" ? "answered" : "unauthenticated"));
    assert.deepEqual(at.handled.map(({ method }) => method), ["down"]);
  });

  test("T2.2 paths that are no connection's lead to none", async () => {
    const at = await scene();
    for (
      const path of [
        "/",
        "/postern.v1/",
        "/postern.v1?x=1",
        "/POSTERN.v1",
        "/streams.v1/down",
        "//postern.v1",
        "/a/postern.v1",
      ]
    ) {
      const upgrade = await at.server.upgrade(upgradeRequest({ url: URL_OF_STREAMS + path }));
      assert.ok(upgrade instanceof Response, path);
      assert.equal(upgrade.status, 404, path);
    }
    const fetched = await at.server.fetch(new Request(`${URL_OF_STREAMS}/postern.v1`));
    assert.ok([401, 404].includes(fetched.status), `${fetched.status}`);
  });
});

const envelope = (): Uint8Array<ArrayBuffer> => {
  const content = new TextEncoder().encode(TEXT);
  return concat(Uint8Array.of(0, 0, 0, 0, content.length), content);
};

/** A connection on which a hello with these headers was said. */
async function hello({ server }: Scene, headers: Readonly<Record<string, string>>) {
  const upgrade = await server.upgrade(upgradeRequest({ url: `${URL_OF_STREAMS}/postern.v1` }));
  assert.ok(!(upgrade instanceof Response));
  const played = playedPipe();
  const user = upgrade.open(played.pipe);
  user.receive(JSON.stringify({ headers, codec: "json" }));
  await settle();
  return Object.assign(played, { user });
}

function callFrame(id: number, method: string, headers?: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const writer = frameWriter();
  writer.open(id, { path: `/streams.v1/${method}`, timeoutMs: Infinity, headers, message: TEXT });
  return writer.take(writer.size, 0);
}

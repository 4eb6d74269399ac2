// A contract of all call shapes, a server of it, and a guard and a prover whose channel is a chain of HMACs.
import { sha256 } from "@noble/hashes/sha2.js";
import { hmac } from "@noble/hashes/hmac.js";
import * as v from "valibot";
import {
  type Admission,
  anonymous,
  type Channel,
  type Context,
  createClient,
  createServer,
  fetchTransport,
  type FetchTransportOptions,
  type Guard,
  implement,
  type Proof,
  type Prover,
  publicOnly,
  rpc,
  RpcError,
  type Seal,
  type Server,
  type ServerOptions,
  service,
  stream,
} from "../../src/rpc/mod.ts";
import { collect, Text, type Words } from "./_rig.ts";

/** Every shape of call. */
export const Streams = service("streams.v1", {
  down: rpc(Text, stream(Text), { errors: { not_found: v.object({ missing: v.string() }) } }),
  up: rpc(stream(Text), Text),
  both: rpc(stream(Text), stream(Text)),
  plain: rpc(Text, Text),
});

export const PUBLIC = Object.keys(Streams.methods).map((name) => `streams.v1/${name}`);

type Texts = AsyncIterable<Words>;

/** What a test puts in place of the handlers. */
export interface StreamHandlers {
  readonly down?: (message: Words, context: Context) => Texts;
  readonly up?: (messages: Texts, context: Context) => Promise<Words>;
  readonly both?: (messages: Texts, context: Context) => Texts;
}

/** A stream of the given texts. */
export async function* texts(...all: readonly string[]): AsyncGenerator<Words> {
  for (const text of all) yield await Promise.resolve({ text });
}

/** Everything a stream gives. */
export async function all(messages: AsyncIterable<Words>): Promise<string[]> {
  const read: string[] = [];
  for await (const { text } of messages) read.push(text);
  return read;
}

async function* down({ text }: Words): Texts {
  for (const letter of text) yield await Promise.resolve({ text: letter });
}

async function up(messages: Texts): Promise<Words> {
  return { text: (await all(messages)).join("") };
}

async function* both(messages: Texts): Texts {
  for await (const { text } of messages) yield { text: text.toUpperCase() };
}

/** A server of `Streams`: it spells, joins and shouts where a test does not say otherwise. */
export function streamServer(handlers: StreamHandlers = {}, options: Partial<ServerOptions> = {}) {
  const { log, entries } = collect();
  const implementation = implement(
    Streams,
    { down, up, both, plain: (message: Words) => message, ...handlers } as never,
  );
  const server = createServer(implementation, { guard: publicOnly(PUBLIC), log, ...options });
  return { server, entries };
}

/** A client over a transport whose `fetch` is the server's own. */
export function clientOf(
  server: Pick<Server, "fetch">,
  options: Partial<FetchTransportOptions> = {},
) {
  const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
  return createClient(Streams, fetchTransport("https://streams.test", { prover: anonymous(), fetch, ...options }));
}

const SECRET = new TextEncoder().encode("a key of the two sides");

const wrong = () => new RpcError("unauthenticated", "Cannot trust the stream: a block is not the next one");

/** Proves each block with a MAC over it and the proof before. */
export function chain(sends: string, receives: string): Channel {
  const start = (name: string) => hmac(sha256, SECRET, new TextEncoder().encode(name));
  let sent = start(sends);
  let received = start(receives);
  const step = (last: Uint8Array, block: Uint8Array) => hmac.create(sha256, SECRET).update(last).update(block).digest();
  return {
    seal(block) {
      sent = step(sent, block);
      return sent.slice(0, 16);
    },
    open(block, proof) {
      const expected = step(received, block);
      if (proof.length !== 16 || proof.some((byte, at) => byte !== expected[at])) throw wrong();
      received = expected;
    },
  };
}

const digest = (body: string | Uint8Array) => {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return btoa(String.fromCharCode(...sha256(bytes)));
};

/** Proves a head by its status, its media type and, where there is a whole body, the body's digest. */
const headProof = (status: number, contentType: string, content: string) =>
  digest(`${status} ${contentType} ${content}`);

export const seal: Seal = ({ status, contentType, body }) => {
  const content = body === undefined ? "" : digest(body);
  return {
    ...body === undefined ? {} : { "content-digest": content },
    "x-proof": headProof(status, contentType, content),
  };
};

/** A guard that asks for a proof in `x-who`, and proves streams by a {@linkcode chain}. */
export function channelGuard(more: Partial<Admission> = {}): Guard {
  return {
    start() {},
    admit(incoming) {
      incoming.sealRefusal(seal);
      if (incoming.request?.headers.get("x-who") !== "me") throw new RpcError("unauthenticated", "Who are you");
      const channel = incoming.carries === "stream" ? { channel: chain("server", "client") } : {};
      return { seal, ...channel, ...more };
    },
  };
}

/** The prover that goes with {@linkcode channelGuard}. */
export function channelProver(who = "me"): Prover {
  return { prove: ({ body }) => proofOf(who, body === undefined ? chain("client", "server") : undefined) };
}

export function proofOf(who: string, channel: Channel | undefined): Proof {
  return {
    headers: { "x-who": who },
    ...channel && { channel },
    verify({ status, headers, body }) {
      const content = body === undefined ? "" : digest(body);
      const expected = headProof(status, headers.get("content-type") ?? "", content);
      const isWhole = (headers.get("content-digest") ?? "") === content;
      if (isWhole && headers.get("x-proof") === expected) return;
      throw new RpcError("unavailable", "Cannot trust the answer: nobody proved it");
    },
  };
}

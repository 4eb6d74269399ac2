// A protected server of every shape of call, a client that proves itself, and somebody between the two who sees every body
// block by block and every connection message by message.
import {
  allow,
  type Identity,
  memoryReplay,
  policy,
  protect,
  type ProtectOptions,
  prove,
  type ProveOptions,
  type Rule,
} from "../../src/auth/mod.ts";
import {
  type Client,
  createClient,
  createServer,
  fetchTransport,
  type FetchTransportOptions,
  implement,
  type LogEntry,
  type Server,
  type ServerOptions,
  webSocketTransport,
  type WebSocketTransportOptions,
} from "../../src/rpc/mod.ts";
import { collect, type Words } from "../rpc/_rig.ts";
import { network, settle, type Wire } from "../rpc/_sockets.ts";
import { Streams } from "../rpc/_streams.ts";
import { DOMAIN, watchedAudit, WEB, type World, world } from "../auth/_world.ts";

export const STREAMS = `spiffe://${DOMAIN}/streams`;
export const URL_OF_STREAMS = "https://streams.test";

type Texts = AsyncIterable<Words>;
export type StreamsClient = Client<(typeof Streams)["methods"]>;

/** What a handler was given, call by call. */
export interface Handled {
  readonly method: string;
  readonly texts: string[];
  /** Whether it saw the end of its input. */
  whole: boolean;
}

/** A protected server, and who calls it. */
export interface Streaming {
  readonly world: World;
  readonly server: Server;
  readonly identity: Identity;
  readonly web: Identity;
  readonly handled: Handled[];
  readonly entries: LogEntry[];
  readonly audit: ReturnType<typeof watchedAudit>;
}

export interface StreamingOptions {
  readonly rules?: readonly Rule[];
  readonly protecting?: Partial<ProtectOptions>;
  readonly serving?: Partial<ServerOptions>;
  readonly at?: World;
}

/** Each message in a turn of its own, so that each is in a block or a message of its own. */
export async function* slowly(...all: readonly string[]): AsyncGenerator<Words> {
  for (const text of all) {
    yield { text };
    await settle(2);
  }
}

/** A server that spells (`down`), joins (`up`), and shouts (`both`), one message a turn. */
export async function streaming(options: StreamingOptions = {}): Promise<Streaming> {
  const at = options.at ?? await world();
  const { now, trust } = at;
  const identity = await at.join(STREAMS, { serves: ["streams.v1"] });
  const handled: Handled[] = [];
  const audit = watchedAudit();
  const { log, entries } = collect();
  const begin = (method: string): Handled => {
    const own: Handled = { method, texts: [], whole: false };
    handled.push(own);
    return own;
  };
  async function* seen(method: string, messages: Texts): Texts {
    const own = begin(method);
    for await (const message of messages) {
      own.texts.push(message.text);
      yield message;
    }
    own.whole = true;
  }
  const handlers = {
    async *down({ text }: Words): Texts {
      Object.assign(begin("down"), { whole: true }).texts.push(text);
      yield* slowly(...text);
    },
    async up(messages: Texts) {
      let text = "";
      for await (const each of seen("up", messages)) text += each.text;
      return { text };
    },
    async *both(messages: Texts): Texts {
      for await (const { text } of seen("both", messages)) yield { text: text.toUpperCase() };
    },
    plain(message: Words) {
      Object.assign(begin("plain"), { whole: true }).texts.push(message.text);
      return message;
    },
  };
  const guard = protect({
    identity,
    trust,
    policy: policy(options.rules ?? [allow({ caller: WEB, call: "streams.v1/*" })]),
    audit,
    replay: memoryReplay({ now }),
    now,
    ...options.protecting,
  });
  const server = createServer(implement(Streams, handlers as never), { guard, log, ...options.serving });
  return { world: at, server, identity, web: await at.join(WEB), handled, entries, audit };
}

/** What is between the two of an HTTP exchange. */
export interface Between {
  /** Changes the request's head. */
  head?: (headers: Record<string, string>) => Record<string, string>;
  /** Changes the blocks of the request as they pass. */
  request?: BlockChange;
  /** Changes the answer as a whole, and its head. */
  answer?: (response: Response) => Response | Promise<Response>;
  /** Changes the blocks of the answer as they pass. */
  response?: BlockChange;
}

/** Gives what is sent in place of a block; of the end (undefined), what comes before it. */
export type BlockChange = (block: Uint8Array | undefined, index: number) => readonly Uint8Array[] | "cut";

/** A client over HTTP and the man in the middle, who starts with nothing to do. */
export function httpClient(
  { server, world: { trust, now }, web }: Streaming,
  proving: Partial<ProveOptions> = {},
  more: Partial<FetchTransportOptions> = {},
): { readonly client: StreamsClient; readonly between: Between; readonly sent: Request[] } {
  const between: Between = {};
  const sent: Request[] = [];
  const fetch = async (url: string, init: RequestInit) => {
    const headers = { ...init.headers as Record<string, string> };
    const body = init.body === undefined || init.body === null || !between.request
      ? init.body
      : through(new Response(init.body as BodyInit).body!, between.request);
    const request = new Request(url, {
      ...init,
      headers: between.head?.(headers) ?? headers,
      ...body ? { body, duplex: "half" } : {},
    } as RequestInit);
    sent.push(request);
    const given = await server.fetch(request);
    const changed = await between.answer?.(given) ?? given;
    if (!between.response || !changed.body) return changed;
    return new Response(through(changed.body, between.response), { status: changed.status, headers: changed.headers });
  };
  const prover = prove({ identity: web, trust, peer: STREAMS, now, ...proving });
  return { client: createClient(Streams, fetchTransport(URL_OF_STREAMS, { prover, fetch, ...more })), between, sent };
}

/** A client over a WebSocket; `prepare` sees each connection before it begins. */
export function socketClient(
  { server, world: { trust, now }, web }: Streaming,
  prepare?: (wire: Wire) => void,
  proving: Partial<ProveOptions> = {},
  more: Partial<WebSocketTransportOptions> = {},
) {
  const net = network(server, prepare);
  const prover = prove({ identity: web, trust, peer: STREAMS, now, ...proving });
  const transport = webSocketTransport("wss://streams.test", { prover, open: net.open, ...more });
  return { client: createClient(Streams, transport), net, transport };
}

/** A body whose blocks are changed on their way, each passed on as soon as it is whole. */
export function through(body: ReadableStream<Uint8Array>, change: BlockChange): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let held: Uint8Array<ArrayBuffer> = new Uint8Array();
  let index = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      for (;;) {
        const { done, value } = await reader.read();
        if (value) held = concat(held, value);
        const out: Uint8Array[] = [];
        for (let block = take(); block; block = take()) {
          const given = change(block, index++);
          if (given === "cut") return finish(controller, out);
          out.push(...given);
        }
        if (done) {
          const last = change(undefined, index);
          return finish(controller, last === "cut" ? out : [...out, ...last]);
        }
        for (const each of out) controller.enqueue(each);
        if (out.length > 0) return;
      }
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });

  function finish(controller: ReadableStreamDefaultController<Uint8Array>, out: readonly Uint8Array[]): void {
    for (const each of out) controller.enqueue(each);
    controller.close();
    reader.cancel().catch(() => {});
  }

  function take(): Uint8Array | undefined {
    if (held.length < 5) return undefined;
    const length = 5 + new DataView(held.buffer, held.byteOffset).getUint32(1);
    if (held.length < length) return undefined;
    const block = held.slice(0, length);
    held = held.slice(length);
    return block;
  }
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** With one bit of one byte turned. */
export function flipped(bytes: Uint8Array, at: number, bit = 1): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice() as Uint8Array<ArrayBuffer>;
  copy[at]! ^= bit;
  return copy;
}

/** A block of these bytes, whatever they are. */
export function blockOf(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const block = concat(Uint8Array.of(0x80, 0, 0, 0, 0), content);
  new DataView(block.buffer).setUint32(1, content.length);
  return block;
}

/** What a reader got, and how it ended. */
export async function readAll(
  messages: AsyncIterable<Words>,
): Promise<{ readonly texts: string[]; readonly error?: unknown }> {
  const texts: string[] = [];
  try {
    for await (const { text } of messages) texts.push(text);
  } catch (error) {
    return { texts, error };
  }
  return { texts };
}

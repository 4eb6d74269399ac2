import type { Server } from "../../src/rpc/mod.ts";
import type { Pipe, PipeUser } from "../../src/rpc/pipe.ts";
import type { Clock } from "../../src/rpc/clock.ts";
import { type WebSocketLike, webSocketPipe } from "../../src/rpc/web_socket_pipe.ts";
import assert from "node:assert/strict";

/** What a pipe carries. */
export type Message = Uint8Array<ArrayBuffer> | string;

/** One end of a WebSocket in memory. */
export interface MemorySocket extends WebSocketLike {
  onopen: unknown;
  readyState: number;
  protocol: string;
}

/** One direction of a connection in memory: what was sent and has not arrived. */
export interface Lane {
  readonly queue: Message[];
  /** All messages that were ever sent. */
  readonly log: Message[];
  /** Whether messages arrive by themselves, in a turn of their own. */
  flowing: boolean;
  /** Changes, drops or adds messages as they are sent. */
  tamper: (message: Message, index: number) => readonly Message[];
  /** Lets the next message arrive. */
  deliver(): boolean;
}

/** A connection in memory. */
export interface Wire {
  readonly toServer: Lane;
  readonly toClient: Lane;
  readonly client: MemorySocket;
  readonly server: MemorySocket;
  /** Why it was closed, by which side. */
  readonly closes: { readonly by: "client" | "server"; readonly code: number; readonly reason: string }[];
  /** Breaks the connection, both sides are told. */
  cut(): void;
}

/** A WebSocket of two ends. */
export function wire(): Wire {
  const closes: Wire["closes"] = [];
  const client = socket();
  const server = socket();
  const toServer = lane(server);
  const toClient = lane(client);
  const cut = () => {
    for (const each of [client, server]) {
      if (each.readyState === 3) continue;
      each.readyState = 3;
      queueMicrotask(() => (each.onclose as (event: object) => void)?.({}));
    }
  };
  connect(client, toServer, "client");
  connect(server, toClient, "server");
  return { toServer, toClient, client, server, closes, cut };

  function connect(end: MemorySocket, out: Lane, by: "client" | "server"): void {
    let index = 0;
    end.send = (message) => {
      assert.equal(end.readyState, 1);
      const copy = typeof message === "string" ? message : message.slice();
      for (const each of out.tamper(copy, index++)) {
        out.log.push(each);
        out.queue.push(each);
        if (out.flowing) setTimeout(() => out.deliver());
      }
    };
    Object.defineProperty(end, "bufferedAmount", {
      get: () => out.queue.reduce((sum, each) => sum + each.length, 0),
    });
    end.close = (code = 1005, reason = "") => {
      assert.ok(code === 1000 || (code >= 3000 && code <= 4999), `a browser refuses the code ${code}`);
      if (end.readyState > 1) return;
      closes.push({ by, code, reason });
      end.readyState = 2;
      setTimeout(cut); // what was sent before arrives before
    };
  }

  function lane(to: MemorySocket): Lane {
    const queue: Message[] = [];
    const own: Lane = {
      queue,
      log: [],
      flowing: true,
      tamper: (message) => [message],
      deliver() {
        const message = queue.shift();
        if (message === undefined || to.readyState > 2) return false;
        const data = typeof message === "string" ? message : message.slice().buffer;
        (to.onmessage as (event: object) => void)?.({ data });
        return true;
      },
    };
    return own;
  }
}

function socket(): MemorySocket {
  return {
    binaryType: "blob",
    readyState: 0,
    bufferedAmount: 0,
    protocol: "",
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
    send() {},
    close() {},
  };
}

/** What connects clients to a server, in memory. */
export interface Network {
  readonly wires: Wire[];
  /** Refuses every connection while true. */
  down: boolean;
  readonly open: (url: string, protocols: string[]) => WebSocketLike;
  /** How many upgrades were refused, by status. */
  readonly refusals: number[];
}

/** The headers of a browser's or runtime's request for a WebSocket. */
export const HANDSHAKE = {
  upgrade: "websocket",
  connection: "Upgrade",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** A network to one server; `prepare` sees each connection before it begins. */
export function network(
  server: Pick<Server, "upgrade">,
  prepare: (wire: Wire) => void = () => {},
  headers: Readonly<Record<string, string>> = {},
): Network {
  const own: Network = {
    wires: [],
    down: false,
    refusals: [],
    open(url, protocols) {
      const between = wire();
      own.wires.push(between);
      prepare(between);
      setTimeout(() => void begin(between, url, protocols));
      return between.client;
    },
  };
  return own;

  async function begin(between: Wire, url: string, protocols: string[]): Promise<void> {
    if (own.down) return between.cut();
    const request = new Request(url.replace(/^wss:/, "https:"), {
      headers: { ...HANDSHAKE, "sec-websocket-protocol": protocols.join(", "), ...headers },
    });
    const upgrade = await server.upgrade(request);
    if (upgrade instanceof Response) {
      own.refusals.push(upgrade.status);
      return between.cut();
    }
    if (between.client.readyState > 1) return;
    between.client.readyState = between.server.readyState = 1;
    between.client.protocol = between.server.protocol = upgrade.protocol;
    webSocketPipe(between.server, upgrade.open);
    (between.client.onopen as () => void)?.();
  }
}

/** A pipe whose messages are kept, for a side that a test plays itself. */
export interface PlayedPipe {
  readonly pipe: Pipe;
  readonly sent: Message[];
  readonly closes: { readonly code: number; readonly reason: string }[];
  buffered: number;
}

export function playedPipe(): PlayedPipe {
  const own: PlayedPipe = {
    sent: [],
    closes: [],
    buffered: 0,
    pipe: {
      send: (message) => void own.sent.push(message),
      get bufferedBytes() {
        return own.buffered;
      },
      close: (code, reason) => void own.closes.push({ code, reason }),
    },
  };
  return own;
}

/** A clock that a test moves. */
export interface VirtualClock extends Clock {
  /** Lets time pass, and wakes whom it is time to wake. */
  pass(ms: number): void;
  /** How many wait. */
  readonly waiting: number;
}

export function virtualClock(): VirtualClock {
  let now = 0;
  let last = 0;
  const timers = new Map<number, { readonly at: number; readonly wake: () => void }>();
  return {
    now: () => now,
    set(wake, ms) {
      timers.set(++last, { at: now + ms, wake });
      return last;
    },
    clear: (timer) => void timers.delete(timer as number),
    get waiting() {
      return timers.size;
    },
    pass(ms) {
      const end = now + ms;
      for (;;) {
        const due = [...timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
        if (!due) break;
        now = Math.max(now, due[1].at);
        timers.delete(due[0]);
        due[1].wake();
      }
      now = end;
    },
  };
}

/** Lets everything happen that waits for nothing but its turn. */
export async function settle(turns = 4): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => setTimeout(resolve));
}

/** The user of a pipe, told of a message. */
export const tell = (user: PipeUser, message: Message): void => user.receive(message);

// A client as a process of its own: `client.ts bare|postern|protected|signed http|ws PORT OUTSTANDING MS [MEMBER]` prints its calls
// per second and how many calls it made.
import { anonymous, createClient, fetchTransport, webSocketTransport } from "@postern/rpc";
import type { Prover } from "@postern/rpc/rpc";
import { prove } from "@postern/rpc/auth";
import { Greeter, REQUEST_BODY, REQUEST_HEADERS } from "./greeter.ts";
import { GREETER, memberOf } from "./lib/domain.ts";
import { openPlain } from "./lib/plain_web_socket.ts";

const [kind, over, port, outstanding, ms, member] = Deno.args;
const url = `http://127.0.0.1:${port}/greeter.v1/hello`;

async function bare(): Promise<void> {
  const response = await fetch(url, { method: "POST", headers: REQUEST_HEADERS, body: REQUEST_BODY });
  await response.json();
}

/** The least that tells answers apart. */
async function bareSocket(): Promise<() => Promise<void>> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
  await new Promise((resolve) => socket.onopen = resolve);
  const waiting = new Map<number, (text: string) => void>();
  let last = 0;
  socket.onmessage = ({ data }) => {
    const { id, text } = JSON.parse(data);
    waiting.get(id)!(text);
    waiting.delete(id);
  };
  return async () => {
    const id = ++last;
    socket.send(JSON.stringify({ id, name: "Ada" }));
    await new Promise((resolve) => waiting.set(id, resolve));
  };
}

async function proverOf(): Promise<Prover> {
  return kind === "protected" || kind === "signed"
    ? prove({ ...await memberOf(JSON.parse(member!)), peer: GREETER })
    : anonymous();
}

async function posternCall(): Promise<() => Promise<void>> {
  const prover = await proverOf();
  const transport = over === "ws"
    ? webSocketTransport(`wss://127.0.0.1:${port}`, { prover, open: openPlain })
    : fetchTransport(`https://127.0.0.1:${port}`, {
      prover,
      fetch: (given, init) => fetch(given.replace("https:", "http:"), init),
    });
  const greeter = createClient(Greeter, transport);
  return kind === "signed"
    ? async () => void await greeter.signed({ name: "Ada" })
    : async () => void await greeter.hello({ name: "Ada" });
}

const call = kind !== "bare" ? await posternCall() : over === "ws" ? await bareSocket() : bare;

let made = 0;

async function run(forMs: number, callers: number): Promise<number> {
  const end = performance.now() + forMs;
  let calls = 0;
  await Promise.all(Array.from({ length: callers }, async () => {
    for (; performance.now() < end; calls++) await call();
  }));
  made += calls;
  return calls / forMs * 1000;
}

// On a connection one caller makes too few calls to get the code compiled.
await run(Number(ms) / 2, over === "ws" ? 32 : Number(outstanding));
console.log(`${await run(Number(ms), Number(outstanding))} ${made}`);
Deno.exit(0); // a connection may still be open
